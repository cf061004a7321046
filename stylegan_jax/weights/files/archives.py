"""Zip files as PyTorch and NumPy write them: members as parts of a mapped file, and nothing larger than it says."""

import dataclasses
import mmap
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

from stylegan_jax.weights.files.pickle_machine import Clipped, Refusal, shown

MAX_DIRECTORY_BYTES = 2**22  # Some ten thousand members.
MAX_INFLATED_BYTES = 2**29  # Of all compressed members together; PyTorch itself compresses no tensor.
ALIGNMENT = 64  # Bytes, of the data of members, as PyTorch has it since 2.6.
_LOCAL_HEADER_BYTES = 30
_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Part:
    """Some bytes of a buffer.

    Attributes:
        buffer: a mapped file or an array of bytes.
        begin: where they begin.
        num_bytes: how many they are.
    """

    buffer: Any
    begin: int
    num_bytes: int

    def tobytes(self) -> bytes:
        return bytes(self.buffer[self.begin : self.begin + self.num_bytes])


class Archive:
    """The members of a zip file; those of PyTorch are named without the one folder that they are in.

    Checksums of stored members are compared where that is asked for: PyTorch may be told to write wrong ones.
    """

    def __init__(self, file: BinaryIO, mapped: mmap.mmap, is_in_folder: bool = True) -> None:
        """Reads the directory of members.

        Raises:
            Refusal: members overlap, share a name, have names of other folders or grow too large.
            Exception: the file is damaged; any type.
        """
        self._mapped = mapped
        self._zip = zipfile.ZipFile(_Directory(file))
        members = [member for member in self._zip.infolist() if not member.filename.endswith("/")]
        _check_names([member.filename for member in members], is_in_folder)
        _check_sizes(members, len(mapped))
        names = (m.filename.partition("/")[2] if is_in_folder else m.filename for m in members)
        self.members = dict(zip(names, members, strict=True))

    def checked_part(self, name: str) -> Part:
        """Returns `part`, whose checksum is right."""
        part = self.part(name)
        if zlib.crc32(memoryview(part.buffer)[part.begin : part.begin + part.num_bytes]) != self.members[name].CRC:
            raise Refusal(f"is damaged: its member {shown(name)} has changed since it was written.")
        return part

    def part(self, name: str) -> Part:
        """Returns the bytes of a member, without a copy where they are stored as they are.

        Raises:
            Refusal: there is no such member, or it is cut short.
        """
        if name not in self.members:
            raise Refusal(f"has no member {shown(name)}, which it refers to; it was not written to its end.")
        member = self.members[name]
        if member.compress_type == zipfile.ZIP_DEFLATED:
            return _inflated(self._zip, member)
        begin = max(member.header_offset, 0) + _LOCAL_HEADER_BYTES
        header = self._mapped[begin - _LOCAL_HEADER_BYTES : begin].ljust(_LOCAL_HEADER_BYTES)
        begin += sum(struct.unpack("<HH", header[26:]))  # The name and an extra field.
        if header[:4] != b"PK\x03\x04" or begin + member.file_size > len(self._mapped):
            raise Refusal(f"is damaged: its member {shown(name)} is not where the directory says.")
        return Part(self._mapped, begin, member.file_size)


class _Directory(Clipped):
    """The file as `zipfile` sees it: seekable, and never read much at once."""

    def read(self, num_bytes: int = -1) -> bytes:
        num_bytes = min(num_bytes if num_bytes >= 0 else self.size, max(self.size - self.position, 0))
        if num_bytes > MAX_DIRECTORY_BYTES:
            raise Refusal(f"has a directory of {num_bytes} bytes, where at most {MAX_DIRECTORY_BYTES} are read.")
        return super().read(num_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = self.file.seek(offset, whence)
        return self.position

    def tell(self) -> int:
        return self.position

    def seekable(self) -> bool:
        return True


def _check_names(names: list[str], is_in_folder: bool) -> None:
    """Refuses what no writer of weights makes, though nothing here is ever written under these names."""
    for name in names:
        if "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise Refusal(f"has a member named {shown(name)}, which leads out of its folder; the file is refused.")
    folders = {name.partition("/")[0] for name in names}
    if is_in_folder and (len(folders) != 1 or any("/" not in name for name in names)):
        raise Refusal("is no file of torch.save: its members are not in one folder.")
    if len(set(names)) != len(names):
        raise Refusal("is damaged: two of its members have the same name.")


def _check_sizes(members: list[zipfile.ZipInfo], file_bytes: int) -> None:
    stored = [member for member in members if member.compress_type == zipfile.ZIP_STORED]
    inflated = [member for member in members if member.compress_type == zipfile.ZIP_DEFLATED]
    if len(stored) + len(inflated) != len(members) or any(member.flag_bits & 1 for member in members):
        raise Refusal("has encrypted members, or members of an unknown compression; save it anew without.")
    if any(member.compress_size != member.file_size for member in stored):
        raise Refusal("is damaged: a stored member has two sizes.")
    if sum(member.file_size for member in stored) > file_bytes:
        raise Refusal("has members that overlap: they are larger than the file in all.")
    if sum(member.file_size for member in inflated) > MAX_INFLATED_BYTES:
        raise Refusal(
            f"has compressed members that grow to over {MAX_INFLATED_BYTES} bytes. If you trust it, load it where it "
            "was written, and save it anew without compression (torch.save, np.savez)."
        )


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Part:
    data = np.empty(member.file_size, np.uint8)
    view, begin = memoryview(data), 0
    with archive.open(member) as stream:
        while begin < member.file_size:
            chunk = stream.read(min(_CHUNK_BYTES, member.file_size - begin))
            if not chunk:
                raise Refusal(f"is damaged: its member {shown(member.filename)} is shorter than the directory says.")
            view[begin : begin + len(chunk)] = chunk
            begin += len(chunk)
    return Part(data, 0, member.file_size)


def add_aligned(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Writes a member whose data begin at a multiple of ALIGNMENT, padded as PyTorch does by an extra field "FB"."""
    member = zipfile.ZipInfo(name)
    member.file_size = memoryview(data).nbytes
    begin = archive.fp.tell() + _LOCAL_HEADER_BYTES + len(name.encode()) + 4
    padding = -begin % ALIGNMENT
    member.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    with archive.open(member, "w") as stream:
        stream.write(data)
