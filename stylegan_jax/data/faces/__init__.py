"""Procedural faces: anti-aliased pictures of any resolution, drawn from 40 known factors, with 34 true attributes.

factors    the numbers that a face is drawn from, and their distribution
shapes     signed distances, coverage, colors, noise
scene      coordinates, pose and shading that the parts share
parts      background, hair, head, eyes ...: one function each
"""

import functools
import threading
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.data.faces import parts
from stylegan_jax.data.faces.factors import ATTRIBUTES, FACTORS, Factor, attributes, face_seeds, sample_factors
from stylegan_jax.data.faces.scene import make_scene
from stylegan_jax.data.faces.shapes import Array

__all__ = ["ATTRIBUTES", "FACTORS", "SEED", "Factor", "attributes", "images", "render", "sample_factors"]

SEED = 0  # The faces are one data set, the same for every run; the seed of a run orders and splits them.
CHUNK_PX = 2**17  # Pixels rendered by one call: 32 faces of 64x64.
MIN_COMPILED_RESOLUTION = 32  # Least compiled resolution, px; below, NumPy draws a data set before XLA has compiled.

_compile_lock = threading.Lock()

PAINTERS = (  # From back to front.
    parts.back_hair,
    parts.body,
    parts.ears,
    parts.head,
    parts.beard,
    parts.nose,
    parts.mouth,
    parts.eyes,
    parts.brows,
    parts.front_hair,
    parts.hat,
    parts.glasses,
)


def render(factors: Array, seeds: Array, resolution: int, xp: ModuleType = np) -> Array:
    """Returns the pictures of faces, a continuous function of every factor.

    Args:
        factors: as listed in FACTORS, each within its range. float32 [n, 40]
        seeds: seeds of the random detail: strands, freckles, pores, clouds. int32 or uint32 [n]
        resolution: pixels a side, any.
        xp: numpy, or jax.numpy; the pictures differ by rounding alone.

    Returns:
        RGB, 0 to 1. float32 [n, resolution, resolution, 3]
    """
    scene = make_scene(factors, seeds, resolution, xp)
    image = parts.background(scene)
    for paint in PAINTERS:
        image = paint(image, scene)
    return xp.clip(image.transpose(0, 2, 3, 1), 0, 1)


def images(indices: np.ndarray, seed: int, resolution: int) -> np.ndarray:
    """Returns the faces `indices` of the data set `seed`; each depends on its index, seed and resolution alone.

    The CPU renders chunks of one size, for which XLA compiles once per resolution. Many threads may call this at once.

    Args:
        indices: numbers of the faces, integer, >= 0. [n]
        seed: which data set.
        resolution: pixels a side.

    Returns:
        RGB, uint8 [n, resolution, resolution, 3]
    """
    chunk = max(1, CHUNK_PX // resolution**2)
    if resolution < MIN_COMPILED_RESOLUTION:
        render_fn = functools.partial(_render_uint8, resolution=resolution, xp=np)
    else:
        with _compile_lock:  # Else threads that start together would each compile.
            render_fn = _compiled(resolution, chunk)
    drawn = np.empty((len(indices), resolution, resolution, 3), np.uint8)
    for start in range(0, len(indices), chunk):
        some = indices[start : start + chunk]
        padded = np.resize(some, chunk)
        rendered = render_fn(sample_factors(padded, seed), face_seeds(padded, seed))
        drawn[start : start + chunk] = np.asarray(rendered)[: len(some)]
    return drawn


@functools.cache
def _compiled(resolution: int, num_faces: int) -> Callable[[np.ndarray, np.ndarray], Array]:
    """Returns a function of factors [num_faces, 40] and seeds [num_faces] to uint8 [num_faces, r, r, 3].

    It is compiled for the first CPU device; accelerators are left to training.
    """
    cpu = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    factors = jax.ShapeDtypeStruct((num_faces, len(FACTORS)), np.float32)
    seeds = jax.ShapeDtypeStruct((num_faces,), np.uint32)
    render_fn = functools.partial(_render_uint8, resolution=resolution, xp=jnp)
    return jax.jit(render_fn, in_shardings=cpu, out_shardings=cpu).lower(factors, seeds).compile()


def _render_uint8(factors: Array, seeds: Array, resolution: int, xp: ModuleType) -> Array:
    return xp.rint(255 * render(factors, seeds, resolution, xp)).astype(np.uint8)
