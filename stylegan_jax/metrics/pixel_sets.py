"""What metrics of pixels keep of a set of images: patches, or how alike pairs are. Counterparts of `collected`."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from stylegan_jax.metrics import collected, ms_ssim, swd


@dataclasses.dataclass(frozen=True)
class Patches:
    """Patches of each level of the images' pyramids.

    Attributes:
        half_of: half that each image is dealt to, 0 or 1. int8 [n]
        by_level: patches by the level's resolution, px. float32 [n, p, h, w, c]
    """

    half_of: np.ndarray
    by_level: Mapping[int, np.ndarray]

    def __len__(self) -> int:
        return len(self.half_of)

    def first(self, n: int) -> "Patches":
        """Returns the patches of the first `n` images."""
        return self._of(slice(0, n))

    def half(self, number: int) -> "Patches":
        """Returns the patches of half 0 or 1."""
        return self._of(np.flatnonzero(self.half_of == number))

    def _of(self, chosen: slice | np.ndarray) -> "Patches":
        return Patches(self.half_of[chosen], _Chosen(self.by_level, chosen))


class _Chosen(Mapping[int, np.ndarray]):
    """Patches of some images alone; those of a level are copied when they are asked for."""

    def __init__(self, by_level: Mapping[int, np.ndarray], chosen: slice | np.ndarray) -> None:
        self._by_level, self._chosen = by_level, chosen

    def __getitem__(self, r: int) -> np.ndarray:
        return self._by_level[r][self._chosen]

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_level)

    def __len__(self) -> int:
        return len(self._by_level)


class PatchCollector:
    """Takes the patches of a set of images a batch at a time; they lie in files without names."""

    def __init__(self, half_of: np.ndarray, shape: tuple[int, int, int], folder: pathlib.Path, seed: int = 0) -> None:
        """Makes room for patches of images [h, w, c], at places drawn from `seed`."""
        n, resolution, channels = len(half_of), shape[0], shape[2]
        self._half_of, self._num_done = half_of, 0
        self._corners = swd.draw_corners(n, resolution, seed)
        size = {r: (places.shape[1], swd.PATCH_PX, swd.PATCH_PX, channels) for r, places in self._corners.items()}
        self._rows = {r: collected.room((n, *shape), folder) for r, shape in size.items()}

    def add(self, images: np.ndarray) -> None:
        """Adds the patches of the next images. uint8 [k, h, w, c]"""
        place = slice(self._num_done, self._num_done + len(images))
        for r, found in swd.patches(images, {r: corners[place] for r, corners in self._corners.items()}).items():
            self._rows[r][place] = found
        self._num_done += len(images)

    def finish(self) -> Patches:
        """Returns what was collected."""
        return Patches(self._half_of, self._rows)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """How alike images 0 and 1, 2 and 3, and so on are.

    Attributes:
        similarities: their MS-SSIM. float64 [n // 2]
    """

    similarities: np.ndarray

    def __len__(self) -> int:
        return 2 * len(self.similarities)

    def first(self, n: int) -> "Pairs":
        """Returns the pairs among the first `n` images."""
        return Pairs(self.similarities[: n // 2])


class PairCollector:
    """Compares the images of pairs a batch at a time."""

    def __init__(self) -> None:
        self._similarities: list[np.ndarray] = []
        self._odd: np.ndarray | None = None  # An image whose partner is yet to come. [1, h, w, c]

    def add(self, images: np.ndarray) -> None:
        """Adds the next images. uint8 [k, h, w, c]"""
        images = images if self._odd is None else np.concatenate([self._odd, images])
        even = len(images) // 2 * 2
        self._odd = images[even:] if even < len(images) else None
        if even:
            self._similarities.append(ms_ssim.ms_ssim(images[0:even:2], images[1:even:2]))

    def finish(self) -> Pairs:
        """Returns what was collected; an image without a partner does not count."""
        return Pairs(np.concatenate(self._similarities))
