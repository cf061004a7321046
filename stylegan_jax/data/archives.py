"""Pictures in a .zip or in .tar archives, read at their places; nothing is unpacked."""

import errno
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator

from stylegan_jax.data import decode, folder, labels, listing
from stylegan_jax.data.source import Source, unchanged_since_now


def open_zip(path: str) -> Source:
    """Returns the pictures in a .zip.

    Raises:
        ValueError: it is not a .zip, is damaged, or has no picture.
    """
    try:
        unchanged_fn = unchanged_since_now([path])
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"data.source {path!r} is not a readable .zip: {error}. Copy or download it again.") from error
    lock = threading.Lock()  # ZipFile counts its open entries without a lock, and closes the file at zero.

    def read(name: str) -> bytes:
        entry = archive.getinfo(name)
        listing.check_size(entry.file_size)
        try:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Others unpack without a limit.
                raise NotImplementedError(f"compression method {entry.compress_type}, neither stored nor deflated")
            with lock, archive.open(entry) as file:
                return file.read(entry.file_size)  # Without a limit, an entry can unpack to more than it says.
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
            raise ValueError(f"damaged, encrypted or unknown zip entry ({error})") from error
        except OSError as error:
            if error.errno == errno.EINVAL:  # Its place in the file is impossible.
                raise ValueError("damaged zip entry (it lies outside of the file)") from None
            raise

    names = [name for name in archive.namelist() if not name.endswith("/")]
    try:
        return listing.to_source(
            listing.Files(
                path,
                names,
                read,
                identity_fn=lambda name: f"{archive.getinfo(name).file_size} {archive.getinfo(name).CRC:08x}",
                close_fn=archive.close,
                unchanged_fn=unchanged_fn,
            )
        )
    except BaseException:
        archive.close()
        raise


def open_tar(path: str) -> Source:
    """Returns the pictures in a .tar, or in all .tar below a folder, as WebDataset has them.

    Raises:
        ValueError: a file is not a .tar, is compressed or cut short, or there is no picture.
    """
    files = [path] if os.path.isfile(path) else [os.path.join(path, name) for name in folder.find(path, (".tar",))]
    unchanged_fn = unchanged_since_now(files)
    places: dict[str, tuple[str, int, int, float]] = {}  # Name to (file, offset, bytes, time of change).
    names, notes = [], []
    if os.path.isfile(table := os.path.join(path, listing.TABLE)):
        notes.append(f"{table} is not used, as it lies beside the .tar; name it in data.labels to use it")
    for file in files:
        inner = "" if len(files) == 1 else f"{os.path.relpath(file, path)}/"
        not_plain = []
        for name, place in _members(file):
            if place is not None:
                names.append(inner + name)
                places[inner + name] = (file, *place)
            elif name.lower().endswith(decode.EXTENSIONS):
                not_plain.append(name)
        if not_plain:
            notes.append(f"{file}: links, devices and files with holes are passed over: {labels.listed(not_plain)}")

    def read(name: str) -> bytes:
        file, offset, size, _ = places[name]
        listing.check_size(size)
        with open(file, "rb") as stream:
            return os.pread(stream.fileno(), size, offset)

    def identity(name: str) -> str:
        return f"{places[name][2]} {places[name][3]}"

    found = listing.Files(path, names, read, identity, tuple(notes), unchanged_fn=unchanged_fn)
    return listing.to_source(found, is_webdataset=True)


def _members(file: str) -> Iterator[tuple[str, tuple[int, int, float] | None]]:
    """Yields (name, (offset, bytes, time of change)) for each plain file in a .tar, (name, None) for other members."""
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
