"""Linear separability: how well a hyperplane in latent space tells whether an image has an attribute.

    LS = 2 ^ (sum over attributes of H(Y | X))

Y is the classifier's decision on the image, X that of a linear support vector machine on the latent, H in bits. Lower
is better; 1 means that hyperplanes know all. The official one takes 200,000 images and 40 attributes of faces, z and
the w of the last layer.

    found = labelled_latents.measure(map_fn, synthesize_fn, attributes, z_size=512, num_images=n, key=key)
    arrays = labelled_latents.collected(found, n)
    separability.result(arrays["w"], arrays["logits"], attributes.names, "legacy")["ls"]

`legacy` repeats the official code: its machine stops before it has converged (by default after 1000 rounds), and its
entropies are float32. `exact` fits the same machine to the end in float64.

Source: Karras et al. 2019, Sec. 4.2; official metrics/linear_separability.py.
"""

import functools
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, Literal

import numpy as np

from stylegan_jax.metrics import feature_sets

NUM_IMAGES = 200_000  # Of the official separability; the surer half of them counts.


def result(
    points: np.ndarray,
    logits: np.ndarray,
    names: Sequence[str],
    method: Literal["legacy", "exact"],
    *,
    seed: int = 0,
    num_processes: int = 1,
    progress_fn: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Returns the separability, and what each attribute adds to it: nothing if all images or none have it.

    Args:
        points: latents, z or w. float [n, d]
        logits: of the images' attributes. float [n, len(names)]
        names: of the attributes.
        method: which machine and arithmetic, see above.
        seed: of the legacy machine, for each attribute the same.
        num_processes: attributes at a time. Each process takes 1.5 GB for 200,000 latents of 512 numbers.
        progress_fn: called with (attributes done, attributes in all).

    Returns:
        {"ls": score, "entropies": bits by attribute, "shares": share of the counted images that have it, by attribute}

    Raises:
        ValueError: arrays are malformed, or hold different numbers of images; or there is no such method.
    """
    logits = feature_sets.checked(logits, "logits")
    if logits.shape[1] != len(names) or method not in ("legacy", "exact"):
        raise ValueError(
            f"logits {list(logits.shape)} of {len(names)} attributes, and the method {method!r}: use logits "
            f'[n, {len(names)}], and "legacy" or "exact".'
        )
    entropies_fn = functools.partial(legacy, seed=seed) if method == "legacy" else exact
    both = np.split(probabilities(logits), len(names), axis=1)
    entropies = []
    for found in _each(entropies_fn, points, both, num_processes):
        entropies.append(float(found[0]))
        if progress_fn is not None:
            progress_fn(len(entropies), len(names))
    counted = [of_attribute[most_confident(of_attribute[:, 0]), 0] for of_attribute in both]
    return {
        "ls": score(np.array(entropies)),
        "entropies": dict(zip(names, entropies, strict=True)),
        "shares": {name: float(np.mean(one.argmax(axis=1) == 0)) for name, one in zip(names, counted, strict=True)},
    }


def _each(
    entropies_fn: Callable[..., np.ndarray], points: np.ndarray, each: list[np.ndarray], num_processes: int
) -> Iterator[np.ndarray]:
    """Yields the entropies of each attribute's probabilities, in their order.

    Threads would not do: liblinear's machines of one process draw from one generator of random numbers.
    """
    if num_processes == 1:
        yield from (entropies_fn(points, one) for one in each)
        return
    with futures.ProcessPoolExecutor(
        min(num_processes, len(each)), multiprocessing.get_context("spawn"), _take_points, (points,)
    ) as pool:
        yield from pool.map(functools.partial(_of_taken_points, entropies_fn), each)


_taken: list[np.ndarray] = []  # In a process of `_each`: the points.


def _take_points(points: np.ndarray) -> None:
    _taken[:] = [points]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once the one that started it has ended: it would wait for work for ever, with its points."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _of_taken_points(entropies_fn: Callable[..., np.ndarray], one: np.ndarray) -> np.ndarray:
    return entropies_fn(_taken[0], one)


def score(entropies: np.ndarray) -> float:
    """Returns the separability, 2 ** the sum of all attributes' conditional entropies. [num_attributes]"""
    return float(2 ** np.sum(entropies))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns softmax([logit, -logit]), what `legacy` and `exact` take. float32 [n, num_attributes, 2]

    Logits beyond about 8.5 give 1.0, as officially: of images that sure, the first ones count.

    Args:
        logits: outputs of the attributes' classifiers, one of NVIDIA's for each. float [n, num_attributes]
    """
    both = np.stack([logits, -np.asarray(logits)], axis=2).astype(np.float32)
    powers = np.exp(both - both.max(axis=2, keepdims=True))
    return powers / powers.sum(axis=2, keepdims=True)


def legacy(points: np.ndarray, probabilities: np.ndarray, seed: int) -> np.ndarray:
    """Returns the conditional entropy of each attribute as the official code does, in bits. float64 [num_attributes]

    The machine seldom converges, as the official one; scikit-learn's warning about that is not shown. An attribute of
    200,000 images with latents of 512 numbers takes up to some minutes on a core, and by `exact` some seconds.

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
