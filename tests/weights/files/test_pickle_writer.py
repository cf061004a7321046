"""What is written comes back, here and by Python's own pickle, and needs no class to exist."""

import collections
import fractions
import io
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

from stylegan_jax.weights.files import pickle_writer, pickles
from stylegan_jax.weights.files.pickle_machine import Global, Record
from tests.weights.files import values

ALLOWED = {**pickles.NUMPY, **pickles.records("dnnlib.tflib.network.Network")}


def _dumped(value: Any) -> bytes:
    file = io.BytesIO()
    pickle_writer.dump(value, file)
    return file.getvalue()


@pytest.mark.parametrize("name", [*values.PLAIN, *values.ARRAYS])
def test_what_is_written_comes_back(name):
    value = {**values.PLAIN, **values.ARRAYS}[name]
    assert values.same(value, pickles.load(io.BytesIO(_dumped(value)), ALLOWED))


@pytest.mark.parametrize("name", [*values.PLAIN, *values.ARRAYS])
def test_what_is_written_is_read_by_python(name):
    value = {**values.PLAIN, **values.ARRAYS}[name]
    loaded = pickle.loads(_dumped(value))
    assert (
        values.same(value, pickle.loads(pickle.dumps(loaded))) if name == "big-endian" else values.same(value, loaded)
    )


def test_arrays_are_written_with_the_names_that_numpy_1_knows():
    data = _dumped(values.ARRAYS["f4"])
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in data and b"numpy._core" not in data


def test_records_are_written_as_instances_and_calls():
    state = {"variables": [("w", np.arange(3.0))]}
    value = [Record("dnnlib.tflib.network.Network", (), state), Record("fractions.Fraction", (1, 3))]
    network, called = values.Unpickler(io.BytesIO(_dumped(value))).load()
    assert type(network) is values.Network and values.same(network.state, state) and called == fractions.Fraction(1, 3)


def test_records_come_back():
    value = Record("dnnlib.tflib.network.Network", (), {"a": [1, np.arange(3)]})
    assert values.same(value, pickles.load(io.BytesIO(_dumped(value)), ALLOWED))


def test_ordered_dicts_and_names_are_written():
    loaded = pickle.loads(_dumped([collections.OrderedDict(b=1, a=2), Global("collections.Counter")]))
    assert loaded == [collections.OrderedDict(b=1, a=2), collections.Counter]
    assert type(loaded[0]) is collections.OrderedDict


def test_arrays_are_written_without_a_copy():
    array = np.ones(2**22, np.float32)

    class Counter(io.RawIOBase):
        written = 0

        def write(self, data: Any) -> int:
            self.written += memoryview(data).nbytes
            return memoryview(data).nbytes

    counter = Counter()
    tracemalloc.start()
    try:
        pickle_writer.dump([array], counter)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counter.written > array.nbytes and peak < 2**20


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        range(3),
        np.array([None]),
        np.array(["a"]),
        np.zeros(2, "f4,f4"),
        np.longdouble(1),
        2**3000,
        1j,
        [bytearray(b"")],
    ],
    ids=repr,
)
def test_other_values_are_not_written(value):
    with pytest.raises(TypeError, match="a network's pickle cannot hold"):
        _dumped(value)


def test_protocol_2_cannot_hold_arrays():
    with pytest.raises(TypeError, match="protocol 2 cannot hold ndarray"):
        pickle_writer.dump(np.zeros(3), io.BytesIO(), protocol=2)
