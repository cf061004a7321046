"""The metrics of the training loop: cheap, without downloads, on images in memory.

Keys of the results: fd_faces; swd_16, swd_32, ... for each level of the pyramid; swd, their mean. Lower is better.
Images below 16 px have no swd. The numbers depend on how many images there are, and on the resolution.
"""

import dataclasses

import numpy as np

from stylegan_jax.metrics import fd_faces, frechet, swd

_NUM_PATCHES = 16  # Patches of an image and level; the paper's 128 take eight times as long to sort.


@dataclasses.dataclass(frozen=True)
class RealStatistics:
    """What fakes are compared with.

    Attributes:
        shape: height, width and channels of the reals.
        seed: of the patches' places and the projections' directions.
        features: statistics of the attribute network's features.
        descriptors: patches by level; empty below 16 px.
    """

    shape: tuple[int, int, int]
    seed: int
    features: frechet.Statistics
    descriptors: dict[int, np.ndarray]


def real_statistics(reals: np.ndarray, seed: int) -> RealStatistics:
    """Returns what `quality` needs of the reals, to be computed once a resolution.

    Args:
        reals: uint8. [n, h, w, c], h = w, a power of two
        seed: of the metrics' random draws; results of one seed can be compared.
    """
    features = frechet.statistics(fd_faces.features(reals))
    return RealStatistics(reals.shape[1:], seed, features, _descriptors(reals, seed))


def quality(fakes: np.ndarray, real_stats: RealStatistics) -> dict[str, float]:
    """Returns the distances of the fakes from the reals, by the metric's name.

    Args:
        fakes: uint8, of the reals' resolution and channels. [n, h, w, c], n >= 2
        real_stats: of `real_statistics`.
    """
    if fakes.shape[1:] != real_stats.shape:
        raise ValueError(
            f"The fakes are {list(fakes.shape[1:])} and the reals {list(real_stats.shape)} (height, width, channels); "
            "compare images of one resolution."
        )
    features = frechet.statistics(fd_faces.features(fakes))
    metrics = {"fd_faces": frechet.frechet_distance(features, real_stats.features)}
    if not real_stats.descriptors:
        return metrics
    by_level = swd.swd(_descriptors(fakes, real_stats.seed), real_stats.descriptors, real_stats.seed)
    metrics |= {f"swd_{resolution}": by_level[resolution] for resolution in sorted(by_level)}
    return metrics | {"swd": float(np.mean(list(by_level.values())))}


def references(reals: np.ndarray, heldout: np.ndarray, real_stats: RealStatistics) -> dict[str, dict[str, float]]:
    """Returns the quality of a perfect and of a bad generator, to read a run's numbers by.

    Args:
        reals: uint8, what `real_stats` are of. [n, h, w, c]
        heldout: uint8, other images of the same kind; as many as the fakes, or the floor is off. [m, h, w, c]
        real_stats: of `real_statistics`.

    Returns:
        "floor": the quality of the held-out reals. "bad": the quality of the reals reduced to 4x4 colours.
    """
    return {"floor": quality(heldout, real_stats), "bad": quality(coarse(reals), real_stats)}


def coarse(images: np.ndarray, cells: int = 4) -> np.ndarray:
    """Returns images reduced to cells x cells mean colours, each filling its square.

    Args:
        images: uint8. [n, h, w, c], h and w divisible by cells
    """
    n, h, w, c = images.shape
    size = h // cells
    means = images.reshape(n, cells, size, cells, w // cells, c).mean(axis=(2, 4))
    colours = np.round(means).astype(np.uint8)
    return colours.repeat(size, axis=1).repeat(w // cells, axis=2)


def _descriptors(images: np.ndarray, seed: int) -> dict[int, np.ndarray]:
    """Returns the patches of images, or none of images too small for them."""
    if images.shape[1] < swd.MIN_RESOLUTION:
        return {}
    return swd.descriptors(images, seed, num_patches=_NUM_PATCHES)
