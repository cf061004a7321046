"""Latents of a generator, and which attributes their images have: what linear separability is measured from."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec
from jax.tree_util import Partial

from stylegan_jax.devices import mesh
from stylegan_jax.metrics import ppl
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.metrics.ppl import MapFn, SynthesizeFn


def measure(
    map_fn: MapFn,
    synthesize_fn: SynthesizeFn,
    attributes: Attributes,
    *,
    z_size: int,
    num_images: int,
    key: Array,
    batch: int = 16,
    spaces: Sequence[Literal["z", "w"]] = ("z", "w"),
    devices: jax.sharding.Mesh | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an iterator of latents and their images' logits, a batch at a time, in constant memory of the device.

    Batch i depends on `key`, `batch` and i alone. The results of a batch are taken while the devices work on the next.

    Args:
        map_fn: mapping network, as for `ppl.measure`; w is [n, w_size] or [n, num_layers, w_size].
        synthesize_fn: synthesis network without truncation, as for `ppl.measure`.
        attributes: what is asked of the images.
        z_size: numbers of a latent.
        num_images: how many; officially 200,000.
        key: decides about latents, labels and noise.
        batch: images at a time, a multiple of the number of devices.
        spaces: latents to return.
        devices: devices that batches are split over; None: one.

    Returns:
        Of each batch, float32: "z" [n, z_size], "w" [n, w_size], that of the last layer, and "logits"
        [n, len(attributes.names)].

    Raises:
        ValueError: there are fewer than two images, no space or an unknown one; or a function has another shape.
    """
    if num_images < 2 or batch < 1 or not spaces or not {*spaces} <= {"z", "w"}:
        raise ValueError(
            f"separability of {num_images} images in the spaces {list(spaces)}, {batch} at a time: use at least 2 "
            'images, a batch of at least 1, and "z", "w" or both.'
        )

    fns = tuple(fn if isinstance(fn, Partial) else Partial(fn) for fn in (map_fn, synthesize_fn))
    sharding = None if devices is None else mesh.split(devices)
    # Parameters are arguments: 40 classifiers are too large for constants.
    points = functools.partial(
        _compiled, logits_fn=attributes.logits_fn, batch=batch, z_size=z_size, spaces=tuple(spaces), sharding=sharding
    )
    shapes = jax.eval_shape(points, fns, attributes.params, key)
    if shapes["logits"].shape != (batch, len(attributes.names)) or any(shapes[name].ndim != 2 for name in spaces):
        raise ValueError(
            f"{batch} images have {', '.join(f'{name} {list(value.shape)}' for name, value in shapes.items())}; use "
            f"functions to w [n, w_size] or [n, num_layers, w_size], and to logits [n, {len(attributes.names)}]."
        )

    def compute(index: int) -> dict[str, Array]:
        return points(fns, attributes.params, jax.random.fold_in(key, index))

    return ppl.one_ahead(compute, num_images, batch)


def _points(
    fns: tuple[MapFn, SynthesizeFn],
    params: Any,
    key: Array,
    *,
    logits_fn: Callable[[Any, Array], Array],
    batch: int,
    z_size: int,
    spaces: tuple[str, ...],
    sharding: jax.sharding.NamedSharding | None,
) -> dict[str, Array]:
    """Returns the latents and logits of one batch, split over the devices; what functions draw, each device draws."""
    z_key, own_key = jax.random.split(key)
    z = jax.random.normal(z_key, (batch, z_size))

    def of_part(fns: tuple[MapFn, SynthesizeFn], params: Any, keys: Array, z: Array) -> dict[str, Array]:
        map_key, noise_key = jax.random.split(keys[0])
        w = fns[0](z, map_key)
        found = {"z": z, "w": w if w.ndim == 2 else w[:, -1], "logits": logits_fn(params, fns[1](w, noise_key))}
        return {name: found[name].astype(jnp.float32) for name in (*spaces, "logits")}

    whole, part = PartitionSpec(), PartitionSpec(mesh.AXIS)
    keys = jax.random.split(own_key, 1 if sharding is None else sharding.mesh.size)
    found = mesh.per_device(of_part, sharding, (whole, whole, part, part), part)(fns, params, keys, z)
    return found if sharding is None else jax.lax.with_sharding_constraint(found, mesh.replicated(sharding.mesh))


# One for all calls: a run that trains measures again and again.
_compiled = jax.jit(_points, static_argnames=("logits_fn", "batch", "z_size", "spaces", "sharding"))


def collected(batches: Iterable[dict[str, np.ndarray]], num_images: int) -> dict[str, np.ndarray]:
    """Returns the arrays of all batches of `measure`: 0.85 GB for 200,000 images, z, w and 40 attributes."""
    arrays: dict[str, np.ndarray] = {}
    first = 0
    for batch in batches:
        arrays = arrays or {name: np.empty((num_images, *x.shape[1:]), x.dtype) for name, x in batch.items()}
        for name, value in batch.items():
            arrays[name][first : first + len(value)] = value
        first += len(batch["logits"])
    return {name: value[:first] for name, value in arrays.items()}
