"""NVIDIA's pickles of modules give their arrays, and the source text within is never run."""

import io

import numpy as np
import pytest

from stylegan_jax.weights.files import persistence
from stylegan_jax.weights.files.pickle_machine import Record
from tests.metrics.features import files

ARRAYS = {
    "layers.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "layers.conv.bias": np.ones(2, np.float32),
    "scale": np.full((), 0.5, np.float32),
}


def _load(tree, others=()):
    return persistence.load(io.BytesIO(files.as_bytes(tree)), "net.pkl", dict(others))


def test_arrays_have_the_names_of_their_modules():
    loaded = _load(files.persistent(ARRAYS))
    assert loaded.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_sets_of_protocol_4_are_read():
    data = files.as_bytes(files.persistent(ARRAYS))
    call = files.as_bytes(Record("builtins.set", ([],)))[2:-1]
    assert data.count(call) == 3
    loaded = persistence.load(io.BytesIO(data.replace(call, b"\x8f(K\x01K\x02\x90")), "net.pkl", {})
    assert loaded.keys() == ARRAYS.keys()


def test_plain_trees_are_read_too():
    tree = {"a": {"b": np.arange(3, dtype=np.float32)}}
    np.testing.assert_array_equal(_load(tree)["a"]["b"], [0, 1, 2])


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (Record("os.system", ("true",)), "wants to call os.system, which is no part of a network"),
        (Record(files.CALL, ({"type": "class", "state": {"f": Record("os.system", ())}},)), "wants to call os.system"),
        (Record(files.CALL, ("text",)), "persistent object that is no instance of a class"),
        (Record(files.CALL, ({"type": "function", "state": {}},)), "persistent object that is no instance of a class"),
        (Record("torch.storage._load_from_bytes", ("text",)), "whose data are no bytes"),
        (Record("torch.storage._load_from_bytes", (b"\x80\x02N.",)), "not of torch.save|is damaged"),
        (Record("builtins.set", (1,)), "makes a set of what is no list"),
        (Record(files.CALL, ({"type": "class", "state": {"_parameters": {"w": "text"}}},)), "no tensor"),
    ],
)  # fmt: skip
def test_other_pickles_are_refused_in_a_sentence(tree, why):
    with pytest.raises(ValueError, match=f"^net.pkl .*({why})"):
        _load(tree)
