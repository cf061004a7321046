"""One training step: a pure function of the state and a batch of real images."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding as Sharding

from stylegan_jax.config import Config
from stylegan_jax.devices import mesh
from stylegan_jax.networks import growth, ops, sampling, streams
from stylegan_jax.networks.growth import grown
from stylegan_jax.training import accumulation, losses
from stylegan_jax.training.state import AdamState, TrainState, adam


def _merge(params: Any, part: Any) -> Any:
    """Returns `params` with the leaves of `part` in place of its own."""
    return params | {k: _merge(params[k], v) for k, v in part.items()} if isinstance(part, dict) else part


def _part(params: Any, like: Any) -> Any:
    """Returns the leaves of `params` that nested dicts `like` have, too."""
    return {k: _part(params[k], v) for k, v in like.items()} if isinstance(like, dict) else params


def _trained_d(d_params: Any, config: Config, resolution: int) -> Any:
    """Returns the part of the discriminator's parameters that is updated (train.freeze_d keeps the rest)."""
    frozen = growth.frozen_modules(config.model.resolutions, config.train.freeze_d)
    return growth.trained(d_params, resolution, frozen)


def _update(config: Config, grads: Any, opt: AdamState, params: Any, lr: Array) -> tuple[Any, AdamState, Array]:
    """Returns new parameters and optimizer state, and whether the whole update was skipped.

    It is skipped if a gradient, or its square, is not finite.

    Args:
        config: settings.
        grads: gradients of the parameters that are updated; the others stay as they are.
        opt: optimizer state of all parameters.
        params: all parameters of the network.
        lr: learning rate.
    """
    old, old_opt = _part(params, grads), opt._replace(nu=_part(opt.nu, grads))
    updates, new_opt = adam(config.train.adam_beta2, config.train.adam_eps).update(grads, old_opt)
    new = jax.tree.map(lambda p, u: p - lr * u, old, updates)
    # A sum is not finite if a term is not.
    sums = [jnp.sum(g * g, range(g.ndim - 1)) for g in jax.tree.leaves(grads)]
    is_finite = jnp.all(jnp.isfinite(jnp.concatenate(sums)))
    keep = functools.partial(jax.tree.map, lambda new, old: jnp.where(is_finite, new, old))
    new, new_opt = keep(new, old), keep(new_opt, old_opt)
    return _merge(params, new), new_opt._replace(nu=_merge(opt.nu, new_opt.nu)), jnp.logical_not(is_finite)


def _update_d(state: TrainState, config: Config, grads: Any, lr: Array) -> TrainState:
    """Returns the state after an update of the discriminator; an update that is not finite is skipped and counted.

    With lazy R1 there are k + 1 updates in k iterations: a learning rate of c lr and a decay of beta2**c, for
    c = k / (k + 1), make them as long and as forgetful as k (Karras et al. 2020, Sec. B).
    """
    k = config.train.r1_interval
    if k > 1:
        train = dataclasses.replace(config.train, adam_beta2=config.train.adam_beta2 ** (k / (k + 1)))
        config, lr = dataclasses.replace(config, train=train), lr * (k / (k + 1))
    params, opt, is_skipped = _update(config, grads, state.d_opt, state.d_params, lr)
    return state.replace(d_params=params, d_opt=opt, num_skipped=state.num_skipped.at[1].add(is_skipped))


def _track_w(state: TrainState, w_mean: Array, config: Config) -> Array:
    """Returns the running mean of w after a batch; a mean that is not finite is left out."""
    w_mean = jnp.where(jnp.all(jnp.isfinite(w_mean)), w_mean, state.w_avg)
    return ops.lerp(w_mean, state.w_avg, config.train.w_avg_beta)


def _mean_gradients(
    fn: Callable[[Any, Any], Any], shared: Any, batch: Any, config: Config, resolution: int, sharding: Sharding | None
) -> Any:
    """Returns `fn(shared, batch)` in as many parts as the schedule says; see accumulation.mean_gradients."""
    num_parts, group = config.schedule.num_parts(resolution), max(config.model.stddev_group, 1)
    return accumulation.mean_gradients(fn, shared, batch, num_parts, group, sharding)


def _means(values: losses.Metrics) -> losses.Metrics:
    return {name: jnp.mean(value) for name, value in values.items()}


def _axis_name(batch_sharding: Sharding | None) -> str | None:
    return None if batch_sharding is None else mesh.AXIS


def d_step(
    state: TrainState,
    config: Config,
    resolution: int,
    reals: Array,
    labels: Array | None,
    latents: sampling.Latents,
    t: Array,
    alpha: Array | None,
    lr: Array,
    batch_sharding: Sharding | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one update of the discriminator and of w_avg, and means of the loss's values."""

    def gradients(shared: Any, batch: Any) -> tuple[Any, losses.Metrics, Array]:
        (d_params, g_params, alpha), (reals, labels, latents, t) = shared, batch
        fakes, w_mean = sampling.generate(g_params, latents, labels, alpha, config.model, resolution)
        how = config, resolution, reals, fakes, labels, alpha, t, _axis_name(batch_sharding)
        loss_fn = jax.grad(lambda part: losses.discriminator_loss(_merge(d_params, part), *how), has_aux=True)
        grads, values = loss_fn(_trained_d(d_params, config, resolution))
        return grads, _means(values), w_mean

    shared = grown(state.d_params, resolution), grown(state.g_params, resolution), alpha
    batch = reals, labels, latents, t
    grads, values, w_mean = _mean_gradients(gradients, shared, batch, config, resolution, batch_sharding)
    state = _update_d(state, config, grads, lr)
    return state.replace(w_avg=_track_w(state, w_mean, config)), values


@functools.partial(jax.jit, static_argnames=("config", "resolution", "batch_sharding"), donate_argnames="state")
def lazy_r1_step(
    state: TrainState,
    images: Array,
    labels: Array | None,
    alpha: Array | None,
    lr: Array,
    *,
    config: Config,
    resolution: int,
    batch_sharding: Sharding | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after an update of the discriminator by R1 alone, and the mean of R1.

    This is "lazy regularization" (Karras et al. 2020, Sec. 4.1). Call it before every train.r1_interval-th iteration,
    with that iteration's batch. It is a program of its own, so that no device has to decide whether it is due.

    Args: those of `train_step`.
    """

    def gradients(shared: Any, batch: Any) -> tuple[Any, losses.Metrics]:
        (d_params, alpha), (reals, labels) = shared, batch
        how = config, resolution, reals, labels, alpha, _axis_name(batch_sharding)
        loss_fn = jax.grad(lambda part: losses.lazy_r1_loss(_merge(d_params, part), *how), has_aux=True)
        grads, values = loss_fn(_trained_d(d_params, config, resolution))
        return grads, _means(values)

    shared = grown(state.d_params, resolution), alpha
    *_, mirror_key = _keys(state, config)
    batch = _reals(images, mirror_key, config, resolution, alpha, batch_sharding), labels
    grads, values = _mean_gradients(gradients, shared, batch, config, resolution, batch_sharding)
    return _update_d(state, config, grads, lr), values


def ema_step(state: TrainState, config: Config, batch: int) -> TrainState:
    """Returns the state with g_params averaged in: a weight halves in ema_halflife_kimg."""
    beta = 0.5 ** (batch / (1000 * config.train.ema_halflife_kimg)) if config.train.ema_halflife_kimg else 0.0
    return state.replace(ema_params=jax.tree.map(lambda p, e: ops.lerp(p, e, beta), state.g_params, state.ema_params))


def g_step(
    state: TrainState,
    config: Config,
    resolution: int,
    labels: Array | None,
    latents: sampling.Latents,
    alpha: Array | None,
    lr: Array,
    batch_sharding: Sharding | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one update of the generator and of w_avg, and means of the loss's values."""

    def gradients(shared: Any, batch: Any) -> tuple[Any, Array, Array]:
        g_params, d_params, alpha = shared
        loss_fn = jax.grad(losses.generator_loss, has_aux=True)
        axis = _axis_name(batch_sharding)
        grads, values = loss_fn(g_params, d_params, config, resolution, *batch, alpha, axis)
        return grads, jnp.mean(values["g_loss"]), values["w_mean"]

    shared = grown(state.g_params, resolution), grown(state.d_params, resolution), alpha
    grads, g_loss, w_mean = _mean_gradients(gradients, shared, (latents, labels), config, resolution, batch_sharding)
    params, opt, is_skipped = _update(config, grads, state.g_opt, state.g_params, lr)
    num_skipped, w_avg = state.num_skipped.at[0].add(is_skipped), _track_w(state, w_mean, config)
    return state.replace(g_params=params, g_opt=opt, w_avg=w_avg, num_skipped=num_skipped), {"g_loss": g_loss}


def _keys(state: TrainState, config: Config) -> Array:
    """Returns an iteration's keys: for D's latents, G's latents, WGAN-GP's places, and mirroring."""
    return jax.random.split(streams.step_key(config.seed, state.nimg), 4)


def _split(tree: Any, batch_sharding: Sharding | None) -> Any:
    """Returns `tree` with its arrays split over the devices; without that, each could draw the whole batch."""
    return tree if batch_sharding is None else jax.lax.with_sharding_constraint(tree, batch_sharding)


def _reals(
    images: Array,
    mirror_key: Array,
    config: Config,
    resolution: int,
    alpha: Array | None,
    batch_sharding: Sharding | None,
) -> Array:
    """Returns stored images as the discriminator takes them, mirrored at random if the settings say so."""
    keep = None
    if config.data.mirror:
        keep = _split(jax.random.uniform(mirror_key, (images.shape[0],)) < 0.5, batch_sharding)
    return ops.process_reals(ops.box_downscale_uint8(images, resolution), keep, alpha)


@functools.partial(jax.jit, static_argnames=("config", "resolution", "batch_sharding"), donate_argnames="state")
def train_step(
    state: TrainState,
    images: Array,
    labels: Array | None,
    alpha: Array | None,
    lr: Array,
    *,
    config: Config,
    resolution: int,
    batch_sharding: Sharding | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one iteration: discriminator, weight average, generator (official training_loop).

    Random draws are a function of (config.seed, state.nimg). Lazy R1 has a step of its own: lazy_r1_step.

    Args:
        state: donated.
        images: uint8, as stored: of `resolution` px or a power of two times that. [n, size, size, channels]
        labels: one-hot classes of the images, if the model has any. [n, num_labels]
        alpha: weight of this resolution while it fades in; None when it does not. float32 []
        lr: learning rate. float32 []
        config: settings.
        resolution: resolution to train at, px. Each has a compiled program, and another while it fades in.
        batch_sharding: how batches are split over devices; None on a single device.

    Returns:
        The state, and metrics: means over the batch, and num_skipped, int32 [2], as in the state.
    """
    n = images.shape[0]
    d_key, g_key, t_key, mirror_key = _keys(state, config)
    split = functools.partial(_split, batch_sharding=batch_sharding)
    draw = functools.partial(
        sampling.draw_latents,
        n=n,
        model=config.model,
        resolution=resolution,
        mixing_prob=config.train.style_mixing_prob,
    )
    reals = _reals(images, mirror_key, config, resolution, alpha, batch_sharding)
    t = split(jax.random.uniform(t_key, (n,)))
    state, d_values = d_step(state, config, resolution, reals, labels, split(draw(d_key)), t, alpha, lr, batch_sharding)
    state = ema_step(state, config, n)
    # The official code draws labels of random real images for G's step; those of this batch are as random.
    state, g_values = g_step(state, config, resolution, labels, split(draw(g_key)), alpha, lr, batch_sharding)
    state = state.replace(nimg=state.nimg + n)
    return state, d_values | g_values | {"num_skipped": state.num_skipped}


@functools.partial(jax.jit, static_argnames=("config", "resolution", "batch_sharding"), donate_argnames="state")
def train_steps(
    state: TrainState,
    images: Array,
    labels: Array | None,
    alpha: Array | None,
    lr: Array,
    *,
    config: Config,
    resolution: int,
    batch_sharding: Sharding | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one `train_step` for each batch of a stack, and means of their metrics.

    Args:
        state: donated.
        images: the batches. uint8 [steps, n, size, size, channels]
        labels: likewise. [steps, n, num_labels]
        alpha: as in `train_step`, the same for all steps.
        lr: likewise.
        config: settings.
        resolution: resolution to train at, px.
        batch_sharding: how a batch is split over devices; None on a single device.

    Returns:
        The state, and metrics as in `train_step`; num_skipped is that after the last step.
    """

    def one(state: TrainState, batch: tuple[Array, Array | None]) -> tuple[TrainState, losses.Metrics]:
        return train_step(state, *batch, alpha, lr, config=config, resolution=resolution, batch_sharding=batch_sharding)

    if images.shape[0] == 1:  # Within a loop, even of a single step, XLA:CPU has only slow convolutions.
        return one(state, jax.tree.map(lambda x: x[0], (images, labels)))
    state, metrics = jax.lax.scan(one, state, (images, labels))
    return state, _means(metrics) | {"num_skipped": metrics["num_skipped"][-1]}
