"""Updates by a regularization alone, before every k-th iteration ("lazy": Karras et al. 2020, Sec. 4.1)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding as Sharding

from stylegan_jax.config import Config
from stylegan_jax.networks import sampling
from stylegan_jax.networks.growth import grown
from stylegan_jax.training import losses
from stylegan_jax.training.losses import path_length
from stylegan_jax.training.state import TrainState
from stylegan_jax.training.step import updates

PL_BATCH_SHRINK = 2  # The path lengths of this part of a batch are enough (official pl_batch_shrink).


@functools.partial(jax.jit, static_argnames=("config", "resolution", "batch_sharding"), donate_argnames="state")
def r1_step(
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

    Call it before every train.r1_interval-th iteration, with that iteration's batch. It is a program of its own, so
    that no device has to decide whether it is due.

    Args: those of `train_step`.
    """

    def gradients(shared: Any, batch: Any) -> tuple[Any, losses.Metrics]:
        (d_params, alpha, p), (reals, labels, draws) = shared, batch
        how = config, resolution, reals, labels, alpha, updates.axis_name(batch_sharding), draws, p
        loss_fn = jax.grad(lambda part: losses.lazy_r1_loss(updates.merged(d_params, part), *how), has_aux=True)
        grads, values = loss_fn(updates.trained_d(d_params, config, resolution))
        return grads, updates.means(values)

    shared = grown(state.d_params, resolution), alpha, state.augment_p
    *_, mirror_key = updates.keys(state, config)
    reals = updates.real_images(images, mirror_key, config, resolution, alpha, batch_sharding)
    key = updates.key_of(state, config, updates.Stream.LAZY_R1)
    draws = updates.split(losses.draw(key, images.shape[0], config), batch_sharding)
    batch = reals, labels, draws
    grads, values = updates.mean_gradients(gradients, shared, batch, config, resolution, batch_sharding)
    return updates.count_signs(updates.update_d(state, config, grads, lr), values), values


@functools.partial(jax.jit, static_argnames=("config", "resolution", "batch_sharding"), donate_argnames="state")
def path_length_step(
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
    """Returns the state after an update of the generator by path lengths alone, and the mean of these.

    Half of a batch is enough (Karras et al. 2020, Sec. B). Call it as `r1_step`, with train.pl_interval.

    Args: those of `train_step`.
    """
    n, split = images.shape[0] // PL_BATCH_SHRINK, functools.partial(updates.split, batch_sharding=batch_sharding)
    z_key, y_key = jax.random.split(updates.key_of(state, config, updates.Stream.PATH_LENGTHS))
    latents = sampling.draw_latents(z_key, n, config.model, resolution, config.train.style_mixing_prob)
    y = jax.random.normal(y_key, (n, resolution, resolution, config.model.channels))
    labels = None if labels is None else labels[:n]
    return update_by_path_lengths(
        state, config, resolution, labels, split(latents), split(y), alpha, lr, batch_sharding
    )


def update_by_path_lengths(
    state: TrainState,
    config: Config,
    resolution: int,
    labels: Array | None,
    latents: sampling.Latents,
    y: Array,
    alpha: Array | None,
    lr: Array,
    batch_sharding: Sharding | None = None,
) -> tuple[TrainState, losses.Metrics]:
    """Returns the state after one update of the generator by path lengths, of their mean and w_avg, and the values.

    A mean that is not finite is left out.
    """

    def gradients(shared: Any, batch: Any) -> tuple[Any, losses.Metrics]:
        g_params, *others = shared
        loss_fn = jax.grad(path_length.loss, has_aux=True)
        grads, values = loss_fn(g_params, config, resolution, *batch, *others, updates.axis_name(batch_sharding))
        return grads, values | {"path_length": jnp.mean(values["path_length"])}

    shared, batch = (grown(state.g_params, resolution), state.pl_mean, alpha), (latents, labels, y)
    grads, values = updates.mean_gradients(gradients, shared, batch, config, resolution, batch_sharding, block=1)
    state = updates.update_g(state, config, grads, values.pop("w_mean"), lr)
    values["pl_mean"] = jnp.where(jnp.isfinite(values["pl_mean"]), values["pl_mean"], state.pl_mean)
    return state.replace(pl_mean=values["pl_mean"]), values


def steps(config: Config) -> list[tuple[int, Callable[..., tuple[TrainState, losses.Metrics]]]]:
    """Returns (interval, step) of a run's lazy regularizations, in the order in which they come before an iteration.

    Each step has the arguments of `train_step`, and comes before every interval-th iteration.

    Differs: the cycle is G, path lengths, R1, D, average, with StyleGAN's order of the other three; in the official
    code of StyleGAN2 D comes before R1.
    """
    train = config.train
    found = [(train.pl_interval, path_length_step)] if train.pl_weight else []
    return [*found, (train.r1_interval, r1_step)] if train.r1_interval > 1 else found
