"""Images from chance: latents and labels are drawn, and the generator makes images of them."""

import functools
import os
from typing import Any

import flax
import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from stylegan_jax.config import Model
from stylegan_jax.devices import mesh
from stylegan_jax.networks import generator, ops

MAX_SAMPLE_BATCH = 64
LAYERS_AT_ONCE = 6  # Sampling's temporaries are 5.5 times the largest layer, at 256 and 1024 px of the paper's model.


class Latents(flax.struct.PyTreeNode):
    """What chance decides about a batch of generated images."""

    z: Array  # [n, z_size]
    z_mix: Array | None  # Second latents, for style mixing; None without. [n, z_size]
    cutoff: Array  # First layer of the second latent. int32 [n]
    noise: tuple[Array | None, ...]  # Two maps a resolution. [n, r, r, 1]


def draw_latents(key: Array, n: int, model: Model, resolution: int, mixing_prob: float) -> Latents:
    """Returns the latents of `n` images of `resolution` px."""
    z_key, mix_key, cutoff_key, noise_key = jax.random.split(key, 4)
    num_layers = 2 * sum(r <= resolution for r in model.resolutions) if model.use_styles else 1
    cutoff = generator.draw_cutoffs(cutoff_key, n, mixing_prob, num_layers)
    return Latents(
        z=jax.random.normal(z_key, (n, model.z_size)),
        z_mix=jax.random.normal(mix_key, (n, model.z_size)) if mixing_prob else None,
        cutoff=jnp.where(cutoff < num_layers, cutoff, model.num_layers),
        noise=generator.make_noise(noise_key, n, model, resolution),
    )


def generate(
    params: Any, latents: Latents, labels: Array | None, alpha: Array | None, model: Model, resolution: int
) -> tuple[Array, Array]:
    """Returns images [n, r, r, c] and the batch mean of w [w_size], before mixing."""

    def mapping(z: Array) -> Array:
        return generator.Mapping(model).apply({"params": params["mapping"]}, z, labels)

    w = mapping(latents.z)
    w_mix = w if latents.z_mix is None else mapping(latents.z_mix)
    ws = generator.mix_styles(w, w_mix, latents.cutoff, model.num_layers)
    synthesis = generator.Synthesis(model)
    images = synthesis.apply({"params": params["synthesis"]}, ws, latents.noise, alpha, resolution=resolution)
    return images, jnp.mean(w, axis=0)


@functools.partial(jax.jit, static_argnames=("model", "n", "resolution", "batch_sharding"))
def sample(
    params: Any,
    key: Array,
    first: Array,
    labels: Array | None,
    alpha: Array | None,
    *,
    model: Model,
    n: int,
    resolution: int,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> Array:
    """Returns uint8 images [n, resolution, resolution, channels] from `params`, without mixing or truncation.

    They are those from number `first` on of the endless row that `key` stands for, whatever `n` is.
    """

    def draw(i: Array) -> Latents:
        return jax.tree.map(
            lambda x: x[0], draw_latents(jax.random.fold_in(key, i), 1, model, resolution, mixing_prob=0.0)
        )

    latents = jax.vmap(draw)(first + jnp.arange(n))
    if batch_sharding is not None:
        latents = jax.lax.with_sharding_constraint(latents, batch_sharding)

    def images_of(params: Any, latents: Latents, labels: Array | None, alpha: Array | None) -> Array:
        images, _ = generate(params, latents, labels, alpha, model, resolution)
        return ops.to_uint8(images)

    whole, part = PartitionSpec(), PartitionSpec(mesh.AXIS)
    return mesh.per_device(images_of, batch_sharding, (whole, part, part, whole), part)(params, latents, labels, alpha)


def sample_batch(model: Model, resolution: int, devices: jax.sharding.Mesh) -> int:
    """Returns how many images to sample in a call: as many as fit into a quarter of the memory, and at most 64.

    It is a power of two a device, and the same in all processes where their devices are alike.
    """
    largest_layer = 4 * max(model.fmaps(r) * r * r for r in model.resolutions if r <= resolution)  # Bytes an image.
    device, num_devices = jax.local_devices()[0], len(devices.devices)
    stats = device.memory_stats() or {}  # CPUs have none, and share the machine's.
    host_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    fitting = stats.get("bytes_limit", host_bytes) // 4 // (LAYERS_AT_ONCE * largest_layer)
    wanted = -(-MAX_SAMPLE_BATCH // num_devices)
    return num_devices * 2 ** (max(1, min(fitting, wanted)).bit_length() - 1)
