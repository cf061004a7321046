"""Opens what data.source names: one of the package's own sets, a data set of TFDS, or a path of pictures."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable

import numpy as np

from stylegan_jax.config import Data
from stylegan_jax.data import files, labels, pictures, remote, store, tables, tfrecords
from stylegan_jax.data.source import Source, printable

PROCEDURAL = ("faces", "digits")

_CHOICES = (
    'Use "faces", "digits", "tfds:NAME", or the path of a prepared store, or of a folder, .zip, .tar, .parquet, .h5, '
    ".npy, lmdb or .tfrecords of pictures."
)
# By a file's extension, and by what a folder has in it.
_OF_FILES: dict[str, Callable[[str], Source]] = {
    ".zip": files.open_zip,
    ".tar": files.open_tar,
    ".parquet": tables.open_parquet,
    ".h5": tables.open_hdf5,
    ".hdf5": tables.open_hdf5,
    ".npy": tables.open_npy,
    ".npz": tables.open_npy,
    ".mdb": tables.open_lmdb,
    ".tfrecords": tfrecords.open_source,
}
_OF_FOLDERS: dict[str, Callable[[str], Source]] = {
    store.RECORD: store.open_source,
    "*.tfrecords": tfrecords.open_source,
    "data.mdb": tables.open_lmdb,
    "*.parquet": tables.open_parquet,
    "*/*.parquet": tables.open_parquet,
    "*/*/*.parquet": tables.open_parquet,
    "*.tar": files.open_tar,
}

_AMONG_PICTURES = (".tar", ".parquet")  # What may lie in a folder of pictures by chance.


def open_source(data: Data, resolution: int) -> Source:
    """Returns the pictures that `data.source` names, with the classes that `data.labels` asks for.

    Args:
        data: the settings.
        resolution: of procedural faces, px; all others have their own.

    Raises:
        ValueError: no such source, it cannot be read, it has no pictures, or no such classes.
    """
    opened = _open(data, resolution)
    if data.labels == "own":
        return opened
    try:
        if pathlib.Path(opened.path, store.RECORD).is_file():
            raise ValueError(
                f"data.labels is {data.labels!r}, but {data.source} is a store, which has its classes already; use "
                "data.labels=own, or prepare the pictures again with other labels."
            )
        if data.labels == "folders":
            classes = labels.from_folders(opened.names, data.source)
        else:
            classes = labels.from_file(local_path(data.labels, data), opened.names)
    except BaseException:
        opened.close_fn()
        raise
    return dataclasses.replace(opened, classes=classes)


def local_path(path: str, data: Data, progress_fn: remote.ProgressFn | None = None) -> str:
    """Returns a path on this machine: the given one, or that of a copy of what it names elsewhere.

    Args:
        path: with a scheme, such as gs://, if it is elsewhere.
        data: says where copies are kept.
        progress_fn: called with (bytes done, bytes in all) while it is copied.
    """
    if remote.is_remote(path):
        return remote.copy(path, data.remote_copy, progress_fn)
    return str(pathlib.Path(path).expanduser()) if path else path


def _open(data: Data, resolution: int) -> Source:
    if data.source == "faces":
        return _faces(data, resolution)
    if data.source == "digits":
        return _digits()
    if data.source.startswith("tfds:"):
        from stylegan_jax.data import builders  # With it comes TFDS, which takes a second to import.

        return builders.open_tfds(data.source, data.split)
    path = local_path(data.source, data)
    place = pathlib.Path(path)
    if path and place.is_dir():  # The empty path would be the current folder.
        found = [(pattern, open_fn) for pattern, open_fn in _OF_FOLDERS.items() if any(place.glob(pattern))]
        if not found:
            return files.open_folder(path)
        pattern, open_fn = found[0]
        inside = itertools.chain(place.glob("*"), place.glob("*/*"))
        if pattern.endswith(_AMONG_PICTURES) and any(f.suffix.lower() in pictures.EXTENSIONS for f in inside):
            raise ValueError(
                f"data.source {printable(repr(data.source))} has pictures as well as {pattern}; name the file or "
                "folder of one kind, or move the other away."
            )
        return open_fn(path)
    if not place.is_file():
        raise ValueError(f"data.source is {printable(repr(data.source))}: no such file or folder. {_CHOICES}")
    if place.suffix.lower() not in _OF_FILES:
        raise ValueError(f"data.source is {printable(repr(data.source))}: a file of an unknown kind. {_CHOICES}")
    return _OF_FILES[place.suffix.lower()](path)


def _faces(data: Data, resolution: int) -> Source:
    """Returns the procedural faces: `data.num_faces` to train on, and as many more as are held out."""
    from stylegan_jax.data import faces  # With it comes JAX, which processes that only decode need not load.

    if data.num_faces < 1:
        raise ValueError(f"data.num_faces is {data.num_faces}; use at least 1.")
    length = data.num_faces + data.num_heldout

    def read(index: int) -> np.ndarray:
        return faces.images(np.array([index]), faces.SEED, resolution)[0]

    return Source("faces", [f"{i:06d}" for i in range(length)], [f"{faces.SEED} {length}"] * length, read)


def _digits() -> Source:
    """Returns scikit-learn's 1797 handwritten digits, 8x8 gray."""
    from sklearn import datasets  # Takes a second to import, and only this source needs it.

    digits = datasets.load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # [n, 8, 8], from 0..16
    classes = labels.Classes(digits.target.astype(np.int64), tuple(str(name) for name in digits.target_names))
    names = [f"{i:04d}" for i in range(len(gray))]
    return Source("digits", names, ["digits"] * len(gray), gray.__getitem__, classes)
