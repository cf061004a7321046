"""Metrics of a generator's latent spaces: perceptual path length and linear separability, a batch at a time."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from stylegan_jax.config import Model
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import labelled_latents, ppl
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.metrics.image_sets import Generator
from stylegan_jax.networks import generator, sampling, streams

MAX_BATCH = 16  # Pairs, or images, on a device at a time.
_PIXELS = 2**20  # Of all images on a device at a time.


def path_distances(
    made: Generator, distance_fn: Partial, definition: ppl.Definition, seed: int, devices: jax.sharding.Mesh
) -> Iterator[np.ndarray]:
    """Yields the distances of pairs of images, a batch at a time; see `ppl.measure` and `ppl.path_length`.

    Noise is drawn for each pair, and labels are those of random real pictures. Networks that were trained in bfloat16
    are computed in float32.

    Args:
        made: the generator.
        distance_fn: `vgg.lpips` with its parameters.
        definition: what is measured.
        seed: draws latents, places, labels and noise.
        devices: devices that batches are split over.
    """
    exact = dataclasses.replace(made.model, compute_dtype="float32", matmul_precision="highest")
    map_fn, synthesize_fn = functions(dataclasses.replace(made, model=exact))
    return ppl.measure(
        map_fn,
        synthesize_fn,
        distance_fn,
        definition,
        z_size=made.model.z_size,
        key=streams.key_for(seed, streams.Stream.METRICS),
        batch=batch_size(made, devices),
        devices=devices,
    )


def latents_and_logits(
    made: Generator,
    attributes: Attributes,
    spaces: Sequence[Literal["z", "w"]],
    num_images: int,
    seed: int,
    devices: jax.sharding.Mesh,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields latents and the logits of their images' attributes, a batch at a time; see `labelled_latents.measure`."""
    map_fn, synthesize_fn = functions(made)
    return labelled_latents.measure(
        map_fn,
        synthesize_fn,
        attributes,
        z_size=made.model.z_size,
        num_images=num_images,
        key=streams.key_for(seed, streams.Stream.METRICS),
        batch=batch_size(made, devices),
        spaces=spaces,
        devices=devices,
    )


def functions(made: Generator) -> tuple[Partial, Partial]:
    """Returns a generator's mapping, (z, key) -> w [n, w_size], and synthesis, (w, key) -> images in [-1, 1].

    What they draw, labels and noise, they draw by the key.
    """
    classes = None if made.classes is None else jnp.asarray(made.classes, jnp.int32)
    return (
        Partial(_map_fn(made.model), made.params, classes),
        Partial(_synthesize_fn(made.model, made.resolution), made.params, jnp.float32(made.alpha)),
    )


@functools.cache  # One function for a model: programs are kept by it.
def _map_fn(model: Model) -> Callable[..., Array]:
    def map_z(params: Any, classes: Array | None, z: Array, key: Array) -> Array:
        labels = None
        if classes is not None:
            labels = jax.nn.one_hot(jax.random.choice(key, classes, (z.shape[0],)), model.num_labels)
        return sampling.map_latents(params, z, labels, model)

    return map_z


@functools.cache
def _synthesize_fn(model: Model, resolution: int) -> Callable[..., Array]:
    def synthesize(params: Any, alpha: Array, w: Array, key: Array) -> Array:
        ws = jnp.broadcast_to(w[:, None, :], (w.shape[0], model.num_layers, w.shape[1]))
        noise = generator.make_noise(key, w.shape[0], model, resolution)
        images = sampling.synthesize(params, ws, noise, alpha, model, resolution)
        times = model.resolution // resolution
        return images.repeat(times, axis=1).repeat(times, axis=2)

    return synthesize


def batch_size(made: Generator, devices: jax.sharding.Mesh) -> int:
    """Returns how many pairs or images to measure at a time: a power of two for each device."""
    num_devices = devices.devices.size
    fitting = sampling.sample_batch(made.model, made.resolution, devices) // num_devices
    return mesh.even_batch(num_devices, min(fitting, MAX_BATCH, _PIXELS // made.model.resolution**2))
