"""Pickles written opcode by opcode, so that the classes they name need not exist here."""

import collections
import struct
from typing import Any, BinaryIO

import numpy as np

from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record

_DTYPE_STATE_END = (None, None, None, -1, -1, 0)  # No subarray, names and fields; no size and alignment; no flags.


def dump(value: Any, file: BinaryIO, protocol: int = 4) -> None:
    """Writes a pickle of None, bool, int, float, str, bytes, list, tuple, dict, OrderedDict, arrays, Record and Global.

    The arrays' types, np.dtype, can be written as well. Both NumPy 1 and NumPy 2 read the arrays. A `Record` with a
    state is an instance of a class, made without arguments; one without a state is a call of a function. Whatever is
    shared is written each time.

    Args:
        value: a tree without cycles.
        file: where to write.
        protocol: number the pickle claims, 2 to 4; protocol 2 has no bytes, nor arrays.

    Raises:
        TypeError: the tree holds anything else.
    """
    file.write(b"\x80" + bytes([protocol]))
    _write(value, file, protocol)
    file.write(b".")


def _write(value: Any, file: BinaryIO, protocol: int) -> None:
    if isinstance(value, np.ndarray | np.generic | bytes) and protocol < 4:
        raise TypeError(f"a pickle of protocol {protocol} cannot hold {type(value).__name__}; write protocol 4.")
    if isinstance(value, np.ndarray):
        _write_array(value, file, protocol)
    elif isinstance(value, np.generic):
        _write(Record("numpy.core.multiarray.scalar", (value.dtype, value.tobytes())), file, protocol)
    elif isinstance(value, np.dtype):
        _write_dtype(value, file, protocol)
    elif isinstance(value, Record | Global | Persistent):
        _write_named(value, file, protocol)
    elif isinstance(value, tuple | list | dict):
        _write_container(value, file, protocol)
    else:
        _write_plain(value, file)


def _write_plain(value: Any, file: BinaryIO) -> None:
    if value is None or type(value) is bool:
        file.write({None: b"N", True: b"\x88", False: b"\x89"}[value])
    elif type(value) is int and -(2**31) <= value < 2**31:
        file.write(b"J" + struct.pack("<i", value))
    elif type(value) is int and value.bit_length() < 8 * 255:
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        file.write(b"\x8a" + bytes([len(data)]) + data)
    elif type(value) is float:
        file.write(b"G" + struct.pack(">d", value))
    elif type(value) is str:
        data = value.encode("utf-8", "surrogatepass")
        file.write(b"X" + struct.pack("<I", len(data)) + data)
    elif type(value) is bytes:
        _write_bytes(memoryview(value), file)
    else:
        raise TypeError(f"a network's pickle cannot hold {type(value).__name__} {value!r:.100}.")


def _write_bytes(data: memoryview, file: BinaryIO) -> None:
    if data.nbytes < 2**32:
        file.write(b"B" + struct.pack("<I", data.nbytes))
    else:
        file.write(b"\x8e" + struct.pack("<Q", data.nbytes))
    file.write(data)


def _write_container(value: tuple | list | dict, file: BinaryIO, protocol: int) -> None:
    if isinstance(value, collections.OrderedDict):
        _write_named(Record("collections.OrderedDict"), file, protocol)
    elif type(value) not in (tuple, list, dict):
        raise TypeError(f"a network's pickle cannot hold {type(value).__name__}; make it a plain tuple, list or dict.")
    elif not isinstance(value, tuple):
        file.write(b"]" if isinstance(value, list) else b"}")
    file.write(b"(")
    for part in value:
        _write(part, file, protocol)
        if isinstance(value, dict):
            _write(value[part], file, protocol)
    file.write(b"t" if isinstance(value, tuple) else b"e" if isinstance(value, list) else b"u")


def _write_named(value: Record | Global | Persistent, file: BinaryIO, protocol: int) -> None:
    if isinstance(value, Persistent):
        _write(value.key, file, protocol)
        file.write(b"Q")
        return
    module, _, name = value.name.rpartition(".")
    file.write(f"c{module}\n{name}\n".encode())
    if isinstance(value, Record):
        _write(value.args, file, protocol)
        file.write(b"R" if value.state is None else b"\x81")
        if value.state is not None:
            _write(value.state, file, protocol)
            file.write(b"b")


def _write_array(array: np.ndarray, file: BinaryIO, protocol: int) -> None:
    """Writes `numpy.core.multiarray._reconstruct(ndarray, (0,), b"b")` and its state, the data without a copy."""
    _write(Record("numpy.core.multiarray._reconstruct", (Global("numpy.ndarray"), (0,), b"b")), file, protocol)
    file.write(b"(")
    for part in (1, array.shape, array.dtype, False):
        _write(part, file, protocol)
    _write_bytes(memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8)), file)
    file.write(b"tb")


def _write_dtype(dtype: np.dtype, file: BinaryIO, protocol: int) -> None:
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise TypeError(f"a network's pickle cannot hold arrays of {dtype}; use float16, float32 or float64.")
    _write(Record("numpy.dtype", (dtype.str[1:], False, True)), file, protocol)
    _write((3, dtype.str[0], *_DTYPE_STATE_END), file, protocol)
    file.write(b"b")
