"""AdaIN on its own (Huang and Belongie 2017): style statistics, and pictures in the style of others.

StyleGAN took its modulation from there: the mean and the standard deviation of each feature map are what a style is.
Pictures are made by optimization over VGG16's features, as in Gatys et al. 2016, but with the style loss of Huang and
Belongie: no decoder has to be trained.
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
CONTENT_STAGE = 3  # Stage of VGG16, from 0, whose places are kept: that of relu4_1, which AdaIN was defined on.
STYLE_STAGES = 4  # The first so many stages decide about the style.
STEPS, LEARNING_RATE = 300, 0.02
STEPS_AT_ONCE = 25  # Between two reports of progress.


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
    style_weight: float = 1.0,
    steps: int = STEPS,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Returns a picture with the content of one and the style of another.

    Args:
        vgg_params: VGG16, from vgg.read.
        content: the picture that is kept. uint8 [h, w, 3], h and w at least 16
        style: the picture whose style it takes. uint8 [h', w', 3], at least 16 px too
        style_weight: of the style beside the content; 0 leaves the content as it is, but for rounding.
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
    features_fn = jax.jit(_features)
    kept, wanted = features_fn(vgg_params, x)[CONTENT_STAGE], features_fn(vgg_params, of_style)
    problem = {"params": dict(vgg_params), "kept": kept, "wanted": wanted, "weight": np.float32(style_weight)}
    state: Any = (x, optax.adam(LEARNING_RATE).init(x))
    for first in range(0, steps, STEPS_AT_ONCE):
        last = min(first + STEPS_AT_ONCE, steps)
        state = _advance(problem, state, last - first)
        jax.block_until_ready(state)
        progress_fn(last, steps)
    return np.asarray(ops.to_uint8(state[0]))[0]


def _features(params: Mapping[str, Array], images: Array) -> list[Array]:
    return vgg.stages(params, images)[: max(STYLE_STAGES, CONTENT_STAGE + 1)]


@jax.jit
def _advance(problem: Any, state: Any, steps: int) -> Any:
    """Returns the picture and Adam's state after some steps."""

    def error(x: Array) -> Array:
        found = _features(problem["params"], x)
        content = jnp.mean(jnp.square(found[CONTENT_STAGE] - problem["kept"]))
        styles = (found[:STYLE_STAGES], problem["wanted"][:STYLE_STAGES])
        return content + problem["weight"] * style_error(*styles)[0]

    def step(_: Array, state: Any) -> Any:
        x, moments = state
        updates, moments = optax.adam(LEARNING_RATE).update(jax.grad(error)(x), moments)
        return jnp.clip(optax.apply_updates(x, updates), -1, 1), moments

    return jax.lax.fori_loop(0, steps, step, state)
