"""Path lengths, pairs, augmentation and the average's ramp-up, as parts of an iteration."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stylegan_jax.devices import mesh
from stylegan_jax.networks import sampling
from stylegan_jax.training import losses, programs, state, step
from stylegan_jax.training.losses import ada, path_length
from stylegan_jax.training.step import lazy, updates
from tests.small import settings
from tests.training.test_step import images, initial, jittered

LR = np.float32(1e-3)
STYLEGAN2 = {"architecture": "stylegan2", "conv_clamp": 256.0}
WHOLE = {"initial_resolution": 16, "batch": 8}


def configured(model=None, **train):
    return settings(model=STYLEGAN2 | (model or {}), schedule=WHOLE, train={"r1_interval": 16} | train)


def taken(config, steps=1, seed=0):
    """Returns the state after some iterations, and the last one's values."""
    now = jax.tree.map(jnp.copy, initial(config))
    for i in range(steps):
        now, values = step.train_step(now, images(8, seed + i), None, None, LR, config=config, resolution=16)
    return now, values


def test_a_fixed_probability_takes_the_place_of_one_that_moved_before():
    moved = initial(configured(augment="ada")).replace(augment_p=jnp.float32(0.25))
    assert step.adapt_step(moved, configured(augment="ada", augment_p=0.5), 8).augment_p == 0.5


@pytest.mark.parametrize("model", [{"architecture": "stylegan", "conv_clamp": None}, {}], ids=["stylegan", "stylegan2"])
def test_path_lengths_are_the_norm_of_the_derivative_of_an_image_by_its_styles(model):
    config = configured(model, pl_weight=2.0)
    now = jittered(initial(config))
    latents = sampling.draw_latents(jax.random.key(1), 2, config.model, 16, 0.0)
    ws, _ = sampling.mixed_ws(now.g_params, latents, None, config.model)
    y = jax.random.normal(jax.random.key(2), (2, 16, 16, 3))

    def images_fn(ws):
        return sampling.synthesize(now.g_params, ws, latents.noise, None, config.model, 16)

    lengths = path_length.lengths(images_fn, ws, y)
    jacobian = jax.jacobian(images_fn)(ws)  # [2, 16, 16, 3, 2, layers, w_size]
    for i in range(2):
        product = jnp.einsum("hwclk,hwc->lk", jacobian[i, ..., i, :, :], y[i]) / 16
        np.testing.assert_allclose(lengths[i], jnp.sqrt(jnp.mean(jnp.sum(product**2, axis=1))), rtol=1e-4)


def test_the_step_of_path_lengths_moves_the_generator_alone_and_their_running_mean():
    config = configured(pl_weight=2.0, pl_decay=0.25)
    before = initial(config)
    after, values = lazy.path_length_step(
        jax.tree.map(jnp.copy, before), images(8), None, None, LR, config=config, resolution=16
    )
    np.testing.assert_allclose(after.pl_mean, 0.25 * values["path_length"], rtol=1e-5)
    assert values.keys() == {"path_length", "pl_mean"} and np.any(after.w_avg != 0)
    for a, b in zip(jax.tree.leaves(before.d_params), jax.tree.leaves(after.d_params), strict=True):
        np.testing.assert_array_equal(a, b)
    moved = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (before.g_params, after.g_params)), strict=True)]
    assert np.mean(moved) > 0.8
    assert int(after.nimg) == int(before.nimg)


def test_the_step_of_path_lengths_takes_half_of_a_batch(monkeypatch):
    config, taken_by = configured(pl_weight=2.0), []
    monkeypatch.setattr(lazy, "update_by_path_lengths", lambda *args: taken_by.extend(args))
    labels = np.eye(8, dtype=np.float32)
    inspect.unwrap(lazy.path_length_step)(initial(config), images(8), labels, None, LR, config=config, resolution=16)
    *_, of_images, latents, y, _, _, _ = taken_by
    np.testing.assert_array_equal(of_images, labels[:4])
    assert latents.z.shape == (4, config.model.z_size) and y.shape == (4, 16, 16, 3)


def test_adam_in_pytorchs_form_is_that_of_optax_where_gradients_are_tiny_too():
    grads = jnp.array([1.0, 1e-3, 1e-8, -1e-9])
    ours, optaxs = state.adam(0.99, 1e-8, "pytorch"), optax.adam(1.0, b1=0.0, b2=0.99, eps=1e-8)
    now, other = ours.init(grads), optaxs.init(grads)
    for each in (grads, 3 * grads):
        updates, now = ours.update(each, now)
        expected, other = optaxs.update(each, other)
        np.testing.assert_allclose(updates, -expected, rtol=1e-4)


def test_a_batch_that_is_not_finite_leaves_running_means_as_they_are():
    config = configured(pl_weight=2.0, augment="ada")
    before = initial(config).replace(pl_mean=jnp.float32(0.5))
    broken = jax.tree.map(jnp.copy, before).replace(g_params=jax.tree.map(lambda x: x * np.nan, before.g_params))
    after, values = lazy.path_length_step(broken, images(8), None, None, LR, config=config, resolution=16)
    assert after.pl_mean == values["pl_mean"] == 0.5 and np.isnan(values["path_length"])
    for sign, counted in ((np.nan, [0, 0]), (-0.5, [-0.5, 1])):
        assert updates.count_signs(before, {"real_signs": jnp.float32(sign)}).signs.tolist() == counted


@pytest.mark.parametrize("number", [0, 1])
def test_lazy_steps_on_four_devices_equal_those_on_one(number):
    config = configured(pl_weight=2.0, augment="ada", augment_p=0.5, adam_beta2=0.0, adam_eps=1.0)
    results = []
    for count in (1, 4):
        devices = mesh.make_mesh(jax.devices()[:count])
        now = jax.device_put(jittered(initial(config)), mesh.replicated(devices))
        batch = jax.device_put(images(8), mesh.split(devices))
        fn = jax.jit(
            functools.partial(
                lazy.steps(config)[number][1], config=config, resolution=16,
                batch_sharding=mesh.split(devices) if count > 1 else None,
            )
        )  # fmt: skip
        results.append(jax.device_get(fn(now, batch, None, None, np.float32(1.0))))
    (one, values), (four, others) = results
    for name in values:
        np.testing.assert_allclose(values[name], others[name], rtol=1e-4)
    trees = [(now.g_params, now.d_params) for now in (one, four)]
    for a, b in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.max(np.abs(a))))


def test_lazy_steps_are_those_that_the_settings_ask_for():
    assert lazy.steps(settings()) == []
    assert lazy.steps(configured()) == [(16, lazy.r1_step)]
    both = lazy.steps(configured(pl_weight=2.0, pl_interval=8))
    assert both == [(8, lazy.path_length_step), (16, lazy.r1_step)]


def test_programs_have_one_of_each_lazy_step():
    config, devices = configured(pl_weight=2.0), mesh.make_mesh(jax.devices()[:1])
    made = programs.make(config, state.abstract(config, mesh.replicated(devices)), devices, 16, 8, 16, 1)
    assert [interval for interval, _ in made.lazy] == [4, 16]


# ---- pairs


def test_the_pairing_loss_compares_each_fake_with_its_real():
    fake, real = np.array([0.5, -1.0], np.float32), np.array([2.0, -3.0], np.float32)
    np.testing.assert_allclose(losses.relativistic(fake, real), np.log1p(np.exp([1.5, -2.0])), rtol=1e-6)
    np.testing.assert_allclose(losses.discriminator_relativistic(real, fake), np.log1p(np.exp([-1.5, 2.0])), rtol=1e-6)


def test_a_generator_that_is_paired_sees_the_scores_of_reals():
    config = configured(g_loss="relativistic", d_loss="relativistic", r2_gamma=1.0)
    now, values = taken(config)
    assert values.keys() >= {"r2", "g_loss", "d_loss"} and np.isfinite(values["g_loss"])
    latents, reals = sampling.draw_latents(jax.random.key(1), 8, config.model, 16, 0.0), images(8) / 127.5 - 1
    args = now.g_params, now.d_params, config, 16, latents, None, None, None
    _, low = losses.generator_loss(*args, reals=jnp.asarray(reals, jnp.float32))
    score = losses.score_fn(now.d_params, config.model, 16, None, None)
    fakes, _ = sampling.generate(now.g_params, latents, None, None, config.model, 16)
    expected = losses.relativistic(score(fakes), score(jnp.asarray(reals, jnp.float32)))
    np.testing.assert_allclose(low["g_loss"], expected, rtol=1e-5)


# ---- augmentation


def test_the_probability_of_ada_moves_every_fourth_iteration_towards_the_target():
    down = configured(augment="ada", ada_kimg=0.064, ada_target=1.0)  # No mean sign is above 1.
    up = configured(augment="ada", ada_kimg=0.064, ada_target=-1.0)
    assert taken(up, 3)[0].augment_p == 0
    now, values = taken(up, 4)
    moved = 4 * 8 / 64
    is_overconfident = float(values["real_signs"]) > -1
    assert now.augment_p == (moved if is_overconfident else 0) or np.isclose(now.augment_p, moved)
    np.testing.assert_array_equal(now.signs, 0)
    assert taken(down, 4)[0].augment_p == 0  # It stays at least 0.
    fixed = configured(augment="ada", augment_p=0.25, ada_kimg=0.064)
    assert taken(fixed, 4)[0].augment_p == 0.25


def test_signs_of_both_updates_of_the_discriminator_count():
    config = configured(augment="ada", augment_p=0.0)
    now, _ = lazy.r1_step(
        jax.tree.map(jnp.copy, initial(config)), images(8), None, None, LR, config=config, resolution=16
    )
    now, values = step.train_step(now, images(8), None, None, LR, config=config, resolution=16)
    assert now.signs[1] == 2 and -2 <= now.signs[0] <= 2


def test_penalties_are_of_the_images_before_augmentation():
    config = configured(augment="ada", augment_p=1.0)
    now, reals = jittered(initial(config)), jnp.asarray(images(8) / 127.5 - 1, jnp.float32)
    draws, p = losses.draw(jax.random.key(3), 8, config), jnp.ones(())
    _, values = losses.lazy_r1_loss(now.d_params, config, 16, reals, None, None, None, draws, p)
    score = losses.score_fn(now.d_params, config.model, 16, None, None)
    gradients = jax.grad(lambda x: jnp.sum(score(ada.apply(x, draws.reals, p))))(reals)
    np.testing.assert_allclose(values["r1"], jnp.sum(gradients**2, axis=(1, 2, 3)), rtol=1e-4)
    plain = jax.grad(lambda x: jnp.sum(score(x)))(reals)
    assert np.max(np.abs(gradients - plain)) > 0.1 * np.max(np.abs(plain))


@pytest.mark.parametrize("augment", ["ada", "diffaugment"])
def test_reals_and_fakes_are_augmented_each_by_draws_of_its_own(augment):
    config = configured(augment=augment)
    reals, fakes = losses.draw(jax.random.key(0), 8, config)
    for a, b in zip(*map(jax.tree.leaves, (reals, fakes)), strict=True):
        assert np.all(a != b) or a.dtype == np.int32
    assert losses.draw(jax.random.key(0), 8, configured()) is None


def test_augmentation_changes_no_draw_of_a_run():
    (plain, _), (seen, _) = taken(configured()), taken(configured(augment="ada", augment_p=0.0))
    for a, b in zip(*map(jax.tree.leaves, (plain.g_params, seen.g_params)), strict=True):
        np.testing.assert_allclose(a, b, atol=2.1e-3)  # Two filters undo each other, and Adam moves by signs at first.
    np.testing.assert_allclose(plain.w_avg, seen.w_avg, rtol=1e-3, atol=1e-6)


# ---- average


def test_the_half_life_of_the_average_ramps_up():
    config = settings(train={"ema_halflife_kimg": 1.0, "ema_rampup": 0.05})
    now = jittered(initial(config)).replace(ema_params=jax.tree.map(jnp.zeros_like, initial(config).ema_params))
    for nimg, halflife in ((0, 1e-8), (2000, 100.0), (10**6, 1000.0)):
        after = step.ema_step(now.replace(nimg=jnp.int32(nimg + 32)), config, 32)
        share = 1 - 0.5 ** (32 / halflife)
        for a, b in zip(*map(jax.tree.leaves, (after.ema_params, now.g_params)), strict=True):
            np.testing.assert_allclose(a, share * b, rtol=1e-4, atol=1e-6)
