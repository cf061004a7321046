"""Zip files of arrays, read as data: what is in them is checked before anything is allocated."""

import io
import math
import mmap
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

MAX_INFLATED = 512 * 2**20  # Bytes that compressed members may have in all; networks are written uncompressed.
LOCAL_HEADER = struct.Struct("<4s22xHH")  # A member's own header: signature, lengths of its name and of extra fields.


def members(path: pathlib.Path) -> dict[str, memoryview]:
    """Returns the bytes of each member of a zip file by its name; those that are not compressed stay in the file.

    Raises:
        ValueError: it is damaged, cut short or encrypted; a name is there twice; or what is in it is too large.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check(path, infos)
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            found = {}
            for info in infos:
                if info.compress_type == zipfile.ZIP_STORED:
                    found[info.filename] = _stored(whole, info)
                else:
                    found[info.filename] = memoryview(archive.read(info))
            return found
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, struct.error, EOFError) as error:
        raise ValueError(f"{path} is damaged, cut short or no zip file: {error}.") from None


def _check(path: pathlib.Path, infos: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in infos]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"{path} has two members {min(twice)!r}; which of them counts cannot be told.")
    stored = sum(info.file_size for info in infos if info.compress_type == zipfile.ZIP_STORED)
    inflated = sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED)
    if stored > path.stat().st_size:
        raise ValueError(f"{path} claims to hold {stored} bytes and has {path.stat().st_size}: its members overlap.")
    if inflated > MAX_INFLATED:
        raise ValueError(
            f"{path} would be {inflated / 2**20:.0f} MiB uncompressed, more than the {MAX_INFLATED >> 20} MiB that are "
            "read; write it without compression."
        )


def _stored(whole: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """Returns the bytes of a member that is not compressed."""
    signature, len_name, len_extra = LOCAL_HEADER.unpack_from(whole, info.header_offset)
    start = info.header_offset + LOCAL_HEADER.size + len_name + len_extra
    data = whole[start : start + info.file_size]
    if signature != b"PK\x03\x04" or len(data) != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename!r} is not where it should be")
    if zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename!r} has changed since it was written")
    return data


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz file by name; arrays of objects are refused.

    Raises:
        ValueError: it is damaged, or has anything but arrays of numbers.
    """
    return {name.removesuffix(".npy"): _array(path, name, data) for name, data in members(path).items()}


def _array(path: pathlib.Path, name: str, data: memoryview) -> np.ndarray:
    try:
        head = io.BytesIO(data[:4096])
        version = np.lib.format.read_magic(head)
        reader: Mapping = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in reader:
            raise ValueError(f"version {version} is unknown")
        shape, is_fortran, dtype = reader[version](head)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: {name} is no array of NumPy ({error}).") from None
    body = data[head.tell() :]
    if dtype.kind not in "biuf" or dtype.hasobject:
        raise ValueError(f"{path}: {name} is an array of {dtype}; only booleans, integers and floats are read.")
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{path}: {name} has the shape {shape} and {len(body)} bytes, which do not go together.")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if is_fortran else "C")
