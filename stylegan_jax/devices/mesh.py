"""All devices of all processes as one axis, over which batches are split."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stylegan_jax.devices import backend

AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh of one axis over `devices`, all of them by default.

    They stand in the order of their processes, so that each process's part of a batch is contiguous. jax.make_mesh
    would order them by their places in a TPU slice.

    Raises:
        ValueError: the devices that JAX_PLATFORMS asks for cannot be used.
    """
    ordered = sorted(backend.devices() if devices is None else devices, key=lambda d: (d.process_index, d.id))
    return Mesh(np.asarray(ordered), (AXIS,), axis_types=(AxisType.Auto,))


def platform_of(mesh: Mesh) -> str:
    """Returns what the devices are: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole: the training state."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what is split along its first axis: a batch."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def split_stack(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what is split along its second axis: a stack of batches."""
    return NamedSharding(mesh, PartitionSpec(None, AXIS))


def even_batch(num_devices: int, most: int) -> int:
    """Returns the largest batch that gives each device a power of two of images: at most `most`, and at least 1."""
    return num_devices * 2 ** (max(1, most).bit_length() - 1)


def per_device(
    fn: Callable[..., Any], batch_sharding: NamedSharding | None, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """Returns `fn`, which each device computes for its part of the batch; `fn` itself if batch_sharding is None.

    Args:
        fn: function of pytrees of arrays; AXIS is the axis of its collective operations.
        batch_sharding: how batches are split over devices.
        in_specs: PartitionSpec() for arguments that every device holds whole, PartitionSpec(AXIS) for split ones.
        out_specs: the same for the results.
    """
    if batch_sharding is None:
        return fn
    return jax.shard_map(fn, mesh=batch_sharding.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Returns global arrays on the devices, from this process's part of each: all of it, where it is replicated."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def gather(x: jax.Array) -> np.ndarray:
    """Returns the whole of a global array, in every process."""
    return np.asarray(multihost_utils.process_allgather(x, tiled=True) if jax.process_count() > 1 else x)


def local(tree: Any) -> Any:
    """Returns replicated arrays as arrays of this process's first device, for work without the other processes."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
