"""All devices of all processes as one axis, over which batches are split."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh of one axis over `devices`, all of them by default."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole: the training state."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what is split along its first axis: a batch."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def split_stack(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what is split along its second axis: a stack of batches."""
    return NamedSharding(mesh, PartitionSpec(None, AXIS))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Returns global arrays on the devices, from this process's part of each: all of it, where it is replicated."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def gather(x: jax.Array) -> np.ndarray:
    """Returns the whole of a global array, in every process."""
    return np.asarray(multihost_utils.process_allgather(x, tiled=True) if jax.process_count() > 1 else x)


def local(tree: Any) -> Any:
    """Returns replicated arrays as arrays of this process's first device, for what it does alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
