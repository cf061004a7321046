"""The ladder's rungs: what a generator can do wrong, done to real pictures."""

import dataclasses
import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from experiments.metrics_ladder.sets import Pool
from stylegan_jax.metrics import quality

NUM_MEMORISED = 64

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# ---- changes of pictures: uint8 [n, h, w, c] to the same


def noise(images: np.ndarray, rng: np.random.Generator, *, deviation: float) -> np.ndarray:
    """Returns pictures with normal noise of a standard deviation of `deviation` of 255 on every number."""
    return _rounded(images + rng.normal(0, deviation, images.shape))


def blur(images: np.ndarray, _: np.random.Generator, *, deviation_px: float) -> np.ndarray:
    """Returns pictures convolved with a Gaussian; the edge's pixels continue outwards."""
    reach = int(np.ceil(4 * deviation_px))
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation_px**2))
    blurred = images.astype(np.float64)
    for axis in (1, 2):
        size = images.shape[axis]
        padded = np.pad(blurred, [(reach, reach) if a == axis else (0, 0) for a in range(4)], mode="edge")
        parts = (tap * padded.take(range(k, k + size), axis) for k, tap in enumerate(taps / taps.sum()))
        blurred = sum(parts)
    return _rounded(blurred)


def jpeg(images: np.ndarray, _: np.random.Generator, *, quality: int) -> np.ndarray:
    """Returns pictures as they are after compression as JPEG."""
    return np.stack([_decoded(_encoded(image, quality)) for image in images]).reshape(images.shape)


def flip(images: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Returns pictures with left and right exchanged."""
    return images[:, :, ::-1]


def contrast(images: np.ndarray, _: np.random.Generator, *, factor: float) -> np.ndarray:
    """Returns pictures whose distance from their own mean is scaled."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return _rounded(mean + factor * (images - mean))


def tint(images: np.ndarray, _: np.random.Generator, *, shift: float) -> np.ndarray:
    """Returns RGB pictures with `shift` of 255 more red, and as much less blue."""
    return _rounded(images + np.array([shift, 0, -shift])[None, None, None])


def squares(images: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Returns pictures of 4x4 mean colours."""
    size = images.shape[1] // 4
    return quality.colours(images, 4).repeat(size, axis=1).repeat(size, axis=2)


def _rounded(numbers: np.ndarray) -> np.ndarray:
    return np.rint(numbers).clip(0, 255).astype(np.uint8)


def _encoded(image: np.ndarray, quality: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(image if image.shape[2] == 3 else image[..., 0]).save(file, "JPEG", quality=quality)
    return file


def _decoded(file: io.BytesIO) -> np.ndarray:
    return np.asarray(Image.open(file))


CHANGES: dict[str, Change] = {
    "noise of 2": functools.partial(noise, deviation=2),
    "noise of 16": functools.partial(noise, deviation=16),
    "blur of 0.5 px": functools.partial(blur, deviation_px=0.5),
    "blur of 1 px": functools.partial(blur, deviation_px=1),
    "JPEG of quality 90": functools.partial(jpeg, quality=90),
    "contrast x 0.9": functools.partial(contrast, factor=0.9),
    "tint of 4": functools.partial(tint, shift=4),
    "mirrored": flip,
    "4x4 colours": squares,
}

# ---- rungs


@dataclasses.dataclass(frozen=True)
class Rung:
    """A comparison of pictures of a pool with others.

    Attributes:
        name: what is wrong with the fakes.
        fakes: rows of the pool. int [n]
        reals: rows of the pool. int [n]
        change: what is done to the fakes; None for nothing.
    """

    name: str
    fakes: np.ndarray
    reals: np.ndarray
    change: Change | None = None


def rungs(pool: Pool, count: int, rng: np.random.Generator) -> list[Rung]:
    """Returns the ladder of a pool; each rung compares `count` pictures with `count` reals.

    The first `count` pictures are the reals, and the next ones those that are changed, so a generator of the latter
    would be perfect. What a fault leaves out is left out of all pictures that are no reals.

    Raises:
        ValueError: a fault leaves fewer than `count` pictures.
    """
    reals, others = np.arange(count), np.arange(count, len(pool.images))
    held_out = others[:count]
    found = [Rung("nothing: other reals", held_out, reals)]
    for name, change in CHANGES.items():
        if pool.images.shape[3] == 3 or name != "tint of 4":
            found.append(Rung(name, held_out, reals, change))
    for name, kept in pool.kept.items():
        left = others[kept[others]]
        if len(left) < count:
            raise ValueError(f"{pool.name}, {name!r} leaves {len(left)} pictures, and {count} are compared.")
        found.append(Rung(name, left[:count], reals))
    memorised = rng.choice(others, NUM_MEMORISED, replace=False)
    found += [
        Rung(f"{NUM_MEMORISED} pictures, repeated", rng.choice(memorised, count), reals),
        Rung("copies, against their originals", reals[::-1], reals),
        Rung("copies, against other reals", reals, held_out),
    ]
    return found


def floor(num_pictures: int, count: int, rng: np.random.Generator) -> Rung:
    """Returns a random choice of reals, and of as many others: what a perfect generator would get."""
    rows = rng.permutation(num_pictures)
    return Rung("floor", rows[:count], rows[count : 2 * count])
