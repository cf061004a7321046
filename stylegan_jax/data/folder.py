"""Pictures that are files in folders."""

import errno
import os
import pathlib
import stat
from collections.abc import Iterator

from stylegan_jax.data import listing
from stylegan_jax.data.source import Source, file_identity

# Endings of uncompressed files: their size does not tell one picture from another.
UNCOMPRESSED = (".npy", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga")


def open_source(path: str) -> Source:
    """Returns the pictures below a folder.

    Raises:
        listing.NoPictures: there is none.
        ValueError: a folder cannot be listed, or a dataset.json is broken.
    """
    notes: list[str] = []
    found = list(walk(path, notes))
    return listing.to_source(
        listing.Files(
            path,
            found,
            read_fn=lambda name: _read_file(pathlib.Path(path, name)),
            identity_fn=lambda name: _identity(f"{path}/{name}"),
            notes=tuple(notes),
        )
    )


def walk(path: str, notes: list[str], depth: int | None = None) -> Iterator[str]:
    """Yields the files below a folder, by their names relative to it.

    Links are followed, but no folder is entered twice. Hidden folders are not entered; hidden files are yielded.

    Args:
        path: path of the folder.
        notes: list that gets a sentence for each link that is passed over.
        depth: depth of the deepest files, 1 for those in the folder itself; None for all.

    Raises:
        ValueError: a folder cannot be listed.
    """
    entered: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise ValueError(f"data.source {path!r} has a folder that cannot be listed: {error}.") from error

    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=fail):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            subfolders.clear()
            notes.append(f"{folder} is a link to a folder that is read already; passed over")
            continue
        entered.add((status.st_dev, status.st_ino))
        # Sorted, so that of two links to one folder the same one always comes first.
        subfolders[:] = sorted(name for name in subfolders if not listing.is_hidden(name))
        inner = os.path.relpath(folder, path)
        inner = "" if inner == "." else f"{inner}/"
        yield from (f"{inner}{file}" for file in files)
        if depth is not None and inner.count("/") + 1 >= depth:
            subfolders.clear()


def find(path: str, endings: tuple[str, ...], depth: int | None = None) -> list[str]:
    """Returns the files below a folder with one of these endings that are not hidden, sorted; see `walk`."""
    found = (name for name in walk(path, [], depth) if name.endswith(endings))
    return sorted(name for name in found if not listing.is_hidden(name.rpartition("/")[2]))


def _identity(path: str) -> str:
    try:
        status = os.stat(path)
        if path.lower().endswith(UNCOMPRESSED) and stat.S_ISREG(status.st_mode):
            return file_identity(path)
        return str(status.st_size)
    except OSError:  # A dangling link, or a file that may not be read; reading it says so.
        return "missing"


def _read_file(path: pathlib.Path) -> bytes:
    """Returns the content of an ordinary file; a pipe or a device could take for ever."""
    try:
        status = path.stat()
    except OSError as error:
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
            raise ValueError(f"a link that leads nowhere ({error.strerror})") from None
        raise
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not an ordinary file, but a pipe, a socket or a device")
    listing.check_size(status.st_size)
    return path.read_bytes()
