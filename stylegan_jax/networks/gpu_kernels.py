"""How Pallas kernels for GPUs, over features [n, pixels, maps], are divided into programs.

A kernel is called on one device's share: on a mesh of several devices, within jax.shard_map.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl

from stylegan_jax.devices import backend

INTERPRET = False  # Whether JAX interprets the kernels, for tests on devices other than GPUs.
TILE = 4096  # Largest number of elements that a program holds at once: 32 per thread.
MAX_TILE_MAPS = 64  # Largest number of a tile's feature maps: a row of 128 bytes in bfloat16.
MIN_TILE_MAPS = 8  # Least number of a tile's feature maps; rows of fewer are shorter than one read of memory.
MIN_TILE_PIXELS = 16
MAX_TILES = 8  # Largest number of a program's tiles, which it takes in turn.
MAX_SIZE = 2**31  # Limit of an array's number of elements: their indices are int32.


def _power_of_two_in(number: int) -> int:
    """Returns the largest power of two that divides `number`; the sides of Triton's tiles are powers of two."""
    return number & -number


def can_take(x: Array) -> bool:
    """Returns whether kernels compile here and take features of this shape. [n, h, w, c]"""
    _, h, w, c = x.shape
    has_tiles = _power_of_two_in(c) >= MIN_TILE_MAPS and _power_of_two_in(h * w) >= MIN_TILE_PIXELS
    return backend.has_triton() and has_tiles and x.size < MAX_SIZE


def flat(x: Array) -> Array:
    """Returns [n, h, w, c] as [n, h w, c]."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


# A program's share of an array; a program takes `rows` pixels and some maps of one image:
PIXELS_MAPS = "[n, p, c]: its pixels and maps"
WHOLE = "[n, p, c]: all pixels, its maps"
PIXELS_ALL = "[n, p, k]: its pixels, all k"
PIXELS = "[n or 1, p]: its pixels"
IMAGE_MAPS = "[n, c]: its image's maps"
MAPS = "[c]: its maps"
ALL = "[k, c]: everything"
PART = "[n, parts, c]: a sum over its pixels"


def call(
    kernel: Callable[..., None],
    inputs: Sequence[tuple[str, Array]],
    outputs: Sequence[tuple[Any, ...]],
    shape: tuple[int, int, int],
    has_all_maps: bool = False,
) -> Any:
    """Returns the outputs of `kernel`, which takes references to a program's share of each array, inputs first.

    Args:
        kernel: function of the references, and of the keyword `tiles`, a Tiles.
        inputs: (a program's share, array) each.
        outputs: (a program's share, dtype, and for PIXELS_ALL the number k) each.
        shape: the features' images n, pixels p and maps c.
        has_all_maps: whether a program takes all maps of its pixels.
    """
    n, p, c = shape
    maps = min(_power_of_two_in(c), MAX_TILE_MAPS)
    pixels = min(_power_of_two_in(p), TILE // maps)
    rows = pixels * min(_power_of_two_in(p // pixels), MAX_TILES)
    block_maps = c if has_all_maps else maps

    def spec(kind: str, array_shape: tuple[int, ...]) -> pl.BlockSpec:
        return {
            PIXELS_MAPS: lambda: pl.BlockSpec((1, rows, block_maps), lambda i, s, j: (i, s, j)),
            WHOLE: lambda: pl.BlockSpec((1, p, block_maps), lambda i, s, j: (i, 0, j)),
            PIXELS_ALL: lambda: pl.BlockSpec((1, rows, array_shape[2]), lambda i, s, j: (i, s, 0)),
            PIXELS: lambda: pl.BlockSpec((1, rows), lambda i, s, j: (i if array_shape[0] > 1 else 0, s)),
            IMAGE_MAPS: lambda: pl.BlockSpec((1, block_maps), lambda i, s, j: (i, j)),
            MAPS: lambda: pl.BlockSpec((block_maps,), lambda i, s, j: (j,)),
            ALL: lambda: pl.BlockSpec(array_shape, lambda i, s, j: (0, 0)),
            PART: lambda: pl.BlockSpec((1, 1, block_maps), lambda i, s, j: (i, s, j)),
        }[kind]()

    def out_shape(kind: str, dtype: Any, last: int = c) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((n, p // rows if kind == PART else p, last), dtype)

    shapes = [out_shape(*output) for output in outputs]
    return pl.pallas_call(
        functools.partial(kernel, tiles=Tiles(rows, pixels, maps)),
        out_shape=shapes,
        grid=(n, p // rows, c // block_maps),
        in_specs=[spec(kind, x.shape) for kind, x in inputs],
        out_specs=[spec(output[0], out.shape) for output, out in zip(outputs, shapes, strict=True)],
        interpret=INTERPRET,
        compiler_params=None if INTERPRET else _triton_params(),
    )(*(x for _, x in inputs))


def _triton_params() -> Any:
    from jax.experimental.pallas import triton  # Imported here because only GPUs need it.

    return triton.CompilerParams(num_warps=4, num_stages=2)


class Tiles(NamedTuple):
    """The tiles of a program's pixels, which it takes in turn."""

    rows: int  # Pixels of a program.
    pixels: int  # Pixels of a tile.
    maps: int  # Feature maps of a tile.

    def first(self) -> Array:
        """Returns the number, in the image, of the program's first pixel; call it outside of loops."""
        return pl.program_id(1) * self.rows

    def each(self, tile_fn: Callable[[Any], None]) -> None:
        """Calls tile_fn with the slice of each tile's pixels."""

        def one(i: Array, carry: Array) -> Array:
            tile_fn(pl.ds(i * self.pixels, self.pixels))
            return carry

        jax.lax.fori_loop(0, self.rows // self.pixels, one, 0)

    def sums(self, terms_fn: Callable[[Any], tuple[Array, ...]], num_sums: int) -> tuple[Array, ...]:
        """Returns the sums over all pixels of the terms, [pixels, maps] each, of terms_fn(slice of a tile's pixels)."""

        def add(i: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
            terms = terms_fn(pl.ds(i * self.pixels, self.pixels))
            return tuple(total + jnp.sum(term, axis=0) for total, term in zip(sums, terms, strict=True))

        zero = jnp.zeros((self.maps,), jnp.float32)
        return jax.lax.fori_loop(0, self.rows // self.pixels, add, (zero,) * num_sums)


def blurred(
    value_fn: Callable[[Array], Array], start: Array, pixels: int, size: tuple[int, int], taps: Sequence[int]
) -> Array:
    """Returns a tile of features filtered as by ops.blur. [pixels, maps], float32

    Args:
        value_fn: function of the numbers of pixels in the image [pixels] to their features [pixels, maps].
        start: number of the tile's first pixel.
        pixels: number of the tile's pixels.
        size: height and width of the image, px.
        taps: filter.
    """
    (h, w), middle, weights = size, (len(taps) - 1) // 2, np.asarray(taps) / np.sum(taps)
    number = start + jnp.arange(pixels, dtype=jnp.int32)
    y, x = number // w, number % w
    total: Any = 0.0
    for i, row_weight in enumerate(weights):
        for j, weight in enumerate(weights):
            dy, dx = i - middle, j - middle
            is_inside = (y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w)
            values = value_fn(jnp.clip(number + (dy * w + dx), 0, h * w - 1))
            total += jnp.where(is_inside[:, None], values, 0.0) * float(row_weight * weight)
    return total
