"""The discriminator of StyleGAN2 (Karras et al. 2020, Sec. 4.1): residual, or with sums of images, or plain."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, convolutions, growth, layers, ops
from stylegan_jax.networks.layers.mapping import Mapping


def _conv(model: Model, features: int, gain: float = 1.0, **fields) -> layers.Conv:
    """Returns a convolution, bias, nonlinearity, `gain` and bound (official Conv2dLayer)."""
    clamp = None if model.conv_clamp is None else model.conv_clamp * gain
    act = functools.partial(activations.bias_act, nonlinearity=model.nonlinearity, clamp=clamp)
    gain *= layers.RELU_GAIN
    return layers.Conv(features, gain=gain, bias_gain=gain, bias_fn=act, **fields)


class DiscriminatorBlock(nn.Module):
    """The layers of one resolution. [n, r, r, i] to [n, r/2, r/2, fmaps(r/2)]"""

    model: Model
    resolution: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        model, r = self.model, self.resolution
        is_residual = model.d_connections == "resnet"
        down = functools.partial(convolutions.conv_downscale, ring=1)
        y = _conv(model, model.fmaps(r), name="conv0")(x)
        last = _conv(model, model.fmaps(r // 2), layers.HALF_POWER if is_residual else 1.0, conv_fn=down, name="conv1")
        y = last(ops.low_pass(y, model.blur_filter, ring=1))
        if not is_residual:
            return y
        x = ops.downscale(ops.low_pass(x, model.blur_filter))
        return layers.Conv(model.fmaps(r // 2), 1, gain=layers.HALF_POWER, bias_fn=None, name="skip")(x) + y


def label_mapping(model: Model) -> Model:
    """Returns the model whose mapping network gives each class its direction in the discriminator's features."""
    size = model.fmaps(4) if model.d_mapping_size is None else model.d_mapping_size
    return dataclasses.replace(
        model,
        w_size=size,
        mapping_fmaps=size,
        embed_size=None,
        mapping_layers=model.d_mapping_layers,
        mapping_lr_multiplier=model.d_mapping_lr_multiplier,
    )


class Discriminator(nn.Module):
    """Tells real images from generated ones, in the same dtypes as `stylegan.Discriminator`."""

    model: Model
    axis_name: str | None = None  # Within jax.shard_map, the axis that the batch is split over.

    @nn.compact
    @layers.at_matmul_precision
    def __call__(self, images: Array, labels: Array | None, alpha: Array | None, *, resolution: int) -> Array:
        """Returns a score for each image: higher is more real.

        The images of a batch influence each other through the minibatch standard deviation. With labels, the score is
        the projection of the features on the class's direction (Miyato and Koyama 2018).

        Args: those of `stylegan.Discriminator`. This network does not grow: alpha has no effect, and the resolution is
        that of the model.

        Returns:
            Scores. [n]
        """
        del alpha
        model, x = self.model, None
        for r in reversed([r for r in model.resolutions if r <= resolution]):
            if x is None or model.d_connections == "skip":
                colors = self._from_rgb(images, r)
                x = colors if x is None else x + colors
                images = ops.downscale(ops.low_pass(images, model.blur_filter))
            if r > 4:
                block = nn.remat(DiscriminatorBlock) if model.remat else DiscriminatorBlock
                x = block(model, r, name=growth.module_name("b", r))(x)
        x = x.astype(jnp.float32)
        if model.stddev_group:
            x = ops.minibatch_stddev(x, model.stddev_group, model.stddev_features, self.axis_name)
        x = _conv(model, model.fmaps(4), name="conv")(x)
        x = x.reshape(x.shape[0], -1)  # [n, 16 c], in h, w, c order
        act = functools.partial(activations.bias_act, nonlinearity=model.nonlinearity)
        x = layers.Dense(model.fmaps(4), bias_gain=layers.RELU_GAIN, bias_fn=act, name="dense0")(x)
        if not model.num_labels:
            return layers.Dense(1, gain=1.0, name="dense1")(x)[:, 0]
        mapping = label_mapping(model)
        directions = Mapping(mapping, name="mapping")(None, labels)
        x = layers.Dense(mapping.w_size, gain=1.0, name="dense1")(x)
        return jnp.sum(x * directions, axis=1) / math.sqrt(mapping.w_size)

    def _from_rgb(self, images: Array, r: int) -> Array:
        """Returns the features of images at `r` px. At 4 px they have no bound."""
        model = self.model
        clamp = None if r == 4 else model.conv_clamp
        name = growth.module_name("from_rgb", r)
        from_rgb = layers.FromRGB(
            model.fmaps(r), model.nonlinearity, bias_gain=layers.RELU_GAIN, clamp=clamp, name=name
        )
        return from_rgb(images.astype(model.compute_dtype))
