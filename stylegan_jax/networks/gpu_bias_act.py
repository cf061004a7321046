"""GPU kernels for those derivatives of bias and nonlinearity in the discriminator where XLA writes intermediate arrays.

Each kernel reads the features, which determine the slope, and the gradient once, in their own dtype.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from stylegan_jax.networks import gpu_kernels, ops
from stylegan_jax.networks.gpu_kernels import ALL, MAPS, PART, PIXELS_ALL, PIXELS_MAPS, WHOLE, Tiles


def blurred_slope(x: Array, bias: Array, g: Array, nonlinearity: str, taps: Sequence[int]) -> Array:
    """Returns blur(f'(x + bias) g): [n, h, w, c], in the dtype of g."""

    def kernel(x_ref, bias_ref, g_ref, y_ref, tiles: Tiles):
        bias, first = bias_ref[...], tiles.first()

        def sloped(numbers):
            t = x_ref[0, numbers, :].astype(jnp.float32) + bias[None, :]
            return ops.activation_gradient(t, g_ref[0, numbers, :].astype(jnp.float32), nonlinearity)

        def one(tile):
            blurred = gpu_kernels.blurred(sloped, first + tile.start, tiles.pixels, (h, w), taps)
            y_ref[0, tile, :] = blurred.astype(y_ref.dtype)

        tiles.each(one)

    n, h, w, c = g.shape
    inputs = (WHOLE, gpu_kernels.flat(x)), (MAPS, bias), (WHOLE, gpu_kernels.flat(g))
    (y,) = gpu_kernels.call(kernel, inputs, [(PIXELS_MAPS, g.dtype)], (n, h * w, c))
    return y.reshape(g.shape)


def colors_gradient(y: Array, g: Array, kernel: Array, nonlinearity: str, clamp: float | None = None) -> Array:
    """Returns (f' g) @ kernel.T, where y = f(...): [n, h, w, c] and kernel [k, c] to [n, h, w, k]."""

    def kernel_fn(y_ref, g_ref, kernel_ref, colors_ref, tiles: Tiles):
        def one(tile):
            sums = [jnp.zeros((tiles.pixels,), jnp.float32)] * k
            for first in range(0, c, tiles.maps):
                maps = pl.ds(first, tiles.maps)
                y, g = y_ref[0, tile, maps], g_ref[0, tile, maps].astype(jnp.float32)
                sloped = ops.activation_gradient(y, g, nonlinearity, clamp)
                sums = [total + jnp.sum(sloped * kernel_ref[i, maps][None, :], axis=1) for i, total in enumerate(sums)]
            for i, total in enumerate(sums):
                colors_ref[0, tile, i] = total.astype(colors_ref.dtype)

        tiles.each(one)

    (n, h, w, c), k = y.shape, len(kernel)
    inputs = (PIXELS_MAPS, gpu_kernels.flat(y)), (PIXELS_MAPS, gpu_kernels.flat(g)), (ALL, kernel)
    (colors,) = gpu_kernels.call(kernel_fn, inputs, [(PIXELS_ALL, g.dtype, k)], (n, h * w, c), has_all_maps=True)
    return colors.reshape(n, h, w, k)


def kernel_gradient(
    y: Array, g: Array, colors: Array, nonlinearity: str, clamp: float | None = None
) -> tuple[Array, Array]:
    """Returns colors.T @ (f' g) [k, c] and the sum of f' g [c] in float32, where y = f(...) and g is its gradient.

    y and g are [n, h, w, c], colors [n, h, w, k]; `clamp` is that of `ops.activation_gradient`.
    """

    def kernel(y_ref, g_ref, colors_ref, *sum_refs, tiles: Tiles):
        def terms(tile):
            g = g_ref[0, tile, :].astype(jnp.float32)
            sloped = ops.activation_gradient(y_ref[0, tile, :], g, nonlinearity, clamp)
            return sloped, *(sloped * colors_ref[0, tile, i].astype(jnp.float32)[:, None] for i in range(k))

        for ref, total in zip(sum_refs, tiles.sums(terms, 1 + k), strict=True):
            ref[0, 0, :] = total

    (n, h, w, c), k = y.shape, colors.shape[3]
    inputs = (
        (PIXELS_MAPS, gpu_kernels.flat(y)),
        (PIXELS_MAPS, gpu_kernels.flat(g)),
        (PIXELS_ALL, gpu_kernels.flat(colors)),
    )
    parts = gpu_kernels.call(kernel, inputs, [(PART, jnp.float32)] * (1 + k), (n, h * w, c))
    bias_grad, *rows = (jnp.sum(part, axis=(0, 1)) for part in parts)
    return jnp.stack(rows), bias_grad
