"""One interface for pictures as their owners have them, whatever they lie in."""

import contextlib
import dataclasses
import hashlib
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.data import labels
from stylegan_jax.runs.text import printable

_PROBES = 16  # Places of a file that its identity looks at.
_PROBE_BYTES = 2**16


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures of any sizes and formats, each to be read by its number."""

    path: str  # What data.source says; errors name pictures below it.
    names: Sequence[str]  # Names of the pictures, with / between folders; unique.
    identities: Sequence[str]  # What differs if a picture does: its size, its CRC or its container's.
    # Returns picture i: its encoded file, or decoded uint8 [h, w] or [h, w, c]. Called from threads. Raises
    # ValueError, OSError.
    read_fn: Callable[[int], bytes | np.ndarray]
    classes: labels.Classes | None = None  # Classes of all pictures, where the source itself knows them.
    # Writes pictures that are squares already, of indices [n], into uint8 [n, size, size, channels]; its shape says at
    # which size. Called from threads. Raises ValueError, OSError.
    read_many_fn: Callable[[np.ndarray, np.ndarray], None] | None = None
    sizes: tuple[int, ...] = ()  # Sizes of read_many_fn, px, ascending powers of two; empty if it draws any size.
    channels: int = 3  # Channels of read_many_fn.
    square_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # Data settings that made squares.
    others: Mapping[str, int] = dataclasses.field(default_factory=dict)  # Number of other files, by lower-case ending.
    unused_labels: str | None = None  # Reason why the labels that it has are not classes.
    notes: tuple[str, ...] = ()  # Sentences, with the path, on what was passed over or is unusual.
    close_fn: Callable[[], None] = lambda: None  # Gives open files back, if it holds any.
    # Returns whether the pictures of these numbers are still those that the identities were taken from; those that lie
    # in no file are.
    unchanged_fn: Callable[[Iterable[int]], bool] = lambda indices: True

    @property
    def length(self) -> int:
        """Number of pictures."""
        return len(self.names)

    @property
    def num_ignored(self) -> int:
        """Number of files that are not pictures."""
        return sum(self.others.values())

    def full_name(self, index: int) -> str:
        """Returns the path of picture `index`, through the file that it lies in."""
        return printable(f"{self.path}/{self.names[index]}")

    def fingerprint(self, indices: Iterable[int] | None = None) -> str:
        """Returns 16 hexadecimal digits that differ if the pictures (`indices`, or all) do."""
        chosen = range(self.length) if indices is None else indices
        return hash_lines(f"{self.names[i]}\0{self.identities[i]}" for i in chosen)


def hash_lines(lines: Iterable[str]) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the lines."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def file_identity(path: str | pathlib.Path) -> str:
    """Returns a file's size and the CRC of 16 places in it, which change when a file of many pictures is made anew.

    A change between those places goes unseen, but the file is not read whole, which can take an hour.
    """
    size = pathlib.Path(path).stat().st_size
    crc = 0
    with pathlib.Path(path).open("rb") as file:
        for place in sorted({max(0, (size - _PROBE_BYTES) * i // (_PROBES - 1)) for i in range(_PROBES)}):
            file.seek(place)
            crc = zlib.crc32(file.read(_PROBE_BYTES), crc)
    return f"{size} {crc:08x}"


def unchanged_since_now(paths: Iterable[str | pathlib.Path]) -> Callable[[Iterable[int]], bool]:
    """Returns the unchanged_fn of a source that lies in these files; call it before they are read.

    A file is unchanged if its size, its time of change and its inode are the same.
    """
    files = [pathlib.Path(path).expanduser() for path in paths]

    def states() -> list[tuple[int, int, int] | None]:
        return [_state(file) for file in files]

    before = states()
    return lambda indices: states() == before


def _state(file: pathlib.Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


@contextlib.contextmanager
def readable(path: str, kind: str) -> Iterator[None]:
    """Turns what a library raises at a file, a dozen unrelated types, into a ValueError that names it."""
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as {kind}: {reason}. Check the path, or copy it again.") from error
