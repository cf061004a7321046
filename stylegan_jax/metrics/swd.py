"""Sliced Wasserstein distance between image patches, at every scale.

Patches are drawn from each level of a Laplacian pyramid: the level of r px compares detail about as fine as a pixel at
that resolution. Lower is better; 0 means the same patches.

Source: Karras et al. 2018 (Progressive GAN), Sec. 5; official metrics/sliced_wasserstein.py.
"""

import concurrent.futures

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import batches

MIN_RESOLUTION = 16  # The pyramid's coarsest level, px.
PATCH_PX = 7  # Height and width of a patch.
_MOST_NUMBERS = 2**24  # Projections of one set that a thread holds at a time: 64 MiB.
_IMAGES_AT_A_TIME = 256  # Whose patches are squared in float64.
_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # Burt and Adelson's low-pass filter.


def levels(resolution: int) -> tuple[int, ...]:
    """Returns the resolutions of the pyramid of images of `resolution` px, finest first: resolution, ..., 32, 16."""
    if resolution < MIN_RESOLUTION or resolution & (resolution - 1):
        raise ValueError(
            f"The sliced Wasserstein distance needs images of a power of two of at least {MIN_RESOLUTION} px; "
            f"these have {resolution} px."
        )
    return tuple(2**k for k in range(resolution.bit_length() - 1, MIN_RESOLUTION.bit_length() - 2, -1))


def laplacian_pyramid(images: jax.Array, num_levels: int) -> list[jax.Array]:
    """Returns the images' band-pass levels, finest first; the last holds the remaining low frequencies.

    level_k = x_k - up(x_{k+1}), where x_{k+1} = down(x_k) and x_0 = images.

    Args:
        images: float32. [n, h, w, c]
        num_levels: at least 1.

    Returns:
        num_levels arrays, each half as high and wide as the one before.
    """
    pyramid = [images]
    for _ in range(num_levels - 1):
        smaller = _low_pass(pyramid[-1])[:, ::2, ::2]
        pyramid[-1] = pyramid[-1] - _pyramid_up(smaller)
        pyramid.append(smaller)
    return pyramid


def draw_corners(num_images: int, resolution: int, seed: int, *, num_patches: int = 128) -> dict[int, np.ndarray]:
    """Returns where patches begin, (y, x), by the level's resolution in px. int32 [num_images, num_patches, 2] each.

    Places are uniform, and a function of the seed, the number of images and the resolution.
    """
    rng = np.random.default_rng(seed)
    shape = num_images, num_patches, 2
    return {r: rng.integers(0, r - PATCH_PX + 1, shape, np.int32) for r in levels(resolution)}


def patches(images: np.ndarray, corners: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Returns the patches at `corners` of every pyramid level, by the level's resolution in px.

    Args:
        images: uint8. [n, h, w, c], h = w, a power of two of at least 16
        corners: places in these images, from `draw_corners`. [n, p, 2] each

    Returns:
        For each level, float32 [n, p, PATCH_PX, PATCH_PX, c].
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be uint8 [n, h, h, c], and are {images.dtype} {list(images.shape)}.")
    found = []
    for part in batches.slices(len(images), images.shape[1]):
        on_device = jax.device_put((images[part], [c[part] for c in corners.values()]))
        found.append(jax.device_get(_patches(*on_device)))
    return {r: np.concatenate(level) for r, level in zip(corners, zip(*found, strict=True), strict=True)}


def descriptors(patches_by_level: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Returns normalized patches: each colour channel of a level has mean 0 and standard deviation 1 over all of them.

    Differs: a channel without any contrast is left at 0, where the official code divides by 0.

    Args:
        patches_by_level: patches of all images of a set, from `patches`. [n, p, h, w, c] each

    Returns:
        For each level, float32 [n * p, h * w * c].
    """
    return {r: _normalized(found) for r, found in patches_by_level.items()}


def sliced_wasserstein(
    first: np.ndarray, second: np.ndarray, seed: int, *, num_repeats: int = 4, num_directions: int = 128
) -> float:
    """Returns the mean over random directions of the Wasserstein-1 distance between the projections.

    In one dimension it is the mean distance between the two sorted lists.

    Differs: the official code takes sets of one size only. Here the smaller one is read at the quantiles
    (i + 1/2) / n of the larger, which is exact where one size divides the other.

    Args:
        first: float32. [n, d]
        second: float32. [m, d]
        seed: seed of the directions.
        num_repeats: independent sets of directions, each of which a thread of its own takes.
        num_directions: directions in a set.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"The sets must have shapes [n, d] and [m, d], and have {list(first.shape)} and {list(second.shape)}."
        )
    rng = np.random.default_rng(seed)
    num_quantiles = max(len(first), len(second))
    step = max(1, _MOST_NUMBERS // num_quantiles)

    def one_repeat(directions: np.ndarray) -> float:
        total = 0.0
        for i in range(0, num_directions, step):
            sorted_1, sorted_2 = (
                _sorted_projections(x, directions[i : i + step], num_quantiles) for x in (first, second)
            )
            sorted_1 -= sorted_2
            total += np.abs(sorted_1, out=sorted_1).mean(axis=1, dtype=np.float64).sum()
        return total / num_directions

    directions = rng.standard_normal((num_repeats, num_directions, first.shape[1]))
    directions /= np.sqrt(np.square(directions).sum(axis=2, keepdims=True))
    with concurrent.futures.ThreadPoolExecutor(num_repeats) as pool:
        return float(np.mean(list(pool.map(one_repeat, directions.astype(np.float32)))))


def distances(first: dict[int, np.ndarray], second: dict[int, np.ndarray], seed: int) -> dict[int, float]:
    """Returns 1000 times the sliced Wasserstein distance of every level, by its resolution in px.

    Args:
        first: what `descriptors` returned for one set of images.
        second: the same for another of the same resolution.
        seed: seed of the directions.
    """
    if first.keys() != second.keys():
        raise ValueError(f"The sets have levels of {sorted(first)} px and of {sorted(second)} px; resize the images.")
    return {r: 1e3 * sliced_wasserstein(first[r], second[r], seed) for r in first}


@jax.jit
def _patches(images: jax.Array, corners: list[jax.Array]) -> list[jax.Array]:
    """Returns the patches at the corners (y, x) of each level. [n, p, PATCH_PX, PATCH_PX, c] a level"""
    pyramid = laplacian_pyramid(images.astype(jnp.float32), len(corners))
    offsets = jnp.arange(PATCH_PX)
    found = []
    for level, corner in zip(pyramid, corners, strict=True):
        n = jnp.arange(level.shape[0])[:, None, None, None]
        y = corner[:, :, 0, None, None] + offsets[None, None, :, None]  # [n, p, PATCH_PX, 1]
        x = corner[:, :, 1, None, None] + offsets[None, None, None, :]  # [n, p, 1, PATCH_PX]
        found.append(level[n, y, x])
    return found


def _normalized(found: np.ndarray) -> np.ndarray:
    """Returns [n, p, h, w, c] patches as [n * p, h * w * c], with each channel's mean 0 and deviation 1."""
    mean = found.mean(axis=(0, 1, 2, 3), dtype=np.float64)
    squares = np.zeros(found.shape[4])
    for first in range(0, len(found), _IMAGES_AT_A_TIME):
        part = found[first : first + _IMAGES_AT_A_TIME] - mean[None, None, None, None]
        squares += np.square(part, out=part).sum(axis=(0, 1, 2, 3))
    deviation = np.sqrt(squares / (found.size // found.shape[4]))
    scale = np.where(deviation > 0, deviation, 1)
    shifted = found - mean.astype(np.float32)[None, None, None, None]
    shifted /= scale.astype(np.float32)[None, None, None, None]
    return shifted.reshape(found.shape[0] * found.shape[1], -1)


def _sorted_projections(points: np.ndarray, directions: np.ndarray, num_quantiles: int) -> np.ndarray:
    """Returns the quantiles of the points along each direction. [num_directions, num_quantiles]"""
    projections = directions @ points.T
    projections.sort(axis=1)
    if len(points) == num_quantiles:
        return projections
    return projections[:, (np.arange(num_quantiles) * 2 + 1) * len(points) // (2 * num_quantiles)]


def _pyramid_up(images: jax.Array) -> jax.Array:
    """Returns the images doubled: zeros between the pixels, low-passed, times 4. [n, 2h, 2w, c]"""
    n, h, w, c = images.shape
    spread = jnp.zeros((n, 2 * h, 2 * w, c), images.dtype).at[:, ::2, ::2].set(images)
    return 4 * _low_pass(spread)


def _low_pass(images: jax.Array) -> jax.Array:
    """Returns the images convolved with the 5x5 filter, mirrored at the edges without repeating them."""
    for axis in (1, 2):
        size = images.shape[axis]
        padding = [(2, 2) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(images, padding, mode="reflect")
        images = sum(weight * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k, weight in enumerate(_KERNEL))
    return images
