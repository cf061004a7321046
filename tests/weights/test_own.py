"""Our own files, by the hand of somebody else."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

import stylegan_jax as sg
from stylegan_jax.weights import own
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=8, num_labels=3)


def _write(network, path, about=(), model=()):
    said = own._about(network) | dict(about)
    said["model"] = said["model"] | dict(model)
    path.write_bytes(safetensors.numpy.save(own._arrays(network, "float32"), metadata={own.KEY: json.dumps(said)}))
    return path


@pytest.mark.parametrize(
    "model",
    [
        {"fmap_base": 10**400}, {"fmap_decay": -1000.0}, {"fmap_decay": 1e308}, {"blur_filter": [1] * 1000},
        {"blur_filter": [10**400]}, {"mapping_lr_multiplier": float("inf")}, {"z_size": 10**6}, {"num_labels": 10**6},
        {"fmaps_by_resolution": [[4, 10**30]]}, {"num_labels": 10**30}, {"stddev_group": 10**30},
    ],
)  # fmt: skip
def test_a_model_that_no_network_has_is_refused(network, tmp_path, model):
    with pytest.raises(ValueError, match="what it says of its network cannot be read"):
        sg.load(_write(network, tmp_path / "x.safetensors", model=model))


@pytest.mark.parametrize(
    "about",
    [
        {"version": float("nan")}, {"version": -1}, {"version": True}, {"version": "1"}, {"resolution": 8.5},
        {"resolution": float("inf")}, {"alpha": 10**400}, {"alpha": "0.5"}, {"class_names": "abc"},
        {"class_names": ["a"] * 5}, {"class_names": ["a", "b", 1]}, {"notes": "text"}, {"nimg": True}, {"origin": 1},
    ],
)  # fmt: skip
def test_what_a_file_says_has_its_type_and_range(network, tmp_path, about):
    with pytest.raises(ValueError, match="what it says of its network cannot be read"):
        sg.load(_write(network, tmp_path / "x.safetensors", about=about))


def test_types_of_numbers_that_numpy_lacks_are_refused(network, tmp_path):
    about = json.dumps(own._about(network))
    header = {"__metadata__": {own.KEY: about}, "w_avg": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        sg.load(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz"])
def test_what_could_not_be_read_again_is_not_written(network, tmp_path, name):
    wide = dataclasses.replace(network, w_avg=network.w_avg.astype(np.float64))
    with pytest.raises(ValueError, match="w_avg is float64, and networks have float32 alone"):
        wide.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_fields_may_be_numbers_of_numpy(network, tmp_path):
    path = dataclasses.replace(network, resolution=np.int64(8), alpha=np.float32(1)).save(tmp_path / "x.npz")
    assert sg.load(path).resolution == 8


def test_weights_that_are_not_finite_are_noted_once(network, tmp_path):
    path = dataclasses.replace(network, w_avg=network.w_avg * np.nan).save(tmp_path / "x.safetensors")
    for _ in range(2):
        loaded = sg.load(path)
        assert loaded.info.notes == ("It has 1 arrays with values that are not finite; the first is w_avg.",)
        loaded.save(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz"])
def test_rounded_files_are_smaller_and_read_as_float32(network, tmp_path, name):
    whole, half = network.save(tmp_path / f"whole-{name}"), network.save(tmp_path / name, dtype="float16")
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    read = sg.load(half)
    for part in ("params", "g_params", "d_params", "w_avg", "noise"):
        expected = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), getattr(network, part))
        jax.tree.map(np.testing.assert_array_equal, getattr(read, part), expected)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves((read.params, read.w_avg, read.noise)))


def test_arrays_that_float16_cannot_hold_are_refused(network, tmp_path):
    large = dataclasses.replace(network, w_avg=network.w_avg * 0 + 1e5)
    with pytest.raises(ValueError, match=r"w_avg goes up to 1e\+05, and float16 does not; use float32"):
        large.save(tmp_path / "x.safetensors", dtype="float16")
    with pytest.raises(ValueError, match="float32 arrays in its layout: leave dtype=float16 out, or use .safetensors"):
        network.save(tmp_path / "x.pkl", dtype="float16")
    with pytest.raises(ValueError, match="dtype is 'int8'; use float32 or float16"):
        network.save(tmp_path / "x.npz", dtype="int8")
    assert not list(tmp_path.iterdir())
