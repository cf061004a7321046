"""Pictures that are files: in folders, in a .zip and in .tar archives."""

import contextlib
import dataclasses
import os
import pathlib
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from stylegan_jax.data import labels, pictures
from stylegan_jax.data.source import Source, file_identity

MAX_FILE_BYTES = 2**28  # Of one picture; a .zip can make petabytes out of kilobytes.
ARRAY_EXTENSION = ".npy"  # Progressive GAN's CelebA-HQ has a picture in each.
UNCOMPRESSED = (".npy", ".bmp", ".tif", ".tiff")  # Their size does not tell one picture from another.
TABLE = "dataset.json"  # Labels of StyleGAN2 and 3.


def open_folder(path: str) -> Source:
    """Returns the pictures below a folder.

    Files and folders that begin with a dot, and macOS's __MACOSX, are passed over. A dataset.json gives the classes.

    Raises:
        ValueError: there is no picture, or a folder cannot be listed.
    """
    found, notes = _walk(path)
    names, num_ignored = _sort_out(found)

    def read(index: int) -> bytes | np.ndarray:
        return _decode_npy(_read_file(pathlib.Path(path, names[index])), names[index])

    def identity(name: str) -> str:
        place = pathlib.Path(path, name)
        if not place.exists():
            return "missing"  # A dangling link; reading it says so.
        if name.lower().endswith(UNCOMPRESSED) and place.is_file():
            return file_identity(place)
        return str(place.stat().st_size)

    table = pathlib.Path(path, TABLE)
    classes = None
    if table.is_file():
        classes, reasons = labels.or_reason(lambda: labels.from_dataset_json(table.read_bytes(), str(table), names))
        notes += reasons
    identities = [*map(identity, names)]
    return _checked(Source(path, names, identities, read, classes, num_ignored=num_ignored, notes=tuple(notes)))


def _walk(path: str) -> tuple[list[str], list[str]]:
    """Returns the files below a folder, relative to it, and what was passed over.

    Links are followed, but no folder is entered twice.
    """
    entered: set[tuple[int, int]] = set()
    found, notes = [], []

    def fail(error: OSError) -> None:
        raise ValueError(f"data.source {path!r} has a folder that cannot be listed: {error}.") from error

    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=fail):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            subfolders.clear()
            notes.append(f"{folder} is a link to a folder that is read already; passed over")
            continue
        entered.add((status.st_dev, status.st_ino))
        subfolders.sort()  # Of two links to one folder, always the same comes first.
        found += [pathlib.Path(folder, file).relative_to(path).as_posix() for file in files]
    return found, notes


def open_zip(path: str) -> Source:
    """Returns the pictures in a .zip, by its own names; nothing is unpacked. A dataset.json gives the classes.

    Raises:
        ValueError: it is no .zip, is damaged, or has no picture.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"data.source {path!r} is not a readable .zip: {error}. Copy or download it again.") from error
    entries = {entry.filename: entry for entry in archive.infolist() if not entry.filename.endswith("/")}
    names, num_ignored = _sort_out(entries)
    lock = threading.Lock()  # ZipFile counts its open entries without one, and closes the file at zero.

    def read_bytes(name: str) -> bytes:
        entry = entries[name]
        _check_size(entry.file_size)
        try:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Others unpack without a limit.
                raise NotImplementedError(f"compression method {entry.compress_type}, neither stored nor deflated")
            with lock, archive.open(entry) as file:
                return file.read(entry.file_size)  # Without a number, all that an entry unpacks to, if it says less.
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise ValueError(f"damaged, encrypted or unknown zip entry ({error})") from error

    def read(index: int) -> bytes | np.ndarray:
        return _decode_npy(read_bytes(names[index]), names[index])

    def read_table() -> bytes:
        try:
            return read_bytes(TABLE)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}/{TABLE} cannot be read: {error}.") from error

    with _closing_on_error(archive.close):
        identities = [f"{entries[name].file_size} {entries[name].CRC:08x}" for name in names]
        classes, notes = None, ()
        if TABLE in entries:
            classes, notes = labels.or_reason(lambda: labels.from_dataset_json(read_table(), f"{path}/{TABLE}", names))
        notes += _odd_names(path, names)
        source = Source(path, names, identities, read, classes, num_ignored=num_ignored, notes=notes)
        return _checked(dataclasses.replace(source, close_fn=archive.close))


def open_tar(path: str) -> Source:
    """Returns the pictures in a .tar, or in all of a folder as WebDataset has them; nothing is unpacked.

    Members are read at their places in the file, in any order. Where each picture KEY.png has a KEY.cls, that is the
    number of its class.

    Raises:
        ValueError: a file is no .tar, is compressed or cut short, or there is no picture.
    """
    files = [path] if os.path.isfile(path) else sorted(str(f) for f in pathlib.Path(path).rglob("*.tar"))
    places: dict[str, tuple[str, int, int, float]] = {}  # Name to (file, offset, bytes, time of change).
    notes = []
    for file in files:
        inner = "" if len(files) == 1 else f"{pathlib.Path(file).relative_to(path).as_posix()}/"
        for name, place in _members(file):
            if place is not None:
                places[inner + name] = (file, *place)
            elif name.lower().endswith(pictures.EXTENSIONS):
                notes.append(f"{file}: {name} is a link, a device or a file with holes; passed over")
    names, num_ignored = _sort_out(places)

    def read_bytes(name: str) -> bytes:
        file, offset, size, _ = places[name]
        _check_size(size)
        with open(file, "rb") as stream:
            return os.pread(stream.fileno(), size, offset)

    def read(index: int) -> bytes | np.ndarray:
        return _decode_npy(read_bytes(names[index]), names[index])

    classes_of = [f"{name.rpartition('.')[0]}.cls" for name in names]
    classes = None
    if names and all(name in places for name in classes_of):
        classes = labels.from_values([read_bytes(n).decode("utf-8", "replace").strip() for n in classes_of], path)
        num_ignored -= len(set(classes_of))
    identities = [f"{places[name][2]} {places[name][3]}" for name in names]
    notes += _odd_names(path, names)
    return _checked(Source(path, names, identities, read, classes, num_ignored=num_ignored, notes=tuple(notes)))


def _members(file: str) -> Iterator[tuple[str, tuple[int, int, float] | None]]:
    """Yields (name, (offset, bytes, time of change)) of the members of a .tar, and (name, None) of those not plain."""
    size = os.path.getsize(file)
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                is_plain = member.isfile() and not member.issparse()
                if member.size < 0 or (is_plain and member.offset_data + member.size > size):
                    raise tarfile.ReadError(f"it ends within {member.name}")
                yield member.name, (member.offset_data, member.size, member.mtime) if is_plain else None
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{file} is not a readable, uncompressed .tar ({error}). Copy it again, or unpack it and name the folder."
        ) from error


def _checked(source: Source) -> Source:
    """Returns `source`, which must have a picture."""
    if not source.length:
        raise ValueError(
            f"data.source {source.path!r} has no pictures ({source.num_ignored} other files). "
            f"Pictures are files that end in {', '.join((*pictures.EXTENSIONS, ARRAY_EXTENSION))}."
        )
    return source


@contextlib.contextmanager
def _closing_on_error(close_fn: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        close_fn()
        raise


def _sort_out(names: Iterable[str]) -> tuple[list[str], int]:
    """Returns the names of pictures, sorted, and the number of other files."""
    seen = [n for n in names if not any(_is_hidden(part) for part in n.split("/")) and n.rpartition("/")[2] != TABLE]
    kept = [name for name in seen if name.lower().endswith(pictures.EXTENSIONS)]
    if not kept:  # Among pictures, a .npy holds their labels.
        kept = [name for name in seen if name.lower().endswith(ARRAY_EXTENSION)]
    return sorted(kept), len(seen) - len(kept)


def _is_hidden(part: str) -> bool:
    return (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX"


def _odd_names(path: str, names: Iterable[str]) -> tuple[str, ...]:
    """Returns a sentence for each name in an archive that would lead out of a folder."""
    odd = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    return tuple(
        f"{path}: the name {name} leads out of the archive; it is read in place, never unpacked" for name in odd
    )


def _read_file(path: pathlib.Path) -> bytes:
    """Returns the content of a file; a pipe could be waited for, and a device be read, for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no ordinary file but a pipe, a socket or a device")
    _check_size(status.st_size)
    return path.read_bytes()


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes unpacked are more than the {MAX_FILE_BYTES} taken to be safe")


def _decode_npy(content: bytes, name: str) -> bytes | np.ndarray:
    """Returns the content of a picture's file as it is, or the array in a .npy."""
    return pictures.read_npy(content) if name.lower().endswith(ARRAY_EXTENSION) else content
