"""The epilogue equals its formula in float64 NumPy, wherever the bias stands and whatever the epsilon is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Model
from stylegan_jax.devices import backend
from stylegan_jax.networks import epilogues, gpu_kernels, layers, ops
from tests.derivatives import assert_equal, normal, values_and_derivatives
from tests.small import GPU

W_SIZE = 6
SWITCHED = {"bias_before_blur": True, "instance_norm_epsilon": 0.3}  # An epsilon of the size of the variance.


def inputs(model, n, h, w, c):
    """Returns an epilogue's parameters, and its features, latent and noise."""
    params = {"bias": normal(c, seed=1)}
    if model.use_noise:
        params["noise_strength"] = normal(c, seed=2)
    if model.use_styles:
        params["style"] = {"weight": normal(W_SIZE, 2 * c, seed=3), "bias": normal(2 * c, seed=4)}
    noise = normal(n, h, w, 1, seed=7) if model.use_noise else None
    return params, normal(n, h, w, c, seed=5), normal(n, W_SIZE, seed=6), noise


def blurred(x, taps):
    """Returns float64 images filtered along both axes, with zeros outside."""
    weights, middle = np.asarray(taps) / np.sum(taps), (len(taps) - 1) // 2
    for axis in (1, 2):
        edges = [(middle, len(taps) - 1 - middle) if a == axis else (0, 0) for a in range(4)]
        padded, size = np.pad(x, edges), x.shape[axis]
        x = sum(k * np.take(padded, range(i, i + size), axis) for i, k in enumerate(weights))
    return x


def reference(model, has_blur, params, x, w, noise):
    """Returns the epilogue of float64 arrays."""
    is_first = has_blur and model.bias_before_blur
    x = x + params["bias"] if is_first else x
    x = blurred(x, model.blur_filter) if has_blur else x
    x = x + noise * params["noise_strength"] if model.use_noise else x
    x = x if is_first else x + params["bias"]
    x = np.where(x >= 0, x, 0.2 * x)
    x = x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-8) if model.use_pixel_norm else x
    if model.use_instance_norm:
        x = x - np.mean(x, (1, 2), keepdims=True)
        x = x / np.sqrt(np.mean(x**2, (1, 2), keepdims=True) + model.instance_norm_epsilon)
    if not model.use_styles:
        return x
    style = w @ params["style"]["weight"] / np.sqrt(W_SIZE) + params["style"]["bias"]
    scale, shift = np.split(style[:, None, None], 2, axis=-1)
    return x * (scale + 1) + shift


CASES = [
    ({}, (2, 5, 7, 4), True),
    (SWITCHED, (2, 5, 7, 4), True),
    (SWITCHED, (1, 3, 3, 3), True),
    (SWITCHED | {"blur_filter": (1, 3, 3, 1)}, (1, 6, 5, 1), True),
    (SWITCHED | {"use_styles": False}, (2, 5, 7, 4), True),
    (SWITCHED | {"use_noise": False}, (2, 5, 7, 5), True),
    (SWITCHED, (2, 5, 7, 4), False),
    (SWITCHED | {"use_pixel_norm": True}, (2, 5, 7, 4), True),
    ({"bias_before_blur": True}, (2, 5, 7, 4), True),
    ({"instance_norm_epsilon": 0.3}, (2, 5, 7, 4), True),
    ({"bias_before_blur": True, "use_instance_norm": False}, (2, 5, 7, 4), True),
]


@pytest.mark.parametrize(("changes", "shape", "has_blur"), CASES, ids=str)
def test_the_epilogue_equals_its_formula_in_float64(changes, shape, has_blur):
    model = Model(w_size=W_SIZE, **changes)
    params, *given = inputs(model, *shape)
    y = layers.Epilogue(model, has_blur=has_blur).apply({"params": params}, *given)
    double = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, *given))
    expected = reference(model, has_blur, *double)
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=4e-6)


@pytest.mark.parametrize(("changes", "shape", "has_blur"), CASES, ids=str)
def test_gradients_of_the_epilogue_are_those_of_its_formula(changes, shape, has_blur):
    model = Model(w_size=W_SIZE, **changes)
    given = inputs(model, *shape)
    weights = normal(*shape, seed=8)

    def loss(given):
        params, *others = given
        return jnp.sum(weights * layers.Epilogue(model, has_blur=has_blur).apply({"params": params}, *others))

    leaves, tree = jax.tree.flatten(given)
    double = [np.asarray(leaf, np.float64) for leaf in leaves]
    for i, gradient in enumerate(jax.tree.leaves(jax.grad(loss)(given))):
        direction = normal(*gradient.shape, seed=9).astype(np.float64)

        def moved(step, i=i, direction=direction):
            """Returns the loss after a step of one array, in float64."""
            there = [leaf + step * direction if j == i else leaf for j, leaf in enumerate(double)]
            return np.sum(weights * reference(model, has_blur, *jax.tree.unflatten(tree, there)))

        slope, step = np.sum(direction * gradient), 1e-6
        np.testing.assert_allclose(slope, (moved(step) - moved(-step)) / (2 * step), rtol=1e-4, atol=1e-4)


def test_by_default_the_epilogue_is_the_official_formula_bit_for_bit():
    model = Model(w_size=W_SIZE)
    params, x, w, noise = inputs(model, 2, 8, 8, 4)
    y = layers.Epilogue(model, has_blur=True).apply({"params": params}, x, w, noise)
    style = layers.Dense(8, gain=1.0, precision="highest").apply({"params": params["style"]}, w)
    a = ops.blur(x, (1, 2, 1)) + noise * params["noise_strength"][None, None, None]
    a = ops.leaky_relu(a + params["bias"][None, None, None])
    a = a - jnp.mean(a, axis=(1, 2), keepdims=True)
    a = a * jax.lax.rsqrt(jnp.mean(a * a, axis=(1, 2), keepdims=True) + 1e-8)
    np.testing.assert_array_equal(y, ops.modulate(a, style))


def test_an_epilogue_without_blur_has_one_place_for_the_bias():
    models = Model(w_size=W_SIZE), Model(w_size=W_SIZE, bias_before_blur=True)
    params, x, *others = inputs(models[0], 2, 8, 8, 4)
    x = jnp.asarray(x, jnp.bfloat16)  # A sum of its own would be rounded.
    usual, switched = (layers.Epilogue(model).apply({"params": params}, x, *others) for model in models)
    np.testing.assert_array_equal(switched, usual)


def test_kernels_of_a_switched_epilogue_and_their_derivatives_equal_the_definition(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "INTERPRET", True)
    model = Model(w_size=W_SIZE, **SWITCHED)
    params, *given = inputs(model, 2, 8, 8, 16)
    leaves, tree = jax.tree.flatten((params, *given))

    def apply(*leaves):
        params, *given = jax.tree.unflatten(tree, leaves)
        return layers.Epilogue(model, has_blur=True).apply({"params": params}, *given)

    plain = jax.jit(functools.partial(values_and_derivatives, apply, order=1))(*leaves)
    monkeypatch.setattr(epilogues, "plain_styled", None)  # Kernels need it for second derivatives alone.
    with backend.forms_for(GPU):
        ours = jax.jit(functools.partial(values_and_derivatives, apply, order=1))(*leaves)
    assert_equal(ours, plain, 2e-6)
