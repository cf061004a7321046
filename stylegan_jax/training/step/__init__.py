"""One training step: a pure function of the state and a batch of real images."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding as Sharding

from stylegan_jax.config import Config
from stylegan_jax.networks import ops, sampling
from stylegan_jax.networks.growth import grown
from stylegan_jax.training import losses
from stylegan_jax.training.losses import ada
from stylegan_jax.training.state import TrainState
from stylegan_jax.training.step import updates

ADA_INTERVAL = 4  # Iterations between two moves of ADA's probability (official ada_interval).


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
    draws: losses.Draws | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one update of the discriminator and of w_avg, and means of the loss's values."""

    def gradients(shared: Any, batch: Any) -> tuple[Any, losses.Metrics, Array]:
        (d_params, g_params, alpha, p), (reals, labels, latents, t, draws) = shared, batch
        fakes, w_mean = sampling.generate(g_params, latents, labels, alpha, config.model, resolution)
        how = config, resolution, reals, fakes, labels, alpha, t, updates.axis_name(batch_sharding), draws, p
        loss_fn = jax.grad(lambda part: losses.discriminator_loss(updates.merged(d_params, part), *how), has_aux=True)
        grads, values = loss_fn(updates.trained_d(d_params, config, resolution))
        return grads, updates.means(values), w_mean

    shared = grown(state.d_params, resolution), grown(state.g_params, resolution), alpha, state.augment_p
    batch = reals, labels, latents, t, draws
    grads, values, w_mean = updates.mean_gradients(gradients, shared, batch, config, resolution, batch_sharding)
    state = updates.count_signs(updates.update_d(state, config, grads, lr), values)
    return state.replace(w_avg=updates.track_w(state, w_mean, config)), values


def adapt_step(state: TrainState, config: Config, batch: int) -> TrainState:
    """Returns the state with ADA's probability moved, after every ADA_INTERVAL-th iteration; or the fixed one."""
    if state.augment_p is None:
        return state
    if config.train.augment_p is not None:  # The state may be of a run whose probability moved until now.
        return state.replace(augment_p=jnp.full((), config.train.augment_p))
    mean_sign = state.signs[0] / jnp.maximum(state.signs[1], 1)
    num_images, how = ADA_INTERVAL * batch, (config.train.ada_target, config.train.ada_kimg)
    is_due = (state.nimg // batch + 1) % ADA_INTERVAL == 0
    p = jnp.where(is_due, ada.adjusted(state.augment_p, mean_sign, num_images, *how), state.augment_p)
    return state.replace(augment_p=p, signs=jnp.where(is_due, 0.0, state.signs))


def ema_step(state: TrainState, config: Config, batch: int) -> TrainState:
    """Returns the state with g_params averaged in: a weight halves in ema_halflife_kimg, or in less at first.

    The last iteration made g_params; the ramp-up counts the images before it, as in the official code of StyleGAN2.
    """
    halflife = 1000 * config.train.ema_halflife_kimg
    if config.train.ema_rampup is not None:
        halflife = jnp.clip((state.nimg - batch) * config.train.ema_rampup, 1e-8, halflife)
    beta = 0.5 ** (batch / halflife) if config.train.ema_halflife_kimg else 0.0
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
    reals: Array | None = None,
    draws: losses.Draws | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one update of the generator and of w_avg, and means of the loss's values."""

    def gradients(shared: Any, batch: Any) -> tuple[Any, Array, Array]:
        (g_params, d_params, alpha, p), (latents, labels, reals, draws) = shared, batch
        loss_fn = jax.grad(losses.generator_loss, has_aux=True)
        how = alpha, updates.axis_name(batch_sharding), reals, draws, p
        grads, values = loss_fn(g_params, d_params, config, resolution, latents, labels, *how)
        return grads, jnp.mean(values["g_loss"]), values["w_mean"]

    shared = grown(state.g_params, resolution), grown(state.d_params, resolution), alpha, state.augment_p
    batch = latents, labels, reals, draws
    grads, g_loss, w_mean = updates.mean_gradients(gradients, shared, batch, config, resolution, batch_sharding)
    return updates.update_g(state, config, grads, w_mean, lr), {"g_loss": g_loss}


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

    Random draws are a function of (config.seed, state.nimg). Lazy regularizations have steps of their own: lazy.

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
    d_key, g_key, t_key, mirror_key = updates.keys(state, config)
    split = functools.partial(updates.split, batch_sharding=batch_sharding)
    draw = functools.partial(
        sampling.draw_latents,
        n=n,
        model=config.model,
        resolution=resolution,
        mixing_prob=config.train.style_mixing_prob,
    )
    reals = updates.real_images(images, mirror_key, config, resolution, alpha, batch_sharding)
    t = split(jax.random.uniform(t_key, (n,)))
    d_draws, g_draws = (
        split(losses.draw(updates.key_of(state, config, s), n, config))
        for s in (updates.Stream.AUGMENT_D, updates.Stream.AUGMENT_G)
    )
    how = alpha, lr, batch_sharding
    state, d_values = d_step(state, config, resolution, reals, labels, split(draw(d_key)), t, *how, d_draws)
    state = ema_step(state, config, n)
    # The official code draws labels of random real images for G's step; those of this batch are as random.
    state, g_values = g_step(state, config, resolution, labels, split(draw(g_key)), *how, reals, g_draws)
    state = adapt_step(state, config, n)
    state = state.replace(nimg=state.nimg + n)
    values = d_values | g_values | ({} if state.augment_p is None else {"augment_p": state.augment_p})
    return state, values | {"num_skipped": state.num_skipped}


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

    Args: those of `train_step`, with images [steps, n, size, size, channels] and labels [steps, n, num_labels]; alpha
    and lr are the same for all steps.

    Returns:
        The state, and metrics as in `train_step`; num_skipped is that after the last step.
    """

    def one(state: TrainState, batch: tuple[Array, Array | None]) -> tuple[TrainState, losses.Metrics]:
        return train_step(state, *batch, alpha, lr, config=config, resolution=resolution, batch_sharding=batch_sharding)

    if images.shape[0] == 1:  # Within a loop, even of a single step, XLA:CPU has only slow convolutions.
        return one(state, jax.tree.map(lambda x: x[0], (images, labels)))
    state, metrics = jax.lax.scan(one, state, (images, labels))
    return state, updates.means(metrics) | {"num_skipped": metrics["num_skipped"][-1]}
