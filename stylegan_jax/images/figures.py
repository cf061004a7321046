"""Figures of the paper: arrangements of images that a trained generator makes from chosen styles."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import generator, sampling

MIXING_ROWS, MIXING_COLUMNS = 6, 6  # Sources A and B of Fig. 3.
TRUNCATION_ROWS = 6  # Latents of Fig. 8.
TRUNCATION_PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)  # Values of psi in Fig. 8.


def _random_ws(params: Any, key: Array, n: int, model: Model, classes: np.ndarray | None) -> Array:
    """Returns the ws of `n` random latents; a conditional model's classes take turns. [n, num_layers, w_size]"""
    turns = np.arange(model.num_labels) if classes is None else classes
    labels = np.eye(model.num_labels, dtype=np.float32)[turns[np.arange(n) % len(turns)]] if model.num_labels else None
    return sampling.draw_ws(params, jax.random.normal(key, (n, model.z_size)), labels, model=model)


def style_bounds(num_layers: int) -> tuple[int, int]:
    """Returns the first layer of the middle styles and that of the fine styles, among `num_layers`.

    They are 4 and 8 from 12 layers on: coarse styles are those of 4 and 8 px, middle ones of 16 and 32 px. With fewer
    layers, coarse, middle and fine styles have a third of them each.
    """
    return min(4, num_layers // 3), min(8, -(-2 * num_layers // 3))


def style_mixing(
    params: Any, key: Array, alpha: Array, model: Model, resolution: int, classes: np.ndarray | None = None
) -> np.ndarray:
    """Returns images where each row's source A takes the styles of each column's source B (StyleGAN, Fig. 3).

    The first third of the rows takes the coarse styles, the second the middle ones, the last the fine ones.

    Args:
        params: parameters of the generator.
        key: draws the latents and the noise.
        alpha: weight of `resolution` while it fades in.
        model: the model.
        resolution: resolution that is trained at, px.
        classes: classes that take turns, in a conditional model; None for all. int [m]

    Returns:
        uint8 [(MIXING_ROWS + 1) (MIXING_COLUMNS + 1), resolution, resolution, channels], row by row; the corner is
        white.
    """
    rows, columns = MIXING_ROWS, MIXING_COLUMNS
    key, noise_key = jax.random.split(key)
    ws = _random_ws(params, key, rows + columns, model, classes)
    sources, givers = ws[:rows], ws[rows:]
    noise = generator.make_noise(noise_key, 1, model, resolution)
    draw = functools.partial(sampling.images_of, params, noise=noise, alpha=alpha, model=model, resolution=resolution)
    num_layers = 2 * sum(r <= resolution for r in model.resolutions) if model.use_styles else 1
    bounds = (0, *style_bounds(num_layers), model.num_layers)
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
    params: Any,
    w_avg: Array,
    key: Array,
    alpha: Array,
    model: Model,
    resolution: int,
    classes: np.ndarray | None = None,
) -> np.ndarray:
    """Returns images with styles scaled about their mean by each of TRUNCATION_PSIS (StyleGAN, Fig. 8).

    Args: those of `style_mixing`, and w_avg, the mean of w. [w_size]

    Returns:
        uint8 [TRUNCATION_ROWS len(TRUNCATION_PSIS), resolution, resolution, channels], row by row: one latent for each.
    """
    key, noise_key = jax.random.split(key)
    ws = _random_ws(params, key, TRUNCATION_ROWS, model, classes)
    noise = generator.make_noise(noise_key, 1, model, resolution)
    draw = functools.partial(sampling.images_of, params, noise=noise, alpha=alpha, model=model, resolution=resolution)
    columns = [np.asarray(draw(generator.truncate(ws, w_avg, psi))) for psi in TRUNCATION_PSIS]
    images = np.stack(columns, axis=1)  # [rows, psis, r, r, c]
    return images.reshape(-1, *images.shape[2:])
