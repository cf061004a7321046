"""The discriminator (Progressive GAN, Sec. A, with the blurred resampling of StyleGAN, Sec. 2)."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, convolutions, growth, layers, ops


class DiscriminatorBlock(nn.Module):
    """The two layers of one resolution. [n, r, r, i] to [n, r/2, r/2, fmaps(r/2)]"""

    model: Model
    resolution: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        model, r = self.model, self.resolution
        act = functools.partial(activations.bias_act, nonlinearity=model.nonlinearity)
        blurred = act
        if model.blur_filter is not None:
            blurred = functools.partial(
                activations.bias_act_blur, nonlinearity=model.nonlinearity, taps=model.blur_filter
            )
        conv = functools.partial(layers.Conv, use_equalized_lr=model.use_equalized_lr)
        x = conv(model.fmaps(r), bias_fn=blurred, name="conv0")(x)
        return conv(model.fmaps(r // 2), conv_fn=convolutions.conv_downscale, bias_fn=act, name="conv1")(x)


class Discriminator(nn.Module):
    """Tells real images from generated ones.

    Features above 4x4 are of model.compute_dtype. Parameters and images are float32, and so is all from the minibatch
    deviation to the scores: at 4x4 that costs little.
    """

    model: Model
    axis_name: str | None = None  # Within jax.shard_map, the axis that the batch is split over.

    @nn.compact
    @layers.at_matmul_precision
    def __call__(self, images: Array, labels: Array | None, alpha: Array | None, *, resolution: int) -> Array:
        """Returns a score for each image: higher is more real.

        The images of a batch influence each other through the minibatch standard deviation.

        Args:
            images: in [-1, 1]. [n, resolution, resolution, channels]
            labels: one-hot classes, if the model has any. [n, num_labels]
            alpha: weight of `resolution` while it fades in, 0..1. None: it does not fade.
            resolution: px, one of model.resolutions. Initialize at the highest: it makes the parameters of all.

        Returns:
            Scores. [n]
        """
        model = self.model
        act = functools.partial(activations.bias_act, nonlinearity=model.nonlinearity)
        conv, dense = (
            functools.partial(f, use_equalized_lr=model.use_equalized_lr) for f in (layers.Conv, layers.Dense)
        )

        def features_of(image: Array, r: int) -> Array:
            name, is_equalized = growth.module_name("from_rgb", r), model.use_equalized_lr
            from_rgb = layers.FromRGB(model.fmaps(r), model.nonlinearity, use_equalized_lr=is_equalized, name=name)
            return from_rgb(image.astype(model.compute_dtype))

        x = features_of(images, resolution)
        for r in [r for r in reversed(model.resolutions) if 4 < r <= resolution]:
            block = nn.remat(DiscriminatorBlock) if model.remat else DiscriminatorBlock
            x = block(model, r, name=growth.module_name("b", r))(x)
            images = ops.downscale(images)
            # Only a fade uses it, and only the first; XLA drops the others, which initialization needs.
            lower = features_of(images, r // 2)
            if r == resolution and alpha is not None:
                x = ops.lerp(lower, x, alpha).astype(model.compute_dtype)
        x = x.astype(jnp.float32)
        if model.stddev_group:
            x = ops.minibatch_stddev(x, model.stddev_group, model.stddev_features, self.axis_name)
        x = conv(model.fmaps(4), bias_fn=act, name="conv")(x)
        x = x.reshape(x.shape[0], -1)  # [n, 16 c], in h, w, c order
        x = dense(model.fmaps(2), bias_fn=act, name="dense0")(x)
        scores = dense(max(model.num_labels, 1), gain=1.0, name="dense1")(x)
        return jnp.sum(scores * labels, axis=1) if model.num_labels else scores[:, 0]
