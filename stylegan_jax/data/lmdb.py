"""Pictures in an lmdb: LSUN's, or those of several sizes that rosinality's ports of StyleGAN prepare."""

import pathlib
import re
import threading
import weakref
from typing import Any

from stylegan_jax.data.source import Source, file_identity, readable, unchanged_since_now

_LENGTH = b"length"  # Key of the number of pictures in a layout of several sizes; pictures' keys are SIZE-NUMBER.
_SIZED = re.compile(rb"(\d{1,6})-(\d{1,12})")

# lmdb opens a file only once in a process, so sources of one file share it. The file closes with the last of them.
_environments: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()
_environments_lock = threading.Lock()


def open_source(path: str) -> Source:
    """Returns the encoded pictures of an lmdb, given its folder or its data.mdb, in the order of their keys.

    Where the keys are SIZE-NUMBER, only the pictures of the largest size are read. Nothing is written beside it. A file
    that is cut short is found by its size; other damage is not found, as lmdb has no checksums. lmdb maps the file into
    memory: a file that is cut while it is read ends the process (SIGBUS).

    Raises:
        ValueError: there is no such file, or it is not an lmdb, is cut short or empty, or miscounts its pictures.
    """
    with readable(path, "lmdb (data.mdb, or its folder)"):
        file = pathlib.Path(path).expanduser()
        file = file / "data.mdb" if file.is_dir() else file
        unchanged_fn = unchanged_since_now([file])
        shared = [_environment(file)]
        size = file.stat().st_size
        full_size = (shared[0].info()["last_pgno"] + 1) * shared[0].stat()["psize"]
    if size < full_size:  # To read on would end the process, as the file is mapped into memory.
        raise ValueError(f"{path} is cut short: {size} bytes of {full_size}. Copy or download it again.")
    with readable(path, "lmdb"), shared[0].begin() as transaction:
        keys = list(transaction.cursor().iternext(values=False))
        said = transaction.get(_LENGTH, b"")
        identity = file_identity(file)
    if said.isdigit():  # Else this is the key of a picture.
        keys.remove(_LENGTH)
    if not keys:
        raise ValueError(f"{path} has no pictures: it is an empty lmdb. Name another file.")
    keys, notes = _largest(path, keys, said)
    names = [key.decode("ascii", "backslashreplace") for key in keys]

    def read(index: int) -> bytes:
        with readable(path, "lmdb"), shared[0].begin() as transaction:
            return transaction.get(keys[index]) or b""  # None if pages are in disorder; neither is a picture.

    return Source(
        path,
        names,
        [identity] * len(keys),
        read,
        notes=notes,
        close_fn=shared.clear,
        unchanged_fn=unchanged_fn,
    )


def _largest(path: str, keys: list[bytes], said: bytes) -> tuple[list[bytes], tuple[str, ...]]:
    """Returns the keys of the pictures of the largest size, where the keys are SIZE-NUMBER, and a note on the others.

    Args:
        path: path of the lmdb, for errors.
        keys: keys of all pictures.
        said: number of pictures that the lmdb says it has; empty if it says none.
    """
    matches = [_SIZED.fullmatch(key) for key in keys]
    sizes = sorted({int(match[1]) for match in matches if match})
    if not all(matches) or any(size.bit_count() != 1 for size in sizes):
        return keys, ()
    found = [(int(match[2]), match[0]) for match in matches if int(match[1]) == sizes[-1]]
    if said.isdigit() and len(found) != int(said):
        raise ValueError(
            f"{path} says that it has {int(said)} pictures, but has {len(found)} of {sizes[-1]} px; prepare it again."
        )
    others = ", ".join(map(str, sizes[:-1]))
    note = f"{path}: the pictures are those of {sizes[-1]} px; passed over: those of {others} px"
    return [key for _, key in sorted(found)], (note,) if others else ()


def _environment(file: pathlib.Path) -> Any:
    """Returns lmdb's environment of a file, to be read by many threads."""
    import lmdb

    options = {"subdir": False, "readonly": True, "lock": False, "readahead": False}
    key = (file.stat().st_dev, file.stat().st_ino)
    with _environments_lock:
        _environments[key] = environment = _environments.get(key) or lmdb.open(str(file), max_readers=1024, **options)
        return environment
