"""Resizing as the published metrics do it, each way by its name: scores of different ways cannot be compared.

All functions take and return float images in 0..255, and work within jit. Those with `height` and `width`, in px, take
[n, h, w, c] and return [n, height, width, c].
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

WHITE = 255.0
CUBIC_A = -0.5  # Of Pillow's bicubic filter.
FIXED_BITS = 22  # Of the fraction of its weights for uint8.


def rgb(images: Array, dtype: Any = jnp.float32) -> Array:
    """Returns uint8 images as float RGB in 0..255: gray is repeated, and RGBA lies on white.

    Args:
        images: uint8. [n, h, w, c], c = 1, 3 or 4
        dtype: float type of the result.

    Returns:
        [n, h, w, 3]

    Raises:
        ValueError: the images are of another type or shape.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise ValueError(f"images must be uint8 [n, h, w, 1, 3 or 4], and are {images.dtype} {list(images.shape)}.")
    return on_white(images.astype(dtype), 0.0, WHITE)


def on_white(images: Array, low: float, high: float) -> Array:
    """Returns float images as RGB: gray is repeated, and RGBA lies on white.

    Args:
        images: in low..high. [n, h, w, c], c = 1, 3 or 4
        low: value of black, and of what is transparent.
        high: value of white, and of what is opaque.

    Returns:
        [n, h, w, 3]
    """
    if images.shape[3] == 4:
        alpha = (images[..., 3:] - low) / (high - low)
        return high + (images[..., :3] - high) * alpha
    return jnp.repeat(images, 3, axis=3) if images.shape[3] == 1 else images


def tf1_bilinear(images: Array, height: int, width: int) -> Array:
    """Returns images as TensorFlow 1's resize_bilinear scales them, as the original FID does.

    Pixel i of the result is at i * old / new: half-pixel centers are not aligned, and nothing is averaged.
    Source: tensorflow/core/kernels/image/resize_bilinear_op.cc, align_corners=False, half_pixel_centers=False.
    """

    def places(old: int, new: int, kind: type) -> np.ndarray:
        return np.arange(new, dtype=kind) * (kind(old) / kind(new))

    return _interpolate(images, height, width, places)


def torch_bilinear(images: Array, height: int, width: int) -> Array:
    """Returns images as PyTorch's bilinear interpolation scales them, as pytorch-fid does.

    Half-pixel centers are aligned, and nothing is averaged. PyTorch's programs multiply and subtract in one
    instruction, so a place is rounded once.
    Source: torch.nn.functional.interpolate, mode="bilinear", align_corners=False.
    """

    def places(old: int, new: int, kind: type) -> np.ndarray:
        scale = float(kind(old) / kind(new))
        return np.maximum((np.arange(new) + 0.5) * scale - 0.5, 0).astype(kind)

    return _interpolate(images, height, width, places)


def pil_bicubic(images: Array, height: int, width: int) -> Array:
    """Returns images as Pillow's bicubic filter scales float channels, clipped to 0..255, as clean-fid does.

    Shrinking widens the filter, so that it averages. Source: Pillow, src/libImaging/Resample.c; GaParmar/clean-fid.
    """
    return jnp.clip(torch_bicubic(images, height, width), 0, WHITE)


def torch_bicubic(images: Array, height: int, width: int) -> Array:
    """Returns images as PyTorch's antialiased bicubic interpolation scales them, as EDM2's FD_DINOv2 does.

    It is Pillow's filter; values beyond black and white are kept.
    Source: torch.nn.functional.interpolate, mode="bicubic", antialias=True.
    """
    rows, columns = (_bicubic_weights(*sizes) for sizes in ((images.shape[1], height), (images.shape[2], width)))
    with jax.default_matmul_precision("highest"):
        x = jnp.einsum("vw,nhwc->nhvc", columns.astype(images.dtype), images)
        return jnp.einsum("uh,nhvc->nuvc", rows.astype(images.dtype), x)


def pil_bicubic_uint8(images: Array, height: int, width: int) -> Array:
    """Returns images as Pillow's bicubic filter scales uint8 pictures, bit for bit, as CMMD does.

    The columns are scaled and rounded first, then the rows. Images are whole numbers in 0..255, of any type; the result
    is int32. Source: Pillow, src/libImaging/Resample.c.
    """
    x = _scaled_uint8(images.astype(jnp.int32), width)
    return _scaled_uint8(x.swapaxes(1, 2), height).swapaxes(1, 2)


def _scaled_uint8(x: Array, width: int) -> Array:
    """Returns int32 images [n, h, w, c] with other columns, in Pillow's fixed-point arithmetic."""
    weights = _bicubic_weights(x.shape[2], width)
    first = (weights != 0).argmax(axis=1)
    num_taps = int((weights != 0).sum(axis=1).max()) + 1  # A weight within the filter can be 0.
    fixed = np.trunc(weights * 2**FIXED_BITS + np.copysign(0.5, weights)).astype(np.int32)
    fixed = np.pad(fixed, ((0, 0), (0, num_taps)))
    total = jnp.full((*x.shape[:2], width, x.shape[3]), 2 ** (FIXED_BITS - 1), jnp.int32)
    for tap in range(num_taps):
        at = first + tap
        factors = fixed[np.arange(width), at][None, None, :, None]
        total = total + x[:, :, np.minimum(at, x.shape[2] - 1)] * factors
    return jnp.clip(total >> FIXED_BITS, 0, int(WHITE))


def shrink(images: Array, largest_px: int) -> Array:
    """Returns images averaged over boxes to `largest_px`; smaller ones stay as they are.

    Source: NVlabs/stylegan, metrics/perceptual_path_length.py and linear_separability.py.

    Args:
        images: float. [n, h, w, c]
        largest_px: height from which on images are averaged.

    Raises:
        ValueError: no whole boxes fit the images.
    """
    n, height, width, c = images.shape
    box = height // largest_px
    if box <= 1:
        return images
    if height % box or width % box:
        raise ValueError(
            f"images of {height}x{width} px cannot be averaged over boxes of {box} px; use a power of two."
        )
    return images.reshape(n, height // box, box, width // box, box, c).mean(axis=(2, 4))


def _interpolate(images: Array, height: int, width: int, places: Callable[[int, int, type], np.ndarray]) -> Array:
    """Returns images interpolated between the pixels around the places of new ones.

    `places` returns the place of each of some new pixels among old ones, given both numbers and the type; places are
    computed in the images' precision, as TensorFlow and PyTorch do.
    """
    kind = np.float64 if images.dtype == jnp.float64 else np.float32

    def neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = places(old, new, kind)
        low = np.floor(at).astype(np.int32)
        return low, np.minimum(low + 1, old - 1), at - low

    top, bottom, down = neighbours(images.shape[1], height)
    left, right, across = neighbours(images.shape[2], width)
    down = jnp.asarray(down, images.dtype)[None, :, None, None]
    across = jnp.asarray(across, images.dtype)[None, None, :, None]
    x = images[:, :, left] + (images[:, :, right] - images[:, :, left]) * across  # [n, h, w', c]
    return x[:, top] + (x[:, bottom] - x[:, top]) * down


def _bicubic_weights(old: int, new: int) -> np.ndarray:
    """Returns how much each of `old` pixels counts in each of `new` ones. float64 [new, old]"""
    scale = old / new
    widening = max(scale, 1.0)
    weights = np.zeros((new, old))
    for i in range(new):
        center, reach = (i + 0.5) * scale, 2 * widening
        first, last = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), old)
        at = np.arange(first, last)
        row = cubic((at - center + 0.5) / widening)
        weights[i, at] = row / math.fsum(row)
    return weights


def cubic(x: np.ndarray, a: float = CUBIC_A) -> np.ndarray:
    """Returns the cubic convolution kernel (Keys 1981, Eq. 15), which is 0 from 2 on."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
