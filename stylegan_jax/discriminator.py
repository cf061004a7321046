"""The discriminator (Progressive GAN, Sec. A, with the blurred resampling of StyleGAN, Sec. 2)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from stylegan_jax import config, convolutions, layers, ops


class DiscriminatorBlock(nn.Module):
    """The two layers of one resolution. [n, r, r, i] to [n, r/2, r/2, fmaps(r/2)]"""

    model: config.Model
    resolution: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        m, r = self.model, self.resolution
        nonlinearity = layers.NONLINEARITIES[m.nonlinearity]
        x = nonlinearity(layers.Conv(m.fmaps(r), use_equalized_lr=m.use_equalized_lr, name="conv0")(x))
        x = layers.blur(x, m)
        conv1 = layers.Conv(
            m.fmaps(r // 2), conv_fn=convolutions.conv_downscale, use_equalized_lr=m.use_equalized_lr, name="conv1"
        )
        return nonlinearity(conv1(x))


class Discriminator(nn.Module):
    """Tells real images from generated ones.

    Features above 4x4 are of model.compute_dtype; parameters, images and all from the minibatch deviation to the scores
    are float32, which at 4x4 costs little.
    """

    model: config.Model

    @nn.compact
    @layers.at_matmul_precision
    def __call__(self, images: Array, labels: Array | None, alpha: Array, *, resolution: int) -> Array:
        """Returns a score an image: higher is more real.

        The images of a batch influence each other through the minibatch standard deviation.

        Args:
            images: in [-1, 1]. [n, resolution, resolution, channels]
            labels: one-hot classes, if the model has any. [n, num_labels]
            alpha: weight of `resolution` while it fades in, 0..1.
            resolution: px, one of model.resolutions. Initialize at the highest: it makes the parameters of all.

        Returns:
            Scores. [n]
        """
        m = self.model
        nonlinearity = layers.NONLINEARITIES[m.nonlinearity]

        def from_rgb(image: Array, r: int) -> Array:
            conv = layers.Conv(m.fmaps(r), 1, use_equalized_lr=m.use_equalized_lr, name=f"from_rgb{r}")
            return nonlinearity(conv(image.astype(m.compute_dtype)))

        x = from_rgb(images, resolution)
        for r in [r for r in reversed(m.resolutions) if 4 < r <= resolution]:
            block = nn.remat(DiscriminatorBlock) if m.remat else DiscriminatorBlock
            x = block(m, r, name=f"b{r}")(x)
            images = ops.downscale(images)
            # Only the fade uses it; XLA drops the others, and initialization sees them all.
            lower = from_rgb(images, r // 2)
            x = ops.lerp(lower, x, alpha).astype(m.compute_dtype) if r == resolution else x
        x = x.astype(jnp.float32)
        if m.stddev_group:
            x = ops.minibatch_stddev(x, m.stddev_group, m.stddev_features)
        x = nonlinearity(layers.Conv(m.fmaps(4), use_equalized_lr=m.use_equalized_lr, name="conv")(x))
        x = x.reshape(x.shape[0], -1)  # [n, 16 c], in h, w, c order
        x = nonlinearity(layers.Dense(m.fmaps(2), use_equalized_lr=m.use_equalized_lr, name="dense0")(x))
        scores = layers.Dense(max(m.num_labels, 1), gain=1.0, use_equalized_lr=m.use_equalized_lr, name="dense1")(x)
        return jnp.sum(scores * labels, axis=1) if m.num_labels else scores[:, 0]
