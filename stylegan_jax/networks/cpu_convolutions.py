"""3x3 convolutions, plain and with resampling, in the forms that are fastest on a CPU. Images are NHWC.

A CPU's time is proportional to the number of multiplications. `tap_upscale_conv` and `tap_conv_downscale`, which work
at the low resolution, need a quarter of the plain form's; so does `winograd_conv` with 4x4 tiles, and 0.44 with 2x2.

Every form is a dot product between two linear maps along one axis: `windows` and its adjoint `overlap_add`. Each map
is the other's derivative, so reverse-mode derivatives of every order are again a few large products.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.networks import ops

Matrix = tuple[tuple[float, ...], ...]

MIN_CHANNELS = 32  # Least number of input and of output channels for `conv`; below, transforms cost what products save.
MIN_PIXELS = {2: 512, 4: 2048}  # Least number of pixels, of all images together, for `winograd_conv`, by tile size.


def has_conv(weight: Array) -> bool:
    """Returns whether `conv` is faster than the plain form for a `weight` [3, 3, c, d]."""
    return min(weight.shape[2:]) >= MIN_CHANNELS


def conv(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns the cross-correlation of `x` [n, h, w, c] with `scale weight` [3, 3, c, d]: [n, h, w, d]."""
    n, h, w, _ = x.shape
    # Winograd's kernels are larger, and with few pixels the time to read them outweighs what the products save.
    sizes = [size for size, pixels in MIN_PIXELS.items() if n * h * w >= pixels and h % size == w % size == 0]
    form = functools.partial(winograd_conv, size=max(sizes)) if sizes else tap_conv
    return _in_float32(form, x, weight, scale)


def upscale_conv(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns conv(upscale(x), weight, scale): [n, h, w, c] to [n, 2 h, 2 w, d]."""
    return _in_float32(tap_upscale_conv, x, weight, scale)


def conv_downscale(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns downscale(conv(x, weight, scale)): [n, h, w, c] to [n, h / 2, w / 2, d]."""
    return _in_float32(tap_conv_downscale, x, weight, scale)


def _in_float32(form: Callable[[Array, Array, float], Array], x: Array, weight: Array, scale: float) -> Array:
    """Returns form(x, weight, scale). Only the factors and the result are rounded to x.dtype; sums are float32."""
    if jnp.finfo(x.dtype).bits >= 32:
        return form(x, weight, scale)
    kernel = (weight * scale).astype(x.dtype)
    return form(x.astype(jnp.float32), kernel.astype(jnp.float32), 1.0).astype(x.dtype)


# ---- linear maps along one axis


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def windows(x: Array, matrix: Matrix, stride: int, axis: int, new_axis: int) -> Array:
    """Returns v[a, t] = sum_i matrix[a][i] x[stride t + i - pad], t along `axis`, a along `new_axis`, zeros outside.

    Args:
        x: [..., stride k, ...]
        matrix: rows of width stride + 2 pad, with pad <= stride.
        stride: pixels from one window to the next.
        axis: axis of x that becomes t.
        new_axis: place of the axis a in the result; a negative one counts from the back.
    """
    pad, count = (len(matrix[0]) - stride) // 2, x.shape[axis] // stride
    x = ops.pad_axis(x, pad, pad, axis)
    stop = stride * (count - 1) + 1
    parts = [jax.lax.slice_in_dim(x, i, i + stop, stride, axis) for i in range(len(matrix[0]))]
    return jnp.stack(_combinations(matrix, parts), new_axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def overlap_add(v: Array, matrix: Matrix, stride: int, axis: int, new_axis: int) -> Array:
    """Returns the adjoint of `windows`: x[j] = sum matrix[a][i] v[a, t] over a, t and i with stride t + i - pad = j."""
    width = len(matrix[0])
    pad = (width - stride) // 2
    rows = [jax.lax.index_in_dim(v, a, new_axis, keepdims=False) for a in range(len(matrix))]
    columns = _combinations(tuple(zip(*matrix, strict=True)), rows)  # Each window's term at its i-th place.
    places = []
    for i in range(pad, pad + stride):
        place = columns[i]
        if i + stride < width:
            place += ops.pad_axis(columns[i + stride], 1, -1, axis)  # From the window before.
        if i >= stride:
            place += ops.pad_axis(columns[i - stride], -1, 1, axis)
        places.append(place)
    shape = [stride * size if a == axis else size for a, size in enumerate(rows[0].shape)]
    return jnp.stack(places, axis + 1).reshape(shape)


# The derivative of each gets the static arguments, no residuals and the cotangent.
windows.defvjp(lambda x, *how: (windows(x, *how), None), lambda *args: (overlap_add(args[-1], *args[:4]),))
overlap_add.defvjp(lambda v, *how: (overlap_add(v, *how), None), lambda *args: (windows(args[-1], *args[:4]),))


def _combinations(matrix: Sequence[Sequence[float]], parts: Sequence[Array]) -> list[Array]:
    """Returns sum_i matrix[a][i] parts[i] for each a, without terms that are zero.

    It uses jax.lax, which traces in half the time of jax.numpy: a training step has thousands of these terms.
    """

    def term(m: float, part: Array) -> Array:
        return part if m == 1 else jax.lax.neg(part) if m == -1 else jax.lax.mul(part, np.asarray(m, part.dtype))

    rows = [[term(m, part) for m, part in zip(row, parts, strict=True) if m] for row in matrix]
    return [functools.reduce(jax.lax.add, terms) for terms in rows]


# ---- 3x3 kernels as one product for all nine taps; resampling needs 9 products per low-resolution pixel, not 36

TAPS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
PAIRS = ((1.0, 1.0, 0.0, 0.0), (0.0, 1.0, 1.0, 0.0), (0.0, 0.0, 1.0, 1.0))


def _tap_product(x: Array, weight: Array, matrix: Matrix, stride: int, scale: float) -> Array:
    """Returns `scale` times the sum, over taps, of `x` combined by `matrix` along both axes, times the tap's weight."""
    taps = windows(windows(x, matrix, stride, 1, -2), matrix, stride, 2, -2)  # [n, h', w', 3, 3, c]
    return scale * (taps.reshape(*taps.shape[:3], -1) @ weight.reshape(-1, weight.shape[-1]))


def tap_conv(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns what `conv` does: each pixel's nine neighbours, side by side, times the unchanged weight."""
    return _tap_product(x, weight, TAPS, 1, scale)


def tap_upscale_conv(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns what `upscale_conv` does: each tap multiplies a pixel once, and the product serves all four copies."""
    c, d = weight.shape[2:]
    products = x @ (weight * scale).transpose(2, 0, 1, 3).reshape(c, 9 * d)
    products = products.reshape(*x.shape[:3], 3, 3, d)
    return overlap_add(overlap_add(products, PAIRS[::-1], 2, 2, -2), PAIRS[::-1], 2, 1, -2)


def tap_conv_downscale(x: Array, weight: Array, scale: float = 1.0) -> Array:
    """Returns what `conv_downscale` does: each tap multiplies the mean of the four pixels that it meets."""
    return _tap_product(x, weight, PAIRS, 2, scale / 4)


# ---- 3x3 kernels in tiles: 36 products for 4x4 pixels instead of 144, 16 for 2x2 instead of 36 (Lavin and Gray 2016)


def _toom_cook(points: Sequence[float]) -> tuple[Matrix, Matrix, Matrix]:
    """Returns matrices B, G, A, a row per product, with A.T ((G g) * (B d)) [k] = sum_i g[i] d[k + i] for i < 3.

    They multiply two polynomials by their values at `points` and at infinity (Winograd 1980; Lavin and Gray 2016).
    """
    p, size = np.asarray(points), len(points) - 1
    others = [np.delete(p, i) for i in range(len(p))]
    b = [np.append(np.poly(rest)[::-1], 0) for rest in others] + [np.poly(p)[::-1]]
    g = [x ** np.arange(3) / np.prod(x - rest) for x, rest in zip(p, others, strict=True)] + [np.eye(3)[2]]
    a = [x ** np.arange(size) for x in p] + [np.eye(size)[-1]]

    def plain(rows: Sequence[Any]) -> Matrix:
        return tuple(tuple(np.round(row, 12).tolist()) for row in rows)

    return plain(b), plain(g), plain(a)


# Matrices B, G, A by tile size. The points 2/3 and 3/2 make the larger tiles' worst rounding error a quarter of what it
# is with the usual 0, 1, -1, 2, -2: 4e-6 of the largest element. The smaller tiles' is 1e-6.
TOOM_COOK = {2: _toom_cook((0, 1, -1)), 4: _toom_cook((0, 2 / 3, -2 / 3, 3 / 2, -3 / 2))}


def winograd_conv(x: Array, weight: Array, scale: float = 1.0, size: int = 2) -> Array:
    """Returns what `conv` does, by tiles of `size` x `size` pixels; `size` divides both sides of the images."""
    return winograd_product(x, winograd_kernels(weight, scale, size), size)


def winograd_kernels(weight: Array, scale: float, size: int) -> Array:
    """Returns the kernels of each product of a tile. [(size + 2)^2, c, d]"""
    _, g, _ = TOOM_COOK[size]
    taps = jnp.asarray(scale * np.kron(g, g), weight.dtype)
    return (taps @ weight.reshape(9, -1)).reshape(len(taps), *weight.shape[2:])


def winograd_product(x: Array, kernels: Array, size: int, num_outside: int = 0) -> Array:
    """Returns what `winograd_conv` does, without the first and last `num_outside` rows of tiles. [n, h', w, d]"""
    n, h, w, c = x.shape
    b, _, a = TOOM_COOK[size]
    rows = h // size - 2 * num_outside
    tiles = windows(windows(x, b, size, 2, 0), b, size, 2, 0)[:, :, :, num_outside : num_outside + rows]
    products = jax.lax.dot_general(tiles.reshape(len(kernels), -1, c), kernels, (((2,), (1,)), ((0,), (0,))))
    products = products.reshape(len(a), len(a), n, rows, w // size, -1)
    return overlap_add(overlap_add(products, a, size, 2, 0), a, size, 2, 0)
