"""One pass over a set of images: all features that metrics need of them, computed on all devices."""

import functools
import pathlib
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from stylegan_jax.devices import distributed, mesh
from stylegan_jax.metrics import collected, pixel_sets
from stylegan_jax.metrics.feature_networks import ApplyFn, Opened
from stylegan_jax.metrics.image_sets import ImageSet

PATCHES, PAIRS = "patches", "pairs"  # Kinds of features that are made of pixels, on the host.
OF_PIXELS = (PATCHES, PAIRS)


class Progress(NamedTuple):
    """How far something is."""

    what: str
    done: int
    total: int


class Wanted(NamedTuple):
    """What is wanted of a kind of features: of how many images, from the first on, and whether with their rows."""

    count: int
    needs_rows: bool


def collect(
    images: ImageSet,
    wanted: Mapping[str, Wanted],
    networks: Mapping[str, Opened],
    devices: jax.sharding.Mesh,
    folder: pathlib.Path,
    what: str,
) -> Generator[Progress, None, dict[str, Any]]:
    """Yields after each batch; returns what is collected of the images, by the kind of features.

    While the devices work on a batch, the results of the one before are taken from them. With several processes, the
    first one collects; the others return nothing.

    Args:
        images: the images.
        wanted: what is wanted, by the kind of features.
        networks: feature networks by kind.
        devices: all devices.
        folder: where rows of features lie.
        what: what the images are called.

    Raises:
        ValueError: some features are not finite.
        OSError: there is no room for the rows, or pictures cannot be read.
    """
    collectors: dict[str, Any] = {}
    half_of, num_done = images.half_of, 0
    yield Progress(what, 0, images.count)

    def take(batch: Array, outputs: Mapping[str, Any], first: int, k: int, pixels: np.ndarray | None) -> None:
        for kind, (count, needs_rows) in wanted.items():
            n = min(k, count - first)
            if n <= 0:
                continue
            values = pixels[:n] if kind in OF_PIXELS else _on_host(outputs[kind], n)
            if kind not in collectors:
                collectors[kind] = _collector(kind, half_of[:count], batch.shape[1:], values, folder, needs_rows)
            collectors[kind].add(values)

    def still_wanted(first: int) -> list[str]:
        return [kind for kind in wanted if first < wanted[kind].count]

    batches, waiting = images.batches(devices), ()
    while True:
        with distributed.together():  # Otherwise a disk that fails one process would leave the others waiting.
            following = next(batches, None)
        used = {kind: networks[kind] for kind in still_wanted(num_done) if kind not in OF_PIXELS} if following else {}
        outputs = _outputs(used, following[0], devices) if used else {}
        needs_pixels = waiting and not set(OF_PIXELS).isdisjoint(still_wanted(waiting[2]))
        pixels = mesh.gather(waiting[0]) if needs_pixels else None
        with distributed.together():
            if waiting and distributed.process_index() == 0:
                take(*waiting, pixels)
        if following is None:
            break
        waiting, num_done = (following[0], outputs, num_done, following[1]), num_done + following[1]
        yield Progress(what, num_done, images.count)
    with distributed.together():
        return {kind: collector.finish() for kind, collector in collectors.items()}


def _outputs(networks: Mapping[str, Opened], images: Array, devices: jax.sharding.Mesh) -> Mapping[str, Any]:
    """Returns what feature networks make of images, by their names; the devices may still be working on it."""
    program = _program(tuple((name, network.apply_fn) for name, network in networks.items()), devices)
    return program({name: network.params for name, network in networks.items()}, images)


def _on_host(outputs: Mapping[str, Array], n: int) -> dict[str, np.ndarray]:
    """Returns what a network made of the first `n` images of a batch."""
    return {name: np.asarray(value.addressable_data(0))[:n] for name, value in outputs.items()}


@functools.cache
def _program(apply_fns: tuple[tuple[str, ApplyFn], ...], devices: jax.sharding.Mesh) -> Any:
    """Returns the compiled function from parameters and images to the outputs of feature networks, by their names."""

    def outputs(params: Mapping[str, Any], images: Array) -> dict[str, Mapping[str, Array]]:
        return {name: apply_fn(params[name], images) for name, apply_fn in apply_fns}

    whole, part = PartitionSpec(), PartitionSpec(mesh.AXIS)
    split = mesh.per_device(outputs, mesh.split(devices), (whole, part), part)
    return jax.jit(split, out_shardings=mesh.replicated(devices))


def _collector(
    kind: str,
    half_of: np.ndarray,
    shape: tuple[int, int, int],
    values: Any,
    folder: pathlib.Path,
    needs_rows: bool,
) -> Any:
    if kind == PAIRS:
        return pixel_sets.PairCollector()
    if kind == PATCHES:
        return pixel_sets.PatchCollector(half_of, shape, folder)
    sizes = {name: value.shape[1] for name, value in values.items()}
    return collected.Collector(half_of, sizes, folder, needs_rows)
