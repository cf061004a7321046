"""Pickles read as data: nothing is imported or executed, whatever they hold; and NumPy's arrays in them.

What `load` returns is a tree of None, bool, int, float, str, bytes, list, tuple, dict, arrays and their types, `Record`
and `Global`. It has no cycles, few levels and a bounded number of nodes, so any recursive function may walk through it.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from stylegan_jax.weights.files import pickle_opcodes
from stylegan_jax.weights.files.pickle_machine import (
    Clipped,
    Global,
    Machine,
    Pending,
    Record,
    Refusal,
    sentences,
    set_item,
    shown,
)

MAX_AXES = 32  # NumPy's own limit before version 2.


def load(
    file: BinaryIO,
    allowed: Mapping[str, Callable[..., Any]],
    name: str | None = None,
) -> Any:
    """Returns the value of the pickle (protocols 0 to 5) where `file` stands, and leaves `file` right behind it.

    Python 2's str are read as Latin-1.

    Args:
        file: seekable file.
        allowed: pure function for each name, "module.name", that the pickle may call. Its arguments are inert values;
            it may return a `Pending`. A missing name is refused as soon as it is met.
        name: name of the file in errors; `file.name` otherwise.

    Raises:
        ValueError: the file is damaged, cut short or no pickle, or wants anything else; a sentence.
    """
    with sentences(name or getattr(file, "name", "The pickle")):
        return read(file, allowed)


def read(file: BinaryIO, allowed: Mapping[str, Callable[..., Any]], persistent_fn: Callable | None = None) -> Any:
    """Returns what `load` returns, for a reader that puts the file's name into errors by `sentences` itself.

    `persistent_fn` returns the value for a persistent id, which is a tuple. Without it, persistent ids are refused.

    Raises:
        Refusal: the pickle wants what no network needs.
        Exception: the pickle is damaged; any type.
    """
    return pickle_opcodes.run(Machine(Clipped(file), allowed, persistent_fn))


def records(*names: str) -> dict[str, Callable[..., Record]]:
    """Returns functions for `load`'s `allowed` that make a `Record` of each instance of these classes."""
    return {name: lambda *args, name=name: Record(name, args) for name in names}


def make_dict(items: list | tuple = ()) -> dict:
    """Returns a dict of pairs (key, value): for `load`'s `allowed`, in place of a class that is a dict.

    Raises:
        Refusal: a key is neither a str nor a small int, or `items` is no list of pairs.
    """
    if type(items) not in (list, tuple):
        raise Refusal(f"is damaged: it makes a dict of a {type(items).__name__}.")
    result: dict = {}
    for key, value in items:
        set_item(result, key, value)
    return result


def _reconstruct(array_type: Any, shape: Any, code: Any) -> Pending:
    if array_type != Global("numpy.ndarray"):
        raise Refusal("holds an array of a type of its own; only NumPy's plain arrays are read.")

    def fill(state: Any) -> np.ndarray:
        if type(state) is not tuple or len(state) != 5:
            raise Refusal("is damaged: it has an array whose state is not (version, shape, type, order, data).")
        _, shape, dtype, is_fortran, data = state
        return make_array(data, dtype, shape, "F" if is_fortran else "C")

    return Pending(fill)


def make_array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Returns an array over the bytes of a file, without a copy unless they are big-endian.

    Raises:
        Refusal: the array is not of plain numbers, or its shape does not fit the data.
    """
    if isinstance(data, str):  # Python 2's str.
        data = data.encode("latin1")
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes) or order not in ("C", "F"):
        raise Refusal("holds an array that is not of numbers; only numbers are part of a network.")
    if type(shape) is not tuple or len(shape) > MAX_AXES or any(type(size) is not int or size < 0 for size in shape):
        raise Refusal("is damaged: it has an array whose shape is no tuple of sizes.")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Refusal(f"is damaged: it has an array of shape {shape} and type {dtype} with {len(data)} bytes.")
    array = np.ndarray(shape, dtype, data, order=order)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _scalar(dtype: Any, data: Any) -> np.generic:
    return make_array(data, dtype, (), "C")[()]


def _dtype(code: Any, is_aligned: Any = False, is_copied: Any = True) -> Pending:
    if type(code) is not str or not re.fullmatch("b1|[iu][1248]|f[248]", code):
        name = shown(code) if type(code) is str else type(code).__name__  # Other values could be endless as text.
        raise Refusal(f"holds an array of type {name}; only booleans, integers and floats are read.")

    def order(state: Any) -> np.dtype:
        """Gives the byte order: the state is (version, order, subarray, names, fields, ...)."""
        if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise Refusal("is damaged: it has an array whose type has no byte order.")
        if any(part is not None for part in state[2:5]):
            raise Refusal("holds an array of structures; only booleans, integers and floats are read.")
        return np.dtype(code).newbyteorder(state[1])

    return Pending(order)


def _encode(text: Any, encoding: Any) -> bytes:
    """Returns bytes as Python 3 writes them with the protocols 0 to 2."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refusal("wants to encode a text otherwise than in Latin-1, which is no part of a network.")
    return text.encode("latin1")


def refuse_call(*_: Any) -> None:
    """Stands for a type that is only named, as an argument."""
    raise Refusal("is damaged: it calls a type that is only named in networks.")


NUMPY: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": refuse_call,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",
    "__builtin__.bytes": lambda: b"",
}
for _core in ("numpy.core", "numpy._core"):  # Before and since NumPy 2.
    NUMPY[f"{_core}.multiarray._reconstruct"] = _reconstruct
    NUMPY[f"{_core}.multiarray.scalar"] = _scalar
    NUMPY[f"{_core}.numeric._frombuffer"] = make_array
