"""CLIP maximum mean discrepancy: how far two sets of CLIP's embeddings are apart, by a Gaussian kernel.

    k(x, y) = exp(-|x - y|^2 / (2 SIGMA^2))
    CMMD = SCALE (mean of k(x, x') + mean of k(y, y') - 2 mean of k(x, y))

Lower is better. The means are over all pairs, also of an image with itself, as in the published code: this estimate is
biased, never negative, and 0 for equal sets. The published numbers are of 30,000 images a set, with the embeddings of
CLIP ViT-L/14 for 336 px. All sums are float64, on the device.

Source: Jayasumana et al. 2024, Sec. 4; google-research, cmmd/distance.py, which computes in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import feature_sets

SIGMA = 10.0
SCALE = 1000.0


def cmmd(fakes: np.ndarray, reals: np.ndarray) -> float:
    """Returns the CMMD of two sets, in blocks: about n^2 + m^2 + n m products of d.

    Args:
        fakes: embeddings of length 1, from `features.clip`. [n, d], n >= 1
        reals: the same. [m, d], m >= 1

    Raises:
        ValueError: a set is malformed, or the two have different d.
    """
    fakes, reals = feature_sets.checked_pair(fakes, reals)
    with jax.enable_x64(True):
        x, y = jnp.asarray(fakes, jnp.float64), jnp.asarray(reals, jnp.float64)
        return SCALE * (_mean_of_kernels(x, x) + _mean_of_kernels(y, y) - 2 * _mean_of_kernels(x, y))


@jax.jit
def _sum_of_block(rows: jax.Array, points: jax.Array) -> jax.Array:
    """Returns the sum of k - 1: the 1 cancels in the distance, and would only cost digits."""
    squares = (jnp.square(a).sum(axis=1) for a in (rows, points))
    squared = jnp.maximum(next(squares)[:, None] + next(squares)[None] - 2 * rows @ points.T, 0)
    return jnp.expm1(-squared / (2 * SIGMA**2)).sum()


def _mean_of_kernels(x: jax.Array, y: jax.Array) -> float:
    """Returns the mean of k - 1 over all pairs of a row of x [n, d] and a row of y [m, d]."""
    parts = feature_sets.blocks(len(x), len(y))
    return sum(float(_sum_of_block(x[rows], y)) for rows in parts) / (len(x) * len(y))
