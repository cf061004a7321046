"""Images of a network, from seeds, latents or styles."""

import dataclasses

import numpy as np
import pytest

from stylegan_jax.networks import generator, ops, sampling
from stylegan_jax.weights import network as weights_network
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=16)


def test_an_image_is_a_function_of_its_seed_alone(network):
    many = network(seeds=range(5, 9), psi=0.7, cutoff=3, noise="random", noise_seed=2)
    assert many.shape == (4, 16, 16, 3) and many.dtype == np.uint8
    one = network(seeds=[7], psi=0.7, cutoff=3, noise="random", noise_seed=2)
    np.testing.assert_array_equal(many[2:3], one)
    np.testing.assert_array_equal(network(seeds=7, psi=0.7, cutoff=3, noise="random", noise_seed=2), one)
    turned = network(seeds=[8, 7, 6, 5], psi=0.7, cutoff=3, noise="random", noise_seed=2)
    np.testing.assert_array_equal(many, turned[::-1])


def test_latents_are_those_of_numpys_random_state(network):
    z = np.stack([np.random.RandomState(seed).randn(10) for seed in (3, 2**32 - 1)])
    np.testing.assert_array_equal(network(seeds=[3, 2**32 - 1]), network(z=z))


def test_images_are_those_of_the_pure_functions(network):
    z = np.random.RandomState(0).randn(2, 10).astype(np.float32)
    w = np.asarray(sampling.map_latents(network.params, z, None, network.model))
    ws = np.repeat(w[:, None], network.model.num_layers, axis=1)
    np.testing.assert_allclose(network.map(z), ws, rtol=1e-5, atol=1e-6)
    truncated = generator.truncate(ws, network.w_avg, 0.5, 4)
    expected = np.asarray(sampling.synthesize(network.params, truncated, network.noise, None, network.model, 16))
    scale = np.abs(expected).max()
    assert np.abs(network.synthesize(np.asarray(truncated)) - expected).max() < 1e-5 * scale
    images = network(z=z, psi=0.5, cutoff=4)
    assert np.abs(images.astype(int) - np.asarray(ops.to_uint8(expected)).astype(int)).max() <= 1


def test_psi_zero_gives_the_mean_image_for_every_seed(network):
    images = network(seeds=[1, 2], psi=0.0)
    np.testing.assert_array_equal(images[0], images[1])
    ws = np.broadcast_to(network.w_avg, (1, network.model.num_layers, 14))
    np.testing.assert_array_equal(images[:1], np.asarray(ops.to_uint8(network.synthesize(ws))))


def test_kinds_of_noise(network):
    seeds = [1, 2]
    const, none, maps = (network(seeds=seeds, noise=noise) for noise in ("const", "none", network.noise))
    np.testing.assert_array_equal(const, maps)
    assert (const != none).any()
    np.testing.assert_array_equal(none, network(seeds=seeds, noise=[np.zeros_like(m) for m in network.noise]))
    np.testing.assert_array_equal(maps, network(seeds=seeds, noise=[m.tolist() for m in network.noise]))
    one, two = (network(seeds=seeds, noise="random", noise_seed=seed) for seed in (1, 2))
    assert (one != two).any() and (one != const).any()
    ws = network.map(np.ones((2, 10)))
    images = network.synthesize(ws, noise="random")
    assert (images[0] != images[1]).any()  # Same styles, noise of their own.
    np.testing.assert_array_equal(*network.synthesize(ws))  # Same styles, same noise.


def test_without_stored_maps_const_noise_is_one_set_for_all_images(network):
    bare = dataclasses.replace(network, noise=None)
    images = bare.synthesize(np.ones((2, 6, 14)), noise_seed=3)
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images, bare.synthesize(np.ones((2, 6, 14)), noise=bare.const_noise(3)))
    assert (images != bare.synthesize(np.ones((2, 6, 14)))).any()


def test_maps_may_be_one_an_image(network):
    maps = [np.concatenate([m, -m]) for m in network.noise]
    ws = network.map(np.ones((2, 10)))
    images = network.synthesize(ws, noise=maps)
    np.testing.assert_array_equal(images[1:], network.synthesize(ws[:1], noise=[-m for m in network.noise]))


def test_a_network_in_mid_growth_gives_enlarged_images(network):
    young = dataclasses.replace(network, resolution=8, alpha=0.25)
    ws = network.map(np.ones((1, 10)))
    images = young.synthesize(ws)
    expected = np.asarray(sampling.synthesize(network.params, ws, network.noise[:4], 0.25, network.model, 8))
    np.testing.assert_allclose(images, expected.repeat(2, 1).repeat(2, 2), rtol=1e-4, atol=1e-3)
    scores = young.score(np.clip(images, -1, 1))
    assert scores.shape == (1,) and np.isfinite(scores).all()


def test_classes_are_given_by_name_number_or_rows():
    network = random_network(num_labels=3, resolution=8)
    images = network(seeds=[1], labels="class 2")
    np.testing.assert_array_equal(images, network(seeds=[1], labels=2))
    np.testing.assert_array_equal(images, network(seeds=[1], labels=np.eye(3)[[2]]))
    assert (images != network(seeds=[1], labels=0)).any()
    scores = network.score(np.repeat(images, 2, axis=0), labels=[0, 2])
    assert scores[0] != scores[1]


def test_scores_are_in_the_order_of_the_images_and_of_official_groups(network):
    images = np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32)
    scores = network.score(images)
    first_group = network.score(images[[0, 2, 4, 6]])  # 8 images, groups of 4: every second image.
    np.testing.assert_allclose(scores[[0, 2, 4, 6]], first_group, rtol=1e-4, atol=1e-4)
    as_uint8 = np.asarray(ops.to_uint8(images))
    np.testing.assert_allclose(network.score(as_uint8), network.score(as_uint8 / 127.5 - 1), rtol=1e-5)


def test_a_network_without_noise_or_styles_gives_images():
    network = random_network(
        resolution=8, mapping_layers=0, z_size=10, w_size=10, use_styles=False, use_noise=False, const_input=False,
        use_pixel_norm=True, use_instance_norm=False, blur_filter=None,
    )  # fmt: skip
    assert network(seeds=[1, 2]).shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match="psi=0.7 needs a mean of w"):
        network(seeds=1, psi=0.7)
    with pytest.raises(ValueError, match="takes no noise"):
        network(seeds=1, noise="random")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of the two"),
        ({"seeds": [1], "z": np.zeros((1, 10))}, "one of the two"),
        ({"seeds": []}, "give whole numbers"),
        ({"seeds": [0.5]}, "give whole numbers"),
        ({"seeds": "seven"}, "give whole numbers"),
        ({"seeds": [-1]}, "seeds go from 0 to 4294967295; found -1"),
        ({"seeds": [2**32]}, "seeds go from 0 to"),
        ({"z": np.zeros(10)}, r"z is float64 \[10\]; this network takes numbers \[n, 10\]"),
        ({"z": np.zeros((1, 11))}, r"takes numbers \[n, 10\]"),
        ({"z": np.zeros((0, 10))}, r"takes numbers \[n, 10\]"),
        ({"z": np.full((1, 10), "a")}, r"takes numbers \[n, 10\]"),
        ({"seeds": 1, "labels": 0}, "no classes"),
        ({"seeds": 1, "cutoff": 8}, "cutoff=8 has no effect with psi=1"),
        ({"seeds": 1, "psi": 0.7, "cutoff": -1}, "cutoff is -1; give a whole number of layers: all are 6"),
        ({"seeds": 1, "psi": np.nan}, "psi is nan"),
        ({"seeds": 1, "noise": "constant"}, "noise is 'constant'; use 'const', 'random', 'none'"),
        ({"seeds": 1, "noise": None}, "noise is None; use 'const', 'random', 'none'"),
        ({"seeds": 1, "noise_seed": 1}, "noise_seed=1 has no effect"),
        ({"seeds": 1, "noise": "random", "noise_seed": -1}, "noise_seed is -1"),
        ({"seeds": 1, "noise": [np.zeros((1, 4, 4, 1))]}, "noise has maps of"),
        ({"seeds": 1, "noise": [np.zeros((3, r, r, 1)) for r in (4, 4, 8, 8, 16, 16)]}, "give 1 or 1 of each"),
    ],
)
def test_arguments_that_cannot_be_taken_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_a_discriminators_file_makes_no_images(network):
    alone = dataclasses.replace(network, params=None)
    assert alone.score(np.zeros((1, 16, 16, 3))).shape == (1,)
    with pytest.raises(ValueError, match="holds a discriminator alone"):
        alone(seeds=1)
    with pytest.raises(ValueError, match="no discriminator that can be used"):
        dataclasses.replace(network, d_params=None).score(np.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match=r"images is float64 \[1, 8, 8, 3\]"):
        alone.score(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="6 images are no multiple of the groups of 4"):
        alone.score(np.zeros((6, 16, 16, 3)))


def test_every_seed_takes_the_same_programs(network):
    network(seeds=[1], psi=0.7)
    size = weights_network._synthesize._cache_size()
    network(seeds=range(3), psi=0.5)
    assert weights_network._synthesize._cache_size() == size
