"""Files of directions: our own, and people's arrays."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy

from stylegan_jax.images import direction_files
from stylegan_jax.images.directions import Direction
from tests.random_networks import random_network

NUM_LAYERS, SIZE = 8, 14


@pytest.fixture(scope="module")
def network():
    return random_network()


def drawn(name, shape, seed=0, network="abc"):
    vector, normal = np.random.default_rng(seed).standard_normal((2, *shape), dtype=np.float32)
    return Direction(name, vector, normal, f"where {name} is from", network)


def test_what_is_saved_is_loaded_again(network, tmp_path):
    saved = [drawn("smile, wide", (SIZE,)), drawn("age/old", (NUM_LAYERS, SIZE), 1)]
    direction_files.save(tmp_path / "d.safetensors", saved)
    loaded = {d.name: d for d in direction_files.load(tmp_path / "d.safetensors", network)}
    assert loaded.keys() == {d.name for d in saved}
    for d in saved:
        found = loaded[d.name]
        np.testing.assert_array_equal(found.vector, d.vector)
        np.testing.assert_array_equal(found.normal, d.normal)
        assert (found.source, found.network) == (d.source, d.network)


def test_directions_of_one_name_or_of_two_networks_are_not_saved(tmp_path):
    path = tmp_path / "d.safetensors"
    for other in (drawn("smile", (SIZE,)), drawn("age", (SIZE,), network="other")):
        with pytest.raises(ValueError, match="give different names, and one"):
            direction_files.save(path, [drawn("smile", (SIZE,)), other])
    assert not path.exists()


@pytest.mark.parametrize("shape", [(SIZE,), (1, SIZE), (NUM_LAYERS, SIZE), (1, NUM_LAYERS, SIZE)])
def test_an_array_of_other_people_is_a_direction_with_the_name_of_its_file(network, tmp_path, shape):
    vector = np.random.default_rng(0).standard_normal(shape)
    np.save(tmp_path / "smile.npy", vector)
    (found,) = direction_files.load(tmp_path / "smile.npy", network)
    expected = vector[0] if shape[0] == 1 else vector
    np.testing.assert_array_equal(found.vector, expected.astype(np.float32))
    np.testing.assert_allclose(np.sum(found.normal * found.vector), 1, rtol=1e-5)
    assert (found.name, found.network) == ("smile", None)


def test_files_of_several_arrays_have_a_direction_in_each(network, tmp_path):
    arrays = {"smile": np.ones(SIZE, np.float32), "age": np.eye(NUM_LAYERS, SIZE, dtype=np.float32)}
    np.savez(tmp_path / "d.npz", **arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "d.safetensors")
    for end in ("npz", "safetensors"):
        found = {d.name: d.vector for d in direction_files.load(tmp_path / f"d.{end}", network)}
        assert found.keys() == arrays.keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(512), r"d is float64 \[512\]; a direction of this network has numbers \[14\], or \[8, 14\]"),
        (np.ones((18, SIZE)), r"d is float64 \[18, 14\]"),
        (np.full(SIZE, np.nan), "d has values that are not finite"),
        (np.zeros(SIZE), "or none but 0"),
        (np.full(SIZE, "a"), "d is <U1"),
        (np.array([{}] * SIZE), "cannot be read as an array of numbers: Object arrays cannot be loaded"),
    ],
)
def test_other_arrays_are_refused(network, tmp_path, value, message):
    np.save(tmp_path / "d.npy", value)
    with pytest.raises(ValueError, match=message):
        direction_files.load(tmp_path / "d.npy", network)


def test_files_of_another_kind_are_refused(network, tmp_path):
    for name in ("d.npy", "d.npz", "d.safetensors", "d.pkl"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=name):
            direction_files.load(tmp_path / name, network)


def test_a_file_that_says_something_else_than_it_has_is_refused(network, tmp_path):
    metadata = {direction_files.KEY: '{"network": "abc", "sources": {"smile": "somewhere"}}'}
    arrays = {"smile/vector": np.ones(SIZE, np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "d.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match="is damaged: what it says of its directions does not fit its arrays"):
        direction_files.load(tmp_path / "d.safetensors", network)


def test_a_network_without_styles_takes_no_directions(tmp_path):
    np.save(tmp_path / "d.npy", np.ones(SIZE))
    network = random_network(use_styles=False, const_input=False)
    with pytest.raises(ValueError, match="has no styles"):
        direction_files.load(tmp_path / "d.npy", network)


def test_names_choose_directions_of_several_files_in_their_order(network, tmp_path):
    files = []
    for name in ("smile", "age", "hat"):
        np.save(tmp_path / f"{name}.npy", np.ones(SIZE))
        files.append(str(tmp_path / f"{name}.npy"))
    chosen, every = direction_files.chosen(files, ["hat", "smile"], network)
    assert [d.name for d in chosen] == ["hat", "smile"] and [d.name for d in every] == ["smile", "age", "hat"]
    assert [d.name for d in direction_files.chosen(files, [], network)[0]] == ["smile", "age", "hat"]
    with pytest.raises(ValueError, match="have no 'beard'; they have smile, age, hat"):
        direction_files.chosen(files, ["beard"], network)
    with pytest.raises(ValueError, match="two directions named 'age'"):
        direction_files.chosen([*files, files[1]], [], network)


def test_directions_can_be_replaced(network, tmp_path):
    path = tmp_path / "d.safetensors"
    direction_files.save(path, [drawn("smile", (SIZE,))])
    direction_files.save(path, [dataclasses.replace(drawn("smile", (SIZE,)), source="anew")])
    assert direction_files.load(path, network)[0].source == "anew"
