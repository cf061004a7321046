"""Each form equals its definition with JAX's own derivatives; forms for GPUs run in Pallas' interpreter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.devices import backend
from stylegan_jax.networks import epilogues, gpu_kernels, ops
from tests.derivatives import assert_equal, normal, values_and_derivatives
from tests.small import AMD_GPU, CPU, GPU, OLD_GPU, TPU

BLUR = (1, 2, 1)


@pytest.fixture
def gpu_forms(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "INTERPRET", True)
    with backend.forms_for(GPU):
        yield


def layer(n, h, w, c, num_noise):
    """Returns the inputs of an epilogue: a convolution's output, noise, strength, bias, style."""
    return (
        normal(n, h, w, c),
        normal(num_noise, h, w, 1, seed=1),
        normal(c, seed=2),
        normal(c, seed=3),
        normal(n, 2 * c, seed=4),
    )


@pytest.mark.parametrize(
    ("shape", "taps", "nonlinearity", "epsilon"),
    [
        ((2, 8, 8, 16, 2), None, "lrelu", 1e-8),
        ((3, 4, 4, 8, 1), BLUR, "lrelu", 1e-8),
        ((1, 16, 48, 40, 1), (1, 3, 3, 1), "lrelu", 1e-8),
        ((2, 64, 32, 8, 2), BLUR, "relu", 0.3),  # Of the size of the variance: it counts in each derivative.
        ((1, 4, 4, 192, 1), None, "lrelu", 0.3),
    ],
    ids=str,
)
def test_kernels_of_the_epilogue_and_their_derivatives_equal_the_definition(
    gpu_forms, shape, taps, nonlinearity, epsilon
):
    how = {"nonlinearity": nonlinearity, "taps": taps, "epsilon": epsilon}
    ours, plain = (
        jax.jit(functools.partial(values_and_derivatives, functools.partial(fn, **how)))(*layer(*shape))
        for fn in (epilogues.fused_styled, epilogues.plain_styled)
    )
    assert_equal(ours, plain, 4e-6)  # Each differs by up to 2e-6 from float64's result.
    assert_equal(ours[:3], plain[:3], 2e-6)


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
    # The cotangent is rounded too, by 2**-9 of each element; in sums these errors partly cancel.
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


@pytest.mark.parametrize(("value", "limit"), [(0.7, 0.05), (3e8 / 7, np.inf)])
def test_a_flat_map_stays_flat(gpu_forms, value, limit):
    x, zeros = jnp.full((1, 64, 64, 8), value), jnp.zeros(8)
    y = epilogues.fused_styled(x, jnp.zeros((1, 64, 64, 1)), zeros, zeros, jnp.zeros((1, 16)), "lrelu")
    assert np.all(np.isfinite(y)) and np.max(np.abs(y)) < limit  # 1 / sqrt(EPSILON), 10,000, enlarges rounding.
