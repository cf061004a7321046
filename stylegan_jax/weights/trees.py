"""Trees of parameters: the shapes that a model has, and trees as flat dicts."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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

    def init(images: Any, labels: Any) -> Any:
        network = discriminator.discriminator(model)
        return network.init(jax.random.key(0), images, labels, jnp.ones(()), resolution=model.resolution)["params"]

    return jax.eval_shape(init, images, labels)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Returns {"mapping/dense0/weight": array, ...} of nested dicts."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        result |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return result


def nested(arrays: dict[str, Any], kind: str) -> dict[str, Any]:
    """Returns the inverse of `flat`, of a "generator" or a "discriminator"; a mapping without layers is empty."""
    tree: dict[str, Any] = {"mapping": {}, "synthesis": {}} if kind == "generator" else {}
    for place, value in arrays.items():
        *parents, name = place.split("/")
        functools.reduce(lambda node, part: node.setdefault(part, {}), parents, tree)[name] = value
    return tree


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a digest of arrays: of their names, shapes and float32 values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name], "<f4")
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(memoryview(value.reshape(-1).view(np.uint8)))
    return digest.hexdigest()
