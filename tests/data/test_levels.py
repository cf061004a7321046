"""Every lower resolution is the official one, bit for bit: on the device, on the host, and as it is stored."""

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import square
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
    on_host = square.box_means(image, SIZES)
    for size in SIZES:
        np.testing.assert_array_equal(on_host[size], official[size])
        np.testing.assert_array_equal(np.asarray(ops.box_downscale_uint8(image[None], size))[0], official[size])
        np.testing.assert_array_equal(square.box_mean(image, size), official[size])


def _rgba_mean(rgba: np.ndarray, size: int) -> np.ndarray:
    """Returns box means in which a colour counts as much as its alpha, by whole numbers alone. uint8 [size, size, 4]"""
    boxes = rgba.reshape(size, len(rgba) // size, size, len(rgba) // size, 4).astype(object)
    alpha = boxes[..., 3:].sum((1, 3))
    weighed = np.concatenate([(boxes[..., :3] * boxes[..., 3:]).sum((1, 3)), alpha], axis=2)
    area = (len(rgba) // size) ** 2
    bottom = np.concatenate([np.where(alpha == 0, 1, alpha)] * 3 + [np.full_like(alpha, area)], axis=2)
    whole, rest = weighed // bottom, weighed % bottom
    return (whole + (2 * rest + whole % 2 > bottom)).astype(np.uint8)


@pytest.mark.parametrize("alphas", [(0, 256), (0, 2), (250, 256)], ids=["any", "nearly clear", "nearly opaque"])
def test_colours_of_rgba_count_as_much_as_their_alpha_on_host_and_device_down_to_4_px(alphas):
    rng = np.random.default_rng(0)
    rgba = np.concatenate(
        [rng.integers(0, 256, (64, 64, 3), np.uint8), rng.integers(*alphas, (64, 64, 1)).astype(np.uint8)], axis=2
    )
    rgba[:32, :32, 3] = 0
    on_host = square.box_means(rgba, (4, 8, 16, 32))
    for size in (4, 8, 16, 32):
        expected = _rgba_mean(rgba, size)
        np.testing.assert_array_equal(on_host[size], expected)
        np.testing.assert_array_equal(np.asarray(ops.box_downscale_uint8(rgba[None], size))[0], expected)


@pytest.mark.parametrize("colour", [(255, 255, 255, 255), (254, 1, 128, 255)])
def test_the_sums_of_rgba_hold_the_largest_box(colour):
    rgba = np.broadcast_to(np.array(colour, np.uint8), (TOP, TOP, 4)).copy()
    assert (square.box_mean(rgba, 4) == colour).all()
    assert (np.asarray(ops.box_downscale_uint8(rgba[None], 4)) == colour).all()


def test_a_picture_gives_the_same_8_px_whether_it_is_opened_at_8_px_or_at_its_own_size():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    image = Image.fromarray(pixels)
    small, large = (square.to_square(image, size, channels=4) for size in (8, 64))
    np.testing.assert_array_equal(square.box_mean(large, 8), small)
    np.testing.assert_array_equal(np.asarray(ops.box_downscale_uint8(large[None], 8))[0], small)
