"""Images from chance: latents to styles (ws), styles to images, images to uint8."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from stylegan_jax.config import Model
from stylegan_jax.devices import mesh
from stylegan_jax.networks import generator, ops

MAX_SAMPLE_BATCH = 64
LAYERS_AT_ONCE = 6  # The paper's model samples in 5.5 times the memory of its largest layer, at 256 and at 1024 px.


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


def map_latents(params: Any, z: Array, labels: Array | None, model: Model) -> Array:
    """Returns w [n, w_size] of latents z [n, z_size]."""
    return generator.Mapping(model).apply({"params": params["mapping"]}, z, labels)


def synthesize(
    params: Any, ws: Array, noise: Sequence[Array | None], alpha: Array | None, model: Model, resolution: int
) -> Array:
    """Returns images [n, r, r, c], not clipped, of ws [n, num_layers, w_size]."""
    return generator.synthesis(model).apply({"params": params["synthesis"]}, ws, noise, alpha, resolution=resolution)


def generate(
    params: Any, latents: Latents, labels: Array | None, alpha: Array | None, model: Model, resolution: int
) -> tuple[Array, Array]:
    """Returns images [n, r, r, c] and the batch mean of w [w_size], before mixing."""
    ws, w_mean = mixed_ws(params, latents, labels, model)
    return synthesize(params, ws, latents.noise, alpha, model, resolution), w_mean


def mixed_ws(params: Any, latents: Latents, labels: Array | None, model: Model) -> tuple[Array, Array]:
    """Returns ws [n, num_layers, w_size] of latents, their styles mixed, and the batch mean of w before mixing."""
    w = map_latents(params, latents.z, labels, model)
    w_mix = w if latents.z_mix is None else map_latents(params, latents.z_mix, labels, model)
    return generator.mix_styles(w, w_mix, latents.cutoff, model.num_layers), jnp.mean(w, axis=0)


# ---- for looking at: uint8


@functools.partial(jax.jit, static_argnames="model")
def draw_ws(params: Any, z: Array, labels: Array | None, *, model: Model) -> Array:
    """Returns ws [n, num_layers, w_size] of latents z [n, z_size], one w for all layers."""
    w = map_latents(params, z, labels, model)
    return jnp.broadcast_to(w[:, None, :], (w.shape[0], model.num_layers, w.shape[1]))


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

    `key` stands for an endless row of images: these are the n from number `first` on.
    """

    def draw(i: Array) -> Latents:
        one = draw_latents(jax.random.fold_in(key, i), 1, model, resolution, mixing_prob=0.0)
        return jax.tree.map(lambda x: x[0], one)

    latents = jax.vmap(draw)(first + jnp.arange(n))
    if batch_sharding is not None:
        latents = jax.lax.with_sharding_constraint(latents, batch_sharding)

    def generated(params: Any, latents: Latents, labels: Array | None, alpha: Array | None) -> Array:
        images, _ = generate(params, latents, labels, alpha, model, resolution)
        return ops.to_uint8(images)

    whole, part = PartitionSpec(), PartitionSpec(mesh.AXIS)
    return mesh.per_device(generated, batch_sharding, (whole, part, part, whole), part)(params, latents, labels, alpha)


def sample_batches(
    params: Any,
    key: Array,
    n: int,
    alpha: Array,
    model: Model,
    resolution: int,
    devices: jax.sharding.Mesh,
    classes: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yields `n` samples batch by batch, at full resolution: enlarged by repeating pixels. uint8 [k, r, r, channels]

    Args:
        params: parameters of the generator.
        key: draws the latents and the noise; the i-th sample is the same whatever the batches are.
        n: number of samples.
        alpha: weight of `resolution` while it fades in.
        model: the model.
        resolution: resolution that is trained at, px.
        devices: devices that batches are split over.
        classes: classes of the samples, for a conditional model; if they are fewer, they take turns. int [m]
    """
    size, enlargement = sample_batch(model, resolution, devices), model.resolution // resolution
    how = {"model": model, "n": size, "resolution": resolution, "batch_sharding": mesh.split(devices)}
    for first in range(0, n, size):
        labels = None
        if model.num_labels:
            turns = np.arange(model.num_labels) if classes is None else classes
            labels = np.eye(model.num_labels, dtype=np.float32)[turns[(first + np.arange(size)) % len(turns)]]
        images = sample(params, key, np.int32(first), labels, alpha, **how)
        yield mesh.gather(images)[: n - first].repeat(enlargement, axis=1).repeat(enlargement, axis=2)


def samples(*args: Any, **kwargs: Any) -> np.ndarray:
    """Returns all that `sample_batches` yields. uint8 [n, r, r, channels]"""
    return np.concatenate(list(sample_batches(*args, **kwargs)))


def sample_batch(model: Model, resolution: int, devices: jax.sharding.Mesh) -> int:
    """Returns how many images to sample in a call: as many as fit into a quarter of the memory, and at most 64.

    It is a power of two for each device, and the same in all processes if their devices are alike.
    """
    largest_layer = 4 * max(model.fmaps(r) * r * r for r in model.resolutions if r <= resolution)  # Bytes an image.
    device, num_devices = jax.local_devices()[0], len(devices.devices)
    stats = device.memory_stats() or {}  # CPUs say nothing, and share the machine's memory.
    host_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    fitting = stats.get("bytes_limit", host_bytes) // 4 // (LAYERS_AT_ONCE * largest_layer)
    wanted = -(-MAX_SAMPLE_BATCH // num_devices)
    return mesh.even_batch(num_devices, min(fitting, wanted))
