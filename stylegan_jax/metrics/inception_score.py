"""Inception score: how sure a classifier is of each image, and how many classes the images have.

    IS = exp(mean over x of KL(p(y | x) || p(y)))

Higher is better: from 1 to the number of classes. The images are cut into splits, and each split has its own p(y), so
the score depends on the number of images in a split.

Source: Salimans et al. 2016, Sec. 4.
"""

import numpy as np

from stylegan_jax.metrics import feature_sets
from stylegan_jax.metrics.feature_sets import Estimate

_BLOCK = 1024  # Images whose probabilities are held at a time.


def stylegan2_ada(logits: np.ndarray, num_splits: int = 10) -> Estimate:
    """Returns the inception score, by split, of images in the order in which they come: `is50k` of 50,000 fakes.

    Args:
        logits: FID's Inception network's, without the bias of its last layer. float [n, num_classes], n >= num_splits
        num_splits: splits i n / s to (i + 1) n / s, rounded down. At least 1.

    Raises:
        ValueError: the logits are malformed, or there are fewer than splits.

    Source: StyleGAN3, metrics/inception_score.py.
    """
    logits = feature_sets.checked(logits, "logits")
    n = len(logits)
    if not 1 <= num_splits <= n:
        raise ValueError(f"num_splits is {num_splits}, and there are {n} images; use 1 to {n} splits.")
    edges = [i * n // num_splits for i in range(num_splits + 1)]
    return Estimate(np.array([_score(logits[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]))


def torch_fidelity(logits: np.ndarray, num_splits: int = 10, seed: int = 2020) -> Estimate:
    """Returns torch-fidelity's inception score: images are shuffled before they are cut into splits.

    Arguments and errors are those of `stylegan2_ada`; seed is the shuffle's.

    Source: torch-fidelity 0.4, metric_isc.py.
    """
    logits = feature_sets.checked(logits, "logits")
    return stylegan2_ada(logits[np.random.RandomState(seed).permutation(len(logits))], num_splits)


def _score(logits: np.ndarray) -> float:
    """Returns the score of one split: the mean of sum p log p, less sum q log q of the mean q of all p, as exp."""
    sum_p, sum_p_log_p = np.zeros(logits.shape[1]), 0.0
    for first in range(0, len(logits), _BLOCK):
        block = logits[first : first + _BLOCK].astype(np.float64)
        block -= block.max(axis=1, keepdims=True)
        log_p = block - np.log(np.exp(block).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        sum_p += p.sum(axis=0)
        sum_p_log_p += float((p * log_p).sum())
    q = sum_p[sum_p > 0] / len(logits)
    return float(np.exp(sum_p_log_p / len(logits) - (q * np.log(q)).sum()))
