"""Values of every kind that pickles hold, and what tells them apart to the bit."""

import pickle
from typing import Any

import numpy as np

from stylegan_jax.weights.files.pickle_machine import Record


def same(value: Any, other: Any) -> bool:
    """Whether two trees are equal to the bit and the type."""
    if isinstance(value, np.ndarray | np.generic):
        kind = np.ndarray if isinstance(value, np.ndarray) else np.generic
        same_kind = (
            isinstance(other, kind) and value.dtype.newbyteorder("=") == other.dtype and value.shape == other.shape
        )
        return same_kind and value.astype(other.dtype).tobytes() == other.tobytes()
    if isinstance(value, Record) and isinstance(other, Network):
        return same(value.state, other.state)
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return list(value) == list(other) and all(same(value[key], other[key]) for key in value)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(same(*pair) for pair in zip(value, other, strict=True))
    if isinstance(value, Record):
        return value.name == other.name and same(value.args, other.args) and same(value.state, other.state)
    return value == other


PLAIN = {
    "constants": [None, True, False, (), [], {}],
    "numbers": [0, 255, 256, -1, 2**31, -(2**63), 2**80, 0.5, -1e300, float("inf")],
    "texts": ["", "é\n\\", "\u4e00" * 300, b"", b"\xff\n" * 200],
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), (("deep",),))],
    "items": {"a": 1, 7: {"b": [2]}, "c": "shared", "d": "shared"},
}
ARRAYS = {
    **{code: np.arange(6).reshape(2, 3).astype(code) for code in ("?", "i1", "u2", "i4", "i8", "f2", "f4", "f8")},
    "big-endian": np.arange(6, dtype=">f4").reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "a view": np.arange(12.0)[::2],
    "no axis": np.array(7, np.float32),
    "no element": np.zeros((0, 3), np.float32),
    "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True)],
}


class Network:
    """Stands for a class that only the reader has."""

    def __setstate__(self, state: dict) -> None:
        self.state = state


class Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("dnnlib.tflib.network", "Network"):
            return Network
        return super().find_class(module, name)
