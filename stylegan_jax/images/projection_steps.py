"""The steps of a projection: Adam on styles and noise, by what pictures are compared by."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.images.likeness import Likeness
from stylegan_jax.images.mapped import MappedStyles
from stylegan_jax.images.styles import trained_sizes
from stylegan_jax.networks import ops, sampling
from stylegan_jax.weights.network import Network

LEARNING_RATE = 0.2  # Of styles, in units of their standard deviation, and of noise.
ADAM = {"b1": 0.9, "b2": 0.95}  # A shorter memory of squares than the usual 0.999: the first gradients are far larger.
RAMP_UP, RAMP_DOWN = 0.05, 0.5  # Parts of the steps in which the learning rate rises and falls.
NOISE_WEIGHT = 0.1  # Of the correlations of noise.
STEPS_AT_ONCE = 5  # Between two reports of progress.


def optimize(
    network: Network,
    images: np.ndarray,
    variables: dict[str, Any],
    styles: MappedStyles,
    compared: Likeness,
    steps: int,
    report_fn: Callable[[int], None],
) -> dict[str, Any]:
    """Returns the variables after all steps."""
    model, r = network.model, network.resolution
    constant = network.const_noise()[: len(trained_sizes(network))] if model.use_noise else ()
    targets = ops.downscale(jnp.asarray(images, jnp.float32) / 127.5 - 1, model.resolution // r)
    problem = {
        "params": {"synthesis": jax.device_put(network.params["synthesis"])},
        "targets": targets,
        "target_features": _features(compared, targets),
        "noise": constant,
        "alpha": None if network.alpha == 1 else np.float32(network.alpha),
        "center": styles.center,
        "spread": styles.spread,
    }
    state = (variables, optax.scale_by_adam(**ADAM).init(variables))
    for first in range(0, steps, STEPS_AT_ONCE):
        last = min(first + STEPS_AT_ONCE, steps)
        state = _advance(problem, compared, state, first, last, steps, model=model, resolution=r)
        jax.block_until_ready(state)
        report_fn(last)
    return jax.device_get(state[0])


_features = jax.jit(Likeness.features)


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def _advance(
    problem: Any, compared: Likeness, state: Any, first: int, last: int, steps: int, *, model: Model, resolution: int
) -> Any:
    """Returns variables and Adam's state after the steps from `first` to `last` of all."""

    def error(variables: Any) -> Array:
        u = variables["u"]
        ws = problem["center"][None, None] + jnp.matmul(u, problem["spread"], precision="highest")
        ws = jnp.broadcast_to(ws, (u.shape[0], model.num_layers, model.w_size))
        noise = variables["noise"] or problem["noise"] or (None,) * (2 * len(model.resolutions))
        made = sampling.synthesize(problem["params"], ws, noise, problem["alpha"], model, resolution)
        errors = compared.error(
            made, problem["targets"], problem["target_features"]
        ) + NOISE_WEIGHT * noise_correlation(variables["noise"])
        return jnp.sum(errors)  # Each picture has variables of its own, so each gets the gradient of its own error.

    def step(i: Array, state: Any) -> Any:
        variables, moments = state
        rate = learning_rate(i / steps)
        updates, moments = optax.scale_by_adam(**ADAM).update(jax.grad(error)(variables), moments)
        variables = jax.tree.map(lambda x, change: x - rate * change, variables, updates)
        return variables | {"noise": jax.tree.map(_standardized, variables["noise"])}, moments

    return jax.lax.fori_loop(first, last, step, state)


def learning_rate(t: Array) -> Array:
    """Returns the learning rate at a part of the steps, 0..1: it rises linearly, and falls as a cosine."""
    fall = jnp.minimum(1.0, (1 - t) / RAMP_DOWN)
    return LEARNING_RATE * (0.5 - 0.5 * jnp.cos(jnp.pi * fall)) * jnp.minimum(1.0, t / RAMP_UP)


def _standardized(x: Array) -> Array:
    """Returns noise maps with zero mean and unit variance."""
    x = x - jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=(1, 2, 3), keepdims=True) + ops.EPSILON)


def noise_correlation(maps: Sequence[Array | None]) -> Array:
    """Returns the squared correlations of neighbours in noise, over scales down to 8 px (StyleGAN2, Sec. D). [n]"""
    total = 0.0
    for x in jax.tree.leaves(maps):
        while True:
            for axis in (1, 2):
                total += jnp.square(jnp.mean(x * jnp.roll(x, 1, axis), axis=(1, 2, 3)))
            if x.shape[1] <= 8:
                break
            x = 2 * ops.downscale(x)  # The mean of four has half the standard deviation.
    return total
