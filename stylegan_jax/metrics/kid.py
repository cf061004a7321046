"""Kernel Inception distance: the squared maximum mean discrepancy of two sets of features.

    k(x, y) = (x . y / d + 1)^3
    MMD^2 = mean of k(x, x') over x != x'  +  mean of k(y, y') over y != y'  -  2 mean of k(x, y)

Lower is better. The estimate is unbiased: it does not depend on the number of images, and is slightly negative for
equal sets as often as positive. Codes take the mean over random subsets, which is quoted as KID; which subsets is what
tells their definitions apart. All sums are float64, on the device.

Source: Binkowski et al. 2018, Sec. 4; its code, gan/compute_scores.py.
"""

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import feature_sets
from stylegan_jax.metrics.feature_sets import Estimate


def torch_fidelity(
    fakes: np.ndarray,
    reals: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> Estimate:
    """Returns torch-fidelity's KID, by subset: the same subsets for the same seed.

    Args:
        fakes: float. [n, d], n >= subset_size
        reals: float. [m, d], m >= subset_size
        num_subsets: at least 1.
        subset_size: at least 2.
        seed: seed of the subsets, by default torch-fidelity's.

    Raises:
        ValueError: a set is malformed, or smaller than a subset.

    Source: torch-fidelity 0.4, metric_kid.py; its first input is the fakes.
    """
    fakes, reals = feature_sets.checked_pair(fakes, reals)
    smaller = min(len(fakes), len(reals))
    if subset_size > smaller:
        raise ValueError(
            f"subset_size is {subset_size}, and there are {len(fakes)} fakes and {len(reals)} reals; "
            f"use more images, or a subset_size of at most {smaller}."
        )
    return _over_subsets(fakes, reals, num_subsets, subset_size, seed)


def stylegan2_ada(
    fakes: np.ndarray, reals: np.ndarray, seed: int, num_subsets: int = 100, max_subset_size: int = 1000
) -> Estimate:
    """Returns the KID of StyleGAN2-ADA and StyleGAN3, `kid50k` or `kid50k_full` by which images are given.

    It is torch-fidelity's but that a set of fewer than max_subset_size images makes the subsets smaller.

    Differs: the official code draws the subsets from NumPy's global generator; here the seed is given.

    Source: StyleGAN3, metrics/kernel_inception_distance.py; metric_main.py for the counts.
    """
    fakes, reals = feature_sets.checked_pair(fakes, reals)
    return _over_subsets(fakes, reals, num_subsets, min(len(fakes), len(reals), max_subset_size), seed)


def squared_mmd(fakes: np.ndarray, reals: np.ndarray) -> float:
    """Returns the unbiased squared discrepancy of all of two sets, in blocks: about n^2 + m^2 + n m products of d.

    Args:
        fakes: float. [n, d], n >= 2
        reals: float. [m, d], m >= 2
    """
    fakes, reals = feature_sets.checked_pair(fakes, reals)
    n, m = len(fakes), len(reals)
    if min(n, m) < 2:
        raise ValueError(f"A kernel distance needs at least 2 fakes and 2 reals, and there are {n} and {m}.")
    with jax.enable_x64(True):
        x, y = jnp.asarray(fakes, jnp.float64), jnp.asarray(reals, jnp.float64)
        within_x = (_sum_of_kernels(x, x) - float(_sum_of_diagonal(x))) / (n * (n - 1))
        within_y = (_sum_of_kernels(y, y) - float(_sum_of_diagonal(y))) / (m * (m - 1))
        return within_x + within_y - 2 * _sum_of_kernels(x, y) / (n * m)


def _over_subsets(fakes: np.ndarray, reals: np.ndarray, num_subsets: int, size: int, seed: int) -> Estimate:
    """Returns the estimate over subsets drawn without replacement: for each one the fakes first, then the reals."""
    if num_subsets < 1 or size < 2:
        raise ValueError(f"There are {num_subsets} subsets of {size} images; use at least 1 subset of at least 2.")
    rng = np.random.RandomState(seed)
    distances = []
    for _ in range(num_subsets):
        x = fakes[rng.choice(len(fakes), size, replace=False)]
        y = reals[rng.choice(len(reals), size, replace=False)]
        distances.append(squared_mmd(x, y))
    return Estimate(np.array(distances))


def _kernel(inner: jax.Array, d: int) -> jax.Array:
    """Returns k - 1 for inner products x . y; the 1 cancels in MMD^2, and would only cost digits."""
    scaled = inner / d
    return scaled * (scaled * (scaled + 3) + 3)


@jax.jit
def _sum_of_block(rows: jax.Array, points: jax.Array) -> jax.Array:
    return _kernel(rows @ points.T, points.shape[1]).sum()


@jax.jit
def _sum_of_diagonal(points: jax.Array) -> jax.Array:
    return _kernel(jnp.square(points).sum(axis=1), points.shape[1]).sum()


def _sum_of_kernels(x: jax.Array, y: jax.Array) -> float:
    """Returns the sum of k - 1 over all pairs of a row of x [n, d] and a row of y [m, d]."""
    return sum(float(_sum_of_block(x[rows], y)) for rows in feature_sets.blocks(len(x), len(y)))
