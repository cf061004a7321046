"""One training step: a pure function of the state and a batch of real images."""

import dataclasses
import functools
import re
from typing import Any

import flax
import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax import accumulation, config, objectives, ops, sampling
from stylegan_jax.state import AdamState, TrainState, adam


class Phase(flax.struct.PyTreeNode):
    """The schedule's share in a step, as traced scalars: no compile when they change."""

    alpha: Array  # float32 []
    lr: Array  # float32 []


def grown(params: Any, resolution: int) -> Any:
    """Returns the part of a network's parameters, or of a tree like them, that has begun to train at `resolution` px.

    The rest has gradients and moments of zero, so that no update would change it.
    """
    if not isinstance(params, dict):
        return params
    levels = {name: re.fullmatch(r"(?:b|to_rgb|from_rgb)(\d+)", name) for name in params}
    return {k: grown(v, resolution) for k, v in params.items() if not (levels[k] and int(levels[k][1]) > resolution)}


def _merge(params: Any, part: Any) -> Any:
    """Returns `params` with the leaves of `part` in place of its own."""
    return params | {k: _merge(params[k], v) for k, v in part.items()} if isinstance(part, dict) else part


def _update(
    c: config.Config, resolution: int, grads: Any, opt: AdamState, params: Any, lr: Array
) -> tuple[Any, AdamState, Array]:
    """Returns new parameters and optimizer state, and whether the update was skipped whole: a moment not finite.

    Args:
        c: settings.
        resolution: of the images, px.
        grads: of the parameters that are grown.
        opt: of all parameters.
        params: all of the network's.
        lr: learning rate.
    """
    old, old_opt = grown(params, resolution), opt._replace(nu=grown(opt.nu, resolution))
    updates, new_opt = adam(c.train.adam_beta2, c.train.adam_eps).update(grads, old_opt)
    new = jax.tree.map(lambda p, u: p - lr * u, old, updates)
    # Of a gradient that is not finite, or whose square is not. A sum is not finite if a term is not.
    sums = [jnp.sum(nu, range(nu.ndim - 1)) for nu in jax.tree.leaves(new_opt.nu)]
    is_finite = jnp.all(jnp.isfinite(jnp.concatenate(sums)))
    keep = functools.partial(jax.tree.map, lambda new, old: jnp.where(is_finite, new, old))
    new, new_opt = keep(new, old), keep(new_opt, old_opt)
    return _merge(params, new), new_opt._replace(nu=_merge(opt.nu, new_opt.nu)), jnp.logical_not(is_finite)


def _update_d(state: TrainState, c: config.Config, resolution: int, grads: Any, lr: Array) -> TrainState:
    """Returns the state after an update of the discriminator; one that is not finite is left out and counted.

    With lazy R1 there are k + 1 updates in k iterations: a learning rate of c lr and a decay of beta2**c, for
    c = k / (k + 1), make them as long and as forgetful as k (Karras et al. 2020, Sec. B).
    """
    k = c.train.r1_interval
    if k > 1:
        train = dataclasses.replace(c.train, adam_beta2=c.train.adam_beta2 ** (k / (k + 1)))
        c, lr = dataclasses.replace(c, train=train), lr * (k / (k + 1))
    params, opt, is_skipped = _update(c, resolution, grads, state.d_opt, state.d_params, lr)
    return state.replace(d_params=params, d_opt=opt, num_skipped=state.num_skipped.at[1].add(is_skipped))


def _track_w(state: TrainState, w_mean: Array, c: config.Config) -> Array:
    w_mean = jnp.where(jnp.all(jnp.isfinite(w_mean)), w_mean, state.w_avg)
    return ops.lerp(w_mean, state.w_avg, c.train.w_avg_beta)


def d_step(
    state: TrainState,
    c: config.Config,
    resolution: int,
    reals: Array,
    labels: Array | None,
    latents: sampling.Latents,
    t: Array,
    phase: Phase,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> tuple[TrainState, objectives.Metrics]:
    """Returns the state after one update of the discriminator and of w_avg, and the loss's values an image."""
    params = grown(state.d_params, resolution)

    def gradients(batch: Any) -> tuple[Any, objectives.Metrics, Array]:
        reals, labels, latents, t = batch
        fakes, w_mean = sampling.generate(state.g_params, latents, labels, phase.alpha, c.model, resolution)
        loss_fn = jax.grad(objectives.discriminator_loss, has_aux=True)
        return *loss_fn(params, c, resolution, reals, fakes, labels, phase.alpha, t), w_mean

    batch = reals, labels, latents, t
    grads, values, w_mean = _in_parts(gradients, batch, c, resolution, batch_sharding)
    state = _update_d(state, c, resolution, grads, phase.lr)
    return state.replace(w_avg=_track_w(state, w_mean, c)), values


def _in_parts(fn: Any, batch: Any, c: config.Config, resolution: int, sharding: jax.sharding.Sharding | None) -> Any:
    """Returns `fn(batch)`, see accumulation.in_parts, in as many parts as the schedule says."""
    return accumulation.in_parts(fn, batch, c.schedule.num_parts(resolution), max(c.model.stddev_group, 1), sharding)


def lazy_r1_step(
    state: TrainState,
    c: config.Config,
    resolution: int,
    reals: Array,
    labels: Array | None,
    phase: Phase,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> TrainState:
    """Returns the state after an update by R1 alone in iterations 0, k, 2 k ..., else as it is, for k = r1_interval.

    "Lazy regularization" (Karras et al. 2020, Sec. 4.1). Iterations are counted by nimg, in batches of this size.
    """

    def update(state: TrainState) -> TrainState:
        params = grown(state.d_params, resolution)

        def gradients(batch: Any) -> tuple[Any, objectives.Metrics, tuple[()]]:
            return jax.grad(objectives.lazy_r1_loss)(params, c, resolution, *batch, phase.alpha), {}, ()

        grads, _, _ = _in_parts(gradients, (reals, labels), c, resolution, batch_sharding)
        return _update_d(state, c, resolution, grads, phase.lr)

    iteration = state.nimg // reals.shape[0]
    return jax.lax.cond(iteration % c.train.r1_interval == 0, update, lambda state: state, state)


def ema_step(state: TrainState, c: config.Config, batch: int) -> TrainState:
    """Returns the state with g_params averaged in: a weight halves in ema_halflife_kimg."""
    beta = 0.5 ** (batch / (1000 * c.train.ema_halflife_kimg)) if c.train.ema_halflife_kimg else 0.0
    return state.replace(ema_params=jax.tree.map(lambda p, e: ops.lerp(p, e, beta), state.g_params, state.ema_params))


def g_step(
    state: TrainState,
    c: config.Config,
    resolution: int,
    labels: Array | None,
    latents: sampling.Latents,
    phase: Phase,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> tuple[TrainState, objectives.Metrics]:
    """Returns the state after one update of the generator and of w_avg, and the loss's values an image."""
    params = grown(state.g_params, resolution)

    def gradients(batch: Any) -> tuple[Any, objectives.Metrics, Array]:
        loss_fn = jax.grad(objectives.generator_loss, has_aux=True)
        grads, values = loss_fn(params, state.d_params, c, resolution, *batch, phase.alpha)
        return grads, {"g_loss": values["g_loss"]}, values["w_mean"]

    grads, values, w_mean = _in_parts(gradients, (latents, labels), c, resolution, batch_sharding)
    params, opt, is_skipped = _update(c, resolution, grads, state.g_opt, state.g_params, phase.lr)
    num_skipped = state.num_skipped.at[0].add(is_skipped)
    return state.replace(g_params=params, g_opt=opt, w_avg=_track_w(state, w_mean, c), num_skipped=num_skipped), values


@functools.partial(jax.jit, static_argnames=("c", "resolution", "batch_sharding"), donate_argnames="state")
def train_step(
    state: TrainState,
    images: Array,
    labels: Array | None,
    phase: Phase,
    *,
    c: config.Config,
    resolution: int,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> tuple[TrainState, objectives.Metrics]:
    """Returns the state after one iteration: discriminator, weight average, generator (official training_loop).

    Chance is a function of (c.seed, state.nimg).

    Args:
        state: donated.
        images: uint8, as stored: of `resolution` px or a power of two times that. [n, size, size, channels]
        labels: one-hot classes of the images, if the model has any. [n, num_labels]
        phase: alpha and learning rate.
        c: settings.
        resolution: to train at, px. Each has one compiled program.
        batch_sharding: how batches are split over devices; None on a single device.

    Returns:
        The state, and scalars: means over the batch.
    """
    n = images.shape[0]
    key = jax.random.fold_in(jax.random.key(c.seed), state.nimg)
    d_key, g_key, t_key, mirror_key, label_key = jax.random.split(key, 5)

    def split(tree: Any) -> Any:
        # Without it, XLA may draw, and generate, the whole batch on every device.
        return tree if batch_sharding is None else jax.lax.with_sharding_constraint(tree, batch_sharding)

    draw = functools.partial(
        sampling.draw_latents, n=n, m=c.model, resolution=resolution, mixing_prob=c.train.style_mixing_prob
    )
    keep = split(jax.random.uniform(mirror_key, (n,)) < 0.5) if c.data.mirror else None
    reals = ops.process_reals(ops.box_downscale_uint8(images, resolution), keep, phase.alpha)
    t = split(jax.random.uniform(t_key, (n,)))
    state, d_values = d_step(state, c, resolution, reals, labels, split(draw(d_key)), t, phase, batch_sharding)
    if c.train.r1_interval > 1:
        state = lazy_r1_step(state, c, resolution, reals, labels, phase, batch_sharding)
    state = ema_step(state, c, n)
    g_labels = split(sampling.draw_labels(label_key, n, c.model))
    state, g_values = g_step(state, c, resolution, g_labels, split(draw(g_key)), phase, batch_sharding)
    metrics = {name: jnp.mean(value) for name, value in (d_values | g_values).items()}
    return state.replace(nimg=state.nimg + n), metrics | {"num_skipped": jnp.sum(state.num_skipped)}


@functools.partial(jax.jit, static_argnames=("c", "resolution", "batch_sharding"), donate_argnames="state")
def train_steps(
    state: TrainState,
    images: Array,
    labels: Array | None,
    phase: Phase,
    *,
    c: config.Config,
    resolution: int,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> tuple[TrainState, objectives.Metrics]:
    """Returns the state after one `train_step` for each batch of a stack, and the last one's metrics.

    Args:
        state: donated.
        images: the batches. uint8 [steps, n, size, size, channels]
        labels: likewise. [steps, n, num_labels]
        phase: of all the steps.
        c: settings.
        resolution: to train at, px. Each has one compiled program.
        batch_sharding: how a batch is split over devices; None on a single device.
    """

    def one(state: TrainState, batch: tuple[Array, Array | None]) -> tuple[TrainState, objectives.Metrics]:
        return train_step(state, *batch, phase, c=c, resolution=resolution, batch_sharding=batch_sharding)

    if images.shape[0] == 1:  # XLA:CPU has slow convolutions alone within a loop, even one of a single step.
        return one(state, jax.tree.map(lambda x: x[0], (images, labels)))
    state, metrics = jax.lax.scan(one, state, (images, labels))
    return state, {name: values[-1] for name, values in metrics.items()}
