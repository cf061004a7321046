"""What follows each convolution of the synthesis network: noise, bias, nonlinearity, normalization and style."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.networks import gpu_epilogue, gpu_kernels, ops


def styled(
    x: Array,
    noise: Array | None,
    strength: Array | None,
    bias: Array,
    style: Array | None,
    nonlinearity: str,
    taps: tuple[int, ...] | None = None,
    epsilon: float = ops.EPSILON,
) -> Array:
    """Returns the features after noise, bias, nonlinearity and AdaIN, in the dtype of `x` (StyleGAN, Fig. 1b, Eq. 1).

    Args:
        x: the convolution's output. [n, h, w, c]
        noise: unit Gaussian, one map per image or one for all; None: no noise. [n or 1, h, w, 1]
        strength: factor of the noise. [c]
        bias: [c]
        style: scales y_s, then biases y_b; None: normalization alone. [n, 2 c]
        nonlinearity: "lrelu" or "relu".
        taps: filter of a blur that comes first; None: no blur.
        epsilon: term added to the variance.
    """
    if not gpu_kernels.can_take(x):
        return plain_styled(x, noise, strength, bias, style, nonlinearity, taps, epsilon)
    n, h, w, c = x.shape
    if noise is None or strength is None:
        noise, strength = jnp.zeros((1, h, w, 1), jnp.float32), jnp.zeros(c, jnp.float32)
    style = jnp.zeros((n, 2 * c), jnp.float32) if style is None else style
    return fused_styled(x, noise, strength, bias, style, nonlinearity, taps, epsilon)


def activated(x: Array, noise: Array | None, strength: Array | None, bias: Array, nonlinearity: str) -> Array:
    """Returns the features after noise, bias and nonlinearity, in float32."""
    x = x.astype(jnp.float32)
    if noise is not None and strength is not None:
        x = x + noise * strength[None, None, None, :]
    return ops.NONLINEARITIES[nonlinearity](ops.add_bias(x, bias))


def plain_styled(
    x: Array,
    noise: Array | None,
    strength: Array | None,
    bias: Array,
    style: Array | None,
    nonlinearity: str,
    taps: tuple[int, ...] | None = None,
    epsilon: float = ops.EPSILON,
) -> Array:
    """Returns what `styled` does, by its definition; XLA alone fuses it."""
    x = x if taps is None else ops.blur(x, taps)
    y = ops.instance_norm(activated(x, noise, strength, bias, nonlinearity), epsilon)
    return (y if style is None else ops.modulate(y, style)).astype(x.dtype)


def fused_styled(
    x: Array,
    noise: Array,
    strength: Array,
    bias: Array,
    style: Array,
    nonlinearity: str,
    taps: tuple[int, ...] | None = None,
    epsilon: float = ops.EPSILON,
) -> Array:
    """Returns what `styled` does, by kernels for GPUs."""
    return _fused(x, noise, strength, bias, style, nonlinearity, taps, epsilon)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def _fused(x: Array, noise: Array, strength: Array, bias: Array, style: Array, *how: Any) -> tuple[Array, ...]:
    """Returns the features and blurred x [n, h, w, c], mean and 1 / standard deviation [n, c]."""
    y, kept = gpu_epilogue.forward(x, noise, strength, bias, style, *how)
    return y, *kept


def _fused_forward(x: Array, noise: Array, strength: Array, bias: Array, style: Array, *how: Any):
    y, blurred, *statistics = _fused(x, noise, strength, bias, style, *how)
    return (y, blurred, *statistics), ((blurred, noise, strength, bias, style), tuple(statistics))


def _fused_backward(
    nonlinearity: str, taps: tuple[int, ...] | None, epsilon: float, kept: tuple, cotangents: tuple[Array, ...]
):
    # Second derivatives reach x through blurred x alone: _fused_gradients treats the statistics as functions of it.
    g, blurred_grad, *_ = cotangents
    x_grad, *others = _fused_gradients(*kept, g, nonlinearity, epsilon)
    x_grad += blurred_grad
    return x_grad if taps is None else ops.blur_adjoint(x_grad, taps), *others


_fused.defvjp(_fused_forward, _fused_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _fused_gradients(layer: Sequence[Array], statistics: Sequence[Array], g: Array, nonlinearity: str, epsilon: float):
    """Returns the gradients of blurred x, noise, strength, bias and style. Its own derivative is the plain form's."""
    (x, noise, strength, bias, style), (mean, inverse_std) = layer, statistics
    return gpu_epilogue.backward(x, noise, strength, bias, style, mean, inverse_std, g, nonlinearity)


def _fused_gradients_forward(layer: Sequence[Array], statistics: Sequence[Array], g: Array, *how: Any):
    return _fused_gradients(layer, statistics, g, *how), (layer, g)


def _fused_gradients_backward(nonlinearity: str, epsilon: float, kept: tuple, cotangents: tuple[Array, ...]):
    def plain_gradients(layer: Sequence[Array], g: Array) -> tuple[Array, ...]:
        plain = functools.partial(plain_styled, nonlinearity=nonlinearity, epsilon=epsilon)
        return jax.vjp(plain, *layer)[1](g)

    layer_grad, g_grad = jax.vjp(plain_gradients, *kept)[1](cotangents)
    return layer_grad, None, g_grad


_fused_gradients.defvjp(_fused_gradients_forward, _fused_gradients_backward)
