"""Forms for GPUs run in Pallas' interpreter here; each is compared with JAX's own derivatives of the definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import backend, epilogues, gpu_kernels, ops
from tests.small import AMD_GPU, CPU, GPU, OLD_GPU, TPU

BLUR = (1, 2, 1)


@pytest.fixture
def gpu_forms(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "INTERPRET", True)
    with backend.forms_for(GPU):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def values_and_derivatives(fn, *arrays, order=2):
    """Returns fn's value, its gradients and, in second order, gradients of the squares of those of the first array."""

    def first(*arrays):
        y, pull = jax.vjp(fn, *arrays)
        cotangent = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
        return y, pull(cotangent)

    def penalty(*arrays):
        y, (x_grad, *_) = first(*arrays)
        return jnp.sum(x_grad.astype(jnp.float32) ** 2) + jnp.sum(y.astype(jnp.float32) ** 3)

    y, gradients = first(*arrays)
    second = jax.grad(penalty, argnums=tuple(range(len(arrays))))(*arrays) if order == 2 else ()
    return y, *gradients, *second


def assert_equal(ours, plain, tolerance):
    assert len(ours) == len(plain)
    for i, (a, b) in enumerate(zip(ours, plain, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b)), f"result {i}"


def layer(n, h, w, c, num_noise):
    """Returns what follows a convolution: its output, noise, strength, bias, style."""
    return (
        normal(n, h, w, c),
        normal(num_noise, h, w, 1, seed=1),
        normal(c, seed=2),
        normal(c, seed=3),
        normal(n, 2 * c, seed=4),
    )


@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
@pytest.mark.parametrize("taps", [None, BLUR, (1, 3, 3, 1)], ids=str)
@pytest.mark.parametrize(
    "shape", [(2, 8, 8, 16, 2), (3, 4, 4, 8, 1), (1, 16, 48, 40, 1), (2, 64, 32, 8, 2), (1, 4, 4, 192, 1)], ids=str
)
def test_kernels_of_the_epilogue_and_their_derivatives_equal_the_definition(gpu_forms, shape, taps, nonlinearity):
    how = {"nonlinearity": nonlinearity, "taps": taps}
    ours, plain = (
        jax.jit(functools.partial(values_and_derivatives, functools.partial(fn, **how)))(*layer(*shape))
        for fn in (epilogues.fused_styled, epilogues.plain_styled)
    )
    assert_equal(ours, plain, 1e-5)
    assert_equal(ours[:1], plain[:1], 2e-6)


def test_the_epilogue_takes_kernels_on_a_gpu_where_they_can(gpu_forms, monkeypatch):
    monkeypatch.setattr(epilogues, "fused_styled", lambda *args: "kernels")
    monkeypatch.setattr(epilogues, "plain_styled", lambda *args: "plain")

    def form(x):
        return epilogues.styled(x, None, None, jnp.zeros(x.shape[-1]), None, "lrelu")

    assert [form(jnp.zeros((1, 8, 8, c))) for c in (512, 24, 12, 3)] == ["kernels", "kernels", "plain", "plain"]
    assert form(jnp.zeros((1, 5, 8, 16))) == "plain"
    for device in (CPU, TPU, OLD_GPU, AMD_GPU):
        with backend.forms_for(device):
            assert form(jnp.zeros((1, 8, 8, 512))) == "plain"


@pytest.mark.parametrize("without", ["noise", "style"])
def test_kernels_do_without_noise_or_style(gpu_forms, without):
    x, noise, strength, bias, style = layer(2, 8, 8, 16, 2)
    given = {"noise": None, "strength": None, "style": style} if without == "noise" else {"noise": noise, "style": None}
    given = {"strength": strength} | given
    ours, plain = (fn(x, bias=bias, nonlinearity="lrelu", **given) for fn in (epilogues.styled, epilogues.plain_styled))
    assert_equal([ours], [plain], 2e-6)


def test_in_bfloat16_kernels_round_the_result_and_the_gradient_of_x_alone(gpu_forms):
    x, *others = layer(2, 16, 16, 32, 2)
    x = jnp.asarray(x, jnp.bfloat16)
    ours, exact = (
        values_and_derivatives(functools.partial(fn, nonlinearity="lrelu"), given, *others, order=1)
        for fn, given in ((epilogues.fused_styled, x), (epilogues.plain_styled, x.astype(jnp.float32)))
    )
    assert [y.dtype for y in ours] == [jnp.bfloat16] * 2 + [jnp.float32] * 4
    # The cotangent is rounded as well: 2**-9 of each of its elements, of which sums hold less.
    assert_equal([y.astype(jnp.float32) for y in ours[:2]], exact[:2], 2**-7)
    assert_equal(ours[2:], exact[2:], 2**-8)


def test_statistics_are_exact_where_the_mean_is_large_and_the_corner_an_outlier(gpu_forms):
    x = 100 + normal(2, 64, 64, 8)
    x[:, 0, 0] = -3000
    y = epilogues.fused_styled(x, jnp.zeros((1, 64, 64, 1)), jnp.zeros(8), jnp.zeros(8), jnp.zeros((2, 16)), "lrelu")
    expected = np.where(x >= 0, x, 0.2 * x).astype(np.float64)
    expected -= expected.mean((1, 2), keepdims=True)
    expected /= np.sqrt(np.mean(expected**2, (1, 2), keepdims=True) + ops.EPSILON)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_a_flat_map_stays_flat(gpu_forms):
    x, zeros = jnp.full((1, 8, 8, 8), 0.7), jnp.zeros(8)
    y = epilogues.fused_styled(x, jnp.zeros((1, 8, 8, 1)), zeros, zeros, jnp.zeros((1, 16)), "lrelu")
    assert np.max(np.abs(y)) < 0.05  # Rounding is enlarged by 1 / sqrt(EPSILON), 10,000.


def discriminator_maps(nonlinearity, taps):
    """Returns (name, ours, definition, arrays) of the maps with derivatives of their own."""
    act = ops.NONLINEARITIES[nonlinearity]
    return [
        (
            "bias_act",
            lambda x, b: epilogues.bias_act(x, b, nonlinearity),
            lambda x, b: act(ops.add_bias(x, b)),
            lambda *s: (normal(*s), normal(s[-1], seed=1)),
        ),
        (
            "bias_act_blur",
            lambda x, b: epilogues.bias_act_blur(x, b, nonlinearity, taps),
            lambda x, b: plain_blur(act(ops.add_bias(x, b)), taps),
            lambda *s: (normal(*s), normal(s[-1], seed=1)),
        ),
        (
            "color_act",
            lambda x, k, b: epilogues.color_act(x, k, b, nonlinearity),
            lambda x, k, b: act(x @ k + b[None, None, None]),
            lambda *s: (normal(*s[:3], 3), normal(3, s[-1], seed=1), normal(s[-1], seed=2)),
        ),
    ]


def plain_blur(x, taps):
    """The definition: a sum over taps of what is at their places, with zeros outside."""
    weights, before = np.asarray(taps) / np.sum(taps), (len(taps) - 1) // 2
    _, h, w, _ = x.shape
    after = len(taps) - 1 - before
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    return sum(a * b * padded[:, i : i + h, j : j + w] for i, a in enumerate(weights) for j, b in enumerate(weights))


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.platform)
@pytest.mark.parametrize("shape", [(2, 8, 8, 16), (1, 12, 20, 3), (3, 4, 16, 24)], ids=str)
@pytest.mark.parametrize("taps", [BLUR, (1, 3, 3, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
def test_what_follows_a_convolution_of_the_discriminator_equals_its_definition(
    monkeypatch, device, shape, taps, nonlinearity
):
    monkeypatch.setattr(gpu_kernels, "INTERPRET", True)
    for name, ours, plain, arrays_fn in discriminator_maps(nonlinearity, taps):
        with backend.forms_for(device):
            got = jax.jit(functools.partial(values_and_derivatives, ours))(*arrays_fn(*shape))
        expected = jax.jit(functools.partial(values_and_derivatives, plain))(*arrays_fn(*shape))
        assert_equal(got, expected, 2e-6), name


@pytest.mark.parametrize("nonlinearity", ["lrelu", "relu"])
def test_the_slope_at_zero_is_the_official(nonlinearity):
    slope = jax.grad(lambda x: jnp.sum(epilogues.bias_act(x, jnp.zeros(1), nonlinearity)))(jnp.zeros((1, 1)))
    assert slope[0, 0] == (1 if nonlinearity == "lrelu" else 0)


def test_nothing_is_kept_for_the_backward_pass_but_features():
    x, bias = jnp.zeros((2, 8, 8, 16), jnp.bfloat16), jnp.zeros(16)
    for fn in (
        lambda x: epilogues.bias_act(x, bias, "lrelu"),
        lambda x: epilogues.bias_act_blur(x, bias, "lrelu", BLUR),
    ):
        kept = jax.tree.leaves(jax.eval_shape(lambda x, fn=fn: jax.vjp(fn, x)[1], x))
        assert {(y.shape, y.dtype) for y in kept if y.size >= x.size} == {(x.shape, x.dtype)}
