"""Each way of resizing equals the code it is named after."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from stylegan_jax.metrics.features import resize


def _pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _tf1_pixel(image: np.ndarray, y: int, x: int, new: tuple[int, int]) -> np.ndarray:
    """Returns one pixel as TensorFlow's kernel computes it, in float32."""
    places = [
        np.float32(i) * (np.float32(old) / np.float32(n)) for i, old, n in zip((y, x), image.shape, new, strict=False)
    ]
    (top, bottom), (left, right) = (
        (int(at), min(int(at) + 1, old - 1)) for at, old in zip(places, image.shape, strict=False)
    )
    down, across = (at - np.float32(int(at)) for at in places)
    image = image.astype(np.float32)
    upper = image[top, left] + (image[top, right] - image[top, left]) * across
    lower = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * across
    return upper + (lower - upper) * down


@pytest.mark.parametrize("size", [32, 64, 128, 256, 299, 512, 1024])
def test_tf1_bilinear_equals_tensorflows_kernel(size):
    picture = _pictures(size, size, 3, seed=size)
    ours = np.asarray(jax.jit(resize.tf1_bilinear, static_argnums=(1, 2))(resize.rgb(picture[None]), 299, 299))[0]
    rng = np.random.default_rng(1)
    for y, x in [(0, 0), (298, 298), (0, 298), *rng.integers(0, 299, (40, 2)).tolist()]:
        np.testing.assert_allclose(ours[y, x], _tf1_pixel(picture, y, x, (299, 299)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(32, 32), (120, 90), (400, 400)])
def test_torch_bilinear_aligns_the_centers_of_pixels(shape):
    pictures = resize.rgb(_pictures(1, *shape, 3))
    expected = jax.image.resize(pictures, (1, 299, 299, 3), "linear", antialias=False)
    np.testing.assert_allclose(resize.torch_bilinear(pictures, 299, 299), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("size", [100, 512, 1024])
def test_torch_bilinear_rounds_each_place_once(size):
    ramp = jnp.arange(size, dtype=jnp.float32)[None, None, :, None] * jnp.ones((1, size, 1, 1))
    scale = fractions.Fraction(float(np.float32(size) / np.float32(299)))
    half = fractions.Fraction(1, 2)
    places = np.array([np.float32(float((i + half) * scale - half)) for i in range(299)])
    np.testing.assert_array_equal(resize.torch_bilinear(ramp, 299, 299)[0, 7, :, 0], places.clip(0, size - 1))


@pytest.mark.parametrize("shape", [(32, 32), (120, 90), (299, 299), (400, 400), (1024, 512)])
def test_pil_bicubic_equals_pillow(shape):
    picture = _pictures(*shape, 3)
    channels = [
        Image.fromarray(picture[..., k].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
        for k in range(3)
    ]
    expected = np.stack([np.asarray(channel) for channel in channels], axis=2).clip(0, 255)
    np.testing.assert_allclose(resize.pil_bicubic(resize.rgb(picture[None]), 299, 299)[0], expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("shape", "px"), [((32, 32), 224), ((120, 90), 336), ((336, 336), 336), ((401, 1024), 224), ((5, 3), 7)]
)
def test_pil_bicubic_of_uint8_equals_pillow_bit_for_bit(shape, px):
    noise = _pictures(*shape, 3)
    for picture in (noise, (noise > 127) * np.uint8(255)):  # Edges go beyond black and white.
        expected = np.asarray(Image.fromarray(picture).resize((px, px + 1), Image.Resampling.BICUBIC))
        ours = jax.jit(resize.pil_bicubic_uint8, static_argnums=(1, 2))(picture[None], px + 1, px)[0]
        np.testing.assert_array_equal(ours, expected)


def test_torch_bicubic_is_pillows_filter_without_its_limits():
    edges = resize.rgb((_pictures(1, 64, 64, 3) > 127) * np.uint8(255))
    ours = resize.torch_bicubic(edges, 224, 224)
    assert ours.min() < -5 and ours.max() > 260
    np.testing.assert_array_equal(np.clip(ours, 0, 255), resize.pil_bicubic(edges, 224, 224))


def test_gray_is_repeated():
    gray = _pictures(2, 4, 4, 1)
    np.testing.assert_array_equal(resize.rgb(gray), np.repeat(gray, 3, axis=3))


def test_what_is_transparent_is_white():
    pixels = np.array([[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]], np.uint8)[None, :, None]
    expected = [[10, 20, 30], [255, 255, 255], [204, 204, 204]]
    np.testing.assert_allclose(resize.rgb(pixels)[0, :, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        resize.on_white(pixels / 127.5 - 1, -1.0, 1.0)[0, :, 0], np.array(expected) / 127.5 - 1, atol=1e-6
    )


@pytest.mark.parametrize(
    "images", [np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.uint8)]
)
def test_images_of_another_type_or_shape_are_refused(images):
    with pytest.raises(ValueError, match=r"images must be uint8 \[n, h, w, 1, 3 or 4\], and are"):
        resize.rgb(jnp.asarray(images))


def test_images_shrink_to_means_of_boxes():
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    expected = images.reshape(2, 4, 4, 4, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(resize.shrink(jnp.asarray(images), 4), expected, rtol=1e-6)


def test_images_that_are_small_enough_stay():
    images = jnp.ones((1, 24, 24, 3))
    assert resize.shrink(images, 16) is images


def test_images_that_no_boxes_fit_are_refused():
    with pytest.raises(ValueError, match="50x50 px cannot be averaged over boxes of 3 px"):
        resize.shrink(jnp.ones((1, 50, 50, 3)), 16)
