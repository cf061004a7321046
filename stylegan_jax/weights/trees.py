"""Trees of parameters: the shapes that a model has, and trees as flat dicts."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from stylegan_jax.config import Model
from stylegan_jax.networks import discriminator, generator


@functools.cache
def abstract_generator(model: Model) -> Any:
    """Returns the shapes and dtypes of a generator's parameters."""
    key = jax.random.key(0)
    return jax.eval_shape(lambda: generator.init(key, key, model))


@functools.cache
def abstract_discriminator(model: Model) -> Any:
    """Returns the shapes and dtypes of a discriminator's parameters."""
    labels = jax.ShapeDtypeStruct((1, model.num_labels), jnp.float32) if model.num_labels else None
    images = jax.ShapeDtypeStruct((1, model.resolution, model.resolution, model.channels), jnp.float32)
    init = functools.partial(discriminator.discriminator(model).init, resolution=model.resolution)
    return jax.eval_shape(init, jax.random.key(0), images, labels, jnp.ones(()))["params"]


def flat(tree: Any) -> dict[str, Any]:
    """Returns {"mapping/dense0/weight": array, ...} of nested dicts."""
    return traverse_util.flatten_dict(tree, sep="/")


def nested(arrays: dict[str, Any], kind: str) -> dict[str, Any]:
    """Returns the inverse of `flat`, of a "generator" or a "discriminator"; a mapping without layers is empty."""
    roots = {"mapping": {}, "synthesis": {}} if kind == "generator" else {}
    return roots | traverse_util.unflatten_dict(arrays, sep="/")


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a digest of arrays: of their names, shapes and float32 values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name], "<f4")
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(memoryview(value.reshape(-1).view(np.uint8)))
    return digest.hexdigest()
