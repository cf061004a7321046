"""Adaptive discriminator augmentation (ADA): its pipeline "bgc" and its controller (official training/augment.py).

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Sec. 2 and 3, App. B. Each operation
acts on an image with probability p: pixel operations and geometric ones, which together are one affine map of its
coordinates, then colours. Given the draws, the result is affine in the images, so it has gradients of every order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.networks import ops

Draws = dict[str, tuple[Array, Array]]  # By operation: values [n], or [n, 2] for (x, y), and gates [n] in [0, 1).

# Operations, each with the value that has no effect. Values are drawn uniformly in [0, 1), or from N(0, 1).
UNIFORM = {
    "xflip": 0.0,
    "rotate90": 0.0,
    "xint": 0.5,
    "rotate_pre": 0.5,
    "rotate_post": 0.5,
    "lumaflip": 0.0,
    "hue": 0.5,
}
NORMAL = dict.fromkeys(("scale", "aniso", "xfrac", "brightness", "contrast", "saturation"), 0.0)
SHIFT = 0.125  # Share of a side: the largest shift by whole pixels, the standard deviation of one by fractions.
BRIGHTNESS, SCALE_OCTAVES, CONTRAST_OCTAVES = 0.2, 0.2, 0.5  # Standard deviations; that of saturation is one octave.
SYM6 = (  # Low-pass filter of the wavelet sym6 (Daubechies 1992), divided by its sum.
    *(0.01089235, 0.00246831, -0.0834316, -0.03416156, 0.34722894, 0.5569464),
    *(0.23895217, -0.05136248, -0.01489187, 0.03162528, 0.00124996, -0.00551593),
)


def adjusted(p: Array, mean_sign: Array, num_images: int, target: float, kimg: float) -> Array:
    """Returns p after one move: up if the discriminator is overconfident on reals, else down, never below 0 (Sec. 3).

    Args:
        p: probability of augmentation. float32 []
        mean_sign: mean of sign(D(real)) since the last move, in [-1, 1]. float32 []
        num_images: real images shown since the last move.
        target: value of mean_sign at which p stays.
        kimg: thousands of images in which p can move by 1.
    """
    return jnp.maximum(p + jnp.sign(mean_sign - target) * (num_images / (1000 * kimg)), 0)


def augment(key: Array, images: Array, p: Array | float) -> Array:
    """Returns `images`, each operation applied to each of them with probability `p`: see `draw` and `apply`."""
    return apply(images, draw(key, images.shape[0]), p)


def draw(key: Array, n: int) -> Draws:
    """Returns what chance decides about the augmentation of `n` images."""
    draws = {}
    for name, pair in zip(UNIFORM | NORMAL, jax.random.split(key, (len(UNIFORM | NORMAL), 2)), strict=True):
        random = jax.random.uniform if name in UNIFORM else jax.random.normal
        shape = (n, 2) if name in ("xint", "xfrac") else (n,)
        draws[name] = random(pair[0], shape), jax.random.uniform(pair[1], (n,))
    return draws


def apply(images: Array, draws: Draws, p: Array | float) -> Array:
    """Returns augmented images: an operation acts on those whose gate is below its probability.

    That is `p`, but for the two rotations, at least one of which acts with probability `p`. With p = 0 the result is
    the images within 1e-6, not bit for bit: as in the official code, two filters act that undo each other.

    Args:
        images: float32 in [-1, 1]; gray, RGB or RGBA. Colour operations leave alpha as it is; hue and saturation have
            no effect on gray. [n, h, w, c]
        draws: see `draw`.
        p: probability, at least 0; from 1 on every operation acts. float32 []

    Returns:
        float32, not clipped. [n, h, w, c]
    """
    values = {}
    for name, (value, gate) in draws.items():
        probability = 1 - jnp.sqrt(1 - jnp.minimum(p, 1)) if name in ("rotate_pre", "rotate_post") else p
        is_open = (gate < probability).reshape(-1, *(1,) * (value.ndim - 1))
        values[name] = jnp.where(is_open, value, (UNIFORM | NORMAL)[name])
    images = resample(images, *inverse_map(values, *images.shape[1:3]))
    return jnp.concatenate([recolour(images[..., :3], values), images[..., 3:]], axis=-1)


def inverse_map(values: dict[str, Array], h: int, w: int) -> tuple[Array, Array]:
    """Returns a matrix [n, 2, 2] and an offset [n, 2]: the pixel at position v shows the image at matrix v + offset.

    Positions (x, y) are in pixels from the middle of the image. The last operation is undone first.
    """
    size = np.array([[w, h]], np.float32)
    shift, whole_shift = values["xfrac"] * SHIFT * size, jnp.round((values["xint"] * 2 - 1) * SHIFT * size)
    scale, stretch = (jnp.exp2(values[name] * SCALE_OCTAVES)[:, None] for name in ("scale", "aniso"))
    x = np.array([[1, 0, 0]], np.float32) - shift[:, :1]  # Three positions: (1, 0), (0, 1) and (0, 0).
    y = np.array([[0, 1, 0]], np.float32) - shift[:, 1:]
    x, y = _rotate(x, y, np.pi * (values["rotate_post"] * 2 - 1))
    x, y = _rotate(x / stretch, y * stretch, np.pi * (values["rotate_pre"] * 2 - 1))
    x, y = x / scale - whole_shift[:, :1], y / scale - whole_shift[:, 1:]
    x, y = _rotate(x, y, np.pi / 2 * jnp.floor(values["rotate90"] * 4))
    x = x * (1 - 2 * jnp.floor(values["xflip"] * 2))[:, None]
    points = jnp.stack([x, y], axis=1)  # [n, 2, 3]
    return points[:, :, :2] - points[:, :, 2:], points[:, :, 2]


def _rotate(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    return cos * x - sin * y, sin * x + cos * y


def resample(images: Array, matrix: Array, offset: Array) -> Array:
    """Returns images mapped as `inverse_map` says: enlarged twice by sym6, sampled bilinearly, and reduced by sym6.

    Around an image lie its mirror images about its outermost pixels, and zeros beyond those.

    Differs: the official code stores as much of the mirror images as the batch's maps reach, which is no static shape.
    Here one period of the mirroring is stored. Results differ by less than 4e-5, but for pixels within 3 px of the
    zeros, which the filter does not see here.
    """
    h, w = images.shape[1:3]
    for axis in (2, 1):
        images = _enlarge(_mirror(images, axis), axis)  # [n, 4 h - 2, 4 w - 2, c]
    # Samples are x / 2 and y / 2 px from the middle, with 5 more on each side for the last filter. What is v px from
    # the middle of an image is at 2 v + side - 1 in the enlarged one.
    y, x = (np.arange(2 * side + 10, dtype=np.float32) - (side + 4) for side in (h, w))
    x, y = (
        matrix[:, i, 0, None, None] * x[None, None, :]
        + matrix[:, i, 1, None, None] * y[None, :, None]
        + (2 * offset[:, i, None, None] + (side - 1))
        for i, side in enumerate((w, h))
    )
    images = _sample(images, x, y)  # [n, 2 h + 10, 2 w + 10, c]
    return _reduce(_reduce(images, 1), 2)


def _mirror(x: Array, axis: int) -> Array:
    """Returns a period of `x` mirrored along `axis`, 2 s - 2 pixels of s, with 3 before and 4 after for the filter."""
    size = x.shape[axis]
    place = np.arange(-3, 2 * size + 2) % (2 * size - 2)
    return jnp.take(x, np.minimum(place, 2 * size - 2 - place), axis=axis, mode="clip")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _enlarge(x: Array, axis: int) -> Array:
    """Returns `x` enlarged twice along `axis`: k + 6 pixels to 2 k, the first of them in the place of x[3]."""
    k = x.shape[axis] - 6
    parts = [jax.lax.slice_in_dim(x, i, i + k, axis=axis) for i in range(7)]
    even = sum(2 * f * part for f, part in zip(SYM6[11::-2], parts[:6], strict=True))
    odd = sum(2 * f * part for f, part in zip(SYM6[10::-2], parts[1:], strict=True))
    return jnp.stack([even, odd], axis=axis + 1).reshape(*x.shape[:axis], 2 * k, *x.shape[axis + 1 :])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _reduce(x: Array, axis: int) -> Array:
    """Returns `x` reduced twice along `axis`: 2 k + 10 pixels to k. Its adjoint is half of `_enlarge`."""
    length = x.shape[axis] - 11
    return sum(f * jax.lax.slice_in_dim(x, i, i + length, 2, axis) for i, f in enumerate(SYM6))


# XLA's own gradient of strided slices is several times slower on a CPU.
_enlarge.defvjp(
    lambda x, axis: (_enlarge(x, axis), None),
    lambda axis, _, g: (2 * _reduce(ops.pad_axis(g, 11, 11, axis), axis),),
)
_reduce.defvjp(
    lambda x, axis: (_reduce(x, axis), None),
    lambda axis, _, g: (ops.pad_axis(_enlarge(ops.pad_axis(g, 6, 6, axis), axis), -1, -1, axis) / 2,),
)


def _sample(mirrored: Array, x: Array, y: Array) -> Array:
    """Returns bilinear samples [n, ..., c] at the places (x, y) of enlarged images of which one period is stored."""
    (y, *weights_y), (x, *weights_x) = (_neighbours(v, s) for v, s in zip((y, x), mirrored.shape[1:3], strict=True))
    # One gather of 2 x 2 pixels for each sample, whose adjoint is one scatter: faster than a vmap of slices.
    axes = jax.lax.GatherDimensionNumbers(
        (3, 4, 5), (), (1, 2), operand_batching_dims=(0,), start_indices_batching_dims=(0,)
    )
    size = (1, 2, 2, mirrored.shape[3])
    corners = jax.lax.gather(mirrored, jnp.stack([y, x], axis=-1), axes, size, mode="promise_in_bounds")
    return sum(
        (v * u)[..., None] * corners[:, :, :, i, j] for i, v in enumerate(weights_y) for j, u in enumerate(weights_x)
    )


def _neighbours(place: Array, stored: int) -> tuple[Array, Array, Array]:
    """Returns where the pixel before `place` is stored, its weight, and the weight of the next pixel.

    Places beyond the mirror images, half a period of `stored` - 2 on each side, weigh nothing.
    """
    period, first = stored - 2, jnp.floor(place)
    is_seen = (place >= -period / 2) & (place <= period + 1)
    before, after = (jnp.where(is_seen, weight, 0) for weight in (first + 1 - place, place - first))
    return first.astype(jnp.int32) % period, before, after


def recolour(images: Array, values: dict[str, Array]) -> Array:
    """Returns recoloured images, gray or RGB. [n, h, w, c]

    Every operation acts along the gray axis (1, 1, 1) or in the plane across it: brightness and the luma flip along the
    axis, hue (a rotation) and saturation in the plane, contrast in both. The plane of gray images is empty.
    """
    v = {name: value[:, None, None, None] for name, value in values.items() if value.ndim == 1}
    luma = jnp.mean(images, axis=-1, keepdims=True)
    turned = (jnp.roll(images, 1, axis=-1) - jnp.roll(images, -1, axis=-1)) / np.float32(np.sqrt(3))  # By 90 degrees.
    angle = np.pi * (v["hue"] * 2 - 1)
    chroma = jnp.exp2(v["saturation"]) * (jnp.cos(angle) * (images - luma) + jnp.sin(angle) * turned)
    luma = (1 - 2 * jnp.floor(v["lumaflip"] * 2)) * (luma + v["brightness"] * BRIGHTNESS)
    return jnp.exp2(v["contrast"] * CONTRAST_OCTAVES) * (luma + chroma)
