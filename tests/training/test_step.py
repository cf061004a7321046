import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Config, from_dict
from stylegan_jax.devices import mesh
from stylegan_jax.networks import discriminator, generator, ops, sampling
from stylegan_jax.training import losses, state, step
from stylegan_jax.training.step import lazy, updates
from tests.small import CONFIGS, MODEL, read_config, settings

ALPHA, LR = np.float32(0.5), np.float32(1e-3)


def images(n: int, seed: int = 0, resolution: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, resolution, resolution, 3), np.uint8)


@functools.cache
def initial(config: Config) -> state.TrainState:
    return jax.jit(state.create, static_argnums=1)(jax.random.key(0), config)


def jittered(train_state: state.TrainState) -> state.TrainState:
    """Returns `train_state` with noise in every parameter, the same for the same shape."""

    def noisy(x):
        return x + 0.1 * np.random.default_rng(0).standard_normal(x.shape, np.float32)

    names = ("g_params", "d_params", "ema_params")
    return train_state.replace(**{name: jax.tree.map(noisy, getattr(train_state, name)) for name in names})


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_parameters_of_the_paper_are_as_many_as_the_official_ones():
    made = jax.eval_shape(lambda key: state.create(key, Config()), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(made.g_params)) == 26_219_627
    assert sum(x.size for x in jax.tree.leaves(made.d_params)) == 23_087_249


def test_each_resolution_compiles_once_and_the_state_keeps_its_shape():
    config = settings()
    train_state = jax.tree.map(jnp.copy, initial(config))
    before, compiled = shapes(train_state), step.train_step._cache_size()
    for resolution, alpha, lr in [(4, 1.0, 1e-3), (4, 1.0, 2e-3), (8, 0.25, 1e-3), (8, 0.5, 1e-3), (8, 1.0, 3e-3)]:
        train_state, metrics = step.train_step(
            train_state, images(8), None, np.float32(alpha), np.float32(lr), config=config, resolution=resolution
        )
        assert all(np.isfinite(v).all() for v in metrics.values())
    assert shapes(train_state) == before
    assert step.train_step._cache_size() == compiled + 2
    assert int(train_state.nimg) == 40


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_file_takes_a_step_at_reduced_size(path):
    values = read_config(path)
    # What a step depends on; configs that differ in other things alone share a program.
    used = {"train": values["train"], "data": {"mirror": values["data"]["mirror"]}}
    config = from_dict(used | {"model": values["model"] | MODEL | {"resolution": 8}})
    model, n = config.model, 8
    train_state = initial(config)
    before = jax.tree.map(np.asarray, (train_state.g_params, train_state.d_params))
    labels = jax.nn.one_hot(jnp.arange(n) % model.num_labels, model.num_labels) if model.num_labels else None
    train_state, metrics = step.train_step(
        jax.tree.map(jnp.copy, train_state),
        images(n, resolution=8)[..., : model.channels],
        labels,
        ALPHA,
        LR,
        config=config,
        resolution=model.resolution,
    )
    assert all(np.isfinite(v).all() for v in metrics.values())
    assert metrics["num_skipped"].tolist() == [0, 0]
    for old, new in zip(before, (train_state.g_params, train_state.d_params), strict=True):
        assert max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(*map(jax.tree.leaves, (old, new)), strict=True)) > 0


def test_gradients_on_four_devices_equal_those_on_one():
    config = settings(model={"num_labels": 3})
    # Away from the initial constant: normalizing a flat image makes rounding errors 10,000 times larger.
    train_state, n = jittered(initial(config)), 8
    labels = jax.nn.one_hot(jnp.arange(n) % 3, 3)
    latents = sampling.draw_latents(jax.random.key(1), n, config.model, 8, 0.9)
    reals = ops.process_reals(jnp.asarray(images(n, resolution=8)), None, ALPHA)

    @jax.jit
    def gradients(train_state, reals, labels, latents, t):
        fakes, _ = sampling.generate(train_state.g_params, latents, labels, ALPHA, config.model, 8)
        d = jax.grad(losses.discriminator_loss, has_aux=True)
        g = jax.grad(losses.generator_loss, has_aux=True)
        d_grads, _ = d(train_state.d_params, config, 8, reals, fakes, labels, ALPHA, t)
        g_grads, _ = g(train_state.g_params, train_state.d_params, config, 8, latents, labels, ALPHA)
        return d_grads, g_grads

    results = []
    for count in (1, 4):
        devices = mesh.make_mesh(jax.devices()[:count])
        batch = jax.device_put((reals, labels, latents, jnp.zeros(n)), mesh.split(devices))
        results.append(jax.device_get(gradients(jax.device_put(train_state, mesh.replicated(devices)), *batch)))
    for one, four in zip(*results, strict=True):  # The discriminator's, then the generator's.
        largest = max(np.max(np.abs(g)) for g in jax.tree.leaves(one))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
            # A gradient that should be zero, as of the bias before the first normalization, is rounding alone.
            scale = np.max(np.abs(a)) if np.max(np.abs(a)) > 1e-5 * largest else largest
            assert np.max(np.abs(a - b)) <= 1e-5 * scale


def test_a_step_is_discriminator_then_weight_average_then_generator():
    config = settings(model={"num_labels": 3}, data={"mirror": True}, train={"gp_lambda": 10.0})
    train_state, n = jittered(initial(config)), 8
    labels = jax.nn.one_hot(jnp.asarray([0, 0, 0, 1, 0, 0, 1, 0]), 3)  # None is of 2.
    got, _ = step.train_step(
        jax.tree.map(jnp.copy, train_state), images(n, resolution=8), labels, ALPHA, LR, config=config, resolution=8
    )

    @jax.jit
    def expected(train_state):
        d_key, g_key, t_key, mirror_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0), 4)
        reals = ops.process_reals(
            jnp.asarray(images(n, resolution=8)), jax.random.uniform(mirror_key, (n,)) < 0.5, ALPHA
        )
        d_latents, g_latents = (sampling.draw_latents(k, n, config.model, 8, 0.9) for k in (d_key, g_key))
        train_state, _ = step.d_step(
            train_state, config, 8, reals, labels, d_latents, jax.random.uniform(t_key, (n,)), ALPHA, LR
        )
        train_state = step.ema_step(train_state, config, n)
        # The generator trains on the labels of real images, whose classes have the shares that they have in the data.
        return step.g_step(train_state, config, 8, labels, g_latents, ALPHA, LR)[0].replace(nimg=jnp.int32(n))

    reference = expected(train_state)
    for name in ("d_opt", "g_opt", "ema_params", "w_avg"):  # The squared gradients tell of all that went in.
        ours, theirs = (jax.tree.leaves(getattr(x, name)) for x in (got, reference))
        largest = max(np.max(np.abs(x)) for x in theirs)
        assert max(np.max(np.abs(a - b)) for a, b in zip(ours, theirs, strict=True)) < 1e-4 * largest
    assert int(got.nimg) == n
    assert got.num_skipped.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("num_steps", "tolerance"),
    # A loop's convolutions sum in another order; the optimizers' first steps make the sign of a rounding error count.
    [(1, 0.0), (4, 1e-6)],
    ids=["stacks of one, bit for bit", "one stack of four"],
)
@pytest.mark.slow
def test_steps_in_one_call_equal_single_ones(num_steps, tolerance):
    config = settings(model={"num_labels": 3}, data={"mirror": True})
    start = state.reset_optimizers(jittered(initial(config)))
    batches = np.stack([images(8, seed) for seed in range(4)])
    labels = np.stack([np.eye(3, dtype=np.float32)[(np.arange(8) + seed) % 3] for seed in range(4)])
    many = single = start
    for i in range(0, 4, num_steps):
        part = slice(i, i + num_steps)
        many, ours = step.train_steps(
            jax.tree.map(jnp.copy, many), batches[part], labels[part], ALPHA, LR, config=config, resolution=8
        )
    for i in range(4):
        single, theirs = step.train_step(
            jax.tree.map(jnp.copy, single), batches[i], labels[i], ALPHA, LR, config=config, resolution=8
        )
    assert int(many.nimg) == int(single.nimg) == 32
    assert ours.keys() == theirs.keys()
    if num_steps == 1:  # Else ours are means over the steps.
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    for name in ("d_opt", "g_opt", "ema_params", "w_avg"):
        a, b = (jax.tree.leaves(getattr(x, name)) for x in (many, single))
        largest = max(np.max(np.abs(x)) for x in b)
        assert max(np.max(np.abs(x - y)) for x, y in zip(a, b, strict=True)) <= tolerance * largest


def test_an_update_that_is_not_finite_is_skipped_whole_and_counted():
    config = settings()
    train_state = initial(config)
    broken = train_state.replace(g_params=jax.tree.map(lambda x: x * jnp.nan, train_state.g_params))
    latents = sampling.draw_latents(jax.random.key(1), 8, config.model, 8, 0.0)
    reals = jnp.zeros((8, 8, 8, 3))
    d_step = jax.jit(step.d_step, static_argnums=(1, 2))
    after, _ = d_step(broken, config, 8, reals, None, latents, jnp.zeros(8), ALPHA, LR)
    np.testing.assert_array_equal(after.w_avg, train_state.w_avg)  # The mean of w is not finite either.
    assert jax.tree.all(jax.tree.map(np.array_equal, after.d_params, train_state.d_params))
    assert jax.tree.all(jax.tree.map(np.array_equal, after.d_opt, train_state.d_opt))
    assert after.num_skipped.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["bias", "weight"])
@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [1e25]])
def test_a_single_gradient_that_is_not_finite_or_whose_square_is_not_skips_the_update_of_all(name, values):
    config = settings()
    params = {"bias": jnp.ones(3), "last": {"weight": jnp.ones((2, 4, 3))}}
    opt = state.adam(config.train.adam_beta2, config.train.adam_eps).init(params)
    fine = jax.tree.map(jnp.ones_like, params)
    broken = fine | {"bias": fine["bias"].at[1].set(values[0])}
    if name == "weight":
        broken = fine | {"last": {"weight": fine["last"]["weight"].at[0, : len(values), 2].set(jnp.asarray(values))}}
    for grads, is_wrong in [(fine, False), (broken, True)]:
        new, new_opt, is_skipped = updates.updated(config, grads, opt, params, jnp.float32(0.1))
        assert bool(is_skipped) == is_wrong
        for old, now in ((params, new), (opt, new_opt)):
            unchanged = jax.tree.map(np.array_equal, old, now)
            assert all(jax.tree.leaves(unchanged)) if is_wrong else not any(jax.tree.leaves(unchanged))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("g_loss", "d_loss", "weights"),
    [
        ("logistic_saturating", "logistic", {"r1_gamma": 0.0, "r2_gamma": 5.0}),
        ("wgan", "wgan", {"r1_gamma": 0.0, "gp_lambda": 10.0}),
        ("wgan", "hinge", {"r1_gamma": 0.0, "gp_lambda": 10.0}),
    ],
)
def test_every_loss_takes_a_step(g_loss, d_loss, weights):
    config = settings(train={"g_loss": g_loss, "d_loss": d_loss, **weights}, data={"mirror": True})
    train_state, metrics = step.train_step(
        jax.tree.map(jnp.copy, initial(config)), images(8), None, ALPHA, LR, config=config, resolution=8
    )
    assert all(np.isfinite(v).all() for v in metrics.values()) and metrics["num_skipped"].tolist() == [0, 0]


def test_lazy_r1_equals_two_updates_with_corrected_adam():
    k, config = 4, settings(train={"r1_interval": 4}, data={"mirror": True})
    train_state, n = jittered(initial(config)), 8
    mirror_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0), 4)[3]
    keep = jax.random.uniform(mirror_key, (n,)) < 0.5
    reals = ops.process_reals(jnp.asarray(images(n, resolution=8)), keep, ALPHA)
    latents = sampling.draw_latents(jax.random.key(1), n, config.model, 8, 0.9)

    @jax.jit
    def ours(train_state):
        after, values = step.d_step(train_state, config, 8, reals, None, latents, jnp.zeros(n), ALPHA, LR)
        assert "r1" not in values
        return lazy.r1_step(after, images(n, resolution=8), None, ALPHA, LR, config=config, resolution=8)

    def score(params, x):
        return discriminator.discriminator(config.model).apply({"params": params}, x, None, ALPHA, resolution=8)

    @jax.jit
    def by_hand(train_state):
        fakes, _ = sampling.generate(train_state.g_params, latents, None, ALPHA, config.model, 8)
        optimizer = state.adam(config.train.adam_beta2**0.8, config.train.adam_eps)

        def loss(params):
            return jnp.mean(jax.nn.softplus(score(params, fakes)) + jax.nn.softplus(-score(params, reals)))

        def r1(params):
            gradients = jax.grad(lambda x: jnp.sum(score(params, x)))(reals)
            # Of 16 px, twice these 8: each pixel is four there, with a quarter of the gradient.
            return k * config.train.r1_gamma / 2 * jnp.mean(jnp.sum(gradients**2, (1, 2, 3))) / 4

        params, opt = train_state.d_params, train_state.d_opt
        for fn in (loss, r1):
            updates, opt = optimizer.update(jax.grad(fn)(params), opt)
            params = jax.tree.map(lambda p, u: p - 0.8 * LR * u, params, updates)
        return params, opt.nu, r1(train_state.d_params) / (k * config.train.r1_gamma / 2)

    (after, values), (params, nu, value) = ours(train_state), by_hand(train_state)
    for got, reference, tolerance in [(after.d_params, params, 1e-4), (after.d_opt.nu, nu, 1e-5)]:
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(reference), strict=True):
            assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b))
    assert values.keys() == {"r1"} and 0.5 * value < values["r1"] < 2 * value  # It is measured after the loss's update.


def test_penalties_scale_as_if_the_image_were_enlarged_by_repeating_pixels():
    weight = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    _, small = losses.scores_and_gradients(lambda x: jnp.sum(weight * x**2, axis=(1, 2, 3)), weight)
    _, large = losses.scores_and_gradients(
        lambda x: jnp.sum(weight * ops.downscale(x, 2) ** 2, axis=(1, 2, 3)), ops.upscale(weight, 2)
    )
    np.testing.assert_allclose(
        losses.squared_gradient_norm(small, 2), losses.squared_gradient_norm(large, 1), rtol=1e-5
    )


def test_ema_halves_a_weight_in_its_half_life():
    config = settings(train={"ema_halflife_kimg": 0.008})
    train_state = initial(config)
    train_state = train_state.replace(ema_params=jax.tree.map(jnp.zeros_like, train_state.ema_params))
    after = step.ema_step(train_state, config, 8)
    for ema, param in zip(jax.tree.leaves(after.ema_params), jax.tree.leaves(train_state.g_params), strict=True):
        np.testing.assert_allclose(ema, param / 2, rtol=1e-6)


def test_truncation_with_psi_one_is_identity_and_zero_gives_the_mean():
    ws, mean = jax.random.normal(jax.random.key(0), (2, 4, 8)), jnp.arange(8.0)
    np.testing.assert_allclose(generator.truncate(ws, mean, 1.0), ws, rtol=1e-5, atol=1e-6)
    cut = generator.truncate(ws, mean, 0.0, cutoff=3)
    np.testing.assert_allclose(cut[:, :3], np.broadcast_to(mean, (2, 3, 8)))
    np.testing.assert_array_equal(cut[:, 3:], ws[:, 3:])


def test_styles_mix_with_the_given_share_and_every_cutoff():
    cutoffs = np.asarray(generator.draw_cutoffs(jax.random.key(0), 4000, 0.9, 6))
    assert set(cutoffs) == {1, 2, 3, 4, 5, 6}
    assert abs(np.mean(cutoffs < 6) - 0.9) < 0.02


def test_box_downscale_rounds_once_half_to_even():
    x = images(2, resolution=64)
    expected = np.round(x.reshape(2, 8, 8, 8, 8, 3).astype(np.float64).mean((2, 4))).astype(np.uint8)
    np.testing.assert_array_equal(ops.box_downscale_uint8(jnp.asarray(x), 8), expected)


# ---- FreezeD


def changed(before, after) -> set[str]:
    """Returns the modules of the discriminator whose arrays differ."""
    return {
        name
        for name in before
        if not all(
            np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before[name], after[name])), strict=True)
        )
    }


@pytest.mark.parametrize(
    ("step_fn", "freeze_d", "resolution", "expected"),
    [
        (step.train_step, 1, 8, {"b8", "from_rgb8", "from_rgb4", "conv", "dense0", "dense1"}),  # 16 px is not in use.
        (step.train_step, 2, 8, {"from_rgb4", "conv", "dense0", "dense1"}),
        (lazy.r1_step, 1, 16, {"b8", "from_rgb8", "conv", "dense0", "dense1"}),
        (lazy.r1_step, 2, 16, {"conv", "dense0", "dense1"}),
    ],
)
def test_frozen_blocks_keep_their_weights_and_have_no_moments(step_fn, freeze_d, resolution, expected):
    config = settings(train={"freeze_d": freeze_d, "r1_interval": 4 if step_fn is lazy.r1_step else 1})
    train_state = jittered(initial(config))
    before = jax.device_get(train_state.d_params)
    pictures, how = images(8, resolution=resolution), {"config": config, "resolution": resolution}
    after, _ = step_fn(jax.tree.map(jnp.copy, train_state), pictures, None, ALPHA, LR, **how)
    assert changed(before, jax.device_get(after.d_params)) == expected
    assert changed(jax.tree.map(np.zeros_like, before), jax.device_get(after.d_opt.nu)) == expected
    assert int(after.d_opt.count) == 1


def test_gradients_of_frozen_blocks_are_not_computed():
    def flops(freeze_d: int) -> float:
        config = settings(model={"resolution": 8}, train={"freeze_d": freeze_d})
        how = state.abstract(config), images(8, resolution=8), None, None, LR
        return step.train_step.lower(*how, config=config, resolution=8).compile().cost_analysis()["flops"]

    assert flops(1) < 0.95 * flops(0)
