"""Bias and nonlinearity, with the discriminator's operations just before or after them, and derivatives of any order.

These move more bytes than convolutions do, so each defines its own derivative: only features in their own dtype are
kept for it and written between layers. Leaky ReLU and ReLU keep the sign, so the output tells where the input was
negative. All sums are float32.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.devices import backend
from stylegan_jax.networks import gpu_bias_act, gpu_kernels, ops

# ---- bias and nonlinearity, and a blur after them, with derivatives of any order


def bias_act(x: Array, bias: Array, nonlinearity: str, clamp: float | None = None) -> Array:
    """Returns f(x + bias) over the last axis, in the dtype of `x`; f is "lrelu" or "relu".

    With `clamp` it is clipped to [-clamp, clamp] (StyleGAN2-ADA, for half precision).
    """
    return _act(ops.add_bias(x, bias), nonlinearity, clamp)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _act(x: Array, nonlinearity: str, clamp: float | None) -> Array:
    return ops.clamp(ops.NONLINEARITIES[nonlinearity](x), clamp)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _sloped(y: Array, g: Array, nonlinearity: str, clamp: float | None) -> Array:
    """Returns f'(x) g, where y = f(x)."""
    y, g = _apart(y, g)
    return ops.activation_gradient(y, g, nonlinearity, clamp)


def _act_forward(x: Array, *how: Any) -> tuple[Array, Array]:
    y = _act(x, *how)
    return y, y


_act.defvjp(_act_forward, lambda nonlinearity, clamp, y, g: (_sloped(y, g, nonlinearity, clamp),))
_sloped.defvjp(  # Its derivative by g is itself; its derivative by y is zero.
    lambda y, g, *how: (_sloped(y, g, *how), y),
    lambda nonlinearity, clamp, y, g: (None, _sloped(y, g, nonlinearity, clamp)),
)


def _apart(*arrays: Array) -> tuple[Array, ...]:
    """Returns the arrays behind a barrier: without it, XLA would write the masks that several derivatives share."""
    return jax.lax.optimization_barrier(arrays)


def demodulated(
    x: Array,
    scale: Array,
    noise: Array | None,
    strength: Array | None,
    bias: Array,
    nonlinearity: str,
    clamp: float | None = None,
) -> Array:
    """Returns the features after demodulation, noise, bias and nonlinearity, in the dtype of `x` (StyleGAN2, Fig. 2d).

    Args:
        x: the convolution's output. [n, h, w, c]
        scale: factor of each map. [n, c]
        noise: unit Gaussian, one map per image or one for all; None: no noise. [n or 1, h, w, 1]
        strength: factor of the noise. [1]
        bias: [c]
        nonlinearity: "lrelu" or "relu".
        clamp: as in `bias_act`.
    """
    if noise is None or strength is None:
        noise, strength = jnp.zeros((1, *x.shape[1:3], 1)), jnp.zeros(1)
    return _demodulated(x, scale, noise, strength, bias, nonlinearity, clamp)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _demodulated(x: Array, scale: Array, noise: Array, strength: Array, bias: Array, *how: Any) -> Array:
    y = scaled(x, scale) + noise * strength[None, None, None, :]
    return _act(ops.add_bias(y, bias), *how).astype(x.dtype)


def _demodulated_forward(x: Array, scale: Array, noise: Array, strength: Array, bias: Array, *how: Any):
    y = _demodulated(x, scale, noise, strength, bias, *how)
    return y, (x, scale, noise, strength, y)


def _demodulated_backward(nonlinearity: str, clamp: float | None, kept: tuple[Array, ...], g: Array):
    """Takes sums over the pixels of each map alone, in one pass over the features."""
    x, scale, noise, strength, y = kept
    y = jax.lax.stop_gradient(y)  # The slope is constant, but for a step at zero.
    g = ops.activation_gradient(y, g, nonlinearity, clamp).astype(scale.dtype)
    sums = [jnp.sum(values, axis=(1, 2)) for values in (g * x.astype(scale.dtype), g * noise, g)]  # [n, c] each
    scale_grad, strength_grad, bias_grad = _apart(*sums)  # XLA would take sums over images in a pass of their own.
    noise_grad = jnp.sum(g, axis=3, keepdims=True) * strength[None, None, None, :]
    noise_grad = noise_grad if noise.shape[0] > 1 else jnp.sum(noise_grad, axis=0, keepdims=True)
    return scaled(g, scale).astype(x.dtype), scale_grad, noise_grad, jnp.sum(strength_grad)[None], jnp.sum(bias_grad, 0)


_demodulated.defvjp(_demodulated_forward, _demodulated_backward)


@jax.custom_vjp
def scaled(x: Array, scale: Array) -> Array:
    """Returns x [n, h, w, c] times scale [n, c], in float32; for its derivative, `x` is kept in its own dtype."""
    return x.astype(scale.dtype) * scale[:, None, None, :]


def _scaled_backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, scale = kept
    return scaled(g, scale).astype(x.dtype), jnp.sum(g * x.astype(g.dtype), axis=(1, 2))


scaled.defvjp(lambda x, scale: (scaled(x, scale), (x, scale)), _scaled_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def bias_act_blur(x: Array, bias: Array, nonlinearity: str, taps: tuple[int, ...]) -> Array:
    """Returns blur(bias_act(x, bias)) without keeping the blur's input: derivatives take its sign from x + bias."""
    return ops.blur(ops.NONLINEARITIES[nonlinearity](ops.add_bias(x, bias)), taps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _blurred_slope(x: Array, bias: Array, g: Array, nonlinearity: str, taps: tuple[int, ...]) -> Array:
    """Returns blur(f'(x + bias) g)."""
    if gpu_kernels.can_take(g):
        return gpu_bias_act.blurred_slope(x, bias, g, nonlinearity, taps)
    x, g = _apart(x, g)
    return ops.blur(ops.activation_gradient(ops.add_bias(x, bias), g, nonlinearity), taps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _sloped_blur(x: Array, bias: Array, g: Array, nonlinearity: str, taps: tuple[int, ...]) -> Array:
    """Returns the adjoint of `_blurred_slope` in g: f'(x + bias) times the adjoint of the blur."""
    x, g = _apart(x, g)
    return ops.activation_gradient(ops.add_bias(x, bias), ops.blur_adjoint(g, taps), nonlinearity)


def _bias_act_blur_backward(nonlinearity: str, taps: tuple[int, ...], kept: tuple[Array, Array], g: Array):
    x_grad = _sloped_blur(*kept, g, nonlinearity, taps)
    return x_grad, jnp.sum(x_grad.astype(kept[1].dtype), axis=tuple(range(x_grad.ndim - 1)))


bias_act_blur.defvjp(lambda x, bias, *how: (bias_act_blur(x, bias, *how), (x, bias)), _bias_act_blur_backward)
_blurred_slope.defvjp(
    lambda x, bias, g, *how: (_blurred_slope(x, bias, g, *how), (x, bias)),
    lambda *args: (None, None, _sloped_blur(*args[2], args[3], *args[:2])),
)
_sloped_blur.defvjp(
    lambda x, bias, g, *how: (_sloped_blur(x, bias, g, *how), (x, bias)),
    lambda *args: (None, None, _blurred_slope(*args[2], args[3], *args[:2])),
)


# ---- bias and nonlinearity of features made from colors


def color_act(images: Array, kernel: Array, bias: Array, nonlinearity: str, clamp: float | None = None) -> Array:
    """Returns bias_act(images @ kernel, bias), the discriminator's layer from RGB, in the dtype of `images`.

    GPUs compute sums of products, which XLA fuses with the nonlinearity. With a matrix product, the forward pass would
    write its features before the nonlinearity, and the backward pass f' g.

    Args:
        images: [n, h, w, k], with few channels k.
        kernel: [k, c]
        bias: [c]
        nonlinearity: "lrelu" or "relu".
        clamp: as in `bias_act`.
    """
    if not backend.has_triton():
        return bias_act(images @ kernel, bias, nonlinearity, clamp)
    return _color_act(images, kernel.astype(jnp.float32), bias, nonlinearity, clamp)


def _mixed(colors: Array, kernel: Array) -> Array:
    """Returns colors @ kernel as a sum of products: [n, h, w, k] with [k, c] to [n, h, w, c]."""
    return sum(colors[..., i : i + 1] * kernel[i][None, None, None, :] for i in range(len(kernel)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _color_act(colors: Array, kernel: Array, bias: Array, nonlinearity: str, clamp: float | None) -> Array:
    return _act(ops.add_bias(_mixed(colors, kernel), bias), nonlinearity, clamp).astype(colors.dtype)


# Three bilinear maps, for a fixed output y of _color_act: f' (colors @ kernel), and its adjoints in colors and in
# kernel. The derivatives of each are the other two.


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _color_slope(y: Array, colors: Array, kernel: Array, *how: Any) -> Array:
    """Returns f' (colors @ kernel), in the dtype of y."""
    return ops.activation_gradient(_apart(y, colors)[0], _mixed(colors, kernel), *how).astype(y.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _colors_gradient(y: Array, g: Array, kernel: Array, *how: Any) -> Array:
    """Returns (f' g) @ kernel.T, in the dtype of y. [n, h, w, k]"""
    if gpu_kernels.can_take(y):
        return gpu_bias_act.colors_gradient(y, g, kernel, *how)
    sloped = ops.activation_gradient(y, g.astype(jnp.float32), *how)
    return jnp.matmul(sloped, kernel.T, precision="highest").astype(y.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _kernel_gradient(y: Array, g: Array, colors: Array, *how: Any) -> tuple[Array, Array]:
    """Returns colors.T @ (f' g) and the sum of f' g, in float32. [k, c], [c]"""
    if gpu_kernels.can_take(y):
        return gpu_bias_act.kernel_gradient(y, g, colors, *how)
    sloped = ops.activation_gradient(y, g.astype(jnp.float32), *how)
    kernel_grad = jnp.einsum("nhwk,nhwc->kc", colors.astype(jnp.float32), sloped, precision="highest")
    return kernel_grad, jnp.sum(sloped, axis=(0, 1, 2))


def _color_act_forward(colors: Array, kernel: Array, bias: Array, *how: Any):
    y = _color_act(colors, kernel, bias, *how)
    return y, (y, colors, kernel)


def _color_act_backward(*args: Any) -> tuple[Array, Array, Array]:
    *how, (y, colors, kernel), g = args
    return _colors_gradient(y, g, kernel, *how), *_kernel_gradient(y, g, colors, *how)


def _color_slope_backward(*args: Any) -> tuple[None, Array, Array]:
    *how, (y, colors, kernel), g = args
    kernel_grad, _ = _kernel_gradient(y, g, colors, *how)
    return None, _colors_gradient(y, g, kernel, *how), kernel_grad


def _colors_gradient_backward(*args: Any) -> tuple[None, Array, Array]:
    *how, (y, g, kernel), colors = args
    kernel_grad, _ = _kernel_gradient(y, g, colors, *how)
    return None, _color_slope(y, colors, kernel, *how), kernel_grad


def _kernel_gradient_backward(*args: Any) -> tuple[None, Array, Array]:
    *how, (y, g, colors), (kernel, bias) = args
    sloped = ops.activation_gradient(y, jnp.broadcast_to(bias, y.shape), *how).astype(y.dtype)
    g_grad = _color_slope(y, colors, kernel, *how) + sloped
    return None, g_grad, _colors_gradient(y, g, kernel, *how)


_color_act.defvjp(_color_act_forward, _color_act_backward)
_color_slope.defvjp(lambda *args: (_color_slope(*args), args[:3]), _color_slope_backward)
_colors_gradient.defvjp(lambda *args: (_colors_gradient(*args), args[:3]), _colors_gradient_backward)
_kernel_gradient.defvjp(lambda *args: (_kernel_gradient(*args), args[:3]), _kernel_gradient_backward)
