"""Pictures in arrays: HDF5 files, and NumPy's .npy and .npz."""

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.data import decode, labels, rows
from stylegan_jax.data.source import Source, file_identity, readable, unchanged_since_now

RECENT_BYTES = 2**28  # Memory for decoded rows of a compressed file.


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows of a .npy of uint8, each read when it is asked for."""

    file: rows.File
    begin: int  # Where row 0 begins.
    shape: tuple[int, ...]
    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        row = np.empty(self.shape[1:], self.dtype)
        self.file.read_into(self.begin + int(index) * row.nbytes, memoryview(row.reshape(-1)))
        return row


def open_hdf5(path: str) -> Source:
    """Returns the pictures of an HDF5 file: its array of pictures (see `open_npy`) of the largest height.

    So Progressive GAN's files, with data2x2 ... data1024x1024, give their largest pictures.

    Raises:
        ValueError: there is no such file, or it is not HDF5, is cut short or has no array of pictures.
    """
    import h5py

    with contextlib.ExitStack() as stack:
        with readable(path, "HDF5"):
            unchanged_fn = unchanged_since_now([path])
            options = {"locking": False, "rdcc_nbytes": RECENT_BYTES}  # Many network drives refuse HDF5's own lock.
            file = stack.enter_context(h5py.File(pathlib.Path(path).expanduser(), "r", **options))
            names: list[str] = []
            file.visit(names.append)
            # Scalars and objects without a value have no shape, and are left out. A name not in UTF-8 comes as bytes.
            arrays = {str(name): file[name] for name in names if getattr(file[name], "shape", None)}
        opened = _from_arrays(path, arrays, threading.Lock())  # HDF5 is not made for threads.
        return dataclasses.replace(opened, close_fn=stack.pop_all().close, unchanged_fn=unchanged_fn)


def open_npy(path: str) -> Source:
    """Returns the pictures of a .npy, which is read row by row, or of a .npz or a .npy in Fortran's order, read whole.

    Pictures are an array uint8 [n, h, w], [n, h, w, c] or [n, c, h, w], with c of 1, 3 or 4; of several, the one of the
    largest height is read, then the longest. An array of the same length called label, class or the like gives the
    classes.

    Raises:
        ValueError: there is no such file, or it is neither .npy nor .npz, is cut short, holds pickled objects or has no
            array of pictures.
    """
    with readable(path, "a .npy or .npz of plain arrays that fits into memory"):
        place = pathlib.Path(path).expanduser()
        unchanged_fn = unchanged_since_now([place])
        with place.open("rb") as file:  # Given a path, NumPy does not close a damaged .npz.
            is_npz = file.peek(2).startswith(b"PK")
            arrays = dict(np.load(file, allow_pickle=False)) if is_npz else {"array": _open_rows(place)}
    opened = _from_arrays(path, arrays, contextlib.nullcontext())
    return dataclasses.replace(opened, unchanged_fn=unchanged_fn)


def _open_rows(place: pathlib.Path) -> Any:
    """Returns the array of a .npy, without a memory map if it is one of uint8.

    A map is made all the same, for what NumPy checks then, but nothing is read through it: a file that is cut under
    its map would end the process.
    """
    file = rows.File(str(place))
    mapped = np.load(place, mmap_mode="r", allow_pickle=False)
    if mapped.dtype != np.uint8 or not mapped.ndim:
        return mapped  # It holds no pictures; only its type and shape are asked for.
    if not mapped.flags.c_contiguous:
        return np.load(place, allow_pickle=False)
    return _Rows(file, mapped.offset, mapped.shape)


def _from_arrays(path: str, arrays: Mapping[str, Any], lock: contextlib.AbstractContextManager[Any]) -> Source:
    """Returns the pictures of one of a file's arrays; its rows are read under the lock."""
    with readable(path, "a file of arrays"):
        found = ", ".join(f"{name}: {array.dtype} {list(array.shape)}" for name, array in arrays.items())
        axes = {name: _axes(array.shape) for name, array in arrays.items() if array.dtype == np.uint8}
        identity = file_identity(pathlib.Path(path).expanduser())
    fitting = sorted(name for name in axes if axes[name] is not None)
    if not fitting:
        raise ValueError(
            f"{path} has no array of pictures; found {found[:1000] or 'none'}. Expected uint8, 0..255, of shape "
            "[n, h, w], [n, h, w, c] or [n, c, h, w], with c of 1, 3 or 4; convert it and save it anew."
        )
    chosen = max(fitting, key=lambda name: (arrays[name].shape[1 + axes[name][0]], len(arrays[name]), len(axes[name])))
    pictures, order = arrays[chosen], axes[chosen]
    classes, unused_labels = labels.or_reason(lambda: _own_classes(path, arrays, len(pictures)))

    def read(index: int) -> np.ndarray:
        with readable(path, "a file of arrays"), lock:
            return np.array(pictures[index].transpose(order), order="C")  # A copy. [h, w] or [h, w, c]

    names = [f"{i:0{len(str(len(pictures) - 1))}}" for i in range(len(pictures))]
    others = ", ".join(name for name in fitting if name != chosen)
    notes = (f"{path}: the pictures are those of {chosen}; passed over: {others}",) if others else ()
    return Source(path, names, [identity] * len(pictures), read, classes, notes=notes, unused_labels=unused_labels)


def _axes(shape: Sequence[int]) -> tuple[int, ...] | None:
    """Returns the order of a picture's axes that makes them (h, w) or (h, w, c), or None if it has none."""
    if 0 in shape or len(shape) not in (3, 4):
        return None
    if len(shape) == 3:  # [64, 64, 3] is one picture, not 64 of 64x3 px.
        return (0, 1) if shape[2] not in decode.MODES or shape[1] == shape[2] else None
    orders = [order for order in ((0, 1, 2), (1, 2, 0)) if shape[1 + order[2]] in decode.MODES]
    # [n, 3, 4, 4] fits both: square pictures are likelier.
    return max(orders, key=lambda order: shape[1 + order[0]] == shape[1 + order[1]], default=None)


def _own_classes(path: str, arrays: Mapping[str, Any], length: int) -> labels.Classes | None:
    """Returns the classes in the array of labels, [length] or [length, k], or None if there is none.

    Raises:
        labels.NotClasses: there are several such arrays, or it holds no classes.
    """
    fitting = [name for name, array in arrays.items() if array.shape[:1] == (length,) and len(array.shape) < 3]
    label = labels.label_name(fitting, path)
    if label is None:
        return None
    with readable(path, "a file of arrays"):
        values = np.asarray(arrays[label])
    return labels.from_values(list(values[:, 0] if values.shape[1:] == (1,) else values), f"{path}, array {label}")
