"""Reads pieces of files by their places, without memory maps.

So a read that fails is an OSError, not the end of the process, and other threads run while one waits for the disk.
"""

import errno
import functools
import os
import resource
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

SHARE = 4  # Divisor of the process's limit of open files; at most that part of it is held open.
MOST_OPEN = 1024


class File:
    """A file that is open for reading, and is closed when nobody holds it."""

    def __init__(self, path: str) -> None:
        self.descriptor = None
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    @property
    def num_bytes(self) -> int:
        """Size of the file now."""
        return os.fstat(self.descriptor).st_size

    def read_into(self, offset: int, room: memoryview) -> None:
        """Fills `room`, bytes, with the file's content from `offset` on.

        Raises:
            OSError: the file ends before `room` is full, or cannot be read.
        """
        done = 0
        while done < len(room):  # A read may give less than it is asked for.
            try:
                count = os.preadv(self.descriptor, (room[done:],), offset + done)
            except OSError as error:
                error.filename = self.path
                raise
            if not count:
                reason = f"the file was cut: it ends at byte {offset + done}, within a picture; copy it again"
                raise OSError(errno.ENODATA, reason, self.path)
            done += count

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Returns bytes from `offset` on; raises OSError as `read_into`."""
        room = bytearray(num_bytes)
        self.read_into(offset, memoryview(room))
        return bytes(room)


def read_rows(files: Iterable[File], offsets: Iterable[int], rows: np.ndarray) -> None:
    """Fills row i of `rows`, a contiguous array of bytes, from file i at offset i; raises OSError."""
    if not len(rows):
        return
    room, preadv = memoryview(rows.reshape(-1)), os.preadv
    size = len(room) // len(rows)
    for start, file, offset in zip(range(0, len(room), size), files, offsets, strict=True):
        row = room[start : start + size]
        try:
            count = preadv(file.descriptor, (row,), offset)
        except OSError:
            count = 0
        if count != size:
            file.read_into(offset, row)


def keep_open(open_fn: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns `open_fn`, a function of a path, which keeps its results for the paths used most recently.

    It keeps as many as a share of the process's limit of open files. If that limit is reached all the same, it lets
    all go and tries once more.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN if soft == resource.RLIM_INFINITY else max(1, min(MOST_OPEN, soft // SHARE))

    def opened(path: str) -> Any:
        try:
            return open_fn(path)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        kept.cache_clear()
        return open_fn(path)

    kept = functools.lru_cache(maxsize=most)(opened)
    return kept


def read_through(path: str) -> None:
    """Reads a whole file; raises OSError if its disk fails."""
    file, num_bytes = File(path), 2**20
    size = file.num_bytes
    for offset in range(0, size, num_bytes):
        file.read(offset, min(num_bytes, size - offset))
