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


def collect(
    images: ImageSet,
    wanted: Mapping[str, bool],
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
        wanted: kinds of features, and whether each needs rows.
        networks: feature networks by kind.
        devices: all devices.
        folder: where rows of features lie.
        what: what the images are called.

    Raises:
        ValueError: some features are not finite.
        OSError: there is no room for the rows, or pictures cannot be read.
    """
    kinds = tuple(kind for kind in wanted if kind not in OF_PIXELS)
    params = {kind: networks[kind].params for kind in kinds}
    program = _program(tuple((kind, networks[kind].apply_fn) for kind in kinds), devices)
    collectors: dict[str, Any] = {}
    half_of, num_done = images.half_of, 0
    yield Progress(what, 0, images.count)

    def take(batch: Array, outputs: Mapping[str, Mapping[str, Array]], k: int, pixels: np.ndarray | None) -> None:
        values = {
            kind: {name: np.asarray(x.addressable_data(0))[:k] for name, x in found.items()}
            for kind, found in outputs.items()
        }
        if not collectors:
            for kind, needs_rows in wanted.items():
                collectors[kind] = _collector(kind, half_of, batch, values.get(kind), folder, needs_rows)
        for kind, collector in collectors.items():
            collector.add(pixels[:k] if kind in OF_PIXELS else values[kind])

    batches, waiting = images.batches(devices), ()
    while True:
        with distributed.together():  # Otherwise a disk that fails one process would leave the others waiting.
            following = next(batches, None)
        outputs = program(params, following[0]) if following and kinds else {}
        pixels = mesh.gather(waiting[0]) if waiting and len(kinds) < len(wanted) else None
        with distributed.together():
            if waiting and distributed.process_index() == 0:
                take(*waiting, pixels)
        if following is None:
            break
        waiting, num_done = (following[0], outputs, following[1]), num_done + following[1]
        yield Progress(what, num_done, images.count)
    return {kind: collector.finish() for kind, collector in collectors.items()}


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
    batch: Array,
    values: Mapping[str, np.ndarray] | None,
    folder: pathlib.Path,
    needs_rows: bool,
) -> Any:
    if kind == PAIRS:
        return pixel_sets.PairCollector()
    if kind == PATCHES:
        return pixel_sets.PatchCollector(half_of, batch.shape[1:], folder)
    sizes = {name: value.shape[1] for name, value in values.items()}
    return collected.Collector(half_of, sizes, folder, needs_rows)
