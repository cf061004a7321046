"""Arguments of calls that no network takes, and those that only look so."""

import dataclasses

import jax
import numpy as np
import pytest

from stylegan_jax.weights import classes
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=8)


def test_seeds_may_be_numbers_of_any_whole_kind(network):
    expected = network(seeds=[1, 2])
    for seeds in (np.array([1, 2]), [np.uint64(1), 2], range(1, 3), (s for s in (1, 2)), jax.numpy.array([1, 2])):
        np.testing.assert_array_equal(network(seeds=seeds), expected)
    np.testing.assert_array_equal(network(seeds=np.array(2)), expected[1:])


@pytest.mark.parametrize("seeds", [[2**64], [-1, 2**63]])
def test_seeds_beyond_64_bits_are_out_of_range(network, seeds):
    with pytest.raises(ValueError, match=r"seeds go from 0 to 4294967295; found"):
        network(seeds=seeds)


@pytest.mark.parametrize(
    "argument, value, message",
    [
        ("psi", np.array([0.5, 0.7]), "psi is array"),
        ("psi", "0.7", "psi is '0.7'; give one number"),
        ("psi", None, "psi is None"),
        ("psi", 1j, "psi is 1j"),
        ("psi", 3e38, "psi is 3e.38; give one number from -1e.06 to 1e.06"),
        ("cutoff", 2.5, "cutoff is 2.5; give a whole number"),
        ("cutoff", float("nan"), "cutoff is nan"),
        ("cutoff", True, "cutoff is True"),
        ("cutoff", "8", "cutoff is '8'"),
        ("noise_seed", 1.5, "noise_seed is 1.5; give a whole number"),
        ("noise_seed", True, "noise_seed is True"),
        ("noise_seed", "1", "noise_seed is '1'"),
    ],
)
def test_settings_of_another_type_are_refused_with_their_name(network, argument, value, message):
    with pytest.raises(ValueError, match=message):
        network(seeds=[1], **{"psi": 0.7, "noise": "random"} | {argument: value})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_float32_does_not_hold_are_refused(network, value):
    with pytest.raises(ValueError, match="z has values that are not finite"):
        network(z=np.full((1, 10), value))


def test_maps_beyond_those_of_the_network_are_refused(network):
    with pytest.raises(ValueError, match="noise has maps of"):
        network(seeds=[1], noise=[*network.noise, np.zeros((1, 16, 16, 1))])
    with pytest.raises(ValueError, match="noise has maps of"):
        network(seeds=[1], noise=[*network.noise, 0.0])


@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
def test_scores_are_not_of_integers_other_than_uint8(network, dtype):
    with pytest.raises(ValueError, match=r"give uint8, or float in \[-1, 1\]"):
        network.score(np.zeros((1, 8, 8, 3), dtype))


def test_labels_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="float rows"):
        classes.rows(np.full((1, 3), np.nan), 1, (), 3)


def test_a_name_of_two_classes_is_refused():
    with pytest.raises(ValueError, match="several classes named 'a'"):
        classes.rows("a", 1, ("a", "b", "a"), 3)


def test_labels_of_many_classes_take_no_memory_for_the_others():
    rows = classes.rows([1_999_999], 1, (), 2_000_000)
    assert rows.shape == (1, 2_000_000) and rows.sum() == rows[0, -1] == 1


def test_images_are_the_same_with_64_bit_types(network):
    bare = dataclasses.replace(network, noise=None)
    images = [bare(seeds=[1], psi=0.5, noise=noise, noise_seed=3) for noise in ("random", "const")]
    with jax.enable_x64(True):
        wide = [bare(seeds=[1], psi=0.5, noise=noise, noise_seed=3) for noise in ("random", "const")]
    np.testing.assert_array_equal(images, wide)


def test_a_network_is_shown_as_one_line_and_not_by_its_arrays(network):
    assert repr(network) == "Network(8 px, random, from 'random')"


def test_what_a_file_says_gives_no_orders_to_the_terminal(network):
    info = dataclasses.replace(network.info, layout="\x1b]0;title\x07ours", notes=("one\n\x1b[2Jtwo",))
    assert str(info) == "random: ]0;titleours; 0 arrays read\n  note: one [2Jtwo"
