"""The synthesis network of StyleGAN (Sec. 2) and, with its switches, that of Progressive GAN."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import convolutions, growth, layers, ops


class Start(nn.Module):
    """The 4x4 features that synthesis begins with: a learned constant, or a dense layer on w. [n, 4, 4, c]"""

    model: Model

    @nn.compact
    def __call__(self, w: Array) -> Array:
        model = self.model
        c = model.fmaps(4)
        if model.const_input:
            const = self.param("const", nn.initializers.ones, (1, 4, 4, c))
            return jnp.broadcast_to(const, (w.shape[0], 4, 4, c))
        # The gain keeps the variance after a sum over w alone: official "gain / 4".
        dense = layers.Dense(
            16 * c,
            gain=layers.RELU_GAIN / 4,
            use_equalized_lr=model.use_equalized_lr,
            bias_fn=None,
            precision="highest",
            name="dense",
        )
        return dense(w).reshape(-1, 4, 4, c)


class SynthesisBlock(nn.Module):
    """The two layers of one resolution. [n, r/2, r/2, i] to [n, r, r, fmaps(r)]; 4x4 begins from w."""

    model: Model
    resolution: int

    @nn.compact
    def __call__(self, x: Array | None, ws: Array, noise: Sequence[Array | None]) -> Array:
        model, features = self.model, self.model.fmaps(self.resolution)
        conv = {"bias_fn": None, "use_equalized_lr": model.use_equalized_lr}  # The epilogue adds the bias, after noise.
        if x is None:
            x = Start(model, name="start")(ws[:, 0]).astype(model.compute_dtype)
        else:
            x = layers.Conv(features, conv_fn=convolutions.upscale_conv, name="conv0", **conv)(x)
        x = layers.Epilogue(model, has_blur=self.resolution > 4, name="epilogue0")(x, ws[:, 0], noise[0])
        x = layers.Conv(features, name="conv1", **conv)(x)
        return layers.Epilogue(model, name="epilogue1")(x, ws[:, -1], noise[1])


class Synthesis(nn.Module):
    """The synthesis network g: ws to an image (StyleGAN, Fig. 1b).

    Features are of model.compute_dtype; parameters, styles and images are float32.
    """

    model: Model

    def style_place(self, layer: int) -> tuple[str, str]:
        """Returns the names of the block and of its part in the parameters that the w of a layer, from 0, styles."""
        return growth.module_name("b", self.model.resolutions[layer // 2]), f"epilogue{layer % 2}"

    @nn.compact
    @layers.at_matmul_precision
    def __call__(self, ws: Array, noise: Sequence[Array | None], alpha: Array | None, *, resolution: int) -> Array:
        """Returns images of `resolution` px.

        Args:
            ws: one latent a layer; layers above `resolution` are not used. [n, num_layers, w_size]
            noise: unit Gaussian maps, two a resolution: [n or 1, r, r, 1]; None where the model has no noise.
            alpha: weight of `resolution` while it fades in, 0..1; the rest is the next lower one, enlarged. None: it
                does not fade.
            resolution: px, one of model.resolutions. Initialize at the highest: it makes the parameters of all.

        Returns:
            Images, around [-1, 1] and not clipped. [n, resolution, resolution, channels]
        """
        model, x, image, enlarged = self.model, None, None, None
        for i, r in enumerate(r for r in model.resolutions if r <= resolution):
            layer_ws = ws[:, 2 * i : 2 * i + 2] if model.use_styles else ws
            block = nn.remat(SynthesisBlock) if model.remat else SynthesisBlock
            x = block(model, r, name=growth.module_name("b", r))(x, layer_ws, noise[2 * i : 2 * i + 2])
            # Only the last image is used, or the last two in a fade. XLA drops the others; initialization sees all.
            enlarged = None if image is None else ops.upscale(image)
            name = growth.module_name("to_rgb", r)
            to_rgb = layers.Conv(model.channels, 1, gain=1.0, use_equalized_lr=model.use_equalized_lr, name=name)
            image = to_rgb(x.astype(jnp.float32))
        return image if enlarged is None or alpha is None else ops.lerp(enlarged, image, alpha)
