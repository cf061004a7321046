"""Convolutions of the feature networks on CPUs against XLA's own in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.devices import backend
from stylegan_jax.metrics import ppl
from stylegan_jax.metrics.features import convolution

# Sizes of the images, kernel, stride and padding: each form, with and without rows and columns that tiles do not fill.
CASES = {
    "1x1": ((5, 7, 6), (1, 1, 6, 4), 1, "SAME"),
    "1x7": ((9, 9, 6), (1, 7, 6, 4), 1, "SAME"),
    "3x3, valid": ((11, 9, 6), (3, 3, 6, 4), 1, "VALID"),
    "5x3, valid": ((11, 9, 6), (5, 3, 6, 4), 1, "VALID"),
    "strided": ((11, 12, 6), (3, 3, 6, 4), 2, "VALID"),
    "strided, with padding": ((11, 12, 6), (3, 3, 6, 4), 2, "SAME"),
    "tiles of 4": ((16, 20, 64), (3, 3, 64, 64), 1, "SAME"),
    "tiles of 4, odd sizes": ((19, 17, 64), (3, 3, 64, 72), 1, "SAME"),
    "tiles of 4, valid": ((19, 18, 64), (3, 3, 64, 64), 1, "VALID"),
    "tiles of 2": ((16, 17, 64), (3, 3, 64, 264), 1, "SAME"),
}


def _case(name: str) -> tuple[np.ndarray, np.ndarray, int, str]:
    size, shape, stride, padding = CASES[name]
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, *size)), rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))
    return x.astype(np.float32), kernel.astype(np.float32), stride, padding


def _expected(x: np.ndarray, kernel: np.ndarray, stride: int, padding: str) -> np.ndarray:
    with jax.enable_x64(True):
        result = convolution.plain_conv(x.astype(np.float64), kernel.astype(np.float64), stride, padding)
        return np.asarray(result)


@pytest.mark.parametrize("band", [2**18, 2000])
@pytest.mark.parametrize("name", CASES)
def test_convolutions_equal_plain_ones_in_float64(name, band, monkeypatch):
    monkeypatch.setattr(convolution, "MAX_BAND_NUMBERS", band)
    case = _case(name)
    np.testing.assert_allclose(jax.jit(convolution.conv, static_argnums=(2, 3))(*case), _expected(*case), atol=1e-5)
    with jax.enable_x64(True):
        x, kernel, *how = case
        result = convolution.conv(jnp.asarray(x, jnp.float64), jnp.asarray(kernel, jnp.float64), *how)
        np.testing.assert_allclose(result, _expected(*case), atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_plain_ones(name):
    x, kernel, *how = _case(name)

    def gradients(conv):
        return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(conv(x, kernel, *how))), argnums=(0, 1))(x, kernel)

    for ours, plain in zip(gradients(convolution.conv), gradients(convolution.plain_conv), strict=True):
        np.testing.assert_allclose(ours, plain, atol=2e-5 * np.max(np.abs(plain)))


@pytest.mark.parametrize("name", CASES)
def test_all_products_have_the_highest_precision(name):
    x, kernel, *how = _case(name)
    ppl.check_precision(lambda x, kernel: convolution.conv(x, kernel, *how), x, kernel)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_other_devices_take_the_plain_form_for_the_whole_batch(platform):
    def fn(x, kernel):
        return convolution.by_image(lambda x: convolution.conv(x, kernel), x)

    x, kernel, _, _ = _case("tiles of 4")
    with backend.forms_for(type("Device", (), {"platform": platform})):
        primitives = [equation.primitive.name for equation in jax.make_jaxpr(fn)(x, kernel).eqns]
    assert primitives == ["conv_general_dilated"]


@pytest.mark.parametrize("at_a_time", [1, 3, 4, 5])  # Of four images.
def test_images_in_turn_give_what_all_at_once_give(at_a_time):
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2, 1)

    def fn(x, y):
        return {"sum": (x + y).sum(axis=(1, 2, 3)), "image": x - y}

    result = jax.jit(lambda x, y: convolution.by_image(fn, x, y, at_a_time=at_a_time))(x, 2 * x)
    jax.tree.map(np.testing.assert_array_equal, result, fn(x, 2 * x))
