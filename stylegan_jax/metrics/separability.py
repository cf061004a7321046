"""Linear separability: how well a hyperplane in latent space tells whether an image has an attribute.

    LS = 2 ^ (sum over attributes of H(Y | X))

Y is the classifier's decision on the image, X that of a linear support vector machine on the latent, H in bits. Lower
is better; 1 means that hyperplanes know all. The official one takes 200,000 images and 40 attributes of faces, z and
the w of the last layer.

`legacy` repeats the official code: its machine stops before it has converged (by default after 1000 rounds), and its
entropies are float32. `exact` fits the same machine to the end in float64.

Source: Karras et al. 2019, Sec. 4.2; official metrics/linear_separability.py.
"""

import warnings
from collections.abc import Callable

import numpy as np

from stylegan_jax.metrics import feature_sets


def score(entropies: np.ndarray) -> float:
    """Returns the separability, 2 ** the sum of all attributes' conditional entropies. [num_attributes]"""
    return float(2 ** np.sum(entropies))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns softmax([logit, -logit]), what `legacy` and `exact` take. float32 [n, num_attributes, 2]

    Args:
        logits: outputs of the attributes' classifiers, one of NVIDIA's for each. float [n, num_attributes]
    """
    both = np.stack([logits, -np.asarray(logits)], axis=2).astype(np.float32)
    powers = np.exp(both - both.max(axis=2, keepdims=True))
    return powers / powers.sum(axis=2, keepdims=True)


def legacy(points: np.ndarray, probabilities: np.ndarray, seed: int) -> np.ndarray:
    """Returns the conditional entropy of each attribute as the official code does, in bits. float64 [num_attributes]

    The machine seldom converges, as the official one; scikit-learn's warning about that is not shown. It takes about
    fifty times as long as `exact`.

    Args:
        points: latents, z or w. float [n, d]
        probabilities: of the attribute's two values. [n, num_attributes, 2]
        seed: seed of the order in which the machine sees the images; the official code gives none.

    Raises:
        ValueError: arrays are malformed, or hold different numbers of images.
    """
    return _entropies(points, probabilities, lambda x, y: legacy_decisions(x, y, seed), legacy_conditional_entropy)


def exact(points: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the conditional entropy of each attribute by a converged machine, in bits. float64 [num_attributes]

    Arguments and errors are those of `legacy`; there is no seed, since the machine's optimum is unique.
    """
    return _entropies(points, probabilities, exact_decisions, conditional_entropy)


def most_confident(probabilities: np.ndarray) -> np.ndarray:
    """Returns the half of the images of which the classifier is surest, surest first; equals keep their order.

    Args:
        probabilities: [n, 2]

    Returns:
        Indices. int [n // 2]
    """
    return np.argsort(-probabilities.max(axis=1), kind="stable")[: len(probabilities) // 2]


def legacy_decisions(points: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """Returns the decisions of the official machine on the points that it was fitted to, 0 or 1. [n]

    It is scikit-learn's LinearSVC with the defaults of 2019: squared hinge loss, C = 1, the dual problem, 1000 rounds.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Liblinear failed to converge")
        return _fitted_decisions(points, targets, dual=True, tol=1e-4, max_iter=1000, random_state=seed)


def exact_decisions(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the decisions of the same machine at its optimum, found by Newton's method on the primal problem. [n]"""
    return _fitted_decisions(points, targets, dual=False, tol=1e-10, max_iter=10_000)


def joint(decisions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the shares of the images by decision (rows) and target (columns). float64 [2, 2]"""
    return np.array([[np.mean((decisions == x) & (targets == y)) for y in (0, 1)] for x in (0, 1)])


def conditional_entropy(joint: np.ndarray) -> float:
    """Returns H(Y | X) = sum of p(x, y) log2(p(x) / p(x, y)), in bits, at least 0.

    Args:
        joint: shares or counts by X (rows) and Y (columns). [num_x, num_y]
    """
    p = np.asarray(joint, np.float64) / np.sum(joint, dtype=np.float64)
    p_x = np.broadcast_to(p.sum(axis=1, keepdims=True), p.shape)
    return max(0.0, float((p[p > 0] * np.log2(p_x[p > 0] / p[p > 0])).sum()))


def legacy_conditional_entropy(joint: np.ndarray) -> float:
    """Returns H(Y) - I(X; Y) as the official code rounds it: about 1e-7 off. Arguments as above.

    The shares are normalized in float32, those of the mutual information twice; the terms are summed in float64.
    """
    p = _normalized(joint)
    p_y = _normalized(p.sum(axis=0))
    entropy = -sum(float(share * np.log2(share)) for share in p_y if share > 0)
    p = _normalized(p)
    independent = p.sum(axis=1)[:, None] * p.sum(axis=0)[None, :]
    information = sum(float(a * np.log2(a / b)) for a, b in zip(p.ravel(), independent.ravel(), strict=True) if a > 0)
    return max(0.0, entropy - information)


def _normalized(p: np.ndarray) -> np.ndarray:
    """Returns shares that sum to 1. float32"""
    p = np.asarray(p).astype(np.float32)
    return p / p.sum()


def _fitted_decisions(points: np.ndarray, targets: np.ndarray, **settings: object) -> np.ndarray:
    """Returns the decisions of a machine on its own points; those of one class need no machine."""
    from sklearn import svm  # Takes a second to import, and only this metric needs it.

    if len(np.unique(targets)) < 2:
        return targets
    return svm.LinearSVC(**settings).fit(points, targets).predict(points)


def _entropies(points: np.ndarray, probabilities: np.ndarray, decide_fn: Callable, entropy_fn: Callable) -> np.ndarray:
    """Returns entropy_fn of the joint distribution of decide_fn's decisions and the classifier's, by attribute."""
    points, probabilities = feature_sets.checked(points, "latents"), np.asarray(probabilities)
    if probabilities.ndim != 3 or probabilities.shape[2] != 2 or len(probabilities) != len(points):
        raise ValueError(
            f"probabilities must have shape [n, num_attributes, 2] with n = {len(points)}, the number of latents, "
            f"and have {list(probabilities.shape)}."
        )
    if len(points) < 2:
        raise ValueError("Separability keeps half of the images, and there is 1; use more.")
    entropies = []
    for of_attribute in np.moveaxis(probabilities, 1, 0):
        kept = most_confident(of_attribute)
        targets = of_attribute[kept].argmax(axis=1)
        entropies.append(entropy_fn(joint(decide_fn(points[kept], targets), targets)))
    return np.array(entropies)
