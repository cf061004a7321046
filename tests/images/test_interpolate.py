"""Walks between latents: what lies at the keys and between them, and which layers move."""

import dataclasses

import numpy as np
import pytest

from stylegan_jax.images import interpolate
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=16)


def test_a_great_circle_keeps_the_angle_in_proportion_and_the_length_of_equals():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50)).astype(np.float32)
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    whole = np.arccos(a @ b / (a @ a))
    for t in (0.25, 0.5, 0.9):
        x = interpolate.slerp(a, b, t)
        np.testing.assert_allclose(np.linalg.norm(x), np.linalg.norm(a), rtol=1e-6)
        np.testing.assert_allclose(np.arccos(a @ x / (a @ a)), t * whole, rtol=1e-5)


def test_both_kinds_of_lines_begin_and_end_at_the_keys_to_the_bit():
    a, b = np.random.default_rng(1).standard_normal((2, 50)).astype(np.float32)
    for between in (interpolate.lerp, interpolate.slerp):
        np.testing.assert_array_equal(between(a, b, 0), a)
        np.testing.assert_array_equal(between(a, b, 1), b)
    np.testing.assert_allclose(interpolate.slerp(a, 2 * a, 0.5), 1.5 * a, rtol=1e-6)
    assert np.isfinite(interpolate.slerp(a, -a, 0.5)).all()


@pytest.mark.parametrize("space", ["w", "z"])
@pytest.mark.parametrize("is_loop", [False, True])
def test_a_frame_at_a_key_is_the_keys_still_to_the_bit(network, space, is_loop):
    seeds, look = [3, 1, 4], {"psi": 0.6, "cutoff": 5}
    frames = list(interpolate.walk(network, seeds, 4, space, is_loop, **look))
    assert len(frames) == interpolate.length(3, 4, is_loop) == (12 if is_loop else 9)
    stills = network(seeds=seeds, **look)
    for i, still in enumerate(stills):
        np.testing.assert_array_equal(network.images(frames[4 * i][None])[0], still)
    assert all((frames[i] != frames[i + 1]).any() for i in range(len(frames) - 1))


def test_w_moves_on_straight_lines_and_z_on_great_circles(network):
    z = network.latents([3, 1])
    keys = network.map(z)
    in_w = list(interpolate.walk(network, [3, 1], 4, "w"))
    np.testing.assert_allclose(in_w[1], 0.75 * keys[0] + 0.25 * keys[1], rtol=1e-5, atol=1e-5)
    in_z = list(interpolate.walk(network, [3, 1], 4, "z"))
    np.testing.assert_array_equal(in_z[1], network.map(interpolate.slerp(z[0], z[1], 0.25)[None])[0])


def test_a_loop_goes_back_to_its_first_key(network):
    keys = network.map(network.latents([3, 1]))
    frames = list(interpolate.walk(network, [3, 1], 2, is_loop=True))
    np.testing.assert_allclose(frames[3], (keys[0] + keys[1]) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", ["w", "z"])
def test_layers_that_are_not_named_keep_the_first_keys_styles(network, space):
    first = network.map(network.latents(3))[0]
    moving = list(interpolate.walk(network, [3, 1], 3, space))
    some = list(interpolate.walk(network, [3, 1], 3, space, layers=[0, 4]))
    for frame, whole in zip(some, moving, strict=True):
        np.testing.assert_array_equal(frame[[0, 4]], whole[[0, 4]])
        np.testing.assert_array_equal(frame[[1, 2, 3, 5]], first[[1, 2, 3, 5]])


def test_classes_of_keys_are_mixed_in_z(network):
    conditional = random_network(resolution=8, fmap_base=32, num_labels=3)
    z = conditional.latents([0, 1])
    frames = list(interpolate.walk(conditional, [0, 1], 2, "z", labels=[2, 0]))
    np.testing.assert_array_equal(frames[0], conditional.map(z[:1], 2)[0])
    between = interpolate.slerp(z[0], z[1], 0.5)[None]
    np.testing.assert_array_equal(frames[1], conditional.map(between, np.asarray([[0.5, 0, 0.5]]))[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1]}, "two seeds at least, and there is 1"),
        ({"num_frames": 0}, "there are 0 frames from one key to the next; use 1 or more"),
        ({"space": "x"}, "space is 'x'; use 'w' or 'z'"),
        ({"layers": [5, 6]}, "this network's layers are 0 to 5; found 5 to 6"),
        ({"layers": [-1]}, "layers are 0 to 5; found -1"),
        ({"labels": [0, 1]}, "no classes"),
        ({"cutoff": 2}, "no effect with psi=1"),
    ],
)
def test_a_walk_that_cannot_be_made_is_refused_before_its_first_frame(network, changes, message):
    with pytest.raises(ValueError, match=message):
        interpolate.walk(network, **{"seeds": [1, 2], "num_frames": 2} | changes)


def test_a_network_without_styles_walks_in_z_alone():
    network = random_network(resolution=8, fmap_base=32, use_styles=False, use_noise=False, const_input=False)
    with pytest.raises(ValueError, match="no styles to walk between; use space 'z'"):
        interpolate.walk(network, [1, 2], 2)
    frames = list(interpolate.walk(network, [1, 2], 2, "z"))
    np.testing.assert_array_equal(network.images(frames[2][None]), network(seeds=2))


def test_layers_that_are_not_trained_yet_do_not_walk(network):
    young = dataclasses.replace(network, resolution=8)
    with pytest.raises(ValueError, match="layers 4, 5 have no part in the images yet"):
        interpolate.walk(young, [1, 2], 2, layers=[4, 5])
