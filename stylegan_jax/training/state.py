"""Everything that training changes, and its optimizer."""

from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from jax import Array

from stylegan_jax.config import Config
from stylegan_jax.devices import mesh
from stylegan_jax.networks import discriminator, generator, streams


class AdamState(NamedTuple):
    """The optimizer's memory."""

    count: Array  # Updates so far. int32 []
    nu: Any  # Mean of squared gradients.


def adam(beta2: float, eps: float, form: str = "tensorflow") -> optax.GradientTransformation:
    """Returns Adam with beta1 = 0, to be scaled by -lr: g c / (sqrt(nu) + eps) for c = sqrt(1 - beta2**t).

    That is TensorFlow's form. PyTorch and optax.adam correct nu before they add eps, which is eps c here: it changes
    the step where gradients are tiny, such as those of the mapping network. With beta1 = 0 the first moment is the
    gradient and needs no memory.
    """

    def init_fn(params: Any) -> AdamState:
        return AdamState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update_fn(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        del params
        count = state.count + 1
        nu = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, state.nu, grads)
        correction = jnp.sqrt(1 - jnp.float32(beta2) ** count)
        added = eps * correction if form == "pytorch" else eps
        updates = jax.tree.map(lambda g, v: g * correction / (jnp.sqrt(v) + added), grads, nu)
        return updates, AdamState(count, nu)

    return optax.GradientTransformation(init_fn, update_fn)


class TrainState(flax.struct.PyTreeNode):
    """The same tree of the same shapes from the first step to the last. Arrays only."""

    nimg: Array  # Real images shown. int32 []
    g_params: Any  # {"mapping": ..., "synthesis": ...}
    d_params: Any
    ema_params: Any  # Moving average of g_params: what samples are drawn with.
    g_opt: AdamState
    d_opt: AdamState
    w_avg: Array  # Running mean of w, for truncation. [w_size]
    num_skipped: Array  # Updates of G and of D that were skipped, because a gradient was not finite. int32 [2]
    pl_mean: Array | None = None  # Running mean of path lengths; None without their regularization. []
    augment_p: Array | None = None  # Probability of ADA; None without it. []
    signs: Array | None = None  # Sum and count of the means of sign(D(real)) since augment_p last moved. [2]


def create(key: Array, config: Config) -> TrainState:
    """Returns the state of a run at its beginning, a pure function of `key`: streams.Stream.INIT of the run's seed."""
    model = config.model
    mapping_key, synthesis_key, d_key = jax.random.split(key, 3)
    labels = jnp.zeros((1, model.num_labels)) if model.num_labels else None
    images, one = jnp.zeros((1, model.resolution, model.resolution, model.channels)), jnp.ones(())
    g_params = generator.init(mapping_key, synthesis_key, model)
    d = discriminator.discriminator(model)
    d_params = d.init(d_key, images, labels, one, resolution=model.resolution)["params"]
    optimizer = adam(config.train.adam_beta2, config.train.adam_eps)
    return TrainState(
        nimg=jnp.zeros((), jnp.int32),
        g_params=g_params,
        d_params=d_params,
        ema_params=jax.tree.map(jnp.copy, g_params),  # A copy: donated buffers must not be shared.
        g_opt=optimizer.init(g_params),
        d_opt=optimizer.init(d_params),
        w_avg=jnp.zeros(model.w_size),
        num_skipped=jnp.zeros(2, jnp.int32),
        pl_mean=jnp.zeros(()) if config.train.pl_weight else None,
        augment_p=jnp.full((), config.train.augment_p or 0.0) if config.train.augment == "ada" else None,
        signs=jnp.zeros(2) if config.train.augment == "ada" else None,
    )


def create_on(devices: jax.sharding.Mesh, config: Config) -> TrainState:
    """Returns the state of a run at its beginning, whole on each of the devices."""
    create_fn = jax.jit(create, static_argnums=1, out_shardings=mesh.replicated(devices))
    return create_fn(streams.key_for(config.seed, streams.Stream.INIT), config)


IMPORTED = ("g_params", "d_params", "ema_params", "w_avg")  # Fields that a run can take from another network.


def imported(state: TrainState) -> dict[str, Any]:
    """Returns the fields `IMPORTED` as NumPy arrays."""
    return jax.device_get(mesh.local({name: getattr(state, name) for name in IMPORTED}))


def with_imported(state: TrainState, arrays: dict[str, Any]) -> TrainState:
    """Returns `state` with NumPy arrays in the fields `IMPORTED`, on the devices that it is on."""
    sharding = state.w_avg.sharding
    own = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=sharding)  # Donated buffers must be JAX's.
    return state.replace(**own(mesh.put(arrays, sharding)))


def abstract(config: Config, sharding: jax.sharding.Sharding | None = None) -> TrainState:
    """Returns the shapes, dtypes and sharding of a run's state, for compilers and for reading checkpoints."""
    shapes = jax.eval_shape(lambda: create(jax.random.key(config.seed), config))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def reset_optimizers(state: TrainState) -> TrainState:
    """Returns `state` with the optimizers as at the beginning; the loop does so when the growth state changes."""
    g_opt, d_opt = jax.tree.map(jnp.zeros_like, (state.g_opt, state.d_opt))
    return state.replace(g_opt=g_opt, d_opt=d_opt)
