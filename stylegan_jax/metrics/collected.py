"""The features of a set of images as metrics need them: rows in a file, and statistics of two random halves.

Memory stays constant in the number of images: rows go to a file without a name, which is gone when the process is, and
come back as a memory-mapped array. The halves are what the real-against-real floor of a metric compares.
"""

import dataclasses
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping

import numpy as np

from stylegan_jax.metrics import frechet

_BLOCK = 1024  # Images whose products are summed at a time.


@dataclasses.dataclass(frozen=True)
class Collected:
    """The features of a set of images.

    Attributes:
        half_of: half that each image is dealt to, 0 or 1. int8 [n]
        halves: statistics of the features of both halves.
        rows: features; None if only statistics are kept. float32 [n, d]
        logits: a classifier's; None if the network has none, or only statistics are kept. float32 [n, k]
    """

    half_of: np.ndarray
    halves: tuple[frechet.Statistics, frechet.Statistics]
    rows: np.ndarray | None = None
    logits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.half_of)

    @property
    def statistics(self) -> frechet.Statistics:
        """Statistics of all features."""
        return frechet.merge(*self.halves)

    def first(self, n: int) -> "Collected":
        """Returns the first `n` images alone; there must be rows, unless n is all."""
        if n == len(self):
            return self
        return of_rows(self.half_of[:n], self.rows[:n], None if self.logits is None else self.logits[:n])

    def half(self, number: int) -> "Collected":
        """Returns half 0 or 1 alone."""
        chosen = np.flatnonzero(self.half_of == number)
        none = _none(self.halves[0].mean.size)
        return Collected(
            np.full(len(chosen), number, np.int8),
            (self.halves[0], none) if number == 0 else (none, self.halves[1]),
            None if self.rows is None else self.rows[chosen],
            None if self.logits is None else self.logits[chosen],
        )


def of_rows(half_of: np.ndarray, rows: np.ndarray, logits: np.ndarray | None = None) -> Collected:
    """Returns what is collected of features that are at hand; the arguments are the fields of Collected."""
    sums = Sums(rows.shape[1])
    for first in range(0, len(rows), _BLOCK):
        sums.add(rows[first : first + _BLOCK], half_of[first : first + _BLOCK])
    return Collected(half_of, sums.halves(), rows, logits)


def deal(num_pictures: int, seed: int = 0) -> np.ndarray:
    """Returns to which of two halves each picture is dealt: as many to each, at random. int8 [num_pictures]"""
    half_of = np.arange(num_pictures, dtype=np.int8) % 2
    np.random.default_rng(seed).shuffle(half_of)
    return half_of


class Sums:
    """The statistics of two halves of a set of features, which come a few at a time."""

    def __init__(self, num_features: int) -> None:
        self._halves = [_none(num_features), _none(num_features)]
        self._waiting: tuple[list[np.ndarray], ...] = ([], [])

    def add(self, rows: np.ndarray, half_of: np.ndarray) -> None:
        """Adds features [k, d] of the halves [k]."""
        for number, waiting in enumerate(self._waiting):
            waiting.append(np.asarray(rows[half_of == number]))
            if sum(map(len, waiting)) >= _BLOCK:
                self._take(number)

    def halves(self) -> tuple[frechet.Statistics, frechet.Statistics]:
        """Returns the statistics of both halves."""
        self._take(0)
        self._take(1)
        return self._halves[0], self._halves[1]

    def _take(self, number: int) -> None:
        rows = [part for part in self._waiting[number] if len(part)]
        self._waiting[number].clear()
        if rows:
            self._halves[number] = frechet.merge(self._halves[number], frechet.statistics(np.concatenate(rows)))


class Collector:
    """Takes the features of a set of images a batch at a time."""

    def __init__(
        self, half_of: np.ndarray, sizes: Mapping[str, int], folder: pathlib.Path, keeps_rows: bool = True
    ) -> None:
        """Makes room for the images.

        Args:
            half_of: half that each image is dealt to, 0 or 1. int8 [n]
            sizes: numbers an image of "features", and of "logits" if there are any.
            folder: where the file of rows lies.
            keeps_rows: whether there are rows; otherwise statistics alone.

        Raises:
            OSError: there is no room for the rows.
        """
        self._half_of, self._num_done, self._sums = half_of, 0, Sums(sizes["features"])
        n = len(half_of)
        self._rows = {name: room((n, size), folder) for name, size in sizes.items()} if keeps_rows else {}

    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Adds the next images' "features" [k, d], and "logits" [k, classes] if there are any."""
        k = len(outputs["features"])
        place = slice(self._num_done, self._num_done + k)
        if not np.isfinite(outputs["features"]).all():
            raise ValueError(
                f"features of images {place.start} to {place.stop - 1} hold NaN or infinity: the network that made the "
                "images, or the weights of the feature network, are damaged."
            )
        for name, rows in self._rows.items():
            rows[place] = outputs[name]
        self._sums.add(outputs["features"], self._half_of[place])
        self._num_done += k

    def finish(self) -> Collected:
        """Returns what was collected."""
        assert self._num_done == len(self._half_of), "all images were added"
        return Collected(self._half_of, self._sums.halves(), self._rows.get("features"), self._rows.get("logits"))


def _none(num_features: int) -> frechet.Statistics:
    return frechet.Statistics(0, np.zeros(num_features), np.zeros((num_features, num_features)))


def room(shape: tuple[int, ...], folder: pathlib.Path) -> np.ndarray:
    """Returns room for float32 numbers in a file without a name: what is written there needs no memory.

    Raises:
        OSError: the folder's disk has no room for them.
    """
    num_bytes = 4 * math.prod(shape)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            if hasattr(os, "posix_fallocate"):  # Otherwise a disk that is full later would end the process.
                os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            text = f"{error.strerror}: {num_bytes / 1e9:.2g} GB of features have no room in"
            raise OSError(error.errno, text, str(folder)) from None
        return np.memmap(file, np.float32, "w+", shape=shape)
