"""The pictures of a folder or a .zip: their names in a stable order, and their bytes."""

import dataclasses
import os
import pathlib
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable

from stylegan_jax.data import pictures


@dataclasses.dataclass(frozen=True)
class Store:
    """Pictures on disk, still encoded."""

    path: str  # Of the folder or .zip.
    names: tuple[str, ...]  # Of the pictures inside, sorted, with / between folders.
    identities: tuple[str, ...]  # What tells a changed picture from the same: its size, and in a .zip its CRC.
    num_ignored: int  # Files with an extension that is no picture's.
    read_fn: Callable[[int], bytes]  # Bytes of picture i; safe to call from threads. Raises ValueError or OSError.
    close_fn: Callable[[], None]  # Gives the open file back, if there is one.

    def full_name(self, index: int) -> str:
        """Returns the path of picture `index`, through the .zip where it lies in one."""
        return f"{self.path}/{self.names[index]}"


def open_store(path: str) -> Store:
    """Returns the pictures below a folder or inside a .zip.

    Files and folders that begin with a dot, and macOS's __MACOSX, are passed over.

    Raises:
        ValueError: the path is neither, or there is no picture in it.
    """
    place = pathlib.Path(path).expanduser()
    if path and place.is_dir():  # The empty path would be the current folder.
        store = _open_folder(str(place))
    elif place.is_file() and place.suffix.lower() == ".zip":
        store = _open_zip(str(place))
    else:
        found = "a file that is not a .zip" if place.is_file() else "no such file or folder"
        raise ValueError(
            f'data.source is {path!r}: {found}. Use "faces", "digits", or the path of a folder or .zip of pictures.'
        )
    if not store.names:
        store.close_fn()
        raise ValueError(
            f"data.source {path!r} has no pictures ({store.num_ignored} other files). "
            f"Pictures are files that end in {', '.join(pictures.EXTENSIONS)}."
        )
    return store


def _open_folder(path: str) -> Store:
    names, num_ignored = _sort_out(_walk(path))

    def read(index: int) -> bytes:
        return pathlib.Path(path, names[index]).read_bytes()

    def size(name: str) -> str:
        place = pathlib.Path(path, name)
        return str(place.stat().st_size) if place.exists() else "missing"  # A dangling link; reading it says so.

    return Store(path, tuple(names), tuple(map(size, names)), num_ignored, read, lambda: None)


def _walk(path: str) -> Iterable[str]:
    """Yields the files below a folder, relative to it; links are followed, but no folder is entered twice."""
    entered = set()

    def fail(error: OSError) -> None:
        raise ValueError(f"data.source {path!r} has a folder that cannot be listed: {error}.") from error

    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=fail):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        subfolders.sort()  # Of two links to one folder, always the same comes first.
        for file in files:
            yield pathlib.Path(folder, file).relative_to(path).as_posix()


def _open_zip(path: str) -> Store:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"data.source {path!r} is not a readable .zip: {error}. Copy or download it again.") from error
    entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
    names, num_ignored = _sort_out(entries)
    lock = threading.Lock()  # ZipFile counts its open entries without one, and closes the file at zero.

    def read(index: int) -> bytes:
        try:
            with lock:
                return archive.read(entries[names[index]])
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise ValueError(f"damaged, encrypted or unknown zip entry ({error})") from error

    identities = tuple(f"{entries[name].file_size} {entries[name].CRC:08x}" for name in names)
    return Store(path, tuple(names), identities, num_ignored, read, archive.close)


def _sort_out(names: Iterable[str]) -> tuple[list[str], int]:
    """Returns the names of pictures, sorted, and the number of other files."""
    seen = [n for n in names if not any(part.startswith(".") or part == "__MACOSX" for part in n.split("/"))]
    kept = sorted(name for name in seen if name.lower().endswith(pictures.EXTENSIONS))
    return kept, len(seen) - len(kept)
