"""Gradients of a batch that is spread over devices, and computed in parts if it does not fit into memory at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from stylegan_jax.devices import mesh


def split_blocks(x: Array, num_parts: int, block: int) -> Array:
    """Returns `x` in parts, each of every num_parts-th block: [n, ...] to [num_parts, n / num_parts, ...].

    Blocks stay whole, so the images of a group of the minibatch deviation stay together. A part has blocks from all of
    the batch, so it is spread over the devices as the batch is.
    """
    blocks = x.reshape(-1, num_parts, block, *x.shape[1:])
    return jnp.moveaxis(blocks, 1, 0).reshape(num_parts, -1, *x.shape[1:])


def mean_gradients(
    fn: Callable[[Any, Any], Any],
    shared: Any,
    batch: Any,
    num_parts: int,
    block: int,
    batch_sharding: jax.sharding.NamedSharding | None = None,
) -> Any:
    """Returns `fn(shared, batch)`, means over the images of a batch, computed for parts of it in turn.

    Devices exchange their means once, at the end.

    Args:
        fn: function of (shared, batch) to a pytree of means over the batch's images, such as gradients and losses. If
            there is a batch_sharding, mesh.AXIS is the axis of the devices within it.
        shared: pytree of what all devices hold whole, such as parameters.
        batch: pytree of arrays [n, ...].
        num_parts: 1 takes the whole batch at once.
        block: images that must stay together; num_parts times it must divide n, unless num_parts is 1.
        batch_sharding: how a batch is split over devices; None on a single device.
    """

    def on_device(shared: Any, parts: Any) -> Any:
        def add(total: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, fn(shared, part)), None

        first = jax.tree.map(lambda x: x[0], parts)
        if num_parts == 1:
            means = fn(shared, first)
        else:
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fn, shared, first))
            total, _ = jax.lax.scan(add, zeros, parts)
            means = jax.tree.map(lambda x: x / num_parts, total)
        if batch_sharding is None or batch_sharding.num_devices == 1:  # A single device would only copy them.
            return means
        # The barrier keeps them together, or XLA exchanges the small ones apart, with those of the next network.
        return jax.lax.pmean(jax.lax.optimization_barrier(means), mesh.AXIS)

    whole, stack = PartitionSpec(), PartitionSpec(None, mesh.AXIS)
    parts = jax.tree.map(lambda x: split_blocks(x, num_parts, block) if num_parts > 1 else x[None], batch)
    return mesh.per_device(on_device, batch_sharding, (whole, stack), whole)(shared, parts)
