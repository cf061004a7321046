"""PyTorch's files without PyTorch: reads zip files, the format before version 1.6 and TorchScript; writes zip files.

Nothing in a file is executed. Facts about the formats: PyTorch's torch/serialization.py and torch/_utils.py.
"""

import collections
import io
import math
import mmap
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from stylegan_jax.runs import whole
from stylegan_jax.weights.files import pickle_writer, pickles
from stylegan_jax.weights.files.archives import Archive, Part, add_aligned
from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record, Refusal, sentences, shown
from stylegan_jax.weights.files.torch_tensors import CALLS, DTYPES, Arrays, Storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_NAME_LENGTH = 256  # Of an array of TorchScript.


def is_of_torch(head: bytes) -> bool:
    """Returns whether a file that begins with these 32 bytes is one that torch.save wrote, or another zip file."""
    return head[:2] == b"PK" or LEGACY_MAGIC.to_bytes(10, "little") in head


def load(path: str | os.PathLike) -> Any:
    """Returns what torch.save wrote: nested dicts, lists and tuples of arrays and plain values.

    Arrays are read-only views of the mapped file, with the strides and types of the tensors (bfloat16 by ml_dtypes):
    the file must stay as it is while they are used. Parameters are arrays too. A TorchScript archive gives the arrays
    of all modules under their dotted names, as state_dict() has them, and nothing else.

    Raises:
        ValueError: the file is damaged, cut short or not of torch.save, or wants anything but tensors and plain values,
            such as a whole module; a sentence.
        OSError: the file cannot be opened.
    """
    with pathlib.Path(path).open("rb") as file, sentences(path):
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if mapped[:2] == b"PK":
            return _load_zip(file, mapped)
        tree, storages = read_legacy(file, mapped)
        return Arrays(storages).plain(tree)


class _Allowed(dict):
    """The functions a file may call: `CALLS`, and for TorchScript the classes of its modules."""

    def __init__(self, is_script: bool) -> None:
        super().__init__(CALLS)
        self.is_script = is_script

    def __missing__(self, name: str) -> Callable:
        if self.is_script and name.startswith("__torch__."):
            return pickles.records(name)[name]
        if name.rpartition(".")[2][:1].isupper():  # A class: what torch.save(model) writes.
            raise Refusal(
                f"holds an object of the class {shown(name)}, not plain tensors: nothing was executed, and the file is "
                "refused. If you trust it, load it where it was written, and torch.save(model.state_dict(), ...) there."
            )
        raise KeyError(name)


def _load_zip(file: BinaryIO, mapped: mmap.mmap) -> Any:
    archive = Archive(file, mapped)
    if "data.pkl" not in archive.members:
        raise Refusal("is a zip file without data.pkl, so it is not of torch.save.")
    if "byteorder" in archive.members and archive.part("byteorder").tobytes() != b"little":
        raise Refusal("was written on a big-endian machine; save it anew on a little-endian one.")
    is_script = "constants.pkl" in archive.members
    stream = io.BytesIO(archive.part("data.pkl").tobytes())
    tree, storages = _read_pickle(stream, num_fields=5, is_script=is_script)
    for key, storage in storages.items():
        storage.part = archive.part(f"data/{key}")
        if storage.part.num_bytes != storage.num_bytes:
            num_bytes = storage.part.num_bytes
            raise Refusal(f"is damaged: its storage {shown(key)} has {num_bytes} bytes, not {storage.num_bytes}.")
    result = Arrays(storages.values()).plain(tree)
    return dict(_dotted(result)) if is_script else result


def read_legacy(file: BinaryIO, mapped: mmap.mmap | bytes) -> tuple[Any, list[Storage]]:
    """Returns the tree, with `Tensor` for each tensor, and the storages, of the format before PyTorch 1.6.

    Args:
        file: seekable file.
        mapped: all of its bytes.

    Raises:
        Refusal: the file is of another format, or damaged.
        Exception: its pickles are damaged; any type.
    """
    if not is_of_torch(mapped[:32]):
        raise Refusal("is not of torch.save: it is no zip file, and does not begin with PyTorch's magic number.")
    magic, protocol, system = (pickles.read(file, {}) for _ in range(3))
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL or type(system) is not dict:
        raise Refusal("is not of a torch.save that is known: its magic number or its protocol is another.")
    if system.get("little_endian") is not True:
        raise Refusal("was written on a big-endian machine; save it anew on a little-endian one.")
    tree, storages = _read_pickle(file, num_fields=6, is_script=False)
    keys = pickles.read(file, {})
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise Refusal("is damaged: its list of storages is not that of its tensors.")
    begin = file.tell()
    for key in keys:
        storage = storages[key]
        length = int.from_bytes(mapped[begin : begin + 8], "little")
        begin += 8
        if length != storage.length or begin + storage.num_bytes > len(mapped):
            raise Refusal(f"is cut short or damaged: its storage {shown(key)} lacks data.")
        storage.part = Part(mapped, begin, storage.num_bytes)
        begin += storage.num_bytes
    return tree, list(storages.values())


def _read_pickle(file: BinaryIO, num_fields: int, is_script: bool) -> tuple[Any, dict[str, Storage]]:
    """Returns the pickled tree, with `Tensor` for each tensor, and the storages they need."""
    storages: dict[str, Storage] = {}

    def storage(fields: tuple) -> Storage:
        """Fields: "storage", type, key, device, length and, before PyTorch 1.6, a view of the storage or None."""
        if len(fields) != num_fields or fields[0] != "storage" or fields[5:] not in ((), (None,)):
            raise Refusal("refers by a persistent id to what is no storage, or a storage within another.")
        _, storage_type, key, _, length = fields[:5]
        if not isinstance(storage_type, Global) or storage_type.name not in DTYPES:
            raise Refusal("has a storage of an unknown type.")
        if type(key) is not str or type(length) is not int or not 0 <= length < 2**62:
            raise Refusal("is damaged: it has a storage without a key or a length.")
        found = Storage(DTYPES[storage_type.name], length)
        if storages.setdefault(key, found) != found:
            raise Refusal(f"is damaged: it gives its storage {shown(key)} two types or lengths.")
        return storages[key]

    return pickles.read(file, _Allowed(is_script), storage), storages


def _dotted(value: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of TorchScript's modules with their names, "module.module.array"."""
    if len(prefix) > MAX_NAME_LENGTH:  # Of a few long names, sharing could make a million that are longer.
        raise Refusal(f"has names of arrays with more than {MAX_NAME_LENGTH} characters, which no network has.")
    if isinstance(value, np.ndarray):
        yield prefix.removesuffix("."), value
    elif isinstance(value, Record) and isinstance(value.state, dict):
        for name, part in value.state.items():
            yield from _dotted(part, f"{prefix}{name}.")


def save(tree: Any, path: str | os.PathLike) -> None:
    """Writes a file that `torch.load(path, weights_only=True)` reads: arrays become tensors.

    Args:
        tree: nested dicts (OrderedDicts stay such), lists and tuples of arrays, numbers, str and None.
        path: path of the file, which appears whole or not at all; its folder must exist.

    Raises:
        TypeError: the tree holds anything else, or an array of a type that PyTorch's storages do not have.
        OSError: the file cannot be written.
    """
    arrays: list[np.ndarray] = []
    stream = io.BytesIO()
    pickle_writer.dump(_tensors(tree, arrays), stream, protocol=2)
    settings = {".format_version": b"1", ".storage_alignment": b"64", "byteorder": b"little", "version": b"3\n"}
    with whole.writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in {"data.pkl": stream.getvalue(), **settings}.items():
            add_aligned(archive, f"archive/{name}", data)
        for key, array in enumerate(arrays):
            native = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            add_aligned(archive, f"archive/data/{key}", memoryview(native.reshape(-1).view(np.uint8)))


def _tensors(value: Any, arrays: list[np.ndarray]) -> Any:
    """Returns the tree with calls of `_rebuild_tensor_v2` in place of arrays, which are added to `arrays`."""
    if isinstance(value, dict):
        return type(value)((key, _tensors(part, arrays)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return type(value)(_tensors(part, arrays) for part in value)
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray):
        return value
    names = [name for name, dtype in DTYPES.items() if dtype == value.dtype.newbyteorder("<")]
    if not names:
        raise TypeError(f"PyTorch has no storage for arrays of {value.dtype}; use float32.")
    storage = Persistent(("storage", Global(names[0]), str(len(arrays)), "cpu", value.size))
    strides = tuple(math.prod(max(size, 1) for size in value.shape[axis + 1 :]) for axis in range(value.ndim))
    arrays.append(value)
    no_hooks: dict = collections.OrderedDict()
    return Record("torch._utils._rebuild_tensor_v2", (storage, 0, value.shape, strides, False, no_hooks))
