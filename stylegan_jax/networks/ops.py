"""Array functions without parameters. Images are NHWC.

Each is one operation of the paper or of the official code (networks_stylegan.py), and works in a notebook on plain
arrays.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

EPSILON = 1e-8  # Term that every normalization of the official code adds to the mean square.


def lerp(a: Array, b: Array, t: Array | float) -> Array:
    """Returns a + (b - a) t: `a` at t = 0, `b` at t = 1."""
    return a + (b - a) * t


def leaky_relu(x: Array) -> Array:
    """Returns max(x, 0.2 x), with gradient 1 at zero as in the official code."""
    return jnp.where(x >= 0, x, 0.2 * x)


def clamp(x: Array, most: float | None) -> Array:
    """Returns `x` clipped to [-most, most], or as it is without a bound."""
    return x if most is None else jnp.clip(x, -most, most)


NONLINEARITIES: dict[str, Callable[[Array], Array]] = {"lrelu": leaky_relu, "relu": jax.nn.relu}


def activation_gradient(y: Array, g: Array, nonlinearity: str, clamp: float | None = None) -> Array:
    """Returns f'(x) g. `y` is f(x), or x itself, which has the same sign; at zero f' is as in the official code.

    With `clamp`, `y` is f(x) clipped to [-clamp, clamp], and f' is 0 where it was.
    """
    g = jnp.where(y >= 0, g, 0.2 * g) if nonlinearity == "lrelu" else jnp.where(y > 0, g, 0)
    return g if clamp is None else jnp.where((y > -clamp) & (y < clamp), g, 0)


def add_bias(x: Array, bias: Array) -> Array:
    """Returns x + bias over the last axis, in the dtype of `x`.

    The sum is computed in the dtype of the bias, and so is the bias's gradient, which is a sum over all pixels.
    """
    return (x + bias.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def pixel_norm(x: Array) -> Array:
    """Returns x / sqrt(mean(x**2) + eps) over the last axis, of [n, d] or [n, h, w, c] (Progressive GAN, Sec. 4.2)."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON)


def instance_norm(x: Array, epsilon: float = EPSILON) -> Array:
    """Returns each feature map of each image with zero mean and unit variance (AdaIN, Eq. 8).

    Args:
        x: images. [n, h, w, c]
        epsilon: term added to the variance.
    """
    x = x - jnp.mean(x, axis=(1, 2), keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=(1, 2), keepdims=True) + epsilon)


def modulate(x: Array, style: Array) -> Array:
    """Returns x (y_s + 1) + y_b: AdaIN without its normalization (StyleGAN, Eq. 1).

    Args:
        x: normalized features. [n, h, w, c]
        style: scales y_s, then biases y_b. [n, 2 c]
    """
    scale, bias = jnp.split(style[:, None, None, :], 2, axis=-1)  # [n, 1, 1, c] each
    return x * (scale + 1) + bias


def upscale(x: Array, factor: int = 2) -> Array:
    """Returns `x` with each pixel repeated: [n, h, w, c] to [n, factor h, factor w, c]."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, factor, w, factor, c))
    return x.reshape(n, h * factor, w * factor, c)


def downscale(x: Array, factor: int = 2) -> Array:
    """Returns the means of factor x factor boxes: [n, h, w, c] to [n, h / factor, w / factor, c]."""
    n, h, w, c = x.shape
    return jnp.mean(x.reshape(n, h // factor, factor, w // factor, factor, c), axis=(2, 4))


def pad_axis(x: Array, before: int, after: int, axis: int) -> Array:
    """Returns `x` with `before` and `after` zeros added along `axis`; a negative number crops."""
    edges = [(before, after, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return jax.lax.pad(x, np.zeros((), x.dtype), edges)


def blur(x: Array, taps: Sequence[int], normalize: bool = True) -> Array:
    """Returns `x` filtered by `taps` along both axes, zeros outside (StyleGAN, Sec. 2: bilinear resampling).

    Args:
        x: images. [n, h, w, c]
        taps: filter, from top to bottom and left to right; its middle is at (len(taps) - 1) // 2.
        normalize: divide the taps by their sum, which keeps flat areas as they are.
    """
    before = (len(taps) - 1) // 2
    return fir(x, _weights(taps, normalize), before, len(taps) - 1 - before)


def blur_adjoint(x: Array, taps: Sequence[int], normalize: bool = True) -> Array:
    """Returns the adjoint of `blur`, which is blur itself for symmetric taps of odd length."""
    before = len(taps) // 2
    return fir(x, _weights(taps[::-1], normalize), before, len(taps) - 1 - before)


def low_pass(x: Array, taps: Sequence[int], ring: int = 0) -> Array:
    """Returns `x` filtered by symmetric `taps`: with the 2x2 box of `upscale` and `downscale`, StyleGAN2's resampling.

    Its filter (1, 3, 3, 1) is the box (1, 1) convolved with (1, 2, 1).

    Args:
        x: images, zeros outside. [n, h, w, c]
        taps: filter; its middle is at len(taps) // 2. It is divided by its sum.
        ring: pixels around the images that the result has besides; a negative number crops.

    Returns:
        [n, h + 2 ring, w + 2 ring, c]
    """
    before, after = len(taps) // 2, (len(taps) - 1) // 2
    return fir(x, _weights(taps, True), before + ring, after + ring)


def _weights(taps: Sequence[int], normalize: bool) -> tuple[float, ...]:
    weights = np.asarray(taps, np.float64)
    return tuple((weights / weights.sum() if normalize else weights).tolist())


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def fir(x: Array, weights: tuple[float, ...], before: int, after: int) -> Array:
    """Returns sum_ij weights[i] weights[j] x[h + i - before, w + j - before], in the dtype of `x`; sums are float32.

    It is a weighted sum of shifted copies, which XLA fuses; a depthwise convolution is slower on a CPU.

    Args:
        x: images. [n, h, w, c]
        weights: filter, from top to bottom and left to right.
        before: zeros above and left of the images; a negative number crops.
        after: likewise, below and right of them.

    Returns:
        [n, h', w', c], where h' = h + before + after - len(weights) + 1, and w' likewise.
    """
    dtype, size = x.dtype, len(weights)
    h, w = (side + before + after - size + 1 for side in x.shape[1:3])
    padded = jax.lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), (before, after, 0), (before, after, 0), (0, 0, 0)))
    padded = padded.astype(jnp.promote_types(dtype, jnp.float32))
    x = sum(a * b * padded[:, i : i + h, j : j + w] for i, a in enumerate(weights) for j, b in enumerate(weights))
    return x.astype(dtype)


def _fir_backward(weights: tuple[float, ...], before: int, after: int, _: None, g: Array) -> tuple[Array]:
    return (fir(g, weights[::-1], len(weights) - 1 - before, len(weights) - 1 - after),)


fir.defvjp(lambda x, *how: (fir(x, *how), None), _fir_backward)


def minibatch_stddev(x: Array, group: int, num_features: int = 1, axis_name: str | None = None) -> Array:
    """Returns `x` and, appended, maps of its standard deviation over groups of images (Progressive GAN, Sec. 3).

    Differs: groups are contiguous in the batch; official groups are strided (image i goes to group i mod n/group). The
    two are the same up to the order of the batch, which is random; and a device whose share of the batch is a multiple
    of the group needs no other device's images.

    Args:
        x: features. [n, h, w, c]
        group: images in a group; a batch smaller than this is one group.
        num_features: maps to append; each is the mean over c / num_features channels.
        axis_name: within jax.shard_map, the axis that the batch is split over; None: `x` is the whole batch.

    Returns:
        [n, h, w, c + num_features]

    Raises:
        ValueError: the group does not divide the batch, or num_features the channels.
    """
    n, h, w, c = x.shape
    if axis_name is not None and n % group:  # A group lies on several devices.
        everyone = minibatch_stddev(jax.lax.all_gather(x, axis_name, tiled=True), group, num_features)
        return jax.lax.dynamic_slice_in_dim(everyone, jax.lax.axis_index(axis_name) * n, n)
    group = min(group, n)
    if n % group or c % num_features:
        raise ValueError(
            f"minibatch stddev of a batch of {n} with {c} channels needs a group (={group}) that divides the batch and "
            f"a number of features (={num_features}) that divides the channels."
        )
    y = x.reshape(n // group, group, h, w, num_features, c // num_features).astype(jnp.float32)
    y = y - jnp.mean(y, axis=1, keepdims=True)
    y = jnp.sqrt(jnp.mean(y * y, axis=1) + EPSILON)  # [n/group, h, w, features, c/features]
    y = jnp.mean(y, axis=(1, 2, 4))  # [n/group, features]
    y = jnp.broadcast_to(y[:, None, None, None, :], (n // group, group, h, w, num_features))
    return jnp.concatenate([x, y.reshape(n, h, w, num_features).astype(x.dtype)], axis=-1)


def box_downscale_uint8(images: Array, resolution: int) -> Array:
    """Returns uint8 images [n, r, r, c] at `resolution`: box means, rounded half to even once.

    They equal the official files' lower resolutions bit for bit: those are halved in float, and rounded when written.
    In RGBA a colour counts as much as its alpha; data/square.box_means makes the same values.
    """
    factor = images.shape[1] // resolution
    if factor == 1:
        return images
    n, _, _, c = images.shape

    def sums(values: Array) -> Array:
        return jnp.sum(values.reshape(n, resolution, factor, resolution, factor, -1), axis=(2, 4))

    if c == 4:
        colour, alpha = images[..., :3].astype(jnp.uint32), images[..., 3:].astype(jnp.uint32)
        colour = _rounded_ratio(sums(colour * alpha), jnp.maximum(sums(alpha), 1))  # Below 2**32 up to 1024 px.
        return jnp.concatenate([colour, _rounded_ratio(sums(alpha), factor**2)], axis=-1).astype(jnp.uint8)
    mean = sums(images.astype(jnp.int32)).astype(jnp.float32) / factor**2  # Exact: below 2**24, by a power of two.
    return jnp.round(mean).astype(jnp.uint8)


def _rounded_ratio(numerator: Array, denominator: Array | int) -> Array:
    """Returns a ratio of unsigned integers, rounded half to even, exactly."""
    whole, rest = numerator // denominator, numerator % denominator
    return whole + (2 * rest + whole % 2 > denominator)


def process_reals(images: Array, keep: Array | None, alpha: Array | None) -> Array:
    """Returns uint8 images in the form that the discriminator takes (official training_loop.process_reals).

    Args:
        images: uint8. [n, r, r, c]
        keep: which images stay as they are; the others are mirrored left to right. bool [n]. None keeps all.
        alpha: weight of this resolution in a fade, 0..1; the rest is the next lower one, enlarged. None: no fade.

    Returns:
        float32 in [-1, 1]. [n, r, r, c]
    """
    x = images.astype(jnp.float32) / 127.5 - 1
    if keep is not None:
        x = jnp.where(keep[:, None, None, None], x, x[:, :, ::-1])
    return x if alpha is None else lerp(upscale(downscale(x)), x, alpha)


def to_uint8(images: Array) -> Array:
    """Returns images in [-1, 1] as uint8: trunc(127.5 x + 128), clipped (official convert_images_to_uint8)."""
    return jnp.clip(images * 127.5 + 128, 0, 255).astype(jnp.uint8)
