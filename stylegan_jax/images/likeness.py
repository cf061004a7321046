"""How unlike two batches of images are, as functions with a gradient: what projection makes small."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from stylegan_jax.config import Model
from stylegan_jax.metrics.features import vgg
from stylegan_jax.networks import discriminator, ops

NUM_SCALES = 4  # Of pixels: whole, and boxes of 2, 4 and 8 px.
DISCRIMINATOR_WEIGHT = 0.1  # Of the discriminator's features beside pixels.
LPIPS_WEIGHT = 0.5  # Of LPIPS beside pixels.
LPIPS_PX = 256  # Larger images are brought to this size for LPIPS, as in StyleGAN2's projector.


class Likeness(flax.struct.PyTreeNode):
    """What images are compared by, beside pixels at several scales."""

    # From images [n, r, r, c] in [-1, 1] to features [n, h, w, c] of layers; None: pixels alone.
    features_fn: Partial | None = None
    heads: Sequence[Array] | None = None  # Weights of each layer's maps; None: all are 1.
    weight: float = 0.0  # Of the features' error.

    def features(self, images: Array) -> Sequence[Array]:
        """Returns what `error` compares with."""
        return () if self.features_fn is None else self.features_fn(images)

    def error(self, made: Array, targets: Array, target_features: Sequence[Array]) -> Array:
        """Returns how unlike images are to targets, whose `features` are given. [n]"""
        made = saturated(made, targets)
        total = pixel_error(made, targets)
        if self.features_fn is None:
            return total
        return total + self.weight * feature_error(self.features(made), target_features, self.heads)


def by_lpips(params: Mapping[str, Array]) -> Likeness:
    """Returns a likeness by LPIPS (Zhang et al. 2018) of VGG16, with parameters from vgg.read, with heads.

    Raises:
        ValueError: the parameters have no heads.
    """
    if "head1" not in params:
        raise ValueError("these weights of VGG16 have no heads of LPIPS; read them with heads=, a file of its v0.1.")
    heads = [params[f"head{k}"] for k in range(1, 1 + len(vgg.STAGES))]
    return Likeness(Partial(_vgg_features, dict(params)), heads, LPIPS_WEIGHT)


def by_discriminator(params: Any, alpha: Array | None, model: Model, resolution: int) -> Likeness:
    """Returns a likeness by the features of a discriminator; arguments as of `discriminator_features`."""
    return Likeness(Partial(_discriminator_fn(model, resolution), params, alpha=alpha), None, DISCRIMINATOR_WEIGHT)


@functools.cache
def _discriminator_fn(model: Model, resolution: int) -> functools.partial:
    """Returns one function for each model, so that programs that it is a part of are compiled once."""
    return functools.partial(discriminator_features, model=model, resolution=resolution)


# ---- formulas


def saturated(made: Array, targets: Array) -> Array:
    """Returns images [n, r, r, c], clipped to [-1, 1] at the pixels where the target is -1 or 1 itself.

    There whatever a network makes beyond is written as the target's value. Elsewhere it stays, and has a gradient.
    """
    made = jnp.where(targets >= 1, jnp.minimum(made, 1), made)
    return jnp.where(targets <= -1, jnp.maximum(made, -1), made)


def pixel_error(first: Array, second: Array) -> Array:
    """Returns the mean squared error of pixels, summed over scales: whole images, and boxes of 2, 4 and 8 px. [n]

    The coarse scales lead where details are at other places: there the fine ones have no useful gradient.

    Args:
        first: in [-1, 1]. [n, r, r, c]
        second: the same.
    """
    difference, total = first - second, jnp.zeros(first.shape[0])
    for scale in (2**k for k in range(NUM_SCALES)):
        total += jnp.mean(jnp.square(ops.downscale(difference, scale)), axis=(1, 2, 3))
    return total


def feature_error(first: Sequence[Array], second: Sequence[Array], heads: Sequence[Array] | None = None) -> Array:
    """Returns the squared distance of features that are scaled to length 1 at each place, summed over layers. [n]

    With its heads it is LPIPS (Zhang et al. 2018, Eq. 1).

    Args:
        first: features of layers. [n, h, w, c] each
        second: the same.
        heads: weights of the maps of each layer; None: all are 1. [c] each
    """
    total = jnp.zeros(first[0].shape[0])
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        squares = jnp.square(_unit(a) - _unit(b))
        weighted = squares if heads is None else squares * heads[k][None, None, None]
        total += jnp.mean(jnp.sum(weighted, axis=3), axis=(1, 2))
    return total


def _unit(x: Array) -> Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=3, keepdims=True) + ops.EPSILON)


def discriminator_features(params: Any, images: Array, *, alpha: Array | None, model: Model, resolution: int) -> list:
    """Returns the features after each block of a discriminator; they do not depend on the other images.

    Args:
        params: parameters of the discriminator.
        images: in [-1, 1]. [n, resolution, resolution, channels]
        alpha: weight of `resolution` while it fades in; None: it does not fade.
        model: the model.
        resolution: px.

    Returns:
        Of `resolution` / 2 px, and so on down to 4 px. [n, r, r, c]
    """
    _, state = discriminator.discriminator(model).apply(
        {"params": params},
        images,
        jnp.zeros((images.shape[0], model.num_labels)) if model.num_labels else None,
        alpha,
        resolution=resolution,
        capture_intermediates=lambda module, _: isinstance(module, discriminator.BLOCKS),
        mutable=["intermediates"],
    )
    found = [part["__call__"][0] for part in state["intermediates"].values() if "__call__" in part]
    return sorted(found, key=lambda features: -features.shape[1])


def lpips_size(images: Array) -> Array:
    """Returns images [n, r, r, c] as LPIPS takes them: of 256 px at most, and not smaller than VGG16's least size."""
    r = images.shape[1]
    if r < vgg.MIN_PX:
        return ops.upscale(images, vgg.MIN_PX // r)
    return ops.downscale(images, r // LPIPS_PX) if r > LPIPS_PX else images


def _vgg_features(params: Mapping[str, Array], images: Array) -> list[Array]:
    return vgg.stages(params, lpips_size(images))
