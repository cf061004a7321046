"""Procedural faces: 40 known factors to an anti-aliased picture at any resolution, and 34 attributes that are true.

factors    what a face is drawn from, and how it is distributed
shapes     signed distances, coverage, colors, noise
scene      coordinates, pose and shading that the parts share
parts      background, hair, head, eyes ...: one function each
"""

import functools
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.data.faces import parts
from stylegan_jax.data.faces.factors import ATTRIBUTES, FACTORS, Factor, attributes, face_seeds, sample_factors
from stylegan_jax.data.faces.scene import make_scene
from stylegan_jax.data.faces.shapes import Array

__all__ = ["ATTRIBUTES", "FACTORS", "Factor", "attributes", "images", "render", "sample_factors"]

CHUNK_PX = 2**17  # Pixels rendered by one call of the compiled renderer.

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
        seeds: of the random detail: strands, freckles, pores, clouds. int32 or uint32 [n]
        resolution: pixels a side, any.
        xp: numpy, or jax.numpy, which can be jitted and differentiated; they differ by less than a level of 255.

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

    Rendered on the CPU, in chunks of one size that is compiled once per resolution. Safe to call from many threads.

    Args:
        indices: numbers of the faces, integer, >= 0. [n]
        seed: which data set.
        resolution: pixels a side.

    Returns:
        RGB, uint8 [n, resolution, resolution, 3]
    """
    indices = np.asarray(indices)
    chunk = max(1, CHUNK_PX // resolution**2)
    drawn = np.empty((len(indices), resolution, resolution, 3), np.uint8)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        for start in range(0, len(indices), chunk):
            wanted = indices[start : start + chunk]
            padded = np.resize(wanted, chunk)
            rendered = _render_uint8(sample_factors(padded, seed), face_seeds(padded, seed), resolution)
            drawn[start : start + len(wanted)] = np.asarray(rendered)[: len(wanted)]
    return drawn


@functools.partial(jax.jit, static_argnames="resolution")
def _render_uint8(factors: jax.Array, seeds: jax.Array, resolution: int) -> jax.Array:
    return jnp.rint(255 * render(factors, seeds, resolution, jnp)).astype(jnp.uint8)
