"""What the updates of both networks share: gradients over devices and parts, Adam, an iteration's keys and images."""

import enum
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding as Sharding

from stylegan_jax.config import Config
from stylegan_jax.devices import mesh
from stylegan_jax.networks import growth, ops, streams
from stylegan_jax.training import accumulation, losses
from stylegan_jax.training.state import AdamState, TrainState, adam


def merged(params: Any, part: Any) -> Any:
    """Returns `params` with the leaves of `part` in place of its own."""
    return params | {k: merged(params[k], v) for k, v in part.items()} if isinstance(part, dict) else part


def _part(params: Any, like: Any) -> Any:
    """Returns the leaves of `params` that nested dicts `like` have, too."""
    return {k: _part(params[k], v) for k, v in like.items()} if isinstance(like, dict) else params


def trained_d(d_params: Any, config: Config, resolution: int) -> Any:
    """Returns the part of the discriminator's parameters that is updated: what has grown, without train.freeze_d's."""
    frozen = growth.frozen_modules(config.model.resolutions, config.train.freeze_d)
    return growth.without(growth.grown(d_params, resolution), frozen)


def updated(
    config: Config, grads: Any, opt: AdamState, params: Any, lr: Array, interval: int = 1
) -> tuple[Any, AdamState, Array]:
    """Returns new parameters and optimizer state, and whether the whole update was skipped.

    It is skipped if a gradient, or its square, is not finite. With a lazy loss there are k + 1 updates in k iterations:
    a learning rate of c lr and a decay of beta2**c, for c = k / (k + 1), make them as long and as forgetful as k
    (Karras et al. 2020, Sec. B).

    Args:
        config: settings.
        grads: gradients of the parameters that are updated; the others stay as they are.
        opt: optimizer state of all parameters.
        params: all parameters of the network.
        lr: learning rate.
        interval: iterations between updates by the network's lazy loss, k; 1: it has none.
    """
    share = interval / (interval + 1) if interval > 1 else 1.0
    old, old_opt = _part(params, grads), opt._replace(nu=_part(opt.nu, grads))
    optimizer = adam(config.train.adam_beta2**share, config.train.adam_eps, config.train.adam_form)
    updates, new_opt = optimizer.update(grads, old_opt)
    lr = lr * share if interval > 1 else lr
    new = jax.tree.map(lambda p, u: p - lr * u, old, updates)
    # A sum is not finite if a term is not.
    sums = [jnp.sum(g * g, range(g.ndim - 1)) for g in jax.tree.leaves(grads)]
    is_finite = jnp.all(jnp.isfinite(jnp.concatenate(sums)))
    keep = functools.partial(jax.tree.map, lambda new, old: jnp.where(is_finite, new, old))
    new, new_opt = keep(new, old), keep(new_opt, old_opt)
    return merged(params, new), new_opt._replace(nu=merged(opt.nu, new_opt.nu)), jnp.logical_not(is_finite)


def update_d(state: TrainState, config: Config, grads: Any, lr: Array) -> TrainState:
    """Returns the state after an update of the discriminator; an update that is not finite is skipped and counted."""
    params, opt, is_skipped = updated(config, grads, state.d_opt, state.d_params, lr, config.train.r1_interval)
    return state.replace(d_params=params, d_opt=opt, num_skipped=state.num_skipped.at[1].add(is_skipped))


def update_g(state: TrainState, config: Config, grads: Any, w_mean: Array, lr: Array) -> TrainState:
    """Returns the state after an update of the generator, as `update_d`, and of w_avg."""
    interval = config.train.pl_interval if config.train.pl_weight else 1
    params, opt, is_skipped = updated(config, grads, state.g_opt, state.g_params, lr, interval)
    num_skipped, w_avg = state.num_skipped.at[0].add(is_skipped), track_w(state, w_mean, config)
    return state.replace(g_params=params, g_opt=opt, w_avg=w_avg, num_skipped=num_skipped)


def track_w(state: TrainState, w_mean: Array, config: Config) -> Array:
    """Returns the running mean of w after a batch; a mean that is not finite is left out."""
    w_mean = jnp.where(jnp.all(jnp.isfinite(w_mean)), w_mean, state.w_avg)
    return ops.lerp(w_mean, state.w_avg, config.train.w_avg_beta)


def count_signs(state: TrainState, values: losses.Metrics) -> TrainState:
    """Returns the state with a batch's mean sign of the scores of reals, for ADA; without one that is not finite."""
    if state.signs is None:
        return state
    counted = jnp.stack([values["real_signs"], jnp.ones(())])
    return state.replace(signs=state.signs + jnp.where(jnp.isfinite(counted[0]), counted, 0))


def mean_gradients(
    fn: Callable[[Any, Any], Any],
    shared: Any,
    batch: Any,
    config: Config,
    resolution: int,
    sharding: Sharding | None,
    block: int | None = None,
) -> Any:
    """Returns `fn(shared, batch)` in as many parts as the schedule says; see accumulation.mean_gradients.

    Blocks of images that stay together are groups of the minibatch deviation, unless `block` says otherwise.
    """
    num_parts, group = config.schedule.num_parts(resolution), max(config.model.stddev_group, 1)
    return accumulation.mean_gradients(fn, shared, batch, num_parts, block or group, sharding)


def means(values: losses.Metrics) -> losses.Metrics:
    return {name: jnp.mean(value) for name, value in values.items()}


def axis_name(batch_sharding: Sharding | None) -> str | None:
    return None if batch_sharding is None else mesh.AXIS


class Stream(enum.IntEnum):
    """What a key of an iteration is for, besides those of `keys`. The numbers never change."""

    PATH_LENGTHS = 4
    LAZY_R1 = 5
    AUGMENT_D = 6
    AUGMENT_G = 7


def keys(state: TrainState, config: Config) -> Array:
    """Returns an iteration's keys: for D's latents, G's latents, WGAN-GP's places, and mirroring."""
    return jax.random.split(streams.step_key(config.seed, state.nimg), 4)


def key_of(state: TrainState, config: Config, stream: Stream) -> Array:
    """Returns a key of an iteration."""
    return jax.random.fold_in(streams.step_key(config.seed, state.nimg), stream)


def split(tree: Any, batch_sharding: Sharding | None) -> Any:
    """Returns `tree` with its arrays split over the devices; without that, each could draw the whole batch."""
    return tree if batch_sharding is None else jax.lax.with_sharding_constraint(tree, batch_sharding)


def real_images(
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
        keep = split(jax.random.uniform(mirror_key, (images.shape[0],)) < 0.5, batch_sharding)
    return ops.process_reals(ops.box_downscale_uint8(images, resolution), keep, alpha)
