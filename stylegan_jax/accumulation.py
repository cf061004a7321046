"""Gradients of a batch that is computed in parts, one after another, because the whole does not fit into memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Values = dict[str, Array]


def split_blocks(x: Array, num_parts: int, block: int) -> Array:
    """Returns `x` in parts of which each has every num_parts-th block: [n, ...] to [num_parts, n / num_parts, ...].

    Blocks stay whole, and so does what the images of a group of the minibatch deviation have to do with each other. As
    each part comes from all of the batch, it is spread over the devices as the batch is.
    """
    blocks = x.reshape(-1, num_parts, block, *x.shape[1:])
    return jnp.moveaxis(blocks, 1, 0).reshape(num_parts, -1, *x.shape[1:])


def join_blocks(parts: Array, block: int) -> Array:
    """Returns what `split_blocks` has split: [num_parts, m, ...] to [num_parts m, ...]."""
    num_parts, _, *rest = parts.shape
    blocks = parts.reshape(num_parts, -1, block, *rest)
    return jnp.moveaxis(blocks, 0, 1).reshape(-1, *rest)


def in_parts(
    fn: Callable[[Any], tuple[Any, Values, Any]],
    batch: Any,
    num_parts: int,
    block: int,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> tuple[Any, Values, Any]:
    """Returns `fn(batch)`, computed for parts of the batch in turn.

    Args:
        fn: of a batch to (gradients of a mean over its images, values of each image [n], other means over them).
        batch: pytree of arrays [n, ...].
        num_parts: 1 calls `fn` once, for the whole batch.
        block: images that must stay together; num_parts times it must divide n.
        batch_sharding: how a batch is split over devices; None on a single device.
    """
    if num_parts == 1:
        return fn(batch)

    def add(total: Any, part: Any) -> tuple[Any, Values]:
        if batch_sharding is not None:
            part = jax.lax.with_sharding_constraint(part, batch_sharding)
        grads, values, means = fn(part)
        return jax.tree.map(jnp.add, total, (grads, means)), values

    parts = jax.tree.map(lambda x: split_blocks(x, num_parts, block), batch)
    grads, _, means = jax.eval_shape(fn, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, means))
    total, values = jax.lax.scan(add, zeros, parts)
    grads, means = jax.tree.map(lambda x: x / num_parts, total)
    return grads, jax.tree.map(lambda x: join_blocks(x, block), values), means
