"""Frechet distance between two sets of features, in float64 on the host.

    d = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 sqrt(S_1 S_2))

Source: Heusel et al. 2017, Eq. 6; official StyleGAN, metrics/frechet_inception_distance.py.
"""

import dataclasses

import numpy as np

from stylegan_jax.metrics import feature_sets


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What the distance needs to know about a set of features; `merge` joins two of them.

    Attributes:
        count: number of features seen, n.
        mean: their mean. float64 [d]
        scatter: sum over them of (x - mean) (x - mean)^T. float64 [d, d]
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, scatter / (count - 1). float64 [d, d]"""
        if self.count < 2:
            raise ValueError(f"A covariance needs at least 2 features, and there are {self.count}; use more images.")
        return self.scatter / (self.count - 1)


def statistics(features: np.ndarray) -> Statistics:
    """Returns the statistics of a batch of features.

    Args:
        features: any float dtype, all finite. [n, d], n >= 1
    """
    features = feature_sets.checked(features).astype(np.float64)
    mean = features.mean(axis=0)
    centered = features - mean[None]
    return Statistics(len(features), mean, centered.T @ centered)


def merge(first: Statistics, second: Statistics) -> Statistics:
    """Returns the statistics of both sets together.

    With delta = mean_2 - mean_1 and n = n_1 + n_2,

        mean = mean_1 + delta n_2 / n
        scatter = scatter_1 + scatter_2 + delta delta^T n_1 n_2 / n

    Source: Chan et al. 1979, Eqs. 2.1.
    """
    count = first.count + second.count
    delta = second.mean - first.mean
    mean = first.mean + delta * (second.count / count)
    scatter = first.scatter + second.scatter + np.outer(delta, delta) * (first.count * second.count / count)
    return Statistics(count, mean, scatter)


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Returns the Frechet distance between the normal distributions fitted to two sets, at least 0.

    With S_1 = F F^T, S_1 S_2 has the eigenvalues of F^T S_2 F, and the trace of its root is the sum of their roots.
    That matrix is symmetric and positive, also for singular covariances (fewer features than dimensions).

    Differs: the official code takes scipy.linalg.sqrtm of S_1 S_2 and drops the imaginary part.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"The two sets have {first.mean.size} and {second.mean.size} dimensions; use one feature network for both."
        )
    covariance_1, covariance_2 = first.covariance, second.covariance
    factor = _factor(covariance_1)
    product = factor.T @ covariance_2 @ factor
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    trace_of_sqrt = np.sqrt(np.maximum(eigenvalues, 0)).sum()  # Rounding makes zeros slightly negative.
    delta = first.mean - second.mean
    distance = delta @ delta + np.trace(covariance_1) + np.trace(covariance_2) - 2 * trace_of_sqrt
    return max(float(distance), 0.0)


def _factor(matrix: np.ndarray) -> np.ndarray:
    """Returns F with F F^T = matrix, which is symmetric and positive semidefinite. [d, d]"""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:  # It is singular.
        eigenvalues, vectors = np.linalg.eigh(matrix)
        return vectors * np.sqrt(np.maximum(eigenvalues, 0))[None]
