"""The page's state: what is refused, and the styles, noise and picture of what is not."""

import dataclasses

import numpy as np
import pytest

from stylegan_jax.images import project
from stylegan_jax.images.explorer import gallery, state
from stylegan_jax.images.explorer.gallery import Latent, Opened
from stylegan_jax.images.explorer.state import State
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def opened() -> Opened:
    network = random_network(resolution=16)
    return Opened("random", network, *gallery.directions_of(network))


def picture(opened: Opened, state_: State, latent: Latent | None = None) -> np.ndarray:
    noise = state.noise_of(opened.network, state_, latent)
    return project.render(opened.network, state.ws_of(opened, state_, latent), noise)[0]


def test_the_fields_that_are_left_out_have_their_defaults():
    assert state.parse({"x": 3, "mix_layers": [2, 0]}) == State(x=3.0, mix_layers=(2, 0))
    assert state.parse({}) == State()


def test_every_field_of_a_state_is_checked():
    assert set(state.CHECKS) == {field.name for field in dataclasses.fields(State)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "the state is None; give an object"),
        ([1], r"the state is \[1\]"),
        ({"zoom": 1}, "the state has no field 'zoom'; its fields are networks, x, y"),
        ({"x": "3"}, "x is '3'; give a number from 0 to 1e[+]08"),
        ({"x": True}, "x is True"),
        ({"x": None}, "x is None"),
        ({"y": -0.5}, "y is -0.5"),
        ({"y": 1e9}, "y is 1000000000.0"),
        ({"psi": float("nan")}, "psi is nan; give a number from -10 to 10"),
        ({"psi": float("inf")}, "psi is inf"),
        ({"psi": 10**30}, "psi is 1000000000000000000000000000000"),
        ({"label": -1}, "label is -1; give a whole number from 0"),
        ({"label": 1.0}, "label is 1.0"),
        ({"cutoff": "all"}, "cutoff is 'all'"),
        ({"mix_seed": 2**32}, "mix_seed is 4294967296; give a whole number from 0 to 4294967295"),
        ({"mix_layers": 3}, "mix_layers is 3; give a list of whole numbers"),
        ({"mix_layers": [1, 1]}, "mix_layers has a number twice"),
        ({"mix_layers": ["a" * 99]}, "a number in mix_layers is 'a{39}[.]{3};"),
        ({"strengths": [1, float("inf")]}, "a number in strengths is inf"),
        ({"strengths": {}}, "strengths is {}; give a list of numbers"),
        ({"noise_seed": 2**31}, "noise_seed is 2147483648"),
        ({"latent": 7}, "latent is 7; give the name"),
        ({"networks": []}, "0 networks are chosen; choose 1 to 8"),
        ({"networks": list(range(9))}, "9 networks are chosen"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(values, message):
    with pytest.raises(ValueError, match=message):
        state.parse(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "the message is not JSON"),
        ("", "the message is not JSON"),
        ("[" * 50_000, "lists within lists"),
        ('{"x": NaN}', "the number NaN, which is not read"),
        ('{"x": -Infinity}', "the number -Infinity"),
        ('{"x": ' + "9" * 5000 + "}", r"the number 99999999\.\.\. of 5000 digits"),
        (b"\xff\xfe\xfd", "the message is not text in UTF-8"),
    ],
)
def test_a_text_that_is_no_json_is_refused_in_a_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        state.read_json(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mix_layers": (6,)}, "mix_layers has 6, and random has the layers 0 to 5"),
        ({"direction_layers": (0, 9)}, "direction_layers has 9"),
        ({"noise_off": (6,)}, "noise_off has 6"),
        ({"cutoff": 7}, "cutoff is 7, and random has 6 layers"),
        ({"label": 0}, "label is 0, and random has no classes"),
        ({"strengths": (0.0,) * 10 + (1.0,)}, "strengths has 11 numbers for the 10 directions"),
    ],
)
def test_what_a_network_lacks_is_refused(opened, changes, message):
    with pytest.raises(ValueError, match=message):
        state.check_fits(State(**changes), opened)


def test_a_latent_of_another_network_is_refused(opened):
    ws = np.zeros((1, 6, 14), np.float32)
    state.check_fits(State(), opened, Latent(ws, None, opened.network.sha256))
    with pytest.raises(ValueError, match="was made for another network than random"):
        state.check_fits(State(), opened, Latent(ws, None, "0" * 64))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (7, 0, {7: 1}),
        (34, 12, {1234: 1}),
        (7.25, 0, {7: 0.75, 8: 0.25}),
        (7, 2.5, {207: 0.5, 307: 0.5}),
        (0.5, 0.25, {0: 0.375, 1: 0.375, 100: 0.125, 101: 0.125}),
        (0, 42949672.96, {4294967200: 0.04, 4: 0.96}),
    ],
)
def test_a_point_of_the_plane_has_the_seeds_around_it(x, y, expected):
    found = dict(state.corners(x, y))
    assert found == pytest.approx(expected, abs=1e-6) and sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("look", [{}, {"psi": 0.7}, {"psi": -0.5, "cutoff": 2}])
def test_a_whole_point_is_the_seeds_image_to_the_bit(opened, look):
    np.testing.assert_array_equal(picture(opened, State(x=7, y=3, **look)), opened.network(307, **look)[0])


def test_between_seeds_their_styles_are_mixed(opened):
    map_ = opened.network.map
    corners = [map_(opened.network.latents(seed), psi=0.7) for seed in (0, 1, 100, 101)]
    expected = sum(w * ws for w, ws in zip((0.375, 0.375, 0.125, 0.125), corners, strict=True))
    found = state.ws_of(opened, State(x=0.5, y=0.25, psi=0.7))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_cutoff_without_truncation_has_no_effect(opened):
    np.testing.assert_array_equal(state.ws_of(opened, State(cutoff=2)), state.ws_of(opened, State()))


def test_mixed_layers_are_those_of_the_second_seed(opened):
    ws = state.ws_of(opened, State(x=3, mix_seed=9, mix_layers=(0, 4), psi=0.5))
    first, second = (opened.network.map(opened.network.latents(seed), psi=0.5) for seed in (3, 9))
    np.testing.assert_array_equal(ws[:, [0, 4]], second[:, [0, 4]])
    np.testing.assert_array_equal(ws[:, [1, 2, 3, 5]], first[:, [1, 2, 3, 5]])


@pytest.mark.parametrize(("layers", "moved"), [(None, range(6)), ((1, 5), (1, 5)), ((), ())])
def test_directions_move_their_layers_by_standard_deviations(opened, layers, moved):
    still = state.ws_of(opened, State(x=3))
    found = state.ws_of(opened, State(x=3, strengths=(0.0, 2.0, -1.5), direction_layers=layers))
    expected = still.copy()
    expected[:, list(moved)] += (2 * opened.directions[1] - 1.5 * opened.directions[2])[list(moved)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_noise_is_the_networks_own_drawn_or_off_by_layer(opened):
    network, ws = opened.network, opened.network.map(opened.network.latents(3))
    maps = list(network.const_noise())
    maps[1], maps[4] = np.zeros_like(maps[1]), np.zeros_like(maps[4])
    np.testing.assert_array_equal(picture(opened, State(x=3, noise_off=(4, 1))), network.images(ws, maps)[0])
    drawn = dataclasses.replace(network, noise=None)
    np.testing.assert_array_equal(picture(opened, State(x=3, noise_seed=5)), drawn(3, noise_seed=5)[0])


def test_a_latent_takes_the_place_of_the_plane_with_its_own_noise(opened):
    rng = np.random.default_rng(0)
    ws = rng.standard_normal((1, 6, 14), np.float32)
    noise = tuple(rng.standard_normal(m.shape, np.float32) for m in opened.network.noise)
    expected = opened.network.images(ws, noise)[0]
    for latent, image in (
        (Latent(ws, noise, ""), expected),
        (Latent(ws, None, ""), opened.network.images(ws)[0]),
    ):
        np.testing.assert_array_equal(picture(opened, State(x=3, psi=0.5), latent), image)


def test_a_network_without_styles_noise_or_mean_draws_seeds():
    network = random_network(resolution=16, use_styles=False, use_noise=False, const_input=False)
    opened = Opened("old", network, *gallery.directions_of(network))
    np.testing.assert_array_equal(picture(opened, State(x=3)), network(3)[0])
    with pytest.raises(ValueError, match="needs a mean of w"):
        picture(opened, State(psi=0.7))
    with pytest.raises(ValueError, match="takes no noise"):
        state.check_fits(State(noise_off=(0,)), opened)


def test_a_conditional_network_draws_the_class_that_is_chosen():
    network = random_network(resolution=16, num_labels=3)
    opened = Opened("random", network, *gallery.directions_of(network))
    np.testing.assert_array_equal(picture(opened, State(x=3, label=2)), network(3, labels=2)[0])
    np.testing.assert_array_equal(picture(opened, State(x=3)), network(3, labels=0)[0])


def test_a_network_in_mid_fade_is_drawn_as_its_call_draws_it():
    network = dataclasses.replace(random_network(resolution=16), resolution=8, alpha=0.25)
    opened = Opened("young", network, *gallery.directions_of(network))
    np.testing.assert_array_equal(picture(opened, State(x=3, noise_off=())), network(3)[0])
