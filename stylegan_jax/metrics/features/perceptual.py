"""LPIPS (Zhang et al. 2018): a distance of pairs of images over the stages of any network, and its heads.

Source: richzhang/PerceptualSimilarity, lpips/lpips.py, version 0.1. Its shift and scale are those of ImageNet:
(x / 255 - 0.485) / 0.229 is (x' + 0.030) / 0.458.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.metrics.features import resize, stored

# Of red, green and blue in [-1, 1]. The official network rounds them to float32 even where it computes in float64.
SHIFT, SCALE = np.float32([-0.030, -0.088, -0.188]), np.float32([0.458, 0.448, 0.450])
NORM_EPSILON = 1e-10


def distances(
    params: Mapping[str, Array], stages_fn: Callable[[Array], list[Array]], first: Array, second: Array, min_px: int
) -> Array:
    """Returns the LPIPS distances of pairs of images (Zhang et al. 2018, Eq. 1).

    Images are taken in their own size; nothing is rounded, so the distance has a gradient.

    Args:
        params: "head1", "head2", ...: the weights of each stage's maps.
        stages_fn: images -> activations [n, h', w', maps] of each stage.
        first: in [-1, 1], h and w at least min_px. [n, h, w, c], c = 1, 3 or 4
        second: the same. [n, h, w, c]
        min_px: the least size that the network takes.

    Returns:
        Distances, 0 for equal images. [n]

    Raises:
        ValueError: the parameters have no heads, or the images are too small or of different shapes.
    """
    if "head1" not in params:
        raise ValueError("these weights have no heads of LPIPS; read them with heads=, a file of lpips/weights/v0.1.")
    if first.shape != second.shape or min(first.shape[1:3]) < min_px:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise ValueError(f"LPIPS takes two batches of one shape, of {min_px} px or more, and has {shapes}.")
    distance = jnp.zeros(first.shape[0], params["head1"].dtype)
    for k, (a, b) in enumerate(zip(stages_fn(first), stages_fn(second), strict=True), 1):
        weighted = jnp.square(_normalized(a) - _normalized(b)) * params[f"head{k}"][None, None, None]
        distance = distance + jnp.mean(jnp.sum(weighted, axis=3), axis=(1, 2))
    return distance


def _normalized(x: Array) -> Array:
    """Returns features of length 1 at each place. The length's gradient is 0 where all features are."""
    squares = jnp.sum(jnp.square(x), axis=3, keepdims=True)
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return x / (length + NORM_EPSILON)


def scaled(images: Array, dtype: Any) -> Array:
    """Returns the input of a network for images in [-1, 1] [n, h, w, c], c = 1, 3 or 4. [n, h, w, 3]"""
    x = resize.on_white(images.astype(dtype), -1.0, 1.0)
    return (x - jnp.asarray(SHIFT, dtype)[None, None, None]) / jnp.asarray(SCALE, dtype)[None, None, None]


def heads(found: stored.Stored, num_maps: Sequence[int], wanted: str) -> dict[str, np.ndarray]:
    """Returns the parameters "head1", "head2", ... of a file of heads alone.

    Args:
        found: the file.
        num_maps: of each stage.
        wanted: what the file should be: a clause that follows "Heads of LPIPS 0.1 for".

    Raises:
        ValueError: it is another file.
    """
    names = {f"lin{k}.model.1.weight": (1, maps, 1, 1) for k, maps in enumerate(num_maps)}
    try:
        arrays, _ = stored.take(found, names, {})
    except ValueError as error:
        raise ValueError(f"{error} Heads of LPIPS 0.1 for {wanted}.") from None
    return {f"head{k}": flat_head(value) for k, value in enumerate(arrays.values(), 1)}


def flat_head(value: np.ndarray) -> np.ndarray:
    """Returns a head as the parameters have it. [maps]"""
    return np.asarray(value.reshape(-1), np.float32)
