"""Convolutions of the feature networks, in the form that is fast on the backend at hand. Images are NHWC.

`plain_conv` defines the result, and is what GPUs and TPUs compute. All products have the highest precision.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from stylegan_jax.devices import backend
from stylegan_jax.networks import cpu_convolutions

MIN_CHANNELS, MIN_PX = 64, 16  # Least numbers of maps and of rows for tiles; below, transforms cost what products save.
MAX_LARGE_TILE_CHANNELS = 256  # Kernels of tiles of 4x4 pixels are four times as large; those of 2x2, not twice.
MAX_BAND_NUMBERS = 2**18  # Largest band of an image: 1 MB.


def conv(x: Array, kernel: Array, stride: int = 1, padding: str = "SAME") -> Array:
    """Returns the cross-correlation of `x` [n, h, w, c] with `kernel` [k, l, c, d]: [n, h', w', d].

    Args:
        x: images.
        kernel: weights, of the same dtype; k and l are odd.
        stride: pixels from one window to the next.
        padding: "SAME": zeros outside of the images; "VALID": windows within them alone.
    """
    if backend.platform() != "cpu" or (stride != 1 and padding == "SAME"):
        return plain_conv(x, kernel, stride, padding)
    if kernel.shape[:2] == (1, 1) or stride != 1:
        return tap_conv(x, kernel, stride)
    has_tiles = kernel.shape[:2] == (3, 3) and min(kernel.shape[2:]) >= MIN_CHANNELS and min(x.shape[1:3]) >= MIN_PX
    form = tiled_conv if has_tiles else plain_conv
    if padding == "SAME":
        return form(x, kernel)
    # XLA's convolutions without padding take up to twice the time of those with it.
    top, left = (size // 2 for size in kernel.shape[:2])
    return form(x, kernel)[:, top : x.shape[1] - top, left : x.shape[2] - left]


def plain_conv(x: Array, kernel: Array, stride: int = 1, padding: str | Sequence[tuple[int, int]] = "SAME") -> Array:
    """Returns what `conv` does; padding may also be pixels before and behind, of rows and of columns."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip


def tap_conv(x: Array, kernel: Array, stride: int) -> Array:
    """Returns what `conv` does within the images, as one product of each window's pixels, side by side."""
    height, width, _, maps = kernel.shape
    stops = [size - part + 1 for size, part in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    taps = [x[:, i : i + stops[0] : stride, j : j + stops[1] : stride] for i in range(height) for j in range(width)]
    return jnp.matmul(jnp.concatenate(taps, axis=3), kernel.reshape(-1, maps), precision=lax.Precision.HIGHEST)


def tiled_conv(x: Array, kernel: Array) -> Array:
    """Returns what `conv` does for a 3x3 kernel, with fewer products (Lavin and Gray 2016).

    It takes bands of rows in turn, whose tiles stay in a CPU's cache.
    """
    n, height, width, maps = x.shape
    tile = 4 if max(kernel.shape[2:]) <= MAX_LARGE_TILE_CHANNELS else 2
    num_bands = -(-height * width * maps // MAX_BAND_NUMBERS)
    band_px = -(-height // (num_bands * tile)) * tile
    x = jnp.pad(x, ((0, 0), (tile, tile + num_bands * band_px - height), (0, -width % tile), (0, 0)))
    with jax.default_matmul_precision("highest"):
        kernels = cpu_convolutions.winograd_kernels(kernel, 1.0, tile)

        def band(first: Array) -> Array:
            rows = lax.dynamic_slice_in_dim(x, first, band_px + 2 * tile, axis=1)
            return cpu_convolutions.winograd_product(rows, kernels, tile, num_outside=1)

        bands = lax.map(band, band_px * jnp.arange(num_bands))  # [bands, n, band_px, w, d]
    return bands.swapaxes(0, 1).reshape(n, -1, *bands.shape[3:])[:, :height, :width]


def by_image(fn: Callable, *images: Array, at_a_time: int = 1) -> Any:
    """Returns fn(*images) for a function whose rows depend on their own image alone.

    A CPU computes some images at a time, whose layers stay in its cache: large ones one by one, in half the time of
    all at once; small ones by several, for which the kernels are read once.

    Args:
        fn: function of arrays [n, ...] to a tree of arrays [n, ...].
        images: [n, ...]
        at_a_time: images that a CPU computes together.
    """
    n = images[0].shape[0]
    num_groups, num_others = divmod(n, at_a_time)
    if backend.platform() != "cpu" or num_groups == 0:
        return fn(*images)
    groups = [x[: n - num_others].reshape(num_groups, at_a_time, *x.shape[1:]) for x in images]
    found = jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), lax.map(lambda parts: fn(*parts), groups))
    if not num_others:
        return found
    others = fn(*[x[n - num_others :] for x in images])
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, others)
