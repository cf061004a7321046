"""Dense and convolution layers with an equalized learning rate, noise and style."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, convolutions, epilogues, ops

RELU_GAIN = math.sqrt(2)  # He et al. 2015: keeps the variance through a ReLU.
HALF_POWER = math.sqrt(0.5)  # Gain of both branches of a residual block: their sum keeps the variance.


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
        shape: shape of the weight; the last axis is the output.
    """
    he_std = gain / math.sqrt(math.prod(shape[:-1]))
    if use_equalized_lr:
        return 1 / lr_multiplier, he_std * lr_multiplier
    return he_std / lr_multiplier, lr_multiplier


def _weight(module: nn.Module, shape: tuple[int, ...], lr_multiplier: float = 1.0) -> tuple[Array, float]:
    """Returns the module's parameter "weight", and the factor that it takes at run time."""
    std, factor = weight_scales(shape, module.gain, lr_multiplier, module.use_equalized_lr)
    return module.param("weight", nn.initializers.normal(std), shape), factor


BiasFn = Callable[[Array, Array], Array]  # Function of a layer's output and its bias.


def _with_bias(module: nn.Module, x: Array, bias_init: float = 0.0, lr_multiplier: float = 1.0) -> Array:
    """Returns the module's bias_fn of `x` and its parameter "bias", or `x` if it has no bias."""
    if module.bias_fn is None:
        return x
    bias = module.param("bias", nn.initializers.constant(bias_init), (module.features,))
    return module.bias_fn(x, bias * (lr_multiplier * module.bias_gain))


class Dense(nn.Module):
    """bias_fn(x W, b), in the dtype of x. [n, i] to [n, features]"""

    features: int
    gain: float = RELU_GAIN
    bias_gain: float = 1.0  # Factor of the bias; in StyleGAN2 the nonlinearity has a gain, which acts on both.
    bias_init: float = 0.0
    lr_multiplier: float = 1.0
    use_equalized_lr: bool = True
    bias_fn: BiasFn | None = ops.add_bias  # None: no bias.
    precision: str | None = None  # Precision of the product; None: what the context asks for.

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight, factor = _weight(self, (x.shape[-1], self.features), self.lr_multiplier)
        product = jnp.matmul(x, weight.astype(x.dtype), precision=self.precision)
        product *= factor  # It is smaller than the weight.
        return _with_bias(self, product, self.bias_init, self.lr_multiplier)


class Conv(nn.Module):
    """bias_fn(conv_fn(x, W), b), in the dtype of x; conv_fn may resample. [n, h, w, i] to [n, h', w', features]"""

    features: int
    kernel_size: int = 3
    gain: float = RELU_GAIN
    bias_gain: float = 1.0  # As in Dense.
    use_equalized_lr: bool = True
    conv_fn: Callable[[Array, Array, float], Array] = convolutions.conv
    bias_fn: BiasFn | None = ops.add_bias  # None: no bias.

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight, factor = _weight(self, (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        return _with_bias(self, self.conv_fn(x, weight, factor))


class FromRGB(nn.Module):
    """A picture's features: 1x1 convolution, bias, nonlinearity. [n, h, w, channels] to [n, h, w, features]"""

    features: int
    nonlinearity: str
    gain: float = RELU_GAIN
    bias_gain: float = 1.0  # As in Dense.
    use_equalized_lr: bool = True
    clamp: float | None = None

    @nn.compact
    def __call__(self, images: Array) -> Array:
        weight, factor = _weight(self, (1, 1, images.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) * self.bias_gain
        kernel = (weight[0, 0] * factor).astype(images.dtype)
        return activations.color_act(images, kernel, bias, self.nonlinearity, self.clamp)


class Epilogue(nn.Module):
    """What follows each convolution of the synthesis network: noise, bias, nonlinearity, AdaIN (StyleGAN, Fig. 1b).

    Features keep their dtype, and are float32 in between: the statistics need that, as do the gradients of bias, noise
    strength and style, which are sums over pixels.

    Args of the call:
        x: features. [n, h, w, c]
        w: the layer's latent; not used without styles. [n, w_size]
        noise: unit Gaussian, one map an image or one for all; not used without noise. [n or 1, h, w, 1]
    """

    model: Model
    has_blur: bool = False  # The model's low-pass filter comes first, if it has one; with bias_before_blur second.

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array | None) -> Array:
        model, channels = self.model, x.shape[-1]
        strength = self.param("noise_strength", nn.initializers.zeros, (channels,)) if model.use_noise else None
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        style, taps = None, model.blur_filter if self.has_blur else None
        if model.bias_before_blur and taps is not None:
            x, bias = ops.add_bias(x, bias), jnp.zeros_like(bias)
        if model.use_styles:
            dense = Dense(
                2 * channels, gain=1.0, use_equalized_lr=model.use_equalized_lr, precision="highest", name="style"
            )
            style = dense(w)
        if model.use_instance_norm and not model.use_pixel_norm:
            epsilon = model.instance_norm_epsilon
            return epilogues.styled(x, noise, strength, bias, style, model.nonlinearity, taps, epsilon)
        x = x if taps is None else ops.blur(x, taps)
        y = epilogues.activated(x, noise, strength, bias, model.nonlinearity)
        y = ops.pixel_norm(y) if model.use_pixel_norm else y
        y = ops.instance_norm(y, model.instance_norm_epsilon) if model.use_instance_norm else y
        return (y if style is None else ops.modulate(y, style)).astype(x.dtype)
