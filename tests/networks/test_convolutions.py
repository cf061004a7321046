import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.devices import backend
from stylegan_jax.networks import convolutions, cpu_convolutions
from tests.small import TPU


def large_winograd_conv(x, weight, scale=1.0):
    """Returns winograd_conv with tiles of 4x4 if they fit, which they do not for one of the shapes."""
    return cpu_convolutions.winograd_conv(x, weight, scale, size=4 if x.shape[1] % 4 == x.shape[2] % 4 == 0 else 2)


PLAIN = {
    cpu_convolutions.tap_conv: convolutions.plain_conv,
    cpu_convolutions.winograd_conv: convolutions.plain_conv,
    large_winograd_conv: convolutions.plain_conv,
    convolutions.upscale_conv: convolutions.plain_upscale_conv,
    cpu_convolutions.tap_upscale_conv: convolutions.plain_upscale_conv,
    convolutions.strided_upscale_conv: convolutions.plain_upscale_conv,
    convolutions.conv_downscale: convolutions.plain_conv_downscale,
    cpu_convolutions.tap_conv_downscale: convolutions.plain_conv_downscale,
    convolutions.strided_conv_downscale: convolutions.plain_conv_downscale,
}
TOLERANCE = {cpu_convolutions.winograd_conv: 1e-5, large_winograd_conv: 1e-5}  # Others only sum in another order: 2e-6.


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def results(conv_fn, x, weight):
    """Returns the value, its gradients, and gradients of the squared gradient by x, as in a gradient penalty."""

    def value_and_gradient(x, weight):
        y, pull = jax.vjp(lambda x, weight: conv_fn(x, weight, 0.3), x, weight)
        cotangent = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return (y, *pull(cotangent))

    def penalty(x, weight):
        y, d_x, _ = value_and_gradient(x, weight)
        return jnp.sum(d_x**2) + jnp.sum(y**3)

    return *value_and_gradient(x, weight), *jax.grad(penalty, argnums=(0, 1))(x, weight)


@pytest.mark.parametrize("shape", [(1, 2, 2, 3, 5), (3, 4, 8, 6, 2), (2, 16, 16, 1, 4), (1, 12, 20, 3, 3)], ids=str)
@pytest.mark.parametrize("conv_fn", PLAIN, ids=lambda f: f.__name__)
def test_fast_forms_and_their_derivatives_equal_the_plain_ones(conv_fn, shape):
    *image, features = shape
    x, weight = normal(*image), normal(3, 3, image[-1], features)
    with jax.default_matmul_precision("highest"):
        ours, plain = (jax.jit(results, static_argnums=0)(f, x, weight) for f in (conv_fn, PLAIN[conv_fn]))
    for a, b in zip(ours, plain, strict=True):
        assert a.shape == b.shape
        assert np.max(np.abs(a - b)) <= TOLERANCE.get(conv_fn, 2e-6) * np.max(np.abs(b))


@pytest.mark.parametrize("ring", [0, 1])
@pytest.mark.parametrize("kind", ["", "strided_"])
def test_a_ring_of_pixels_is_what_lies_outside_the_picture(kind, ring):
    x, larger, weight = normal(2, 4, 6, 3), normal(2, 8 + 2 * ring, 12 + 2 * ring, 3), normal(3, 3, 3, 5)
    up, down = getattr(convolutions, f"{kind}upscale_conv"), getattr(convolutions, f"{kind}conv_downscale")
    outside = ((0, 0), (2, 2), (2, 2), (0, 0))
    wide = convolutions.plain_upscale_conv(np.pad(x, outside), weight, 0.3)  # Exact where it is not at its own border.
    expected = wide[:, 4 - ring : 12 + ring, 4 - ring : 16 + ring]
    shrunk = convolutions.plain_conv_downscale(
        np.pad(larger, ((0, 0), (ring, ring), (ring, ring), (0, 0))), weight, 0.3
    )
    with jax.default_matmul_precision("highest"):
        ours = results(lambda *args: up(*args, ring), x, weight)
        plain = results(lambda *args: convolutions.plain_upscale_conv(*args, ring), x, weight)
        ours += results(lambda *args: down(*args, ring), larger, weight)
        plain += results(lambda *args: convolutions.plain_conv_downscale(*args, ring), larger, weight)
    np.testing.assert_allclose(ours[0], expected, atol=1e-5)
    np.testing.assert_allclose(ours[5], shrunk[:, ring : ring + 4, ring : ring + 6], atol=1e-5)
    for a, b in zip(ours, plain, strict=True):
        assert a.shape == b.shape and np.max(np.abs(a - b)) <= 2e-6 * np.max(np.abs(b))


@pytest.mark.parametrize("conv_fn", PLAIN, ids=lambda f: f.__name__)
def test_features_stay_float32_where_jax_would_make_float64(conv_fn):
    with jax.enable_x64(True):
        x, weight = jnp.asarray(normal(1, 4, 4, 3), jnp.float32), jnp.asarray(normal(3, 3, 3, 2), jnp.float32)
        assert {y.dtype for y in results(conv_fn, x, weight)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kernel_size", [1, 5])
@pytest.mark.parametrize("name", ["conv", "upscale_conv", "conv_downscale"])
def test_kernels_of_other_sizes_take_the_plain_form(name, kernel_size):
    # Whole numbers have exact sums in any order: a kernel of one pixel is a matrix product.
    x, weight = np.round(8 * normal(2, 8, 8, 4)), np.round(8 * normal(kernel_size, kernel_size, 4, 3))
    ours, plain = getattr(convolutions, name), getattr(convolutions, f"plain_{name}")
    np.testing.assert_array_equal(ours(x, weight, 0.5), plain(x, weight, 0.5))


@pytest.mark.parametrize(
    ("shape", "channels", "form"),
    [
        ((2, 8, 8), (32, 32), "tap_conv"),
        ((8, 8, 8), (32, 32), "winograd_conv of 2"),
        ((8, 16, 16), (32, 32), "winograd_conv of 4"),
        ((8, 18, 18), (32, 32), "winograd_conv of 2"),
        ((8, 17, 16), (32, 32), "tap_conv"),
        ((8, 16, 16), (31, 32), "plain_conv"),
        ((8, 16, 16), (32, 31), "plain_conv"),
    ],
)
def test_a_convolution_takes_the_form_that_its_size_asks_for(monkeypatch, shape, channels, form):
    monkeypatch.setattr(convolutions, "plain_conv", lambda *args: "plain_conv")  # Each returns its name.
    monkeypatch.setattr(cpu_convolutions, "tap_conv", lambda *args: "tap_conv")
    monkeypatch.setattr(cpu_convolutions, "winograd_conv", lambda x, weight, scale, size: f"winograd_conv of {size}")
    assert convolutions.conv(jnp.zeros((*shape, channels[0])), jnp.zeros((3, 3, *channels))) == form


def test_a_platform_that_is_named_comes_before_the_one_at_hand(monkeypatch):
    monkeypatch.setattr(convolutions, "strided_upscale_conv", lambda *args: "strided_upscale_conv")
    monkeypatch.setattr(cpu_convolutions, "tap_upscale_conv", lambda *args: "tap_upscale_conv")

    def form() -> str:
        return convolutions.upscale_conv(jnp.zeros((1, 8, 8, 32)), jnp.zeros((3, 3, 32, 32)))

    assert form() == "tap_upscale_conv"
    with backend.forms_for(TPU):
        assert form() == "strided_upscale_conv"
    assert form() == "tap_upscale_conv"


@pytest.mark.parametrize("name", ["conv", "upscale_conv", "conv_downscale"])
def test_on_a_cpu_bfloat16_rounds_the_factors_and_the_result_alone(name):
    x, weight = normal(8, 16, 16, 32), normal(3, 3, 32, 32, seed=1)
    rounded = [jnp.asarray(v, jnp.bfloat16).astype(jnp.float32) for v in (x, weight)]
    exact = getattr(convolutions, f"plain_{name}")(*rounded)
    ours = getattr(convolutions, name)(jnp.asarray(x, jnp.bfloat16), weight)
    assert ours.dtype == jnp.bfloat16
    error = np.abs(np.asarray(ours, np.float32) - exact)
    assert np.all(error <= 2**-8 * np.abs(exact) + 1e-5 * np.max(np.abs(exact)))


@pytest.mark.parametrize("pixels", [4, 8, 12, 16])
@pytest.mark.parametrize("conv_fn", [cpu_convolutions.tap_conv, cpu_convolutions.winograd_conv, large_winograd_conv])
def test_rounding_with_many_channels_is_below_the_limit_of_parity(conv_fn, pixels):
    x, weight = normal(2, pixels, pixels, 512), normal(3, 3, 512, 64, seed=1)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float64)
    exact = sum(
        padded[:, i : i + pixels, j : j + pixels] @ weight[i, j].astype(np.float64) for i in range(3) for j in range(3)
    )
    assert np.max(np.abs(conv_fn(x, weight) - exact)) <= 1e-5 * np.max(np.abs(exact))


@pytest.mark.parametrize("new_axis", [0, -2])
@pytest.mark.parametrize(("width", "stride"), [(6, 4), (4, 4), (4, 2)])
def test_windows_and_their_overlapping_sum_are_adjoint(width, stride, new_axis):
    matrix = tuple(map(tuple, normal(3, width).tolist()))
    x = normal(2, 3 * stride, 5, seed=1)
    v = np.asarray(cpu_convolutions.windows(x, matrix, stride, 1, new_axis))
    w = normal(*v.shape, seed=2)
    right = np.vdot(x, cpu_convolutions.overlap_add(w, matrix, stride, 1, new_axis))
    np.testing.assert_allclose(np.vdot(v, w), right, rtol=1e-5)
    padded = np.pad(x, ((0, 0), ((width - stride) // 2,) * 2, (0, 0)))
    first = np.einsum("i,nic->nc", np.float32(matrix[1]), padded[:, stride : stride + width])
    np.testing.assert_allclose(np.take(np.take(v, 1, new_axis), 1, 1), first, rtol=1e-5, atol=1e-6)
