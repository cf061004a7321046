"""LPIPS (Zhang et al. 2018): a distance of pairs of images over the stages of a network, and the weights it needs.

Source: richzhang/PerceptualSimilarity, lpips/lpips.py, version 0.1. Its shift and scale are those of ImageNet:
(x / 255 - 0.485) / 0.229 is (x' + 0.030) / 0.458.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.metrics.features import convolution, known, resize, stored
from stylegan_jax.weights import trees

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

    def of_pairs(first: Array, second: Array) -> Array:
        distance = jnp.zeros(first.shape[0], params["head1"].dtype)
        for k, (a, b) in enumerate(zip(stages_fn(first), stages_fn(second), strict=True), 1):
            weighted = jnp.square(_normalized(a) - _normalized(b)) * params[f"head{k}"][None, None, None]
            distance = distance + jnp.mean(jnp.sum(weighted, axis=3), axis=(1, 2))
        return distance

    return convolution.by_image(of_pairs, first, second)


def _normalized(x: Array) -> Array:
    """Returns features of length 1 at each place. The length's gradient is 0 where all features are."""
    squares = jnp.sum(jnp.square(x), axis=3, keepdims=True)
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return x / (length + NORM_EPSILON)


def scaled(images: Array, dtype: Any) -> Array:
    """Returns the input of a network for images in [-1, 1] [n, h, w, c], c = 1, 3 or 4. [n, h, w, 3]"""
    x = resize.on_white(images.astype(dtype), -1.0, 1.0)
    return (x - jnp.asarray(SHIFT, dtype)[None, None, None]) / jnp.asarray(SCALE, dtype)[None, None, None]


# ---- weights


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that LPIPS 0.1 is defined with.

    Attributes:
        name: of the network.
        heads_file: name of the file of its heads, in lpips/weights/v0.1.
        num_maps: maps of each stage.
        convolutions_sha256: `trees.sha256` of the convolutions for which the heads were trained.
        heads_sha256: the same of the heads.
    """

    name: str
    heads_file: str
    num_maps: Sequence[int]
    convolutions_sha256: str
    heads_sha256: str


def weights(
    network: Network,
    found: stored.Stored,
    params: dict[str, np.ndarray],
    heads: str | os.PathLike | None,
) -> known.Weights:
    """Returns parameters with their heads; convolutions and heads that are not those of LPIPS 0.1 are noted.

    Args:
        network: what the file is.
        found: the file.
        params: from the file: "conv1/kernel" and so on, and "head1" and so on if it has heads.
        heads: file of the heads, for a file that has none.

    Raises:
        ValueError: `heads` is another file, or given for a file that has heads.
        OSError: it cannot be opened.
    """
    notes, others = [], []
    if heads is not None:
        if "head1" in params:
            raise ValueError(f"{found.path} has heads of LPIPS of its own; leave heads= ({heads}) out.")
        others.append(stored.read(heads))
        params = params | _heads(others[0], network)
    convolutions = {name: value for name, value in params.items() if name.startswith("conv")}
    own_heads = {name: value for name, value in params.items() if name.startswith("head")}
    if trees.sha256(convolutions) != network.convolutions_sha256:
        notes.append(f"{found.path} has other convolutions than torchvision's, which LPIPS is defined by.")
    if own_heads and trees.sha256(own_heads) != network.heads_sha256:
        notes.append(f"{heads or found.path} has other heads than those of LPIPS 0.1.")
    return stored.weights([found, *others], params, *notes)


def _heads(found: stored.Stored, network: Network) -> dict[str, np.ndarray]:
    """Returns the parameters of a file of heads alone."""
    names = {f"lin{k}.model.1.weight": (1, maps, 1, 1) for k, maps in enumerate(network.num_maps)}
    try:
        arrays = stored.take(found, names)
    except ValueError as error:
        wanted = f"Heads of LPIPS 0.1 for {network.name} are needed: lpips/weights/v0.1/{network.heads_file}."
        raise ValueError(f"{error} {wanted}") from None
    return {f"head{k}": value.reshape(-1) for k, value in enumerate(arrays.values(), 1)}
