"""Each form equals its definition with JAX's own derivatives; forms for GPUs run in Pallas' interpreter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.devices import backend
from stylegan_jax.networks import activations, gpu_kernels, ops
from tests.derivatives import assert_equal, normal, values_and_derivatives
from tests.small import CPU, GPU

BLUR = (1, 2, 1)


def discriminator_maps(nonlinearity, taps):
    """Returns (name, ours, definition, arrays) of each map that defines its own derivatives."""
    act = ops.NONLINEARITIES[nonlinearity]
    return [
        (
            "bias_act",
            lambda x, b: activations.bias_act(x, b, nonlinearity),
            lambda x, b: act(ops.add_bias(x, b)),
            lambda *s: (normal(*s), normal(s[-1], seed=1)),
        ),
        (
            "bias_act with a bound",
            lambda x, b: activations.bias_act(x, b, nonlinearity, 0.7),
            lambda x, b: jnp.clip(act(ops.add_bias(x, b)), -0.7, 0.7),
            lambda *s: (normal(*s), normal(s[-1], seed=1)),
        ),
        (
            "demodulated",
            lambda x, s, n, k, b: activations.demodulated(x, s, n, k, b, nonlinearity, 0.7),
            lambda x, s, n, k, b: jnp.clip(
                act(x * s[:, None, None, :] + n * k[None, None, None, :] + b[None, None, None]), -0.7, 0.7
            ),
            lambda *s: (
                normal(*s),
                normal(s[0], s[-1], seed=1),
                normal(1, *s[1:3], 1, seed=5),  # With which the gradient of the strength, a sum, does not cancel.
                normal(1, seed=3),
                normal(s[-1], seed=4),
            ),  # fmt: skip
        ),
        (
            "bias_act_blur",
            lambda x, b: activations.bias_act_blur(x, b, nonlinearity, taps),
            lambda x, b: plain_blur(act(ops.add_bias(x, b)), taps),
            lambda *s: (normal(*s), normal(s[-1], seed=1)),
        ),
        (
            "color_act",
            lambda x, k, b: activations.color_act(x, k, b, nonlinearity, 0.7),
            lambda x, k, b: jnp.clip(act(x @ k + b[None, None, None]), -0.7, 0.7),
            lambda *s: (normal(*s[:3], 3), normal(3, s[-1], seed=1), normal(s[-1], seed=2)),
        ),
    ]


def plain_blur(x, taps):
    """Returns the blur by definition: a sum over taps of shifted copies, with zeros outside."""
    weights, before = np.asarray(taps) / np.sum(taps), (len(taps) - 1) // 2
    _, h, w, _ = x.shape
    after = len(taps) - 1 - before
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    return sum(a * b * padded[:, i : i + h, j : j + w] for i, a in enumerate(weights) for j, b in enumerate(weights))


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.platform)
@pytest.mark.parametrize(
    ("shape", "taps"), [((2, 8, 8, 16), BLUR), ((1, 12, 20, 3), (1, 2)), ((3, 4, 16, 24), (1, 3, 3, 1))], ids=str
)
@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
def test_what_follows_a_convolution_of_the_discriminator_equals_its_definition(
    monkeypatch, device, shape, taps, nonlinearity
):
    monkeypatch.setattr(gpu_kernels, "INTERPRET", True)
    for name, ours, plain, arrays_fn in discriminator_maps(nonlinearity, taps):
        with backend.forms_for(device):
            got = jax.jit(functools.partial(values_and_derivatives, ours))(*arrays_fn(*shape))
        expected = jax.jit(functools.partial(values_and_derivatives, plain))(*arrays_fn(*shape))
        assert_equal(got, expected, 2e-6, name)


@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
def test_the_slope_at_zero_is_the_official(nonlinearity):
    slope = jax.grad(lambda x: jnp.sum(activations.bias_act(x, jnp.zeros(1), nonlinearity)))(jnp.zeros((1, 1)))
    assert slope[0, 0] == (1 if nonlinearity == "lrelu" else 0)


def test_nothing_is_kept_for_the_backward_pass_but_features():
    x, bias = jnp.zeros((2, 8, 8, 16), jnp.bfloat16), jnp.zeros(16)
    for fn in (
        lambda x: activations.bias_act(x, bias, "lrelu"),
        lambda x: activations.bias_act_blur(x, bias, "lrelu", BLUR),
    ):
        kept = jax.tree.leaves(jax.eval_shape(lambda x, fn=fn: jax.vjp(fn, x)[1], x))
        assert {(y.shape, y.dtype) for y in kept if y.size >= x.size} == {(x.shape, x.dtype)}
