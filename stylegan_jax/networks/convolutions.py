"""Convolutions, plain and with resampling, each in a form that is fast on the backend at hand. Images are NHWC.

`plain_conv` and its two neighbours define the results; tests compare every other form with them. To resample, GPUs and
TPUs compute one strided convolution at the low resolution; cpu_convolutions has the forms for CPUs.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.devices import backend
from stylegan_jax.networks import cpu_convolutions, ops

# ---- what the networks call


def conv(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns the cross-correlation of `x` [n, h, w, c] with `scale weight` [k, k, c, d], zeros outside: [n, h, w, d].

    The scale is a separate argument because a form may apply it to something smaller than the weight.
    """
    if weight.shape[:2] == (1, 1):
        return x @ _kernel(x, weight, scale)[0, 0]  # Its gradients keep the order of the axes.
    if weight.shape[:2] == (3, 3) and backend.platform() == "cpu" and cpu_convolutions.has_conv(weight):
        return cpu_convolutions.conv(x, weight, scale)
    return plain_conv(x, weight, scale)


def upscale_conv(x: Array, weight: Array, scale: float = 1.0, ring: int = 0) -> Array:
    """Returns conv(upscale(x), weight, scale): [n, h, w, c] with [k, k, c, d] to [n, 2 h + 2 ring, 2 w + 2 ring, d].

    The result has `ring` pixels around the images besides, 0 or 1. Outside of `x` are zeros.
    """
    if weight.shape[:2] != (3, 3):
        return plain_upscale_conv(x, weight, scale, ring)
    if backend.platform() != "cpu":
        return strided_upscale_conv(x, weight, scale, ring)
    return _padded(cpu_convolutions.upscale_conv(_padded(x, ring), weight, scale), -ring)


def conv_downscale(x: Array, weight: Array, scale: float = 1.0, ring: int = 0) -> Array:
    """Returns downscale(conv(x, weight, scale)): [n, 2 h + 2 ring, 2 w + 2 ring, c] with [k, k, c, d] to [n, h, w, d].

    `x` has `ring` pixels around the images besides, 0 or 1. Outside of it are zeros.
    """
    if weight.shape[:2] != (3, 3):
        return plain_conv_downscale(x, weight, scale, ring)
    if backend.platform() != "cpu":
        return strided_conv_downscale(x, weight, scale, ring)
    return _padded(cpu_convolutions.conv_downscale(_padded(x, ring), weight, scale), -ring)


def _padded(x: Array, ring: int) -> Array:
    """Returns `x` with a ring of zeros, or without a ring of its pixels if the number is negative."""
    return ops.pad_axis(ops.pad_axis(x, ring, ring, 1), ring, ring, 2) if ring else x


def _kernel(x: Array, weight: Array, scale: float) -> Array:
    return (weight * scale).astype(x.dtype)


# ---- plain forms


def _convolve(x: Array, kernel: Array, stride: int, padding: str | Sequence[tuple[int, int]]) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def plain_conv(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns what `conv` does."""
    return _convolve(x, _kernel(x, weight, scale), 1, "SAME")


def plain_upscale_conv(x: Array, weight: Array, scale: float = 1.0, ring: int = 0) -> Array:
    """Returns what `upscale_conv` does."""
    return _padded(plain_conv(ops.upscale(_padded(x, ring)), weight, scale), -ring)


def plain_conv_downscale(x: Array, weight: Array, scale: float = 1.0, ring: int = 0) -> Array:
    """Returns what `conv_downscale` does."""
    return _padded(ops.downscale(plain_conv(_padded(x, ring), weight, scale)), -ring)


# ---- strided forms: one 4x4 kernel, half the multiplications, and no enlarged images (official "fused_scale")


def strided_upscale_conv(x: Array, weight: Array, scale: float = 1.0, ring: int = 0) -> Array:
    """Returns what `upscale_conv` does, for a 3x3 kernel: the transpose of a strided convolution."""
    kernel = jnp.swapaxes(_sum_of_shifted(jax.lax.rev(weight, (0, 1))), 2, 3)
    return _transposed(x, _resampling_kernel(x, kernel, scale), 1 - ring, _precision())


def strided_conv_downscale(x: Array, weight: Array, scale: float = 1.0, ring: int = 0) -> Array:
    """Returns what `conv_downscale` does, for a 3x3 kernel: one strided convolution."""
    kernel = _resampling_kernel(x, _sum_of_shifted(weight), scale / 4)
    return _strided(x, kernel, 1 - ring, _precision())


def _precision() -> str | None:
    """Returns the precision of products that the context asks for."""
    # JAX declares the setting at run time, where mypy does not see it.
    return jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]


def _sum_of_shifted(weight: Array) -> Array:
    """Returns the sum of `weight` at four places, one pixel apart: [3, 3, c, d] to [4, 4, c, d]."""
    padded = jnp.pad(weight, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]


def _resampling_kernel(x: Array, kernel: Array, scale: float) -> Array:
    """Returns `scale kernel` behind a barrier: XLA would move the scale, and then not recognize the convolution."""
    return jax.lax.optimization_barrier(_kernel(x, kernel, scale))


# Three bilinear maps; the derivatives of each are the other two. So every derivative, of any order, is what cuDNN calls
# forward, backward data or backward filter, with stride 2. JAX's own derivative by the kernel is a convolution whose
# window is the whole picture, which XLA does not recognize. The precision of products is an argument because
# derivatives are traced outside of the context that sets it.


def _down(x: Array, kernel: Array, pad: int, precision: str | None) -> Array:
    with jax.default_matmul_precision(precision):
        return _convolve(x, kernel, 2, ((pad, pad), (pad, pad)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided(x: Array, kernel: Array, pad: int, precision: str | None) -> Array:
    """Returns `x` [n, 2 h + 2 - 2 pad, 2 w + 2 - 2 pad, c] convolved with `kernel` [4, 4, c, d]: y [n, h, w, d]."""
    return _down(x, kernel, pad, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _transposed(y: Array, kernel: Array, pad: int, precision: str | None) -> Array:
    """Returns the adjoint of `_strided` in x, applied to `y` [n, h, w, d]: [n, 2 h + 2 - 2 pad, 2 w + 2 - 2 pad, c]."""
    n, *sides, _ = y.shape
    h, w = (2 * side + 2 - 2 * pad for side in sides)
    x = jax.ShapeDtypeStruct((n, h, w, kernel.shape[2]), y.dtype)
    (result,) = jax.linear_transpose(lambda x: _down(x, kernel, pad, precision), x)(y)
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x: Array, y: Array, pad: int, precision: str | None) -> Array:
    """Returns the adjoint of `_strided` in the kernel: [4, 4, c, d]."""
    kernel = jax.ShapeDtypeStruct((4, 4, x.shape[3], y.shape[3]), x.dtype)
    (result,) = jax.linear_transpose(lambda kernel: _down(x, kernel, pad, precision), kernel)(y)
    return result


_strided.defvjp(
    lambda *args: (_strided(*args), args[:2]),
    lambda pad, how, xk, g: (_transposed(g, xk[1], pad, how), _kernel_gradient(xk[0], g, pad, how)),
)
_transposed.defvjp(
    lambda *args: (_transposed(*args), args[:2]),
    lambda pad, how, yk, g: (_strided(g, yk[1], pad, how), _kernel_gradient(g, yk[0], pad, how)),
)
_kernel_gradient.defvjp(
    lambda *args: (_kernel_gradient(*args), args[:2]),
    lambda pad, how, xy, g: (_transposed(xy[1], g, pad, how), _strided(xy[0], g, pad, how)),
)
