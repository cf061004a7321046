import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax import ops

RESAMPLING = {
    "upscale_conv": (ops.upscale_conv, lambda x, w: ops.conv(ops.upscale(x), w)),
    "conv_downscale": (ops.conv_downscale, lambda x, w: ops.downscale(ops.conv(x, w))),
}


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 2, 2, 3, 5), (3, 4, 8, 6, 2), (2, 16, 16, 1, 4)], ids=str)
@pytest.mark.parametrize("name", RESAMPLING)
def test_resampling_convolution_and_its_gradients_equal_the_plain_form(name, shape, kernel_size):
    *image, features = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal(image, np.float32)
    weight = rng.standard_normal((kernel_size, kernel_size, image[-1], features), np.float32)
    results = []
    for conv_fn in RESAMPLING[name]:
        y, pull = jax.vjp(conv_fn, jnp.asarray(x), jnp.asarray(weight))
        results.append((y, *pull(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))))
    for ours, plain in zip(*results, strict=True):
        assert ours.shape == plain.shape
        assert np.max(np.abs(ours - plain)) <= 2e-6 * np.max(np.abs(plain))
