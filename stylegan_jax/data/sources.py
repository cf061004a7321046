"""Opens what data.source names: one of the package's own sets, a data set of TFDS, or a path of pictures."""

import dataclasses
import os
import pathlib
import shlex
from collections.abc import Callable, Sequence

import numpy as np

from stylegan_jax.config import Data
from stylegan_jax.data import (
    archives,
    arrays,
    decode,
    folder,
    labels,
    listing,
    lmdb,
    parquet,
    remote,
    store,
    tfrecords,
)
from stylegan_jax.data.source import Source
from stylegan_jax.runs.text import printable

PROCEDURAL = ("faces", "digits")

_CHOICES = (
    'Use "faces", "digits", "tfds:NAME", or the path of a prepared store, or of a folder, .zip, .tar, .parquet, .h5, '
    ".npy, lmdb or .tfrecords of pictures."
)
OpenFn = Callable[[str], Source]

# What opens a file, by its extension.
_OF_FILES: dict[str, OpenFn] = {
    ".zip": archives.open_zip,
    ".tar": archives.open_tar,
    ".parquet": parquet.open_source,
    ".h5": arrays.open_hdf5,
    ".hdf5": arrays.open_hdf5,
    ".npy": arrays.open_npy,
    ".npz": arrays.open_npy,
    ".mdb": lmdb.open_source,
    ".tfrecords": tfrecords.open_source,
}
# What opens a folder, by the ending of a file's name in it, and how deep that file may lie.
_OF_FOLDERS: dict[str, tuple[OpenFn, int]] = {
    ".tfrecords": (tfrecords.open_source, 1),
    "data.mdb": (lmdb.open_source, 1),
    ".parquet": (parquet.open_source, 3),
    ".tar": (archives.open_tar, 3),
}
_AMONG_PICTURES = {".parquet", ".tar"}  # Endings of what may lie in a folder of pictures by chance.
# Command that unpacks a packed .tar to standard output, by the ending of its name.
_PACKED = {".tgz": "gunzip", ".tar.gz": "gunzip", ".tbz2": "bunzip2", ".tar.bz2": "bunzip2", ".txz": "unxz"}
_PACKED |= {".tar.xz": "unxz", ".tar.zst": "unzstd"}


def open_source(data: Data, resolution: int) -> Source:
    """Returns the pictures that `data.source` names, with the classes that `data.labels` asks for.

    Args:
        data: the settings.
        resolution: resolution of procedural faces, px; all other pictures have their own.

    Raises:
        ValueError: there is no such source, it cannot be read, or it has no pictures or no such classes.
    """
    opened = _open(data, resolution)
    try:
        _check_own_classes(opened)
        return _with_notes(opened if data.labels == "own" else _with_classes(opened, data))
    except BaseException:
        opened.close_fn()
        raise


def _check_own_classes(source: Source) -> None:
    """Raises ValueError if the classes that a source has itself cannot be those of its pictures."""
    if source.classes is None:
        return
    found, num_classes = source.classes.labels, len(source.classes.names)
    if len(found) != source.length or (len(found) and not 0 <= found.min() <= found.max() < num_classes):
        raise ValueError(
            f"{source.path} is damaged: it has {len(found)} labels for {source.length} pictures, and {num_classes} "
            f"classes for labels from {found.min(initial=0)} to {found.max(initial=0)}. Copy it again, or prepare it "
            "again."
        )


def check_classes(source: Source, data: Data, num_labels: int) -> None:
    """Raises ValueError, with the reason, if a model of `num_labels` classes cannot be trained on a source."""
    num_classes = len(source.classes.names) if source.classes else 0
    if num_labels not in (0, num_classes):
        reason = f" ({source.unused_labels.rstrip('.')})" if source.unused_labels else ""
        raise ValueError(
            f"model.num_labels is {num_labels}, but data.source {printable(repr(data.source))} has {num_classes} "
            f"classes with data.labels={data.labels!r}{printable(reason)}; use model.num_labels={num_classes}, or "
            "other labels."
        )


def _with_classes(opened: Source, data: Data) -> Source:
    """Returns a source with the classes that `data.labels` names in place of its own."""
    if pathlib.Path(opened.path, store.RECORD).is_file():
        raise ValueError(
            f"data.labels is {data.labels!r}, but {data.source} is a store, which has its classes already; use "
            "data.labels=own, or prepare the pictures again with other labels."
        )
    if data.labels == "folders":
        classes = labels.from_folders(opened.names, data.source)
    else:
        classes = labels.from_file(local_path(data.labels, data), opened.names)
    return dataclasses.replace(opened, classes=classes, unused_labels=None)


def _with_notes(source: Source) -> Source:
    """Returns a source with notes on what is passed over, labels that are not used, and classes without pictures."""
    notes = list(source.notes)
    if source.path in PROCEDURAL and os.path.lexists(source.path):
        name = source.path
        notes.append(f"data.source={name} is the package's own set, not what lies here: to read that, use ./{name}")
    if source.others:
        notes.append(f"{source.path}: {listing.describe_others(source.others)}")
    if source.unused_labels:
        notes.append(f"there are no classes: {source.unused_labels}")
    if source.classes:
        empty = [source.classes.names[i] for i in np.flatnonzero(source.classes.counts == 0)]
        if empty:
            notes.append(f"{source.path}: the classes {labels.listed(empty)} have no pictures, and are not learned")
    return dataclasses.replace(source, notes=tuple(notes))


def local_path(path: str, data: Data, progress_fn: remote.ProgressFn | None = None) -> str:
    """Returns a path on this machine: the given one, or that of a copy of what it names elsewhere.

    Args:
        path: a path, which begins with a scheme such as gs:// if it is elsewhere.
        data: says where copies are kept.
        progress_fn: called with (bytes done, bytes in all) while it is copied.
    """
    if remote.is_remote(path):
        return remote.copy(path, data.remote_copy, progress_fn)
    return os.path.expanduser(path)  # Where there is no such user, it leaves the path as it is.


def _open(data: Data, resolution: int) -> Source:
    if data.source == "faces":
        return _faces(data, resolution)
    if data.source == "digits":
        return _digits()
    if data.source.startswith("tfds:"):
        from stylegan_jax.data import builders  # It imports TFDS, which takes a second.

        return builders.open_tfds(data.source, data.split)
    path = local_path(data.source, data)
    if path and os.path.isdir(path):  # The empty path would be the current folder.
        return _open_folder(path)
    if not os.path.isfile(path):
        if path and os.path.isdir(f"{path.rstrip('/')}.partial"):
            raise ValueError(
                f"{path} is still being prepared, or was interrupted: the same --mode=prepare command goes on."
            )
        raise ValueError(f"data.source is {printable(repr(data.source))}: no such file or folder. {_CHOICES}")
    return _open_file(path)


def _open_file(path: str) -> Source:
    """Returns the pictures in a file; the error for any other file says what to name instead."""
    name = os.path.basename(path)
    ending = os.path.splitext(name)[1].lower()
    if ending in _OF_FILES:
        return _OF_FILES[ending](path)
    shown = f"data.source is {printable(repr(path))}"
    for packed, command in _PACKED.items():
        if name.lower().endswith(packed):
            plain = f"{name[: -len(packed)]}.tar"
            raise ValueError(
                f"{shown}, a packed .tar, in which no picture can be found without unpacking all before it. Run "
                f"{command} -c {shlex.quote(path)} > {shlex.quote(plain)} and name {plain}."
            )
    if ending in decode.EXTENSIONS:
        raise ValueError(f"{shown}, a single picture; name its folder, {os.path.dirname(path) or './'}")
    raise ValueError(f"{shown}: a file of an unknown kind. {_CHOICES}")


def _open_folder(path: str) -> Source:
    """Returns the pictures in a folder, whatever they lie in; they must be of one kind."""
    if os.path.isfile(os.path.join(path, store.RECORD)):
        return store.open_source(path)
    if path.rstrip("/").endswith(".partial") and os.path.isfile(os.path.join(path, "lock")):
        raise ValueError(f"{path} is an unfinished store: the same --mode=prepare command goes on with it.")
    endings = (*_OF_FOLDERS, *(set(_OF_FILES) - {".mdb", ".npy"}), *_PACKED)
    containers = folder.find(path, (*endings, *(ending.upper() for ending in endings)), depth=3)
    first: dict[str, str] = {}
    for name in containers:
        for ending, (_, depth) in _OF_FOLDERS.items():
            if name.endswith(ending) and name.count("/") < depth:
                first.setdefault(ending, name)
    if not first:
        return _open_pictures(path, containers)
    has_pictures = any(name.lower().endswith(decode.EXTENSIONS) for name in folder.walk(path, []))
    kinds = [*first.values(), *["pictures"] * has_pictures]
    if len(first) > 1 or (has_pictures and first.keys() & _AMONG_PICTURES):
        raise ValueError(
            f"data.source {printable(repr(path))} has several kinds of sources: {printable(' and '.join(kinds))}; name "
            "the file or folder of one kind, or move the others away."
        )
    ((ending, name),) = first.items()
    opened = _OF_FOLDERS[ending][0](path)
    note = f"{path} has pictures beside {name}; they are passed over: name a folder of pictures alone to read them"
    return dataclasses.replace(opened, notes=(*opened.notes, note)) if has_pictures else opened


def _open_pictures(path: str, containers: Sequence[str]) -> Source:
    """Returns the pictures that are files in a folder; where there are none, the error says what else there is."""
    try:
        return folder.open_source(path)
    except listing.NoPictures as error:
        if not containers:
            raise
        raise ValueError(
            f"{error} It has {printable(labels.listed(containers))}; name one of them as data.source, such as "
            f"{printable(os.path.join(path, containers[0]))}, or unpack them."
        ) from error


def _faces(data: Data, resolution: int) -> Source:
    """Returns the procedural faces: `data.num_faces` to train on, and as many more as are held out."""
    from stylegan_jax.data import faces  # It imports JAX, which processes that only decode do not need.

    if data.num_faces < 1:
        raise ValueError(f"data.num_faces is {data.num_faces}; use at least 1.")
    length = data.num_faces + data.num_heldout

    def read(index: int) -> np.ndarray:
        return faces.images(np.array([index]), faces.SEED, resolution)[0]

    def draw(indices: np.ndarray, room: np.ndarray) -> None:
        room[...] = faces.images(indices, faces.SEED, room.shape[1])

    names, identities = [f"{i:06d}" for i in range(length)], [f"{faces.SEED} {length}"] * length
    return Source("faces", names, identities, read, read_many_fn=draw)


def _digits() -> Source:
    """Returns scikit-learn's 1797 handwritten digits, 8x8 gray."""
    from sklearn import datasets  # Takes a second to import, and only this source needs it.

    digits = datasets.load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # [n, 8, 8], from 0..16
    classes = labels.Classes(digits.target.astype(np.int64), tuple(str(name) for name in digits.target_names))
    names = [f"{i:04d}" for i in range(len(gray))]
    return Source("digits", names, ["digits"] * len(gray), gray.__getitem__, classes)
