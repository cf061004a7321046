"""The synthesis network of StyleGAN2 (Karras et al. 2020, Sec. 2.2 and 4): demodulated weights, no growing."""

import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, convolutions, growth, layers, ops


class Layer(nn.Module):
    """A modulated 3x3 convolution, noise, bias and nonlinearity (Fig. 2d; official SynthesisLayer).

    conv(x, s_i w_ijk) is conv(s_i x, w_ijk), and what demodulation divides by is the same for a whole map (Eqs. 1, 3):
    scaled features need one convolution for all images, where scaled weights need one an image.
    """

    model: Model
    features: int
    upscales: bool = False
    gain: float = 1.0  # Factor of the result and of its bound.

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array | None) -> Array:
        """Returns features [n, h', w', features].

        Args:
            x: features. [n, h, w, c]
            w: the layer's latent. [n, w_size]
            noise: unit Gaussian, one map an image or one for all; not used without noise. [n or 1, h', w', 1]
        """
        model, c = self.model, x.shape[-1]
        style = layers.Dense(c, gain=1.0, bias_init=1.0, precision="highest", name="style")(w)
        weight = self.param("weight", nn.initializers.normal(1), (3, 3, c, self.features))
        squares = jnp.matmul(style * style, jnp.sum(weight * weight, axis=(0, 1)), precision="highest")
        factor, gain = 1 / math.sqrt(9 * c), layers.RELU_GAIN * self.gain
        demodulation = jax.lax.rsqrt(squares + ops.EPSILON) * (gain / factor)
        conv_fn = functools.partial(convolutions.upscale_conv, ring=1) if self.upscales else convolutions.conv
        x = conv_fn(activations.scaled(x, style).astype(x.dtype), weight, factor)
        if self.upscales:
            x = ops.low_pass(x, model.blur_filter, ring=-1)
        strength = gain * self.param("noise_strength", nn.initializers.zeros, (1,)) if model.use_noise else None
        bias = gain * self.param("bias", nn.initializers.zeros, (self.features,))
        clamp = None if model.conv_clamp is None else model.conv_clamp * self.gain
        return activations.demodulated(x, demodulation, noise, strength, bias, model.nonlinearity, clamp)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution without demodulation, in float32. [n, h, w, c], [n, w_size] to [n, h, w, channels]"""

    model: Model

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        c, channels = x.shape[-1], self.model.channels
        style = layers.Dense(c, gain=1.0, bias_init=1.0, precision="highest", name="style")(w) / math.sqrt(c)
        weight = self.param("weight", nn.initializers.normal(1), (1, 1, c, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        kernels = style[:, :, None] * weight[0]  # [n, c, channels]: small enough for one an image.
        image = jnp.einsum("nhwc,ncd->nhwd", x.astype(jnp.float32), kernels)
        return ops.clamp(ops.add_bias(image, bias), self.model.conv_clamp)


class SynthesisBlock(nn.Module):
    """The layers of one resolution. [n, r/2, r/2, i] to [n, r, r, fmaps(r)]; 4x4 begins from a constant."""

    model: Model
    resolution: int

    @nn.compact
    def __call__(self, x: Array | None, ws: Array, noise: Sequence[Array | None]) -> Array:
        """Returns the features.

        Args:
            x: those of the resolution below; None at 4x4.
            ws: latents of the layers. [n, 2, w_size], or [n, 1, w_size] at 4x4
            noise: their noise; the first is not used at 4x4.
        """
        model, features = self.model, self.model.fmaps(self.resolution)
        if x is None:
            const = self.param("const", nn.initializers.normal(1), (1, 4, 4, features))
            x = jnp.broadcast_to(const, (ws.shape[0], 4, 4, features)).astype(model.compute_dtype)
            return Layer(model, features, name="conv1")(x, ws[:, 0], noise[1])
        y = Layer(model, features, upscales=True, name="conv0")(x, ws[:, 0], noise[0])
        if model.g_connections != "resnet":
            return Layer(model, features, name="conv1")(y, ws[:, 1], noise[1])
        shortcut = layers.Conv(features, 1, gain=layers.HALF_POWER, bias_fn=None, name="skip")(x)
        y = Layer(model, features, gain=layers.HALF_POWER, name="conv1")(y, ws[:, 1], noise[1])
        return upscaled(shortcut, model) + y


class Synthesis(nn.Module):
    """The synthesis network g: ws to an image (Fig. 7).

    Features are of model.compute_dtype; parameters, styles and images are float32.
    """

    model: Model

    def style_place(self, layer: int) -> tuple[str, ...]:
        """Returns the path in the parameters of what the w of a layer, from 0, styles: a convolution; last, the image.

        A w that styles an image too is counted by its convolution.
        """
        model, place = self.model, layer + 1  # Nothing is in the first place: 4x4 has one convolution.
        if place == model.num_layers:
            return (growth.module_name("to_rgb", model.resolution),)
        return growth.module_name("b", model.resolutions[place // 2]), f"conv{place % 2}"

    @nn.compact
    @layers.at_matmul_precision
    def __call__(self, ws: Array, noise: Sequence[Array | None], alpha: Array | None, *, resolution: int) -> Array:
        """Returns images of `resolution` px.

        Args:
            ws: one latent a layer. A resolution's last layer makes its image; its w is also that of the first layer of
                the next resolution. [n, num_layers, w_size]
            noise: unit Gaussian maps, two a resolution: [n or 1, r, r, 1]; None where a layer has none.
            alpha: has no effect: this network does not grow.
            resolution: px, that of the model.

        Returns:
            Images, around [-1, 1] and not clipped. [n, resolution, resolution, channels]
        """
        del alpha
        model, x, image = self.model, None, None
        for i, r in enumerate(r for r in model.resolutions if r <= resolution):
            block = nn.remat(SynthesisBlock) if model.remat else SynthesisBlock
            layer_ws = ws[:, max(2 * i - 1, 0) : 2 * i + 1]
            x = block(model, r, name=growth.module_name("b", r))(x, layer_ws, noise[2 * i : 2 * i + 2])
            if model.g_connections == "skip" or r == resolution:
                rgb = ToRGB(model, name=growth.module_name("to_rgb", r))(x, ws[:, 2 * i + 1])
                image = rgb if image is None else upscaled(image, model) + rgb
        return image


def upscaled(x: Array, model: Model) -> Array:
    """Returns images or features at twice their resolution, through the model's filter. [n, 2 h, 2 w, c]"""
    return ops.low_pass(ops.upscale(x), model.blur_filter)
