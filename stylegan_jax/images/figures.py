"""Figures of the paper, as grids of images drawn with a trained generator."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.devices import mesh
from stylegan_jax.networks import generator, ops, sampling

TRUNCATION_PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)  # Of Fig. 8.


@functools.partial(jax.jit, static_argnames="model")
def map_latents(params: Any, z: Array, labels: Array | None, *, model: Model) -> Array:
    """Returns ws [n, num_layers, w_size] of latents z [n, z_size], the same w for each layer."""
    w: Any = generator.Mapping(model).apply({"params": params["mapping"]}, z, labels)
    return jnp.broadcast_to(w[:, None, :], (w.shape[0], model.num_layers, w.shape[1]))


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def synthesize(
    params: Any, ws: Array, noise: Sequence[Array | None], alpha: Array, *, model: Model, resolution: int
) -> Array:
    """Returns uint8 images [n, resolution, resolution, channels] of ws [n, num_layers, w_size]."""
    synthesis = generator.Synthesis(model)
    images = synthesis.apply({"params": params["synthesis"]}, ws, noise, alpha, resolution=resolution)
    return ops.to_uint8(images)


def _draw(params: Any, key: Array, n: int, model: Model) -> Array:
    """Returns the ws of `n` random latents; a conditional model's classes take turns."""
    labels = jax.nn.one_hot(jnp.arange(n) % model.num_labels, model.num_labels) if model.num_labels else None
    return map_latents(params, jax.random.normal(key, (n, model.z_size)), labels, model=model)


def samples(
    params: Any,
    key: Array,
    n: int,
    alpha: Array,
    model: Model,
    resolution: int,
    devices: jax.sharding.Mesh,
    label: int | None = None,
) -> np.ndarray:
    """Returns `n` samples at full resolution, enlarged by repeating pixels. uint8 [n, r, r, channels]

    Args:
        params: of the generator.
        key: draws the latents and the noise.
        n: number of samples.
        alpha: weight of `resolution` while it fades in.
        model: the model.
        resolution: that is trained at, px.
        devices: that batches are split over.
        label: class of all samples; None lets a conditional model's classes take turns.
    """
    size = sampling.sample_batch(model, resolution, devices)
    batches = []
    for first in range(0, n, size):
        classes = (first + np.arange(size)) % max(model.num_labels, 1) if label is None else np.full(size, label)
        labels = np.eye(model.num_labels, dtype=np.float32)[classes] if model.num_labels else None
        images = sampling.sample(
            params,
            key,
            np.int32(first),
            labels,
            alpha,
            model=model,
            n=size,
            resolution=resolution,
            batch_sharding=mesh.split(devices),
        )
        batches.append(mesh.gather(images))
    return np.asarray(ops.upscale(np.concatenate(batches)[:n], model.resolution // resolution))


def style_mixing(
    params: Any, key: Array, alpha: Array, model: Model, resolution: int, rows: int = 6, columns: int = 6
) -> np.ndarray:
    """Returns images where each row's source A takes the styles of each column's source B (StyleGAN, Fig. 3).

    The first third of the rows takes the coarse styles (4 and 8 px), the second the middle ones (16 and 32 px, or the
    third quarter of fewer layers), the last the fine ones.

    Returns:
        uint8 [(rows + 1) (columns + 1), resolution, resolution, channels], row by row; the corner is white.
    """
    key, noise_key = jax.random.split(key)
    ws = _draw(params, key, rows + columns, model)
    sources, givers = ws[:rows], ws[rows:]
    noise = generator.make_noise(noise_key, 1, model, resolution)
    draw = functools.partial(synthesize, params, noise=noise, alpha=alpha, model=model, resolution=resolution)
    num_layers = 2 * sum(r <= resolution for r in model.resolutions) if model.use_styles else 1
    # First layers of the middle and of the fine styles: 4 and 8 of the paper's 18.
    bounds = (0, min(4, num_layers // 3), min(8, -(-2 * num_layers // 3)), model.num_layers)
    corner = np.full((1, resolution, resolution, model.channels), 255, np.uint8)
    images = [corner, np.asarray(draw(givers))]
    layers = np.arange(model.num_layers)
    for row in range(rows):
        third = min(3 * row // rows, 2)
        is_given = (layers >= bounds[third]) & (layers < bounds[third + 1])
        mixed = jnp.where(is_given[None, :, None], givers, sources[row : row + 1])
        images += [np.asarray(draw(sources[row : row + 1])), np.asarray(draw(mixed))]
    return np.concatenate(images)


def truncation(
    params: Any, w_avg: Array, key: Array, alpha: Array, model: Model, resolution: int, rows: int = 6
) -> np.ndarray:
    """Returns images with styles scaled about their mean by each of TRUNCATION_PSIS (StyleGAN, Fig. 8).

    Returns:
        uint8 [rows len(TRUNCATION_PSIS), resolution, resolution, channels], row by row, a latent each.
    """
    key, noise_key = jax.random.split(key)
    ws = _draw(params, key, rows, model)
    noise = generator.make_noise(noise_key, 1, model, resolution)
    columns = [
        synthesize(params, generator.truncate(ws, w_avg, psi), noise, alpha, model=model, resolution=resolution)
        for psi in TRUNCATION_PSIS
    ]
    images = np.stack([np.asarray(c) for c in columns], axis=1)  # [rows, psis, r, r, c]
    return images.reshape(-1, *images.shape[2:])
