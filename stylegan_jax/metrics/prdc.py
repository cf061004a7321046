"""Precision and recall, density and coverage: which images lie in the manifold of the other set.

The manifold of a set is the union of balls around its points, each reaching to the point's k-th nearest neighbour in
the set. Precision is the share of fakes in the manifold of the reals; recall is the share of reals in that of the
fakes. Higher is better. Recall of bad fakes is high too, since their balls are large: show all numbers together, and
beside them those of one half of the reals against the other.

Two definitions differ where distances are equal, as between copies of one image: a point on the surface of a ball is
inside by Kynkaanniemi et al. and StyleGAN (`precision_recall`), and outside by Naeem et al. (`prdc`).

Squared distances are computed on the device in float64 and rounded to float32, so that equal ones stay equal.

Sources: Kynkaanniemi et al. 2019, Sec. 3; Naeem et al. 2020, Sec. 3.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import feature_sets

_ROUNDING = 1e-12  # A squared distance below this share of |x|^2 + |y|^2 is rounding: the two points are the same.


def precision_recall(fakes: np.ndarray, reals: np.ndarray, num_neighbours: int = 3) -> dict[str, float]:
    """Returns precision and recall with `distance <= radius`: `pr50k3` of 50,000 images and VGG16's features.

    Differs: StyleGAN2-ADA and StyleGAN3 round the features and distances to float16.

    Args:
        fakes: float. [n, d], n > num_neighbours
        reals: float. [m, d], m > num_neighbours
        num_neighbours: k, a ball's own point not counted. At least 1.

    Raises:
        ValueError: a set is malformed or too small.

    Source: Kynkaanniemi et al. 2019, Eqs. 1 and 2; StyleGAN3, metrics/precision_recall.py; torch-fidelity.
    """
    found = _shares(fakes, reals, num_neighbours, jnp.less_equal)
    return {name: found[name] for name in ("precision", "recall")}


def prdc(fakes: np.ndarray, reals: np.ndarray, num_neighbours: int = 5) -> dict[str, float]:
    """Returns precision, recall, density and coverage with `distance < radius`.

    Density is the number of reals' balls that hold a fake, over k, in the mean over the fakes; it may exceed 1.
    Coverage is the share of reals whose ball holds a fake. Arguments and errors are those of `precision_recall`.

    Source: Naeem et al. 2020, Eqs. 3 to 6; its code, prdc/prdc.py.
    """
    return _shares(fakes, reals, num_neighbours, jnp.less)


def _shares(fakes: np.ndarray, reals: np.ndarray, k: int, is_inside: Callable) -> dict[str, float]:
    """Returns all four numbers; `is_inside` compares distances with radii."""
    fakes, reals = feature_sets.checked_pair(fakes, reals)
    if not 1 <= k < min(len(fakes), len(reals)):
        raise ValueError(
            f"num_neighbours is {k}, and there are {len(fakes)} fakes and {len(reals)} reals; "
            "use at least 1, and more images of each than neighbours."
        )
    num_balls = np.zeros(len(fakes), np.int64)  # Balls of reals around each fake.
    num_recalled = num_covered = 0
    with jax.enable_x64(True):
        all_fakes, all_reals = (jnp.asarray(x, jnp.float64) for x in (fakes, reals))
        fake_radii, real_radii = _radii(all_fakes, k), _radii(all_reals, k)
        for rows in feature_sets.blocks(len(reals), len(fakes)):
            counts = _counts(all_reals[rows], all_fakes, real_radii[rows], fake_radii, is_inside=is_inside)
            num_balls += np.asarray(counts[0])
            num_recalled += int(counts[1])
            num_covered += int(counts[2])
    return {
        "precision": float((num_balls > 0).mean()),
        "recall": num_recalled / len(reals),
        "density": float(num_balls.mean()) / k,
        "coverage": num_covered / len(reals),
    }


def _squared_distances(rows: jax.Array, points: jax.Array) -> jax.Array:
    """Returns |x - y|^2 = |x|^2 + |y|^2 - 2 x . y of each row x and point y. float32 [b, n]"""
    lengths = jnp.square(rows).sum(axis=1)[:, None] + jnp.square(points).sum(axis=1)[None, :]
    squared = lengths - 2 * rows @ points.T
    return jnp.where(squared < _ROUNDING * lengths, 0, squared).astype(jnp.float32)


@functools.partial(jax.jit, static_argnames="k")
def _nearest(rows: jax.Array, points: jax.Array, *, k: int) -> jax.Array:
    """Returns each row's squared distances to itself and to its k nearest other points. [b, k + 1]"""
    return -jax.lax.top_k(-_squared_distances(rows, points), k + 1)[0]


def _radii(points: jax.Array, k: int) -> np.ndarray:
    """Returns the squared radius of each point's ball. float32 [n]"""
    radii = []
    for rows in feature_sets.blocks(len(points), len(points)):
        # XLA sorts whole rows if the last column is taken inside of the compiled function: forty times as long.
        radii.append(np.asarray(_nearest(points[rows], points, k=k))[:, k])
    return np.concatenate(radii)


@functools.partial(jax.jit, static_argnames="is_inside")
def _counts(
    reals: jax.Array, fakes: jax.Array, real_radii: jax.Array, fake_radii: jax.Array, *, is_inside: Callable
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the balls around each fake [n], the reals in a fake's ball, and the reals whose ball holds a fake."""
    distances = _squared_distances(reals, fakes)  # [b, n]
    in_real_ball = is_inside(distances, real_radii[:, None])
    in_fake_ball = is_inside(distances, fake_radii[None, :])
    return in_real_ball.sum(axis=0), in_fake_ball.any(axis=1).sum(), in_real_ball.any(axis=1).sum()
