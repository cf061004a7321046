"""Monge Inception distance: the squared sliced 2-Wasserstein distance of two sets of features.

    MIND = 3 d mean over directions u of mean over j of (sort(u . x)_j - sort(u . y)_j)^2

Lower is better; 0 means the same features. Unlike the Frechet distance it assumes no normal distribution.

Source: Berthet et al. 2026 (arXiv 2605.06797); torch-fidelity, metric_mind.py.
"""

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import feature_sets


def mind(fakes: np.ndarray, reals: np.ndarray, seed: int, num_projections: int = 1000) -> float:
    """Returns the Monge Inception distance.

    A random subset of the larger set is compared with the smaller one, so the numbers of images are equal. Projections
    are float64, on the device; NumPy sorts them.

    Differs: torch-fidelity draws the subset and the directions from PyTorch's generator, and projects in float32.

    Args:
        fakes: float. [n, d]
        reals: float. [m, d]
        seed: seed of the subset and of the directions.
        num_projections: number of directions, at least 1.

    Raises:
        ValueError: a set is malformed, or there is no direction.
    """
    fakes, reals = feature_sets.checked_pair(fakes, reals)
    if num_projections < 1:
        raise ValueError(f"num_projections is {num_projections}; use at least 1, by default 1000.")
    rng = np.random.default_rng(seed)
    n = min(len(fakes), len(reals))
    fakes, reals = (x if len(x) == n else x[rng.choice(len(x), n, replace=False)] for x in (fakes, reals))
    d = fakes.shape[1]
    directions = rng.standard_normal((num_projections, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    total = 0.0
    with jax.enable_x64(True):
        x, y = jnp.asarray(fakes, jnp.float64), jnp.asarray(reals, jnp.float64)
        for part in feature_sets.blocks(num_projections, n):
            total += float(np.square(_sorted(directions[part], x) - _sorted(directions[part], y)).sum())
    return 3 * d * total / (num_projections * n)


@jax.jit
def _projections(directions: jax.Array, points: jax.Array) -> jax.Array:
    return directions @ points.T


def _sorted(directions: np.ndarray, points: jax.Array) -> np.ndarray:
    """Returns the points [n, d] along each direction [p, d], in order. [p, n]"""
    return np.sort(np.asarray(_projections(directions, points)), axis=1)
