"""AdaIN on its own (Huang and Belongie 2017): style statistics, and pictures in the style of others.

StyleGAN took its modulation from there: the mean and the standard deviation of each feature map are what a style is.
Differs: where Huang and Belongie train a decoder, the picture itself is optimized, by the same losses. It is a sum of
pictures of halved sizes: Adam moves each number about as far, so that colours of large areas change as soon as details.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from stylegan_jax.metrics.features import vgg
from stylegan_jax.networks import ops

EPSILON = 1e-5  # Added to variances.
NUM_LAYERS = 4  # relu1_1 to relu4_1 of VGG16 decide about the style; the last one, about the content.
STYLE_WEIGHT = 10.0
STEPS, LEARNING_RATE = 200, 0.03
SMALLEST_PX = 8  # Of the pictures whose sum is optimized.
STEPS_AT_ONCE = 20  # Between two reports of progress.


def style_statistics(features: Array) -> tuple[Array, Array]:
    """Returns the mean and the standard deviation of each feature map: its style (Huang and Belongie 2017, Eq. 5, 6).

    Args:
        features: [n, h, w, c]

    Returns:
        Two arrays [n, c].
    """
    mean = jnp.mean(features, axis=(1, 2))
    variance = jnp.mean(jnp.square(features - mean[:, None, None]), axis=(1, 2))
    return mean, jnp.sqrt(variance + EPSILON)


def adain(content: Array, style: Array) -> Array:
    """Returns `content` with the mean and the standard deviation of `style` in each map (Huang and Belongie, Eq. 8).

    Args:
        content: features. [n, h, w, c]
        style: features, of any size. [n or 1, h', w', c]

    Returns:
        [n, h, w, c]
    """
    (mean, deviation), (new_mean, new_deviation) = style_statistics(content), style_statistics(style)
    normalized = (content - mean[:, None, None]) / deviation[:, None, None]
    return normalized * new_deviation[:, None, None] + new_mean[:, None, None]


def style_error(first: Sequence[Array], second: Sequence[Array]) -> Array:
    """Returns the squared differences of means and deviations, averaged over maps, summed over layers (Eq. 13). [n]

    Args:
        first: features of layers. [n, h, w, c] each
        second: the same, of any sizes.
    """
    total = jnp.zeros(first[0].shape[0])
    for a, b in zip(first, second, strict=True):
        for x, y in zip(style_statistics(a), style_statistics(b), strict=True):
            total += jnp.mean(jnp.square(x - y), axis=1)
    return total


def transfer_style(
    vgg_params: Mapping[str, Array],
    content: np.ndarray,
    style: np.ndarray,
    *,
    style_weight: float = STYLE_WEIGHT,
    steps: int = STEPS,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Returns a picture with the content of one and the style of another.

    Args:
        vgg_params: VGG16, from vgg.read.
        content: the picture that is kept. uint8 [h, w, 3], h and w at least 16
        style: the picture whose style it takes. uint8 [h', w', 3], at least 16 px too
        style_weight: of the style of all layers, beside the content with the style of relu4_1 (Eq. 11).
        steps: of the optimization.
        progress_fn: called with (steps done, all steps).

    Returns:
        uint8 [h, w, 3]

    Raises:
        ValueError: a picture or a number is of another kind.
    """
    for name, image in (("content", content), ("style", style)):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < vgg.MIN_PX:
            raise ValueError(
                f"{name} is {image.dtype} {list(image.shape)}; give uint8 [h, w, 3], of {vgg.MIN_PX} px at least."
            )
    if not (np.isfinite(style_weight) and style_weight >= 0) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"style_weight is {style_weight}, steps {steps}; use a number from 0 on, and 1 step or more.")
    x, of_style = (jnp.asarray(image, jnp.float32)[None] / 127.5 - 1 for image in (content, style))
    problem = _problem(vgg_params, x, of_style) | {"weight": np.float32(style_weight)}
    levels = [jnp.zeros((1, h, w, 3)) for h, w in _sizes(*content.shape[:2])]
    state: Any = (levels, optax.scale_by_adam().init(levels))
    for first in range(0, steps, STEPS_AT_ONCE):
        last = min(first + STEPS_AT_ONCE, steps)
        state = _advance(problem, state, first, last, steps)
        jax.block_until_ready(state)
        progress_fn(last, steps)
    return np.asarray(ops.to_uint8(_picture(x, state[0])))[0]


def _sizes(h: int, w: int) -> list[tuple[int, int]]:
    """Returns the size of a picture and its halves, as long as both sides have SMALLEST_PX."""
    return [(h, w), *(_sizes(h // 2, w // 2) if min(h, w) >= 2 * SMALLEST_PX else [])]


def _picture(x: Array, levels: Sequence[Array]) -> Array:
    """Returns x and all levels, enlarged to its size, added up. [1, h, w, 3]"""
    return x + sum(jax.image.resize(level, x.shape, "linear") for level in levels)


@jax.jit
def _features(params: Mapping[str, Array], images: Array) -> list[Array]:
    """Returns relu1_1 to relu4_1."""
    return vgg.stages(params, images, 0)[:NUM_LAYERS]


def _problem(params: Mapping[str, Array], x: Array, style: Array) -> dict[str, Any]:
    """Returns what the steps compare with.

    Features are divided by the mean activation of their layer in the style, in place of the VGG of Huang and Belongie,
    whose mean activations are 1.
    """
    found, wanted = _features(params, x), _features(params, style)
    scales = [1 / (jnp.mean(features) + EPSILON) for features in wanted]
    wanted = [features * scale for features, scale in zip(wanted, scales, strict=True)]
    return {
        "params": dict(params), "x": x, "scales": scales, "wanted": wanted,
        "kept": adain(found[-1] * scales[-1], wanted[-1]),
    }  # fmt: skip


@jax.jit
def _advance(problem: Any, state: Any, first: int, last: int, steps: int) -> Any:
    """Returns the levels of the picture and Adam's state after the steps from `first` to `last` of all."""

    def error(levels: Sequence[Array]) -> Array:
        found = _features(problem["params"], _picture(problem["x"], levels))
        found = [features * scale for features, scale in zip(found, problem["scales"], strict=True)]
        content = jnp.mean(jnp.square(found[-1] - problem["kept"]))  # Eq. 12
        return content + problem["weight"] * style_error(found, problem["wanted"])[0]

    def step(i: Array, state: Any) -> Any:
        levels, moments = state
        rate = LEARNING_RATE * 0.5 * (1 + jnp.cos(jnp.pi * i / steps))
        updates, moments = optax.scale_by_adam().update(jax.grad(error)(levels), moments)
        whole, *others = jax.tree.map(lambda x, change: x - rate * change, levels, updates)
        picture = _picture(problem["x"], [whole, *others])
        return [whole + jnp.clip(picture, -1, 1) - picture, *others], moments  # No pixel leaves [-1, 1].

    return jax.lax.fori_loop(first, last, step, state)
