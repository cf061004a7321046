"""Directions in w: found by labels of images, by the spread of w, or in closed form from the style weights.

    w = network.map(network.latents(range(10_000)))[:, 0]
    smile = svm_direction(w, is_smiling, "smile")

Strength s of a direction adds s times its vector to ws. Strength 1 of those that are found here is one standard
deviation of w: at strength 3, few latents lie as far from the mean.
"""

import dataclasses
import functools
import operator
from collections.abc import Sequence

import numpy as np

from stylegan_jax.images import styles
from stylegan_jax.networks import generator
from stylegan_jax.weights.network import Network

MIN_IMAGES = 10  # With the attribute, and without it.
PENALTY = 0.001  # C of the machine. With few images, a larger one fits their chance.
NUM_DIRECTIONS = 20  # The first of PCA's and SeFa's.
LEAST_PART = 1e-3  # Of a direction's length that must remain when others are held.


class TooFew(ValueError):
    """Too few images have an attribute, or lack it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Direction:
    """A way to move ws: strength s adds s * vector. Both arrays have one row for all layers, or one for each.

    Attributes:
        name: what it is called, such as "smiling".
        vector: float32 [w_size] or [num_layers, w_size]
        normal: of the hyperplanes on which what the direction changes is constant, as `held` needs them; parallel to
            the vector unless the finder knows better. Its shape is the vector's.
        source: where it is from, in words.
        network: sha256 of the network that it was found for; None if that is not known.
    """

    name: str
    vector: np.ndarray
    normal: np.ndarray
    source: str
    network: str | None = None


def svm_direction(w: np.ndarray, is_present: np.ndarray, name: str = "svm") -> Direction:
    """Returns the direction to the images with an attribute, by a linear support vector machine.

    In the machine, both kinds of images weigh the same. It sees w whitened, u = S^(-1/2) (w - mean) with the covariance
    S of w, and finds the normal m of its hyperplane. The vector S^(1/2) m changes the machine's answer with the least
    move, counted in standard deviations of w.

    With a w for each layer, mixed at random from several latents, the machine also tells which layers an attribute is
    in: it is less entangled with those of other layers.

    Differs: Shen et al. 2020 (InterFaceGAN), Sec. 2.2, take w as it is, and move along the normal. Most of it lies
    where w hardly varies, so that images leave the data before the attribute changes.

    Args:
        w: styles of the images, one for all layers or one for each. [n, w_size] or [n, num_layers, w_size]
        is_present: whether each image has the attribute. bool [n]
        name: of the direction.

    Raises:
        ValueError: the arrays are malformed; TooFew, if fewer than MIN_IMAGES images have the attribute or lack it.
    """
    from sklearn import covariance, svm  # Takes a second to import.

    w, is_present = _points(w, (2, 3)), np.asarray(is_present)
    if is_present.dtype != bool or is_present.shape != (len(w),):
        found = f"is_present is {is_present.dtype} {list(is_present.shape)}"
        raise ValueError(f"{found}; give bool [{len(w)}], one for each w.")
    num_present = int(is_present.sum())
    if min(num_present, len(w) - num_present) < MIN_IMAGES:
        raise TooFew(
            f"{name}: {num_present} of {len(w)} images have it; a direction takes at least {MIN_IMAGES} with it and "
            f"{MIN_IMAGES} without it: use more images."
        )
    every = w.reshape(-1, w.shape[-1])  # Layers have w of one distribution.
    spread, axes = np.linalg.eigh(covariance.ledoit_wolf(every)[0])
    deviations = np.sqrt(spread)
    whitened = ((w - every.mean(axis=0)) @ axes / deviations).reshape(len(w), -1)
    weights = svm.LinearSVC(C=PENALTY, dual=False, class_weight="balanced").fit(whitened, is_present).coef_
    if not weights.any():
        raise TooFew(f"{name}: the images that have it are those that lack it, by their w; check the labels.")
    unit = (weights / np.linalg.norm(weights)).reshape(w.shape[1:])
    source = f"linear SVM on {len(w)} images, {num_present / len(w):.0%} of which have it"
    return _direction(name, unit * deviations @ axes.T, unit / deviations @ axes.T, source)


def pca_directions(w: np.ndarray, num: int = NUM_DIRECTIONS) -> list[Direction]:
    """Returns the principal components of w, those along which w varies most first.

    Which way a component points has no meaning; here its largest number is positive.

    Source: Härkönen et al. 2020 (GANSpace), Sec. 3.1.

    Args:
        w: styles of random latents. [n, w_size]
        num: how many to return, at most.

    Raises:
        ValueError: w is malformed.
    """
    w = _points(w)
    spread, axes = np.linalg.eigh(np.cov(w, rowvar=False))
    num = min(num, len(w) - 1)  # Along others, w does not vary.
    units, shares = _with_sign(axes.T[::-1][:num]), spread[::-1] / spread.sum()
    about = "principal component {} of {} w, {:.1%} of their variance"
    return [
        _along(f"pca{i}", unit, w, about.format(i, len(w), share))
        for i, (unit, share) in enumerate(zip(units, shares, strict=False))
    ]


def sefa_directions(
    network: Network, w: np.ndarray, num: int = NUM_DIRECTIONS, layers: Sequence[int] | None = None
) -> list[Direction]:
    """Returns the directions that change the styles of layers most: eigenvectors of A A^T, of the largest values first.

    A [w_size, m] are the layers' weights from w to styles, side by side, each column scaled to length 1, as the
    published code has it (genforce/sefa, utils.factorize_weight). Which way a direction points has no meaning; here its
    largest number is positive.

    Source: Shen and Zhou 2021 (SeFa), Sec. 3.

    Args:
        network: network whose weights are taken.
        w: styles of random latents, which tell how long a standard deviation is. [n, w_size]
        num: how many to return, at most.
        layers: layers whose weights count; None: all that are trained.

    Raises:
        ValueError: the network has no styles, or no such layers; or w is malformed.
    """
    w, weights = _points(w), style_weights(network, layers)
    weights = weights / np.maximum(np.linalg.norm(weights, axis=0), np.finfo(np.float64).tiny)
    units = _with_sign(np.linalg.eigh(weights @ weights.T)[1].T[::-1][:num])
    where = "all layers" if layers is None else f"layers {', '.join(map(str, layers))}"
    return [
        _along(f"sefa{i}", unit, w, f"eigenvector {i} of the style weights of {where}") for i, unit in enumerate(units)
    ]


def style_weights(network: Network, layers: Sequence[int] | None = None) -> np.ndarray:
    """Returns the weights from w to the styles of layers, side by side. float64 [w_size, m]

    Args:
        network: network with styles.
        layers: their numbers, from 0; None: all that are trained.

    Raises:
        ValueError: the network has no styles, or no such layers.
    """
    styles.check_styles(network)
    place_fn = generator.synthesis(network.model).style_place
    parts, trained = [], styles.trained_layers(network)
    for layer in trained if layers is None else layers:
        if layer not in trained:
            raise ValueError(f"there is no layer {layer}; this network has {len(trained)}, from 0.")
        path = (*place_fn(layer), "style", "weight")
        parts.append(functools.reduce(operator.getitem, path, network.params["synthesis"]).astype(np.float64))
    return np.concatenate(parts, axis=1)


def held(direction: Direction, others: Sequence[Direction]) -> Direction:
    """Returns a direction that leaves alone what others change: conditional manipulation.

    d = v - V (N^T V)^-1 N^T v with the others' vectors V and normals N, in the layers that v moves: N^T d = 0. Where
    normals and vectors are parallel, this is the projection of v onto the space at right angles to V. The result is as
    long as v, by normal times vector.

    Source: Shen et al. 2020 (InterFaceGAN), Sec. 2.3, for any number of conditions.

    Args:
        direction: what to change.
        others: what to hold. A direction of the same name does not count.

    Raises:
        ValueError: nothing of the direction is left.
    """
    others = [other for other in others if other.name != direction.name]
    if not others:
        return direction
    v, *vectors = np.broadcast_arrays(*(np.asarray(d.vector, np.float64) for d in (direction, *others)))
    n, *normals = np.broadcast_arrays(*(np.asarray(d.normal, np.float64) for d in (direction, *others)))
    is_moved = v.any(axis=-1, keepdims=True)
    all_vectors, all_normals = (np.stack([(x * is_moved).ravel() for x in xs]) for xs in (vectors, normals))
    products = np.linalg.pinv(all_vectors @ all_normals.T, rcond=1e-9)  # [num, num]
    vector = v - (v.ravel() @ all_normals.T @ products @ all_vectors).reshape(v.shape)
    normal = n - (n.ravel() @ all_vectors.T @ products.T @ all_normals).reshape(v.shape)
    before, left = np.sum(n * v), np.sum(normal * vector)
    if left <= LEAST_PART**2 * before:
        raise ValueError(
            f"nothing of {direction.name} is left without {', '.join(d.name for d in others)}; hold fewer."
        )
    scale = np.sqrt(before / left)
    source = f"{direction.source}; held: {', '.join(d.name for d in others)}"
    found = _direction(direction.name, scale * vector, scale * normal, source)
    return dataclasses.replace(found, network=direction.network)


def restricted(direction: Direction, layers: Sequence[int], num_layers: int) -> Direction:
    """Returns a direction that moves the styles of some layers alone. Its arrays are [num_layers, w_size].

    Raises:
        ValueError: there is no such layer, or the direction moves none of them.
    """
    if not {*layers} <= {*range(num_layers)}:
        raise ValueError(f"layers are {list(layers)}; this network has those from 0 to {num_layers - 1}.")
    is_moved = np.isin(np.arange(num_layers), layers)[:, None]
    vector, normal = (np.where(is_moved, x, np.float32(0)) for x in (direction.vector, direction.normal))
    if not vector.any():
        raise ValueError(f"{direction.name} moves none of the layers {', '.join(map(str, layers))}; name others.")
    return dataclasses.replace(direction, vector=vector, normal=normal)


def _direction(name: str, vector: np.ndarray, normal: np.ndarray, source: str) -> Direction:
    return Direction(name, vector.astype(np.float32), normal.astype(np.float32), source)


def _along(name: str, unit: np.ndarray, w: np.ndarray, source: str) -> Direction:
    """Returns the direction of a unit vector, one standard deviation of w along it long."""
    deviation = (w @ unit).std()
    return _direction(name, unit * deviation, unit / deviation, source)


def _with_sign(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors whose largest number is positive. [num, w_size]"""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return vectors * np.sign(largest)


def _points(w: np.ndarray, dimensions: tuple[int, ...] = (2,)) -> np.ndarray:
    """Returns w as float64, checked."""
    w = np.asarray(w)
    if w.ndim not in dimensions or w.dtype.kind != "f" or len(w) < 2 or not np.isfinite(w).all():
        raise ValueError(f"w is {w.dtype} {list(w.shape)}; give finite floats [n, w_size] of at least 2 images.")
    return w.astype(np.float64)
