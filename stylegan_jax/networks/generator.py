"""The style-based generator (StyleGAN, Sec. 2) and, with its switches, that of Progressive GAN."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, convolutions, growth, layers, ops

SMALL_NOISE_PX = 64  # Noise maps up to this resolution are drawn at once.


class Mapping(nn.Module):
    """The mapping network f: z to w (StyleGAN, Fig. 1b).

    It computes in float32 whatever model.compute_dtype and model.matmul_precision are, and so do the styles: an error
    of w moves every style of the image, and a few products of vectors take no time.
    """

    model: Model

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None) -> Array:
        """Returns intermediate latents w.

        Args:
            z: unit Gaussian latents. [n, z_size]
            labels: one-hot classes, if the model has any. [n, num_labels]

        Returns:
            [n, w_size]
        """
        model, x = self.model, z
        if model.num_labels:
            if model.embed_labels:
                embedding = self.param("label_embedding", nn.initializers.normal(1), (model.num_labels, model.z_size))
                labels = jnp.matmul(labels, embedding, precision="highest")
            x = jnp.concatenate([x, labels], axis=-1)
        if model.normalize_latents:
            x = ops.pixel_norm(x)
        for i in range(model.mapping_layers):
            features = model.w_size if i == model.mapping_layers - 1 else model.mapping_fmaps
            x = layers.Dense(
                features,
                lr_multiplier=model.mapping_lr_multiplier,
                use_equalized_lr=model.use_equalized_lr,
                bias_fn=functools.partial(activations.bias_act, nonlinearity=model.nonlinearity),
                precision="highest",
                name=f"dense{i}",
            )(x)
        return x


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


def make_noise(key: Array, n: int, model: Model, resolution: int) -> tuple[Array | None, ...]:
    """Returns unit Gaussian noise for every layer up to `resolution`: [n, r, r, 1], twice for each resolution r.

    None takes the place of each map if the model has no noise.
    """
    sizes = [r for r in model.resolutions if r <= resolution for _ in range(2)]
    if not model.use_noise:
        return (None,) * len(sizes)
    # Each draw costs a compile of its own, and each part of a large one a pass over memory: small maps are one draw.
    small_key, *keys = jax.random.split(key, 1 + len(sizes))
    small = [r for r in sizes if r <= SMALL_NOISE_PX]
    drawn = jax.random.normal(small_key, (n, sum(r * r for r in small)), jnp.float32)  # Also under jax_enable_x64.
    parts = jnp.split(drawn, np.cumsum([r * r for r in small])[:-1], axis=1)
    maps = [part.reshape(n, r, r, 1) for part, r in zip(parts, small, strict=True)]
    return *maps, *(
        jax.random.normal(k, (n, r, r, 1), jnp.float32) for k, r in zip(keys, sizes, strict=True) if r > SMALL_NOISE_PX
    )


def init(mapping_key: Array, synthesis_key: Array, model: Model) -> dict[str, Any]:
    """Returns the parameters of a new generator, {"mapping": ..., "synthesis": ...}, a pure function of the keys."""
    z, labels = jnp.zeros((1, model.z_size)), (jnp.zeros((1, model.num_labels)) if model.num_labels else None)
    ws = jnp.zeros((1, model.num_layers, model.w_size))
    noise = tuple(jnp.zeros((1, r, r, 1)) if model.use_noise else None for r in model.resolutions for _ in range(2))
    synthesis = Synthesis(model).init(synthesis_key, ws, noise, jnp.ones(()), resolution=model.resolution)
    return {"mapping": Mapping(model).init(mapping_key, z, labels).get("params", {}), "synthesis": synthesis["params"]}


def mix_styles(w1: Array, w2: Array, cutoff: Array, num_layers: int) -> Array:
    """Returns ws that follow w1 in layers below `cutoff` and w2 from there on (StyleGAN, Sec. 3.1).

    Args:
        w1: [n, w_size]
        w2: [n, w_size]
        cutoff: first layer of w2, an image; num_layers for w1 alone. int [n]
        num_layers: layers of the result.

    Returns:
        [n, num_layers, w_size]
    """
    is_first = jnp.arange(num_layers)[None, :] < cutoff[:, None]  # [n, num_layers]
    return jnp.where(is_first[:, :, None], w1[:, None, :], w2[:, None, :])


def draw_cutoffs(key: Array, n: int, prob: float, num_layers: int) -> Array:
    """Returns style mixing cutoffs: with probability `prob` uniform in [1, num_layers), else num_layers. int32 [n]

    Differs: one draw an image, as the paper says ("a given percentage of images"); the official code draws one for a
    whole minibatch.
    """
    coin_key, cutoff_key = jax.random.split(key)
    if num_layers < 2:
        return jnp.full((n,), num_layers, jnp.int32)
    cutoffs = jax.random.randint(cutoff_key, (n,), 1, num_layers)
    return jnp.where(jax.random.uniform(coin_key, (n,)) < prob, cutoffs, num_layers)


def truncate(ws: Array, w_avg: Array, psi: float | Array, cutoff: int | None = None) -> Array:
    """Returns w_avg + psi (w - w_avg) in the first `cutoff` layers, or in all (StyleGAN, Sec. B).

    Args:
        ws: [n, num_layers, w_size]
        w_avg: mean of w. [w_size]
        psi: 1 leaves ws as it is, 0 gives the mean image; the official default is 0.7 on 8 layers.
        cutoff: number of layers to truncate; None for all.
    """
    is_truncated = jnp.arange(ws.shape[1]) < (ws.shape[1] if cutoff is None else cutoff)
    return jnp.where(is_truncated[None, :, None], ops.lerp(w_avg[None, None, :], ws, psi), ws)
