"""PyTorch's tensors as NumPy's arrays: the types of storages, and views of them with strides of their own.

Facts about the functions: PyTorch's torch/_utils.py.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import ml_dtypes
import numpy as np

from stylegan_jax.weights.files import pickles
from stylegan_jax.weights.files.archives import Part
from stylegan_jax.weights.files.pickle_machine import SPARE_BYTES, Global, Record, Refusal

DTYPES = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
    "torch.storage.UntypedStorage": np.dtype("u1"),
}


@dataclasses.dataclass
class Storage:
    """The data of tensors. `part` is known once the pickle has been read."""

    dtype: np.dtype
    length: int
    part: Part | None = None

    @property
    def num_bytes(self) -> int:
        return self.length * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage, all in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Arrays:
    """The arrays of tensors, over the parts of their storages."""

    def __init__(self, storages: Iterable[Storage]) -> None:
        self._budget = 2 * sum(storage.num_bytes for storage in storages) + SPARE_BYTES
        self._arrays: dict[int, np.ndarray] = {}  # Tensors that are shared stay one array.

    def plain(self, value: Any) -> Any:
        """Returns the tree with arrays in place of tensors.

        Raises:
            Refusal: there is anything else than arrays and plain values, or tensors share their data without end.
        """
        if isinstance(value, Tensor):
            return self._array(value)
        if isinstance(value, dict):
            return {key: self.plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.plain(part) for part in value)
        if isinstance(value, Record):  # Of TorchScript, which keeps the attributes of a module in a dict.
            return Record(value.name, value.args, self.plain(value.state))
        if isinstance(value, Global | Storage):
            raise Refusal("holds a storage or a type by itself, where only tensors and plain values are read.")
        return value

    def _array(self, tensor: Tensor) -> np.ndarray:
        if id(tensor) not in self._arrays:
            storage, size = tensor.storage, tensor.storage.dtype.itemsize
            begin = storage.part.begin + tensor.offset * size
            strides = [stride * size for stride in tensor.strides]
            if 0 in tensor.shape:  # NumPy refuses an offset behind the last element.
                array = np.empty(tensor.shape, storage.dtype)
            else:
                array = np.ndarray(tensor.shape, storage.dtype, storage.part.buffer, begin, strides)
            array.flags.writeable = False
            self._budget -= array.nbytes
            if self._budget < 0:
                raise Refusal("has tensors that share their data, of more than twice its size in all.")
            self._arrays[id(tensor)] = array
        return self._arrays[id(tensor)]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Returns the tensor of `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`, once it is known to fit.

    The rest are requires_grad, backward hooks and metadata.
    """
    sizes = (offset, *shape, *strides) if type(shape) is tuple and type(strides) is tuple else (None,)
    if not isinstance(storage, Storage) or any(type(size) is not int or not 0 <= size < 2**62 for size in sizes):
        raise Refusal("has a tensor whose shape, strides or offset is negative or no integer.")
    if len(shape) != len(strides) or len(shape) > pickles.MAX_AXES:
        raise Refusal(f"has a tensor with {len(shape)} sizes and {len(strides)} strides.")
    num_elements = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if num_elements else 0
    if num_elements > storage.length or (num_elements and last >= storage.length):
        raise Refusal(
            f"has a tensor of shape {shape} and strides {strides} from {offset} on, which does not fit the "
            f"{storage.length} numbers of its storage."
        )
    return Tensor(storage, offset, shape, strides)


def _size(sizes: Any = ()) -> tuple:
    if type(sizes) is not tuple:
        raise Refusal("is damaged: it has a size that is no tuple.")
    return sizes


def _same(value: Any, *_: Any) -> Any:
    """Returns a tensor without what makes it a parameter, or a list without its type."""
    return value


CALLS: dict[str, Callable[..., Any]] = {
    **pickles.NUMPY,
    **dict.fromkeys(DTYPES, pickles.refuse_call),
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _same,
    "torch.Size": _size,
    "collections.OrderedDict": pickles.make_dict,
    "collections.defaultdict": lambda *_: {},
    "builtins.dict": lambda: {},
    "__builtin__.dict": lambda: {},
    "builtins.list": lambda: [],
    "__builtin__.list": lambda: [],
    "torch.jit._pickle.restore_type_tag": _same,
    "torch.jit._pickle.build_intlist": _same,
    "torch.jit._pickle.build_doublelist": _same,
    "torch.jit._pickle.build_boollist": _same,
    "torch.jit._pickle.build_tensorlist": _same,
}
