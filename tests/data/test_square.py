"""Decoded pictures of every shape become the squares they should, exactly."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import square
from tests.picture_files import encode, noise, to_square

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def test_gray_is_repeated_in_rgb():
    gray = noise(8, 8, 1)
    found = to_square(encode(Image.fromarray(gray[..., 0])), 8, channels=3)
    np.testing.assert_array_equal(found, np.repeat(gray, 3, axis=2))


def test_one_channel_is_the_luma_of_rgb():
    pixels = noise(8, 8)
    found = to_square(Image.fromarray(pixels), 8, channels=1)
    assert found.shape == (8, 8, 1)
    assert np.abs(found[..., 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_half_transparent_pixels_mix_with_the_background():
    rgba = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    found = to_square(encode(rgba), 4, background=(255, 100, 0))
    np.testing.assert_array_equal(found[0, 0], np.rint(np.array([255, 100, 0]) * 127 / 255))
    assert abs(int(to_square(encode(rgba), 4, channels=1)[0, 0, 0]) - 127) <= 1


def test_gray_with_alpha_lies_on_the_background():
    image = Image.new("LA", (4, 4), (90, 255))
    image.putpixel((0, 0), (90, 0))
    found = to_square(encode(image), 4, background=GREEN)
    np.testing.assert_array_equal(found[0, 0], GREEN)
    np.testing.assert_array_equal(found[1, 1], (90, 90, 90))


def test_four_channels_keep_colour_and_alpha_apart():
    rgba = noise(8, 8, 4)
    np.testing.assert_array_equal(to_square(encode(Image.fromarray(rgba)), 8, channels=4), rgba)


def test_four_channel_means_weigh_colour_by_alpha():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = 200, 100, 50, 255
    rgba[0, 1] = 100, 100, 50, 255
    rgba[1] = 255, 255, 255, 0  # Hidden white must not show.
    found = to_square(Image.fromarray(rgba), 1, channels=4)
    np.testing.assert_array_equal(found[0, 0], [150, 100, 50, 128])  # 127.5 rounds to even.
    rgba[..., :3], rgba[..., 3] = 200, 1
    np.testing.assert_array_equal(to_square(Image.fromarray(rgba), 1, channels=4)[0, 0], [200, 200, 200, 1])


@pytest.mark.parametrize("wide", [True, False])
def test_crop_keeps_the_centre(wide):
    pixels = np.full((4, 12, 3), RED, np.uint8)
    pixels[:, 4:8] = noise(4, 4)
    pixels = pixels if wide else pixels.swapaxes(0, 1).copy()
    centre = pixels[:, 4:8] if wide else pixels[4:8]
    np.testing.assert_array_equal(to_square(Image.fromarray(pixels), 4, fit="crop"), centre)


@pytest.mark.parametrize(("channels", "padding"), [(1, [54]), (3, [0, 80, 60]), (4, [0, 80, 60, 0])])
def test_pad_adds_background_above_and_below(channels, padding):
    found = to_square(Image.new("RGB", (8, 4), WHITE), 8, channels, "pad", (0, 80, 60))
    np.testing.assert_array_equal(found[:2], np.broadcast_to(padding, (2, 8, channels)))
    np.testing.assert_array_equal(found[2:6], 255)
    np.testing.assert_array_equal(found[6:], found[:2])


def test_pad_adds_background_left_and_right():
    found = to_square(Image.new("RGB", (2, 4), WHITE), 4, fit="pad", background=RED)
    np.testing.assert_array_equal(found[0], [RED, WHITE, WHITE, RED])


def test_stretch_keeps_everything():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = RED, BLUE
    found = to_square(Image.fromarray(pixels), 4, fit="stretch")
    np.testing.assert_array_equal(found[0], [RED, RED, BLUE, BLUE])


@pytest.mark.parametrize("multiple", [2, 4, 16])
def test_power_of_two_multiples_are_the_exact_box_mean(multiple):
    pixels = noise(4 * multiple, 4 * multiple)
    boxes = pixels.reshape(4, multiple, 4, multiple, 3).astype(np.float64)
    np.testing.assert_array_equal(to_square(Image.fromarray(pixels), 4), np.rint(boxes.mean((1, 3))))


def test_other_sizes_go_through_an_antialiased_filter():
    stripes = np.zeros((96, 96), np.uint8)
    stripes[:, ::2] = 255  # Finer than the result can show: it must come out gray, not as beats.
    found = to_square(Image.fromarray(stripes), 32, channels=1)[2:-2, 2:-2]
    assert np.abs(found.astype(int) - 127).max() < 20
    assert len(np.unique(to_square(Image.fromarray(noise(96, 96)), 32))) > 2


def test_smaller_pictures_are_enlarged():
    found = to_square(Image.new("RGB", (3, 3), (10, 20, 30)), 8)
    np.testing.assert_array_equal(found, np.broadcast_to((10, 20, 30), (8, 8, 3)))


@pytest.mark.parametrize(
    ("size", "fit", "expected"),
    [
        ((8, 8), "crop", False),
        ((7, 20), "crop", True),
        ((7, 20), "pad", False),
        ((7, 20), "stretch", True),
        ((7, 7), "pad", True),
    ],
)
def test_enlarged_means_that_the_square_was_smaller(size, fit, expected):
    assert square.is_enlarged(size, 8, fit) is expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 2}, "model.channels is 2"),
        ({"fit": "squash"}, "data.fit is 'squash'; use one of crop, pad, stretch"),
        ({"background": (0, 0)}, r"data.background is \(0, 0\); use three"),
        ({"background": (0, 0, 256)}, "data.background is"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        square.check_settings(**({"channels": 3, "fit": "crop", "background": WHITE} | settings))


@pytest.mark.parametrize(
    ("size", "rows"), [((64, 48), 48), ((64, 64), 64), ((128, 128), 64), ((96, 72), 48), ((100, 90), 58)]
)
def test_wide_pictures_become_a_band_between_black_bars(size, rows):
    image = Image.fromarray(noise(size[1], size[0]))
    found = to_square(image, 64, fit="wide")
    assert found.shape == (64, 64, 3) and not found[:8].any() and not found[56:].any()
    top = (size[1] - rows) // 2
    band = image.crop((0, top, size[0], (size[1] + rows) // 2)).resize((64, 48), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found[8:56], np.asarray(band))


@pytest.mark.parametrize("size", [(63, 63), (64, 47), (128, 94)])
def test_wide_leaves_out_what_is_too_small(size):
    with pytest.raises(square.TooSmall, match=f"{size[0]}x{size[1]} px is less than 64 wide, or 48 high"):
        to_square(Image.new("RGB", size), 64, fit="wide")


@pytest.mark.parametrize("size", [(1, 10000), (10000, 1), (5, 501)])
def test_a_line_is_no_picture(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} px is a line"):
        to_square(Image.new("RGB", size), 8, fit="pad")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(57, 32), (32, 57), (64, 31), (9, 64), (32, 31), (90, 2)])
def test_padding_in_strips_gives_what_the_whole_padded_square_gives(monkeypatch, size, mode):
    channels, background = len(mode), (10, 200, 30)
    pixels = noise(size[1], size[0], channels)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    side = max(size)
    whole = Image.new("RGBA", (side, side), (*background, 0)).convert(mode)
    whole.paste(image, ((side - size[0] + 1) // 2, (side - size[1] + 1) // 2))
    for strip_pixels in (1, 500, 2**22):
        monkeypatch.setattr(square, "STRIP_PIXELS", strip_pixels)
        for resolution in (8, 32):
            np.testing.assert_array_equal(
                to_square(image, resolution, channels, "pad", background), to_square(whole, resolution, channels)
            )


@pytest.mark.parametrize("side", [10_000, 8192])  # By Lanczos, and by box means.
def test_a_padded_panorama_takes_little_more_memory_than_itself(side):
    code = f"""
from PIL import Image
from stylegan_jax.data import square
from tests.memory import peak_kib
image = Image.new("RGB", ({side}, 500), (1, 2, 3))
before = peak_kib()
square.to_square(image, 64, fit="pad")
print((peak_kib() - before) // 1024)
"""
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parent.parent.parent)}
    grown_mib = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True).stdout
    )
    assert grown_mib < 150  # The padded square alone is of 300 or more.
