"""Networks that compute in bfloat16, and products of a stated precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Config, Model
from stylegan_jax.devices import backend
from stylegan_jax.networks import discriminator, generator, layers, ops, sampling
from stylegan_jax.training import losses, state, step
from tests.small import settings

N, ALPHA = 8, np.float32(0.5)


def settings_in(dtype: str) -> Config:
    return settings(model={"compute_dtype": dtype, "num_labels": 3})


FLOAT32, BFLOAT16 = settings_in("float32"), settings_in("bfloat16")
BIAS_FIRST = settings(model={"compute_dtype": "bfloat16", "num_labels": 3, "bias_before_blur": True})


@functools.cache
def given() -> tuple:
    """Returns a state with noise in every weight, so that styles, biases and noise strengths matter, and a batch."""
    train_state = jax.jit(state.create, static_argnums=1)(jax.random.key(0), FLOAT32)
    rng = np.random.default_rng(0)

    def jittered(tree):
        return jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32), tree)

    train_state = train_state.replace(g_params=jittered(train_state.g_params), d_params=jittered(train_state.d_params))
    images = rng.integers(0, 256, (N, 16, 16, 3), np.uint8)
    labels = jax.nn.one_hot(jnp.arange(N) % 3, 3)
    return train_state, images, labels, sampling.draw_latents(jax.random.key(2), N, FLOAT32.model, 16, 0.9)


@functools.partial(jax.jit, static_argnums=0)
def forward(config, train_state, images, labels, latents):
    """Returns images, their scores, and the gradients of the scores that R1 takes."""
    fakes, _ = sampling.generate(train_state.g_params, latents, labels, ALPHA, config.model, 16)
    d = discriminator.discriminator(config.model)
    scores, gradients = losses.scores_and_gradients(
        lambda x: d.apply({"params": train_state.d_params}, x, labels, ALPHA, resolution=16),
        ops.process_reals(images, None, ALPHA),
    )
    return {"images": fakes, "scores": scores, "gradients": gradients}


@functools.partial(jax.jit, static_argnums=0)
def gradients(config, train_state, images, labels, latents):
    """Returns the training gradients of the discriminator and of the generator."""
    reals = ops.process_reals(images, None, ALPHA)
    fakes = reals[:, ::-1]
    d = jax.grad(losses.discriminator_loss, has_aux=True)
    g = jax.grad(losses.generator_loss, has_aux=True)
    d_grads, _ = d(train_state.d_params, config, 16, reals, fakes, labels, ALPHA, jnp.zeros(N))
    g_grads, _ = g(train_state.g_params, train_state.d_params, config, 16, latents, labels, ALPHA)
    return {"d": d_grads, "g": g_grads}


def equations(jaxpr):
    """Yields every equation of a jaxpr and of those within it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def training_equations(config):
    """Returns all equations of `gradients`: both networks, forward and backward."""
    # Not the jitted function: its trace would be reused for the next backend's forms.
    return list(equations(jax.make_jaxpr(functools.partial(gradients.__wrapped__, config))(*given()).jaxpr))


def is_product(equation) -> bool:
    return equation.primitive.name in ("conv_general_dilated", "dot_general")


def dtypes(tree) -> set:
    return {x.dtype for x in jax.tree.leaves(tree)}


def rms(x) -> float:
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def test_in_bfloat16_parameters_images_scores_and_gradients_are_float32():
    create = functools.partial(state.create, jax.random.key(0))
    made = [jax.eval_shape(functools.partial(create, config)) for config in (FLOAT32, BFLOAT16)]
    assert made[0] == made[1]
    outputs = [jax.eval_shape(functools.partial(fn, BFLOAT16), *given()) for fn in (forward, gradients)]
    train_state, _, labels, latents = given()  # At 4 px there is no fade, whose weight is float32.
    outputs.append(
        jax.eval_shape(lambda: sampling.generate(train_state.g_params, latents, labels, ALPHA, BFLOAT16.model, 4))
    )
    assert dtypes(outputs) == {np.dtype(np.float32)}


def test_in_bfloat16_images_and_scores_are_near_those_in_float32():
    exact, rounded = (forward(config, *given()) for config in (FLOAT32, BFLOAT16))
    # Rounding to 8 bits errs by 2**-8 at most, 0.2 % in the mean square; some 20 roundings add up to 1 %. The gradient
    # errs more: where a feature changes its sign, the slope of the leaky ReLU jumps by a factor of five.
    for name, tolerance in {"images": 0.02, "scores": 0.02, "gradients": 0.1}.items():
        error = rms(rounded[name] - exact[name]) / rms(exact[name])
        assert 0 < error < tolerance, f"{name}: {error}"


@pytest.mark.slow
def test_in_bfloat16_gradients_point_where_they_do_in_float32():
    # Four draws: in a single batch of eight, one image whose features change their sign can turn the sum.
    train_state, images, labels, _ = given()
    draws = [sampling.draw_latents(jax.random.key(i), N, FLOAT32.model, 16, 0.9) for i in range(2, 6)]
    exact, rounded = (
        jax.tree.map(lambda *g: sum(g), *(gradients(config, train_state, images, labels, latents) for latents in draws))
        for config in (FLOAT32, BFLOAT16)
    )
    for (path, a), b in zip(jax.tree.leaves_with_path(exact), jax.tree.leaves(rounded), strict=True):
        assert np.all(np.isfinite(b))
        if a.size >= 256:  # In smaller ones a few features that change their sign weigh more.
            a, b = (np.asarray(x, np.float64).ravel() for x in (a, b))
            cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
            assert cosine > 0.98, f"{jax.tree_util.keystr(path)}: {cosine}"


def test_in_bfloat16_products_of_features_are_bfloat16_and_those_of_latents_float32(monkeypatch):
    monkeypatch.setattr(backend, "platform", lambda: "tpu")  # A CPU rounds the factors alone.
    with_features, of_vectors, of_images = set(), set(), set()
    for equation in filter(is_product, training_equations(BFLOAT16)):
        operands = [v.aval for v in equation.invars]
        shapes = [v.shape for v in (*operands, equation.outvars[0].aval)]
        is_last_of_d = any(17 in shape for shape in shapes)  # 16 maps and the deviation.
        if is_last_of_d or all(v.ndim == 2 for v in operands):
            found = of_vectors
        else:
            found = of_images if any(set(shape) == {3, 16} and len(shape) == 2 for shape in shapes) else with_features
        found.update(v.dtype for v in operands)
    assert with_features == {jnp.dtype(jnp.bfloat16)}
    assert of_vectors == {np.dtype(np.float32)}
    assert of_images == {jnp.dtype(jnp.bfloat16), np.dtype(np.float32)}  # The discriminator's, then the generator's.


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("config", [BFLOAT16, BIAS_FIRST], ids=["default", "bias_before_blur"])
def test_in_bfloat16_no_sum_is_over_bfloat16(monkeypatch, platform, config):
    monkeypatch.setattr(backend, "platform", lambda: platform)
    sums = [e for e in training_equations(config) if e.primitive.name == "reduce_sum"]
    operands = [e.invars[0].aval for e in sums if e.invars[0].aval.size > e.outvars[0].aval.size]
    assert dtypes(operands) == {np.dtype(np.float32)}


def test_in_bfloat16_pixels_are_not_rounded_to_bfloat16():
    images = np.asarray(forward(BFLOAT16, *given())["images"])
    assert np.mean(images != np.asarray(jnp.asarray(images, jnp.bfloat16), np.float32)) > 0.9


def test_statistics_of_bfloat16_features_are_exact_where_the_mean_is_large():
    model = Model(use_noise=False, use_styles=False, compute_dtype="bfloat16")
    x = jnp.asarray(100 + np.random.default_rng(0).standard_normal((2, 64, 64, 3)), jnp.bfloat16)
    params = {"bias": jnp.zeros(3)}
    y = layers.Epilogue(model).apply({"params": params}, x, None, None)
    centered = np.asarray(x, np.float64)
    centered -= centered.mean((1, 2), keepdims=True)
    expected = centered / np.sqrt(np.mean(centered**2, (1, 2), keepdims=True) + ops.EPSILON)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.slow
def test_in_bfloat16_a_training_step_keeps_the_dtypes_and_skips_nothing():
    train_state, images, labels, _ = given()
    scalars = (ALPHA, np.float32(1e-3))
    after, metrics = step.train_step(
        jax.tree.map(jnp.copy, train_state), images, labels, *scalars, config=BFLOAT16, resolution=8
    )
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, train_state)
    assert dtypes({name: x for name, x in metrics.items() if name != "num_skipped"}) == {np.dtype(np.float32)}
    assert all(np.isfinite(x).all() for x in metrics.values()) and not metrics["num_skipped"].any()


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize(
    ("stated", "expected"),
    [("default", jax.lax.Precision.HIGHEST), ("high", jax.lax.Precision.HIGH)],  # The tests' own setting is highest.
)
def test_every_product_has_the_stated_precision(monkeypatch, stated, expected, platform):
    monkeypatch.setattr(backend, "platform", lambda: platform)
    config = settings(model={"matmul_precision": stated, "num_labels": 3})
    products = [e for e in training_equations(config) if is_product(e)]
    of_features = {e.params["precision"] for e in products if any(v.aval.ndim > 2 for v in e.invars)}
    of_vectors = {e.params["precision"] for e in products if all(v.aval.ndim == 2 for v in e.invars)}
    assert of_features == {(expected, expected)}
    # The discriminator's precision is the stated one; products of latents, styles and labels are always exact.
    assert of_vectors == {(expected, expected), (jax.lax.Precision.HIGHEST,) * 2}


@pytest.mark.parametrize("part", ["style", "start"])
def test_products_of_latents_are_float32_whatever_is_asked_for(part):
    model = Model(const_input=False)
    if part == "style":
        module, args = layers.Epilogue(model), (jnp.zeros((1, 4, 4, 8)), jnp.zeros((1, 512)), jnp.zeros((1, 4, 4, 1)))
    else:
        module, args = generator.stylegan.Start(model), (jnp.zeros((1, 512)),)
    params = jax.eval_shape(module.init, jax.random.key(0), *args)
    with jax.default_matmul_precision("default"):
        found = equations(jax.make_jaxpr(module.apply)(params, *args).jaxpr)
    assert {e.params["precision"] for e in found if is_product(e)} == {(jax.lax.Precision.HIGHEST,) * 2}
