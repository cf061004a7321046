"""Four GPU kernels for what follows a convolution of the synthesis network.

XLA alone writes float32 copies of the features between the statistics and their use. Here each kernel reads the
convolution's output once, in its own dtype, computes in float32, and writes nothing of its size but the result:

    forward:   blur if any, and statistics (mean, variance of each map)  ->  normalized and styled features
    backward:  sums (gradients of the style)  ->  gradient of the convolution's output

Each program writes its own sums over pixels, as parts that XLA adds.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from stylegan_jax.networks import gpu_kernels, ops
from stylegan_jax.networks.gpu_kernels import IMAGE_MAPS, MAPS, PART, PIXELS, PIXELS_MAPS, WHOLE, Tiles


def _activations(x: Array, noise: Array, strength: Array, bias: Array, nonlinearity: str) -> Array:
    """Returns a tile [pixels, maps] after noise, bias and nonlinearity, in float32."""
    x = x.astype(jnp.float32) + noise[:, None] * strength[None, :] + bias[None, :]
    return ops.NONLINEARITIES[nonlinearity](x)


# ---- kernels: x [n, p, c], noise [n or 1, p], strength [c] and bias [c] are those of a layer of p pixels


def _statistics(
    x: Array,
    noise: Array,
    strength: Array,
    bias: Array,
    nonlinearity: str,
    blur: tuple[Sequence[int], int] | None,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Returns x, blurred if `blur` is given, and the mean and 1 / standard deviation of its activated maps. [n, c] each

    Each program sums deviations from its first tile's mean, so that a large mean costs no digits; the parts are joined
    as in Chan et al. 1979. `blur` is taps, and the image's width, px; `epsilon` is added to the variance.
    """

    def kernel(x_ref, noise_ref, strength_ref, bias_ref, *out_refs, tiles: Tiles):
        *blurred_refs, mean_ref, squares_ref = out_refs
        strength, bias, first = strength_ref[...], bias_ref[...], tiles.first()

        def values(numbers):
            return x_ref[0, numbers, :].astype(jnp.float32)

        def features(tile):
            if blur is None:
                return x_ref[0, tile, :]
            taps, w = blur
            blurred = gpu_kernels.blurred(values, first + tile.start, tiles.pixels, (p // w, w), taps)
            return blurred.astype(x_ref.dtype)

        def activations(tile, x):
            return _activations(x, noise_ref[0, tile], strength, bias, nonlinearity)

        some = pl.ds(0, tiles.pixels)
        center = jnp.sum(activations(some, features(some)), axis=0) / tiles.pixels

        def terms(tile):
            x = features(tile)
            for ref in blurred_refs:
                ref[0, tile, :] = x
            d = activations(tile, x) - center[None, :]
            return d, d * d

        deviation, squares = tiles.sums(terms, 2)
        mean_ref[0, 0, :] = center + deviation / tiles.rows
        squares_ref[0, 0, :] = squares - deviation * deviation / tiles.rows

    p = x.shape[1]
    inputs = (WHOLE if blur else PIXELS_MAPS, x), (PIXELS, noise), (MAPS, strength), (MAPS, bias)
    outputs = [(PIXELS_MAPS, x.dtype)] * (blur is not None) + [(PART, jnp.float32)] * 2
    *blurred, means, squares = gpu_kernels.call(kernel, inputs, outputs, x.shape)
    mean = jnp.mean(means, axis=1)
    between = jnp.mean((means - mean[:, None]) ** 2, axis=1)  # Variance of the parts' means.
    within = jnp.maximum(jnp.sum(squares, axis=1), 0) / p  # Rounding can make a flat map's sum negative.
    inverse_std = jax.lax.rsqrt(between + within + epsilon)
    return (*blurred, x)[0], mean, inverse_std


def _styled(
    x: Array, noise: Array, strength: Array, bias: Array, mean: Array, gain: Array, shift: Array, nonlinearity: str
) -> Array:
    """Returns (activations - mean) gain + shift, in the dtype of x. [n, p, c]"""

    def kernel(x_ref, noise_ref, strength_ref, bias_ref, mean_ref, gain_ref, shift_ref, y_ref, tiles: Tiles):
        strength, bias = strength_ref[...], bias_ref[...]
        mean, gain, shift = mean_ref[0, :], gain_ref[0, :], shift_ref[0, :]

        def one(tile):
            a = _activations(x_ref[0, tile, :], noise_ref[0, tile], strength, bias, nonlinearity)
            y_ref[0, tile, :] = ((a - mean[None, :]) * gain[None, :] + shift[None, :]).astype(y_ref.dtype)

        tiles.each(one)

    inputs = (PIXELS_MAPS, x), (PIXELS, noise), (MAPS, strength), (MAPS, bias)
    per_image = (IMAGE_MAPS, mean), (IMAGE_MAPS, gain), (IMAGE_MAPS, shift)
    return gpu_kernels.call(kernel, inputs + per_image, [(PIXELS_MAPS, x.dtype)], x.shape)[0]


def _gradient_sums(
    x: Array, g: Array, noise: Array, strength: Array, bias: Array, mean: Array, nonlinearity: str
) -> tuple[Array, Array]:
    """Returns the sums over pixels of the result's gradient `g`, and of g (activations - mean). [n, c] each"""

    def kernel(x_ref, g_ref, noise_ref, strength_ref, bias_ref, mean_ref, g_sum_ref, product_ref, tiles: Tiles):
        strength, bias, mean = strength_ref[...], bias_ref[...], mean_ref[0, :]

        def terms(tile):
            g = g_ref[0, tile, :].astype(jnp.float32)
            a = _activations(x_ref[0, tile, :], noise_ref[0, tile], strength, bias, nonlinearity)
            return g, g * (a - mean[None, :])

        g_sum_ref[0, 0, :], product_ref[0, 0, :] = tiles.sums(terms, 2)

    inputs = (PIXELS_MAPS, x), (PIXELS_MAPS, g), (PIXELS, noise), (MAPS, strength), (MAPS, bias), (IMAGE_MAPS, mean)
    sums, products = gpu_kernels.call(kernel, inputs, [(PART, jnp.float32)] * 2, x.shape)
    return jnp.sum(sums, axis=1), jnp.sum(products, axis=1)


def _input_gradient(
    x: Array,
    g: Array,
    noise: Array,
    strength: Array,
    bias: Array,
    mean: Array,
    gain: Array,
    g_mean: Array,
    slope: Array,
    nonlinearity: str,
) -> tuple[Array, Array, Array]:
    """Returns d = f' gain (g - g_mean - slope (activations - mean)), and the sums over pixels of d and of d noise.

    These are the gradients of the convolution's output [n, p, c], of the bias [c] and of the noise strength [c].
    """

    def kernel(
        x_ref, g_ref, noise_ref, strength_ref, bias_ref, mean_ref, gain_ref, g_mean_ref, slope_ref,
        x_grad_ref, bias_grad_ref, strength_grad_ref, tiles: Tiles,
    ):  # fmt: skip
        strength, bias, mean = strength_ref[...], bias_ref[...], mean_ref[0, :]
        gain, g_mean, slope = gain_ref[0, :], g_mean_ref[0, :], slope_ref[0, :]

        def terms(tile):
            noise = noise_ref[0, tile]
            a = _activations(x_ref[0, tile, :], noise, strength, bias, nonlinearity)
            g = g_ref[0, tile, :].astype(jnp.float32)
            a_grad = gain[None, :] * (g - g_mean[None, :] - slope[None, :] * (a - mean[None, :]))
            x_grad = ops.activation_gradient(a, a_grad, nonlinearity)
            x_grad_ref[0, tile, :] = x_grad.astype(x_grad_ref.dtype)
            return x_grad, x_grad * noise[:, None]

        bias_grad_ref[0, 0, :], strength_grad_ref[0, 0, :] = tiles.sums(terms, 2)

    inputs = (PIXELS_MAPS, x), (PIXELS_MAPS, g), (PIXELS, noise), (MAPS, strength), (MAPS, bias)
    per_image = (IMAGE_MAPS, mean), (IMAGE_MAPS, gain), (IMAGE_MAPS, g_mean), (IMAGE_MAPS, slope)
    outputs = (PIXELS_MAPS, x.dtype), (PART, jnp.float32), (PART, jnp.float32)
    x_grad, biases, strengths = gpu_kernels.call(kernel, inputs + per_image, outputs, x.shape)
    return x_grad, jnp.sum(biases, axis=(0, 1)), jnp.sum(strengths, axis=(0, 1))


# ---- the epilogue


def forward(
    x: Array,
    noise: Array,
    strength: Array,
    bias: Array,
    style: Array,
    nonlinearity: str,
    taps: Sequence[int] | None = None,
    epsilon: float = ops.EPSILON,
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Returns the features after noise, bias, nonlinearity, instance norm and style, and what `backward` needs.

    Args: those of `epilogues.styled`; only the taps can be None.
    """
    n, h, w, c = x.shape
    scale, shift = jnp.split(style, 2, axis=-1)
    noise = noise.reshape(-1, h * w)
    blur = None if taps is None else (taps, w)
    x_flat, mean, inverse_std = _statistics(gpu_kernels.flat(x), noise, strength, bias, nonlinearity, blur, epsilon)
    y = _styled(x_flat, noise, strength, bias, mean, inverse_std * (scale + 1), shift, nonlinearity)
    return y.reshape(x.shape), (x_flat.reshape(x.shape), mean, inverse_std)


def backward(
    x: Array,
    noise: Array,
    strength: Array,
    bias: Array,
    style: Array,
    mean: Array,
    inverse_std: Array,
    g: Array,
    nonlinearity: str,
) -> tuple[Array, Array, Array, Array, Array]:
    """Returns the gradients of blurred x, noise, strength, bias and style; `g` is the gradient of the features."""
    n, h, w, c = x.shape
    scale, _ = jnp.split(style, 2, axis=-1)
    layer = gpu_kernels.flat(x), gpu_kernels.flat(g), noise.reshape(-1, h * w), strength, bias, mean
    shift_grad, products = _gradient_sums(*layer, nonlinearity)
    scale_grad = inverse_std * products
    gain, slope = inverse_std * (scale + 1), inverse_std * scale_grad / (h * w)
    x_grad, bias_grad, strength_grad = _input_gradient(*layer, gain, shift_grad / (h * w), slope, nonlinearity)
    noise_grad = jnp.sum(x_grad.astype(jnp.float32) * strength[None, None, :], axis=2).reshape(n, h, w, 1)
    if noise.shape[0] < n:
        noise_grad = jnp.sum(noise_grad, axis=0, keepdims=True)
    style_grad = jnp.concatenate([scale_grad, shift_grad], axis=-1)
    return x_grad.reshape(x.shape), noise_grad, strength_grad, bias_grad, style_grad
