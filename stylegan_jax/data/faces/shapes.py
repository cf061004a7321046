"""Drawing tools for faces: signed distances, coverage, colors and repeatable noise, in NumPy or jax.numpy.

A signed distance is negative inside a shape and zero on its edge. The first argument `xp` is numpy or jax.numpy.
"""

from types import ModuleType

import numpy as np

Array = np.ndarray  # Or a jax.Array, where xp is jax.numpy.


def ellipse(xp: ModuleType, x: Array, y: Array, radius_x: Array | float, radius_y: Array | float) -> Array:
    """Returns an approximate signed distance to an ellipse around the origin, exact on its edge and for circles."""
    norm = xp.sqrt((x / radius_x) ** 2 + (y / radius_y) ** 2 + 1e-8)
    return (norm - 1) * xp.minimum(radius_x, radius_y).astype(np.float32)


def box(xp: ModuleType, x: Array, y: Array, half_width: Array | float, half_height: Array | float) -> Array:
    """Returns the signed distance to a box around the origin, in the maximum norm."""
    return xp.maximum(xp.abs(x) - half_width, xp.abs(y) - half_height)


def segment(xp: ModuleType, x: Array, y: Array, start: tuple, end: tuple) -> Array:
    """Returns the distance to the line from point `start` to point `end`, each (x, y)."""
    dx, dy = x - start[0], y - start[1]
    length_x, length_y = end[0] - start[0], end[1] - start[1]
    along = xp.clip((dx * length_x + dy * length_y) / (length_x**2 + length_y**2 + 1e-9), 0, 1)
    return xp.sqrt((dx - length_x * along) ** 2 + (dy - length_y * along) ** 2 + 1e-10)


def union(xp: ModuleType, a: Array, b: Array, blend: float) -> Array:
    """Returns the signed distance to the union of two shapes, with the corner between them rounded over `blend`."""
    return xp.minimum(a, b) - xp.maximum(blend - xp.abs(a - b), 0) ** 2 / (4 * blend)


def smoothstep(xp: ModuleType, low: float, high: float, x: Array) -> Array:
    """Returns 0 below `low`, 1 above `high`, and 3t^2 - 2t^3 between."""
    t = xp.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def cover(xp: ModuleType, distance: Array, width: float) -> Array:
    """Returns how much of each pixel a shape covers, 0 to 1; its edge is `width` wide: a pixel, or more to be soft."""
    return xp.clip(0.5 - distance / width, 0, 1)


def over(image: Array, color: Array, alpha: Array) -> Array:
    """Returns `color` painted over an image.

    Args:
        image: [n, 3, h, w]
        color: [n or 1, 3, h or 1, w or 1]
        alpha: opacity, 0 to 1. [n or 1, h, w]
    """
    return image + (color - image) * alpha[:, None]


def rgb(xp: ModuleType, red: float, green: float, blue: float) -> Array:
    """Returns a color of values 0 to 1. [1, 3, 1, 1]"""
    return xp.asarray([red, green, blue], dtype=np.float32).reshape(1, 3, 1, 1)


def ramp(xp: ModuleType, t: Array, stops: list[tuple[float, float, float]]) -> Array:
    """Returns the color at `t`, 0 to 1, along evenly spaced `stops`. [n, 1, 1] to [n, 3, 1, 1]"""
    place = t[:, None] * (len(stops) - 1)
    return sum(xp.clip(1 - xp.abs(place - i), 0, 1) * rgb(xp, *stop) for i, stop in enumerate(stops))


def hue(xp: ModuleType, angle: Array, saturation: float, value: Array | float) -> Array:
    """Returns the color at `angle` of the color circle, where 0 and 1 are the same. [n, 1, 1] to [n, 3, 1, 1]"""
    thirds = rgb(xp, 0, 1 / 3, 2 / 3)
    return value * (1 - saturation * (0.5 - 0.5 * xp.cos(2 * np.pi * (angle[:, None] - thirds))))


def hashed(xp: ModuleType, i: Array, j: Array, seeds: Array, stream: int) -> Array:
    """Returns a random number in [0, 1) for each cell (i, j) of a lattice: the same bits in NumPy and XLA.

    Args:
        i: integers, any sign.
        j: integers, any sign.
        seeds: uint32. [n, 1, 1]
        stream: number that tells apart the uses of one lattice.
    """

    def u32(number: int) -> Array:
        return xp.asarray([[[number]]], dtype=np.uint32)  # An array, because NumPy warns if a scalar wraps around.

    bits = i.astype(np.uint32) * u32(374761393) + j.astype(np.uint32) * u32(668265263)
    bits = bits ^ ((seeds + u32(stream)) * u32(2246822519))
    bits = (bits ^ (bits >> u32(13))) * u32(1274126177)
    bits = (bits ^ (bits >> u32(16))) * u32(2654435761)
    bits = bits ^ (bits >> u32(15))
    return (bits >> u32(8)).astype(np.float32) * np.float32(2**-24)


def lattice(xp: ModuleType, x: Array, y: Array, seeds: Array, stream: int) -> tuple[Array, Array, Array, Array]:
    """Returns each point's cell in a lattice of unit cells, shifted at random per image, and its place in the cell.

    Returns:
        i, j: the cell, int32.
        u, v: the place within the cell, each in [0, 1).
    """
    zero = xp.zeros((1, 1, 1), np.int32)
    x = x + hashed(xp, zero, zero, seeds, stream)
    y = y + hashed(xp, zero + 1, zero, seeds, stream)
    i, j = xp.floor(x), xp.floor(y)
    return i.astype(np.int32), j.astype(np.int32), x - i, y - j


def value_noise(xp: ModuleType, x: Array, y: Array, seeds: Array, stream: int) -> Array:
    """Returns smooth noise from -0.5 to 0.5: random numbers on a lattice of unit cells, interpolated."""
    i, j, u, v = lattice(xp, x, y, seeds, stream)
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    a, b = hashed(xp, i, j, seeds, stream), hashed(xp, i + 1, j, seeds, stream)
    c, d = hashed(xp, i, j + 1, seeds, stream), hashed(xp, i + 1, j + 1, seeds, stream)
    return a + (b - a) * u + (c - a + (a - b - c + d) * u) * v - 0.5
