"""Sets of images that are measured: pictures of a source, or images of a network, in batches over all devices."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.data import prefetch
from stylegan_jax.data.images import Images
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import batches, collected
from stylegan_jax.networks import sampling, streams

# ---- pictures


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of a source, in an order.

    Attributes:
        images: the source's.
        resolution: height and width that they are read at, px.
        indices: numbers of the pictures. int64 [count]
        is_flipped: which of them are flipped. bool [count]
        text: what they are: "the first 50,000 pictures of 70,000, each flipped with probability 1/2".
    """

    images: Images
    resolution: int
    indices: np.ndarray
    is_flipped: np.ndarray
    text: str

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.indices)

    @functools.cached_property
    def which(self) -> str:
        """A digest of the pictures' numbers, their order and their flips."""
        digest = hashlib.sha256(np.ascontiguousarray(self.indices, "<i8").data)
        digest.update(np.ascontiguousarray(self.is_flipped).data)
        return digest.hexdigest()

    @property
    def half_of(self) -> np.ndarray:
        """Half that each image is dealt to; copies and flips of a picture are in one. int8 [count]"""
        used, place = np.unique(self.indices, return_inverse=True)
        return collected.deal(len(used))[place]

    def first(self, n: int) -> "Pictures":
        """Returns the first `n` pictures alone."""
        if n == self.count:
            return self
        text = f"the first {n:,} of {self.text}"
        return dataclasses.replace(self, indices=self.indices[:n], is_flipped=self.is_flipped[:n], text=text)

    def batches(self, devices: jax.sharding.Mesh) -> Iterator[tuple[Array, int]]:
        """Yields batches of the pictures, the next of which is read while one is in use; see ImageSet."""
        size = _batch(self.resolution, devices.devices.size)
        index, parts = jax.process_index(), jax.process_count()

        def load(first: int, size: int) -> np.ndarray:
            part = size // parts
            places = np.minimum(first + index * part + np.arange(part), self.count - 1)  # The last one fills up.
            return self._read(places)

        put = functools.partial(mesh.put, sharding=mesh.split(devices))
        requests = ((first, size) for first in range(0, self.count, size))
        for number, images in enumerate(prefetch.prefetch(requests, load, put)):
            yield images, min(size, self.count - number * size)

    def _read(self, places: np.ndarray) -> np.ndarray:
        found = self.images.squares(self.indices[places], self.resolution)
        flipped = self.is_flipped[places]
        if flipped.any():
            found = np.where(flipped[:, None, None, None], found[:, :, ::-1], found)
        return found


def select(
    images: Images, resolution: int, how: str, count: int, is_mirrored: bool = False, max_reals: int | None = None
) -> Pictures:
    """Returns the pictures that a metric compares with.

    Args:
        images: the source's.
        resolution: px.
        how: as SetMetric.reals, but not "none".
        count: number of fakes.
        is_mirrored: whether each is flipped with probability 1/2.
        max_reals: as SetMetric.max_reals.

    Source: NVlabs/stylegan, metrics/metric_base.py (_iterate_reals); NVlabs/stylegan3, metrics/metric_main.py, where no
    picture is flipped for metrics of all.
    """
    length = images.length
    indices, text = np.arange(length), f"all {length:,} pictures"
    if how == "first":
        indices = np.arange(count) % length
        text = f"the first {count:,} pictures of {length:,}"
        if count > length:
            text = f"{length:,} pictures, again from the first on up to {count:,}"
    elif how in ("sample", "shuffled"):
        if count < length or how == "shuffled":
            indices = np.random.RandomState(0).permutation(length)[:count]
        if how == "sample":
            indices = np.sort(indices)
        if count < length:
            text = f"{count:,} drawn at random from {text}"
    elif max_reals is not None and max_reals < length:
        indices, text = indices[:max_reals], f"the first {max_reals:,} of {text}"
    is_flipped = np.zeros(len(indices), bool)
    if is_mirrored:
        is_flipped = np.random.RandomState(0).rand(len(indices)) < 0.5
        text += ", each flipped with probability 1/2"
    return Pictures(images, resolution, indices, is_flipped, text)


# ---- images of a network


@dataclasses.dataclass(frozen=True)
class Generator:
    """A generator that is measured.

    Attributes:
        params: its parameters, whole on each device.
        model: its model.
        resolution: resolution that it is trained at, px; images are enlarged to the model's.
        alpha: weight of `resolution` while it fades in.
        classes: class of each real picture, from which labels are drawn; None for an unconditional model. int [m]
    """

    params: Any
    model: Model
    resolution: int
    alpha: float = 1.0
    classes: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Fakes:
    """Images of a generator, without truncation; each has noise of its own, and the label of a random real picture."""

    generator: Generator
    count: int
    seed: int

    @property
    def half_of(self) -> np.ndarray:
        """Half that each image is dealt to. int8 [count]"""
        return collected.deal(self.count)

    def batches(self, devices: jax.sharding.Mesh) -> Iterator[tuple[Array, int]]:
        """Yields batches of the images; image i is the same whatever the batches are; see ImageSet."""
        made = self.generator
        size = min(
            _batch(made.model.resolution, devices.devices.size),
            sampling.sample_batch(made.model, made.resolution, devices),
        )
        key = streams.key_for(self.seed, streams.Stream.METRICS)
        labels = self._labels(-(-self.count // size) * size)
        for first in range(0, self.count, size):
            images = sampling.sample(
                made.params,
                key,
                np.int32(first),
                None if labels is None else np.eye(made.model.num_labels, dtype=np.float32)[labels[first:][:size]],
                jnp.float32(made.alpha),
                model=made.model,
                n=size,
                resolution=made.resolution,
                batch_sharding=mesh.split(devices),
            )
            yield _enlarged(images, made.model.resolution // made.resolution), min(size, self.count - first)

    def _labels(self, n: int) -> np.ndarray | None:
        classes = self.generator.classes
        return None if classes is None else classes[np.random.default_rng(self.seed).integers(len(classes), size=n)]


# Its `batches` are uint8 images [n, h, w, c], split over the devices, and how many of them count, from the first on.
# All processes read the same ones, in step.
ImageSet = Pictures | Fakes


@jax.jit(static_argnames="times")
def _enlarged(images: Array, times: int) -> Array:
    """Returns images whose pixels are repeated `times` along both sides."""
    return images if times == 1 else jnp.repeat(jnp.repeat(images, times, axis=1), times, axis=2)


def _batch(resolution: int, num_devices: int) -> int:
    """Returns how many images are measured at a time: a power of two for each device."""
    return mesh.even_batch(num_devices, min(batches.MAX_IMAGES, batches.MAX_PIXELS // resolution**2) // num_devices)
