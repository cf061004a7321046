"""A batch that is computed in parts gives what the whole gives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.devices import mesh
from stylegan_jax.networks import ops
from stylegan_jax.training import accumulation, programs, state, step
from stylegan_jax.training.step import lazy
from tests.small import MODEL, settings

ALPHA, LR = jnp.float32(0.6), jnp.float32(1e-3)


def test_parts_have_whole_blocks_from_all_of_the_batch():
    parts = accumulation.split_blocks(jnp.arange(16), num_parts=2, block=4)
    np.testing.assert_array_equal(parts, [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]])


@pytest.mark.parametrize("num_devices", [None, 1, 4])
@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_means_of_parts_on_devices_are_those_of_the_whole(num_parts, num_devices):
    x = jax.random.normal(jax.random.key(0), (16, 3))

    def fn(scale, batch):
        return scale * jnp.mean(batch["x"], axis=0), {"loss": jnp.mean(batch["x"] ** 2)}

    sharding = num_devices and mesh.split(mesh.make_mesh(jax.devices()[:num_devices]))
    whole = fn(2.0, {"x": x})
    mean = jax.jit(lambda x: accumulation.mean_gradients(fn, jnp.float32(2), {"x": x}, num_parts, 1, sharding))
    parts = mean(x if sharding is None else jax.device_put(x, sharding))
    for ours, theirs in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("num_devices", [2, 4])
def test_a_group_of_the_minibatch_deviation_may_lie_on_several_devices(num_devices):
    # Of groups of 4 in a batch of 8: 2 devices have whole ones, 4 have halves.
    x = jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
    sharding = mesh.split(mesh.make_mesh(jax.devices()[:num_devices]))

    def loss(x, axis_name):
        return jnp.mean(ops.minibatch_stddev(x, 4, axis_name=axis_name)[..., -1] ** 2 * x[:, :, :, 0])

    def gradient(_, x):
        return jax.grad(loss)(x, mesh.AXIS)

    part = jax.sharding.PartitionSpec(mesh.AXIS)
    ours = jax.jit(mesh.per_device(gradient, sharding, (part, part), part))(x, x)
    np.testing.assert_allclose(ours / num_devices, jax.grad(loss)(x, None), atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("num_parts", [1, 2])
def test_devices_exchange_a_networks_gradients_once(num_parts):
    config = settings(model={"resolution": 8}, schedule={"batch": 16, "accumulation": num_parts})
    devices = mesh.make_mesh(jax.devices()[:2])
    abstract = state.abstract(config, mesh.replicated(devices))
    text = programs.train_program(config, abstract, devices, 8, 16, 8, num_steps=1).as_text()
    assert len(re.findall(r" all-reduce(?:-start)?\(", text)) == 2
    assert not re.search(r" (all-gather|all-to-all|collective-permute|reduce-scatter)", text)


def _after_a_step(num_parts: int, num_devices: int, **train) -> tuple[state.TrainState, dict]:
    config = settings(schedule={"batch": 16, "accumulation": num_parts}, train=train)
    devices = mesh.make_mesh(jax.devices()[:num_devices])
    train_state = jax.jit(state.create, static_argnums=1, out_shardings=mesh.replicated(devices))(
        jax.random.key(0), config
    )
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
    images = mesh.put(images, mesh.split(devices))
    sharding = mesh.split(devices)
    scalars = mesh.put((ALPHA, LR), mesh.replicated(devices))
    return step.train_step(train_state, images, None, *scalars, config=config, resolution=8, batch_sharding=sharding)


def _assert_same_gradients(ours: state.TrainState, theirs: state.TrainState, *names: str) -> None:
    """Compares by the moments after one step: Adam makes steps of like size from gradients of any."""
    for name in names:
        a, b = (jax.tree.map(np.sqrt, getattr(train_state, name).nu) for train_state in (ours, theirs))
        largest = max(x.max() for x in jax.tree.leaves(b))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=2e-5 * largest)


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [1, 4])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(num_devices):
    whole, metrics = _after_a_step(1, num_devices)
    parts, same_metrics = _after_a_step(2, num_devices)
    _assert_same_gradients(parts, whole, "g_opt", "d_opt")
    np.testing.assert_allclose(parts.w_avg, whole.w_avg, atol=1e-6)
    for name, value in metrics.items():
        np.testing.assert_allclose(same_metrics[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_lazy_r1_is_accumulated_too():
    def after(num_parts: int) -> state.TrainState:
        config = settings(schedule={"batch": 16, "accumulation": num_parts}, train={"r1_interval": 4})
        train_state = jax.jit(state.create, static_argnums=1)(jax.random.key(0), config)
        images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
        return lazy.r1_step(train_state, images, None, ALPHA, LR, config=config, resolution=8)[0]

    _assert_same_gradients(after(2), after(1), "d_opt")


@pytest.mark.slow
def test_rematerialization_changes_no_gradient():
    def after(remat: bool) -> state.TrainState:
        config = settings(model=MODEL | {"remat": remat})
        train_state = jax.jit(state.create, static_argnums=1)(jax.random.key(0), config)
        images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
        return step.train_step(train_state, images, None, ALPHA, LR, config=config, resolution=8)[0]

    _assert_same_gradients(after(True), after(False), "g_opt", "d_opt")
