"""The generator: mapping network, synthesis network of either architecture, and what goes in between."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import ops
from stylegan_jax.networks.generator import stylegan, stylegan2
from stylegan_jax.networks.layers.mapping import Mapping

SMALL_NOISE_PX = 64  # Noise maps up to this resolution are drawn at once.
SYNTHESIS: dict[str, type[nn.Module]] = {"stylegan": stylegan.Synthesis, "stylegan2": stylegan2.Synthesis}


def synthesis(model: Model) -> nn.Module:
    """Returns the synthesis network of the model's architecture."""
    return SYNTHESIS[model.architecture](model)


def make_noise(key: Array, n: int, model: Model, resolution: int) -> tuple[Array | None, ...]:
    """Returns unit Gaussian noise for every layer up to `resolution`: [n, r, r, 1], twice for each resolution r.

    None takes the place of each map if the model has no noise.
    """
    sizes = model.noise_sizes[: 2 * sum(r <= resolution for r in model.resolutions)]
    # Each draw costs a compile of its own, and each part of a large one a pass over memory: small maps are one draw.
    small_key, *keys = jax.random.split(key, 1 + len(sizes))
    small = [r for r in sizes if r and r <= SMALL_NOISE_PX]
    drawn = jax.random.normal(small_key, (n, sum(r * r for r in small)), jnp.float32)  # Also under jax_enable_x64.
    parts = iter(jnp.split(drawn, np.cumsum([r * r for r in small])[:-1], axis=1))

    def noise_map(key: Array, r: int | None) -> Array | None:
        if r is None:
            return None
        large = r > SMALL_NOISE_PX
        return jax.random.normal(key, (n, r, r, 1), jnp.float32) if large else next(parts).reshape(n, r, r, 1)

    return tuple(map(noise_map, keys, sizes))


def init(mapping_key: Array, synthesis_key: Array, model: Model) -> dict[str, Any]:
    """Returns the parameters of a new generator, {"mapping": ..., "synthesis": ...}, a pure function of the keys."""
    z, labels = jnp.zeros((1, model.z_size)), (jnp.zeros((1, model.num_labels)) if model.num_labels else None)
    ws = jnp.zeros((1, model.num_layers, model.w_size))
    noise = tuple(None if r is None else jnp.zeros((1, r, r, 1)) for r in model.noise_sizes)
    of_synthesis = synthesis(model).init(synthesis_key, ws, noise, jnp.ones(()), resolution=model.resolution)
    of_mapping = Mapping(model).init(mapping_key, z, labels)
    return {"mapping": of_mapping.get("params", {}), "synthesis": of_synthesis["params"]}


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
