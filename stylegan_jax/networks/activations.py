"""Bias and nonlinearity, with the discriminator's operations just before or after them, and derivatives of any order.

These move more bytes than convolutions do, so each defines its own derivative: only features in their own dtype are
kept for it and written between layers. Leaky ReLU and ReLU keep the sign, so the output tells where the input was
negative. All sums are float32.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.devices import backend
from stylegan_jax.networks import gpu_bias_act, gpu_kernels, ops

# ---- bias and nonlinearity, and a blur after them, with derivatives of any order


def bias_act(x: Array, bias: Array, nonlinearity: str) -> Array:
    """Returns f(x + bias) over the last axis, in the dtype of `x`; f is "lrelu" or "relu"."""
    return _act(ops.add_bias(x, bias), nonlinearity)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _act(x: Array, nonlinearity: str) -> Array:
    return ops.NONLINEARITIES[nonlinearity](x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _sloped(y: Array, g: Array, nonlinearity: str) -> Array:
    """Returns f'(x) g, where y = f(x)."""
    y, g = _apart(y, g)
    return ops.activation_gradient(y, g, nonlinearity)


def _act_forward(x: Array, nonlinearity: str) -> tuple[Array, Array]:
    y = _act(x, nonlinearity)
    return y, y


_act.defvjp(_act_forward, lambda nonlinearity, y, g: (_sloped(y, g, nonlinearity),))
_sloped.defvjp(  # Its derivative by g is itself; its derivative by y is zero.
    lambda y, g, nonlinearity: (_sloped(y, g, nonlinearity), y),
    lambda nonlinearity, y, g: (None, _sloped(y, g, nonlinearity)),
)


def _apart(*arrays: Array) -> tuple[Array, ...]:
    """Returns the arrays behind a barrier: without it, XLA would write the masks that several derivatives share."""
    return jax.lax.optimization_barrier(arrays)


def bias_act_blur(x: Array, bias: Array, nonlinearity: str, taps: Sequence[int]) -> Array:
    """Returns blur(bias_act(x, bias)) without keeping the blur's input: derivatives take its sign from x + bias."""
    return _bias_act_blur(x, bias, nonlinearity, tuple(taps))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _bias_act_blur(x: Array, bias: Array, nonlinearity: str, taps: tuple[int, ...]) -> Array:
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


_bias_act_blur.defvjp(lambda x, bias, *how: (_bias_act_blur(x, bias, *how), (x, bias)), _bias_act_blur_backward)
_blurred_slope.defvjp(
    lambda x, bias, g, *how: (_blurred_slope(x, bias, g, *how), (x, bias)),
    lambda *args: (None, None, _sloped_blur(*args[2], args[3], *args[:2])),
)
_sloped_blur.defvjp(
    lambda x, bias, g, *how: (_sloped_blur(x, bias, g, *how), (x, bias)),
    lambda *args: (None, None, _blurred_slope(*args[2], args[3], *args[:2])),
)


# ---- bias and nonlinearity of features made from colors


def color_act(images: Array, kernel: Array, bias: Array, nonlinearity: str) -> Array:
    """Returns f(images @ kernel + bias), the discriminator's layer from RGB, in the dtype of `images`.

    GPUs compute sums of products, which XLA fuses with the nonlinearity. With a matrix product, the forward pass would
    write its features before the nonlinearity, and the backward pass f' g.

    Args:
        images: [n, h, w, k], with few channels k.
        kernel: [k, c]
        bias: [c]
        nonlinearity: "lrelu" or "relu".
    """
    if not backend.has_triton():
        return bias_act(images @ kernel, bias, nonlinearity)
    return _color_act(images, kernel.astype(jnp.float32), bias, nonlinearity)


def _mixed(colors: Array, kernel: Array) -> Array:
    """Returns colors @ kernel as a sum of products: [n, h, w, k] with [k, c] to [n, h, w, c]."""
    return sum(colors[..., i : i + 1] * kernel[i][None, None, None, :] for i in range(len(kernel)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _color_act(colors: Array, kernel: Array, bias: Array, nonlinearity: str) -> Array:
    return ops.NONLINEARITIES[nonlinearity](ops.add_bias(_mixed(colors, kernel), bias)).astype(colors.dtype)


# Three bilinear maps, for a fixed output y of _color_act: f' (colors @ kernel), and its adjoints in colors and in
# kernel. The derivatives of each are the other two.


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _color_slope(y: Array, colors: Array, kernel: Array, nonlinearity: str) -> Array:
    """Returns f' (colors @ kernel), in the dtype of y."""
    return ops.activation_gradient(_apart(y, colors)[0], _mixed(colors, kernel), nonlinearity).astype(y.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _colors_gradient(y: Array, g: Array, kernel: Array, nonlinearity: str) -> Array:
    """Returns (f' g) @ kernel.T, in the dtype of y. [n, h, w, k]"""
    if gpu_kernels.can_take(y):
        return gpu_bias_act.colors_gradient(y, g, kernel, nonlinearity)
    sloped = ops.activation_gradient(y, g.astype(jnp.float32), nonlinearity)
    return jnp.matmul(sloped, kernel.T, precision="highest").astype(y.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _kernel_gradient(y: Array, g: Array, colors: Array, nonlinearity: str) -> tuple[Array, Array]:
    """Returns colors.T @ (f' g) and the sum of f' g, in float32. [k, c], [c]"""
    if gpu_kernels.can_take(y):
        return gpu_bias_act.kernel_gradient(y, g, colors, nonlinearity)
    sloped = ops.activation_gradient(y, g.astype(jnp.float32), nonlinearity)
    kernel_grad = jnp.einsum("nhwk,nhwc->kc", colors.astype(jnp.float32), sloped, precision="highest")
    return kernel_grad, jnp.sum(sloped, axis=(0, 1, 2))


def _color_act_forward(colors: Array, kernel: Array, bias: Array, nonlinearity: str):
    y = _color_act(colors, kernel, bias, nonlinearity)
    return y, (y, colors, kernel)


def _color_act_backward(nonlinearity: str, kept: tuple[Array, ...], g: Array) -> tuple[Array, Array, Array]:
    y, colors, kernel = kept
    return _colors_gradient(y, g, kernel, nonlinearity), *_kernel_gradient(y, g, colors, nonlinearity)


def _with_arguments(map_fn: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    return map_fn(*args), args[:-1]


def _color_slope_backward(nonlinearity: str, kept: tuple[Array, ...], g: Array):
    y, colors, kernel = kept
    kernel_grad, _ = _kernel_gradient(y, g, colors, nonlinearity)
    return None, _colors_gradient(y, g, kernel, nonlinearity), kernel_grad


def _colors_gradient_backward(nonlinearity: str, kept: tuple[Array, ...], colors: Array):
    y, g, kernel = kept
    kernel_grad, _ = _kernel_gradient(y, g, colors, nonlinearity)
    return None, _color_slope(y, colors, kernel, nonlinearity), kernel_grad


def _kernel_gradient_backward(nonlinearity: str, kept: tuple[Array, ...], cotangents: tuple[Array, Array]):
    (y, g, colors), (kernel, bias) = kept, cotangents
    sloped = ops.activation_gradient(y, jnp.broadcast_to(bias, y.shape), nonlinearity).astype(y.dtype)
    g_grad = _color_slope(y, colors, kernel, nonlinearity) + sloped
    return None, g_grad, _colors_gradient(y, g, kernel, nonlinearity)


_color_act.defvjp(_color_act_forward, _color_act_backward)
_color_slope.defvjp(functools.partial(_with_arguments, _color_slope), _color_slope_backward)
_colors_gradient.defvjp(functools.partial(_with_arguments, _colors_gradient), _colors_gradient_backward)
_kernel_gradient.defvjp(functools.partial(_with_arguments, _kernel_gradient), _kernel_gradient_backward)
