"""Perceptual path length (Karras et al. 2019, Sec. 4.1): how far images move, perceptually, for a small step in z or w.

Sources: NVlabs/stylegan and NVlabs/stylegan3, metrics/perceptual_path_length.py.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.sharding import PartitionSpec
from jax.tree_util import Partial

from stylegan_jax.devices import mesh
from stylegan_jax.metrics.features import resize

EPSILON = 1e-4
LARGEST_PX = 256  # VGG was made for 224 px.
LOW_PERCENT, HIGH_PERCENT = 1, 99

MapFn = Callable[[Array, Array], Array]  # (z [n, z_size], key) -> w [n, ...]. A key gives the same labels each time.
SynthesizeFn = Callable[[Array, Array], Array]  # (w, key) -> images [n, h, w, c], -1..1. A key gives the same noise.
DistanceFn = Callable[[Array, Array], Array]  # (images, images) -> distances [n]


@dataclasses.dataclass(frozen=True)
class Definition:
    """What is measured.

    Attributes:
        space: "z": steps along a great circle of normalized latents; "w": along a line.
        sampling: "full": at random places between two latents; "end": at the first of them.
        crop: measure rows 3/8 to 7/8 and columns 2/8 to 6/8 alone, where faces of FFHQ and CelebA-HQ are. Official
            code of StyleGAN does so for all data sets.
        num_pairs: pairs of images.
        epsilon: length of the step; the whole way is 1.
    """

    space: Literal["z", "w"]
    sampling: Literal["full", "end"]
    crop: bool
    num_pairs: int
    epsilon: float = EPSILON


DEFINITIONS = {
    "ppl_zfull": Definition("z", "full", crop=True, num_pairs=100_000),
    "ppl_wfull": Definition("w", "full", crop=True, num_pairs=100_000),
    "ppl_zend": Definition("z", "end", crop=True, num_pairs=100_000),
    "ppl_wend": Definition("w", "end", crop=True, num_pairs=100_000),
    "ppl2_wend": Definition("w", "end", crop=False, num_pairs=50_000),  # StyleGAN2-ADA's and StyleGAN3's.
}
# Of whole images, for pictures of anything but centered faces.
DEFINITIONS |= {
    f"{name}_nocrop": dataclasses.replace(definition, crop=False)
    for name, definition in DEFINITIONS.items()
    if definition.crop
}


def path_length(distances: np.ndarray) -> float:
    """Returns the mean of the distances between their 1st and 99th percentiles, both included.

    The percentiles are the distances just below and just above: outliers go, whatever is between stays.

    Args:
        distances: from `measure`. [n]

    Raises:
        ValueError: there are none, or some are not finite.
    """
    distances = np.asarray(distances, np.float64)
    num_bad = int(np.sum(~np.isfinite(distances)))
    if not distances.size or num_bad:
        raise ValueError(f"{num_bad} of {distances.size} distances are not finite, so the path length is undefined.")
    low = np.percentile(distances, LOW_PERCENT, method="lower")
    high = np.percentile(distances, HIGH_PERCENT, method="higher")
    return float(np.mean(distances[(low <= distances) & (distances <= high)]))


def measure(
    map_fn: MapFn,
    synthesize_fn: SynthesizeFn,
    distance_fn: DistanceFn,
    definition: Definition,
    *,
    z_size: int,
    key: Array,
    batch: int = 16,
    devices: jax.sharding.Mesh | None = None,
) -> Iterator[np.ndarray]:
    """Returns an iterator of distances divided by epsilon**2, a batch of pairs at a time, in constant memory.

    Batch i depends on `key` and i alone. The results of a batch are taken while the devices work on the next.

    Args:
        map_fn: mapping network, (z [n, z_size], key) -> w [n, ...]. What it draws, such as labels, it draws by the key.
            Parameters of these functions are best given as in jax.tree_util.Partial(fn, params): others become
            constants of the program.
        synthesize_fn: synthesis network without truncation, (w, key) -> float images in [-1, 1], not clipped.
            [n, h, w, c]. What it draws, such as noise, it draws by the key: both images of a pair have the same.
        distance_fn: perceptual distance of images, such as `vgg.lpips` with its parameters. [n]
        definition: what is measured, such as DEFINITIONS["ppl_wend"].
        z_size: numbers of a latent.
        key: decides about latents, places, labels and noise.
        batch: pairs at a time, a multiple of the number of devices.
        devices: devices that batches are split over; None: one.

    Raises:
        ValueError: some product is of lower precision than float32 with Precision.HIGHEST: steps of 1e-4 drown in it.
    """
    fns = tuple(fn if isinstance(fn, Partial) else Partial(fn) for fn in (map_fn, synthesize_fn, distance_fn))
    check_precision(functools.partial(_distances, definition=definition, num_pairs=1, z_size=z_size), fns, key)
    sharding = None if devices is None else mesh.split(devices)

    def compute(index: int) -> Array:
        batch_key = jax.random.fold_in(key, index)
        return _compiled(fns, batch_key, definition=definition, num_pairs=batch, z_size=z_size, sharding=sharding)

    return one_ahead(compute, definition.num_pairs, batch)


def one_ahead(compute_fn: Callable[[int], Any], num_rows: int, batch: int) -> Iterator[Any]:
    """Yields NumPy arrays of batches 0, 1, ..., `num_rows` rows in all, each while the devices work on the next.

    `compute_fn` returns a tree of arrays [batch, ...], whole on each device, for the index of a batch.
    """
    coming = compute_fn(0)
    for first in range(0, num_rows, batch):
        found, coming = mesh.local(coming), compute_fn(first // batch + 1) if first + batch < num_rows else None
        yield jax.tree.map(operator.itemgetter(slice(num_rows - first)), jax.device_get(found))


def _distances(
    fns: tuple[MapFn, SynthesizeFn, DistanceFn],
    key: Array,
    *,
    definition: Definition,
    num_pairs: int,
    z_size: int,
    sharding: jax.sharding.NamedSharding | None = None,
) -> Array:
    """Returns the distances of a batch that is split over the devices, each of which draws its noise. [num_pairs]"""
    z_key, place_key, own_key = jax.random.split(key, 3)
    z1, z2 = jax.random.normal(z_key, (2, num_pairs, z_size))
    t = draw_places(place_key, num_pairs, definition.sampling)

    def of_part(fns: tuple[MapFn, SynthesizeFn, DistanceFn], keys: Array, z1: Array, z2: Array, t: Array) -> Array:
        return pair_distances(*fns, definition, z1, z2, t, keys[0])

    whole, part = PartitionSpec(), PartitionSpec(mesh.AXIS)
    keys = jax.random.split(own_key, 1 if sharding is None else sharding.mesh.size)
    distances = mesh.per_device(of_part, sharding, (whole, part, part, part, part), part)(fns, keys, z1, z2, t)
    if sharding is None:
        return distances
    return jax.lax.with_sharding_constraint(distances, mesh.replicated(sharding.mesh))


_compiled = jax.jit(_distances, static_argnames=("definition", "num_pairs", "z_size", "sharding"))


def draw_places(key: Array, n: int, sampling: str) -> Array:
    """Returns where `n` steps begin: anywhere on the path for "full", at its start for "end". [n]"""
    return jax.random.uniform(key, (n,)) if sampling == "full" else jnp.zeros(n)


def pair_distances(
    map_fn: MapFn,
    synthesize_fn: SynthesizeFn,
    distance_fn: DistanceFn,
    definition: Definition,
    z1: Array,
    z2: Array,
    t: Array,
    key: Array,
) -> Array:
    """Returns d(g(t), g(t + epsilon)) / epsilon**2 for given latents and places (Karras et al. 2019, Eq. 2 and 3).

    Args:
        map_fn, synthesize_fn, distance_fn: as for `measure`.
        definition: what is measured; its sampling and its number of pairs do not count.
        z1: latents at t = 0. [n, z_size]
        z2: latents at t = 1. [n, z_size]
        t: places between them, 0..1. [n]
        key: of both functions.

    Returns:
        [n]
    """
    map_key, noise_key = jax.random.split(key)
    ts = jnp.stack([t, t + definition.epsilon])

    def w_of(z: Array) -> Array:
        return map_fn(z, jax.random.clone(map_key))  # Both ends of a path share what the key decides.

    def image_of(place: Array) -> Array:
        w = lerp(w_of(z1), w_of(z2), place) if definition.space == "w" else w_of(slerp(z1, z2, place))
        return prepared(synthesize_fn(w, jax.random.clone(noise_key)), definition.crop)

    with jax.default_matmul_precision("highest"):
        # One program makes both images, so that both are rounded alike.
        first, second = jax.lax.map(image_of, ts)
        return distance_fn(first, second) / definition.epsilon**2


def lerp(a: Array, b: Array, t: Array) -> Array:
    """Returns a + (b - a) t, with a place t [n] for each of a [n, ...]."""
    return a + (b - a) * t.reshape(-1, *[1] * (a.ndim - 1))


def slerp(a: Array, b: Array, t: Array) -> Array:
    """Returns vectors of length 1 on the great circle from a's direction to b's (Shoemake 1985).

    Args:
        a: directions at t = 0, of any length. [n, d]
        b: directions at t = 1. [n, d]
        t: places between them. [n]
    """
    a, b = _normalized(a), _normalized(b)
    cosine = jnp.sum(a * b, axis=1, keepdims=True)
    angle = t[:, None] * jnp.arccos(cosine)
    across = _normalized(b - cosine * a)
    return _normalized(a * jnp.cos(angle) + across * jnp.sin(angle))


def _normalized(x: Array) -> Array:
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=1, keepdims=True))


def prepared(images: Array, crop: bool) -> Array:
    """Returns the part of images that is measured, averaged over boxes to at most LARGEST_PX.

    Args:
        images: [n, h, w, c], h = w
        crop: keep rows 3/8 to 7/8 and columns 2/8 to 6/8.
    """
    if crop:
        c = images.shape[1] // 8
        images = images[:, 3 * c : 7 * c, 2 * c : 6 * c]
    return resize.shrink(images, LARGEST_PX)


# ---- precision


def check_precision(fn: Callable[..., Any], *args: Any) -> None:
    """Raises ValueError if the function has products or values of lower precision than float32 at its highest.

    Args:
        fn: function of arrays; it is traced, not run.
        args: its arguments.
    """
    for equation in _equations(jax.make_jaxpr(fn)(*args).jaxpr):
        name = equation.primitive.name
        kinds = [value.aval.dtype for value in (*equation.invars, *equation.outvars) if hasattr(value.aval, "dtype")]
        narrow = next((k for k in kinds if jnp.issubdtype(k, jnp.floating) and jnp.finfo(k).bits < 32), None)
        if narrow is not None:
            raise ValueError(
                f"the path length takes differences for steps of {EPSILON}, and {name} of the given functions has "
                f"{narrow} values; use float32 (for a model here: compute_dtype float32)."
            )
        if name not in ("dot_general", "conv_general_dilated"):
            continue
        precision = equation.params["precision"]
        parts = precision if isinstance(precision, tuple) else (precision,)
        if any(part != jax.lax.Precision.HIGHEST for part in parts) and jnp.float64 not in kinds:
            raise ValueError(
                f"the path length takes differences for steps of {EPSILON}, and a {name} of the given functions has "
                f"the precision {precision}; use jax.lax.Precision.HIGHEST (for a model here: matmul_precision "
                '"highest" or "default").'
            )


def _equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """Yields the equations of a traced function and of all functions within, those within first."""
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if isinstance(part, ClosedJaxpr):
                    yield from _equations(part.jaxpr)
                elif isinstance(part, Jaxpr):
                    yield from _equations(part)
        yield equation
