"""Dense and convolution layers with an equalized learning rate, noise and style."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax import config, convolutions, ops

RELU_GAIN = math.sqrt(2)  # He et al. 2015: keeps the variance through a ReLU.
NONLINEARITIES: dict[str, Callable[[Array], Array]] = {"lrelu": ops.leaky_relu, "relu": ops.relu}


def at_matmul_precision(call: Callable[..., Array]) -> Callable[..., Array]:
    """Returns a network's `__call__` with products of model.matmul_precision; their gradients inherit it."""

    @functools.wraps(call)
    def precise(self: Any, *args: Any, **kwargs: Any) -> Array:
        if self.model.matmul_precision == "default":
            return call(self, *args, **kwargs)
        with jax.default_matmul_precision(self.model.matmul_precision):
            return call(self, *args, **kwargs)

    return precise


def weight_scales(
    shape: tuple[int, ...], gain: float, lr_multiplier: float, use_equalized_lr: bool
) -> tuple[float, float]:
    """Returns (standard deviation of the stored weight, factor at run time): official get_weight.

    He's constant gain / sqrt(fan_in) goes into the factor when the learning rate is equalized (Progressive GAN,
    Sec. 4.1), else into the initial weight. A smaller learning rate is a larger weight times a smaller factor.

    Args:
        shape: of the weight; the last axis is the output.
    """
    he_std = gain / math.sqrt(math.prod(shape[:-1]))
    if use_equalized_lr:
        return 1 / lr_multiplier, he_std * lr_multiplier
    return he_std / lr_multiplier, lr_multiplier


def _weight(module: nn.Module, shape: tuple[int, ...]) -> tuple[Array, float]:
    """Returns the module's parameter "weight", and the factor that it takes at run time."""
    std, factor = weight_scales(shape, module.gain, module.lr_multiplier, module.use_equalized_lr)
    return module.param("weight", nn.initializers.normal(std), shape), factor


def add_bias(x: Array, bias: Array) -> Array:
    """Returns x + bias over the last axis, in the dtype of `x`.

    The sum itself is in that of the bias: so is then the bias's gradient, a sum over all pixels.
    """
    return (x + bias.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


class Dense(nn.Module):
    """x W + b, in the dtype of x. [n, i] to [n, features]"""

    features: int
    gain: float = RELU_GAIN
    lr_multiplier: float = 1.0
    use_equalized_lr: bool = True
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight, factor = _weight(self, (x.shape[-1], self.features))
        x = x @ weight.astype(x.dtype) * factor  # The product is smaller than the weight.
        if not self.use_bias:
            return x
        return add_bias(x, self.param("bias", nn.initializers.zeros, (self.features,)) * self.lr_multiplier)


class Conv(nn.Module):
    """Convolution by conv_fn, plain or with resampling, in the dtype of x. [n, h, w, i] to [n, h', w', features]"""

    features: int
    kernel_size: int = 3
    gain: float = RELU_GAIN
    lr_multiplier: float = 1.0
    use_equalized_lr: bool = True
    use_bias: bool = True
    conv_fn: Callable[[Array, Array, float], Array] = convolutions.conv

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight, factor = _weight(self, (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        x = self.conv_fn(x, weight, factor)
        return add_bias(x, self.param("bias", nn.initializers.zeros, (self.features,))) if self.use_bias else x


class Epilogue(nn.Module):
    """What follows each convolution of the synthesis network: noise, bias, nonlinearity, AdaIN (StyleGAN, Fig. 1b).

    Features of any dtype come back in it, and are float32 in between: the statistics need that, as do the gradients of
    bias, noise strength and style, which are sums over pixels. XLA fuses the two casts.

    Args of the call:
        x: features. [n, h, w, c]
        w: the layer's latent; not used without styles. [n, w_size]
        noise: unit Gaussian, one map an image or one for all; not used without noise. [n or 1, h, w, 1]
    """

    model: config.Model

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array | None) -> Array:
        m, channels, dtype = self.model, x.shape[-1], x.dtype
        x = x.astype(jnp.float32)
        if m.use_noise:
            strength = self.param("noise_strength", nn.initializers.zeros, (channels,))
            x = x + noise * strength[None, None, None, :]
        x = add_bias(x, self.param("bias", nn.initializers.zeros, (channels,)))
        x = NONLINEARITIES[m.nonlinearity](x)
        if m.use_pixel_norm:
            x = ops.pixel_norm(x)
        if m.use_instance_norm:
            x = ops.instance_norm(x)
        if m.use_styles:
            style = Dense(2 * channels, gain=1.0, use_equalized_lr=m.use_equalized_lr, name="style")(w)
            x = ops.modulate(x, style)
        return x.astype(dtype)


def blur(x: Array, model: config.Model) -> Array:
    """Returns `x` through the model's low-pass filter, if it has one."""
    return x if model.blur_filter is None else ops.blur(x, model.blur_filter)
