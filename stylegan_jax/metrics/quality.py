"""The metrics of the training loop: cheap, without downloads.

Keys of the results: fd_faces; swd_16, swd_32, ... for each level of the pyramid; swd, their mean. Lower is better.
Images below 16 px have no swd. The numbers depend on how many images there are, and on the resolution.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from stylegan_jax.metrics import fd_faces, frechet, swd

_NUM_PATCHES = 16  # Patches of an image and level; the paper's 128 take eight times as long to sort.


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What the distances need to know about a set of images.

    Attributes:
        shape: height, width and channels of the images.
        seed: seed of the patches' places and of the projections' directions.
        features: statistics of the attribute network's features.
        descriptors: patches by level; empty below 16 px.
    """

    shape: tuple[int, int, int]
    seed: int
    features: frechet.Statistics
    descriptors: dict[int, np.ndarray]


def statistics(batches: Iterable[np.ndarray], num_images: int, seed: int) -> Statistics:
    """Returns the statistics of a set of images that comes in batches; one of them is held at a time.

    Args:
        batches: uint8. [k, h, w, c] each, h = w, a power of two
        num_images: number of images in all batches together, at least 2.
        seed: seed of the metrics' random draws; results of one seed can be compared.

    Raises:
        ValueError: there are fewer or more images.
    """
    shape, features, found, corners, done = (0, 0, 0), None, list[dict[int, np.ndarray]](), dict[int, np.ndarray](), 0
    for images in batches:
        if done + len(images) > num_images:
            raise ValueError(f"there are more images than the {num_images} that were announced.")
        if not done:
            shape = images.shape[1:]
            if shape[0] >= swd.MIN_RESOLUTION:
                corners = swd.draw_corners(num_images, shape[0], seed, num_patches=_NUM_PATCHES)
        part = frechet.statistics(fd_faces.features(images))
        features = frechet.merge(features, part) if features else part
        if corners:
            found.append(swd.patches(images, {r: c[done : done + len(images)] for r, c in corners.items()}))
        done += len(images)
    if done != num_images:
        raise ValueError(f"there are {done} images, fewer than the {num_images} that were announced.")
    joined = {r: np.concatenate([batch[r] for batch in found]) for r in corners}
    return Statistics(shape, seed, features, swd.descriptors(joined))


def distances(fakes: Statistics, reals: Statistics) -> dict[str, float]:
    """Returns the distances of the fakes from the reals, by the metric's name.

    Raises:
        ValueError: the two differ in resolution or channels.
    """
    if fakes.shape != reals.shape:
        raise ValueError(
            f"The fakes are {list(fakes.shape)} and the reals {list(reals.shape)} (height, width, channels); "
            "compare images of one resolution."
        )
    metrics = {"fd_faces": frechet.frechet_distance(fakes.features, reals.features)}
    if not reals.descriptors:
        return metrics
    by_level = swd.distances(fakes.descriptors, reals.descriptors, reals.seed)
    metrics |= {f"swd_{resolution}": by_level[resolution] for resolution in sorted(by_level)}
    return metrics | {"swd": float(np.mean(list(by_level.values())))}


def colours(images: np.ndarray, cells: int = 4) -> np.ndarray:
    """Returns images reduced to cells x cells mean colours: what a bad generator makes. uint8 [n, cells, cells, c]

    Args:
        images: uint8. [n, h, w, c], h and w divisible by cells
    """
    n, h, w, c = images.shape
    means = images.reshape(n, cells, h // cells, cells, w // cells, c).mean(axis=(2, 4))
    return np.round(means).astype(np.uint8)
