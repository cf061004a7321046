"""Path length regularization: steps of one length in w change images by one length (StyleGAN2, Sec. 3.2)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Config
from stylegan_jax.networks import ops, sampling


def lengths(images_fn: Callable[[Array], Array], ws: Array, y: Array) -> Array:
    """Returns |J^T y|, J being the derivative of each image by its ws (StyleGAN2, Eq. 4). [n]

    Args:
        images_fn: function of ws to images [n, h, w, c].
        ws: [n, num_layers, w_size]
        y: unit Gaussian images; their scale 1 / sqrt(h w) makes the length independent of the resolution.
    """
    scale = 1 / math.sqrt(y.shape[1] * y.shape[2])
    (gradients,) = jax.vjp(images_fn, ws)[1](y * scale)
    return jnp.sqrt(jnp.mean(jnp.sum(gradients * gradients, axis=2), axis=1))


def loss(
    params: Any,
    config: Config,
    resolution: int,
    latents: sampling.Latents,
    labels: Array | None,
    y: Array,
    pl_mean: Array,
    alpha: Array | None,
    axis_name: str | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Returns k weight times the mean of (path length - its running mean)^2, path lengths, and the new running mean.

    One update by it stands for k = train.pl_interval iterations. The gradient flows through the running mean too.
    """
    train, model = config.train, config.model
    ws, w_mean = sampling.mixed_ws(params, latents, labels, model)
    found = lengths(lambda ws: sampling.synthesize(params, ws, latents.noise, alpha, model, resolution), ws, y)
    mean = jnp.mean(found) if axis_name is None else jax.lax.pmean(jnp.mean(found), axis_name)
    pl_mean = ops.lerp(pl_mean, mean, train.pl_decay)
    return train.pl_interval * train.pl_weight * jnp.mean((found - pl_mean) ** 2), {
        "path_length": found,
        "pl_mean": pl_mean,
        "w_mean": w_mean,
    }
