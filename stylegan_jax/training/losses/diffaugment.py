"""DiffAugment, "color,translation,cutout" (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GANs").

Every operation acts on every image, with draws of its own. Given the draws, the result is affine in the images.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Draws = dict[str, Array]  # By operation: uniform in [0, 1). [n], or [n, 2] for (y, x)

VALUES = {"brightness": (), "saturation": (), "contrast": (), "translation": (2,), "cutout": (2,)}


def augment(key: Array, images: Array) -> Array:
    """Returns augmented `images`: see `draw` and `apply`."""
    return apply(images, draw(key, images.shape[0]))


def draw(key: Array, n: int) -> Draws:
    """Returns what chance decides about the augmentation of `n` images."""
    keys = jax.random.split(key, len(VALUES))
    return {name: jax.random.uniform(k, (n, *shape)) for k, (name, shape) in zip(keys, VALUES.items(), strict=True)}


def apply(images: Array, draws: Draws) -> Array:
    """Returns augmented images: recoloured, shifted with zeros outside, a square replaced by zeros.

    Args:
        images: float32 in [-1, 1]; gray, RGB or RGBA. Alpha keeps its values when colours change. [n, h, w, c]
        draws: see `draw`.

    Returns:
        float32, not clipped. [n, h, w, c]
    """
    images = jnp.concatenate([recolour(images[..., :3], draws), images[..., 3:]], axis=-1)
    return cut_out(translate(images, draws["translation"]), draws["cutout"])


def recolour(images: Array, draws: Draws) -> Array:
    """Returns images with brightness + U(-0.5, 0.5), then saturation times U(0, 2), then contrast times U(0.5, 1.5)."""
    brightness, saturation, contrast = (draws[k][:, None, None, None] for k in ("brightness", "saturation", "contrast"))
    x = images + (brightness - 0.5)
    gray = jnp.mean(x, axis=-1, keepdims=True)
    x = gray + (x - gray) * (2 * saturation)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return mean + (x - mean) * (contrast + 0.5)


def translate(images: Array, draws: Array) -> Array:
    """Returns images shifted by whole pixels, up to an eighth of each side. Zeros come in."""
    n, h, w, c = images.shape
    y, x = (int(side / 8 + 0.5) for side in (h, w))
    padded = jnp.pad(images, ((0, 0), (y, y), (x, x), (0, 0)))
    start = jnp.floor(draws * np.array([[2 * y + 1, 2 * x + 1]], np.float32)).astype(jnp.int32)
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), (h, w, c)))(padded, start)


def cut_out(images: Array, draws: Array) -> Array:
    """Returns images with zeros in a part half as wide and high, whose middle is anywhere in the image."""
    inside = []
    for axis in (0, 1):
        side = images.shape[1 + axis]
        first = jnp.floor(draws[:, axis, None] * (side + 1)) - side // 4  # [n, 1]
        place = np.arange(side, dtype=np.float32)[None]
        inside.append((place >= first) & (place < first + side // 2))
    return jnp.where((inside[0][:, :, None] & inside[1][:, None, :])[..., None], 0, images)
