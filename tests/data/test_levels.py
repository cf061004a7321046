"""Every lower resolution is the official one, bit for bit: on the device, on the host, and as it is stored."""

import numpy as np
import pytest

from stylegan_jax.data import pictures
from stylegan_jax.networks import ops

TOP = 1024
SIZES = tuple(2**k for k in range(2, 11))


def _official(image: np.ndarray) -> dict[int, np.ndarray]:
    """Returns the lower resolutions as the official exporter makes them: 2x2 means in float32, rounded when written."""
    x, found = image.astype(np.float32), {}
    while len(x) >= 4:
        found[len(x)] = np.rint(x).clip(0, 255).astype(np.uint8)
        x = (x[0::2, 0::2] + x[0::2, 1::2] + x[1::2, 0::2] + x[1::2, 1::2]) * np.float32(0.25)
    return found


def _one_over_f(rng: np.random.Generator) -> np.ndarray:
    """Returns noise whose amplitude falls with frequency, as in photographs."""
    frequency = np.hypot(np.fft.fftfreq(TOP)[:, None], np.fft.rfftfreq(TOP)[None, :])
    spectrum = np.fft.rfft2(rng.standard_normal((3, TOP, TOP))) / np.maximum(frequency, 1 / TOP)
    values = np.fft.irfft2(spectrum).transpose(1, 2, 0)
    return np.clip(np.rint(127.5 + 60 * values / values.std()), 0, 255).astype(np.uint8)


IMAGES = {
    "white noise": lambda rng: rng.integers(0, 256, (TOP, TOP, 3), np.uint8),
    "constant 255": lambda rng: np.full((TOP, TOP, 3), 255, np.uint8),
    "1/f": _one_over_f,
    "halves to be rounded to even": lambda rng: np.tile(rng.integers(0, 2, (TOP // 2, TOP, 3), np.uint8), (2, 1, 1)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_no_pixel_differs_from_1024_px_down_to_4(name):
    image = IMAGES[name](np.random.default_rng(0))
    official = _official(image)
    assert sorted(official) == list(SIZES)
    on_host = pictures.levels(image, SIZES)
    for size in SIZES:
        np.testing.assert_array_equal(on_host[size], official[size])
        np.testing.assert_array_equal(np.asarray(ops.box_downscale_uint8(image[None], size))[0], official[size])
        np.testing.assert_array_equal(pictures.box_mean(image, size), official[size])
