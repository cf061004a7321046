"""Pictures of every format, mode, depth and shape become the squares they should."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from stylegan_jax.data import pictures

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def _encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def _png16(values: np.ndarray) -> bytes:
    """Returns uint16 RGB values [h, w, 3] as a 16-bit PNG, which Pillow can read but not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    h, w, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000", "TGA"])
def test_lossless_formats_at_model_resolution_come_back_unchanged(format):
    pixels = _noise(8, 8)
    np.testing.assert_array_equal(pictures.to_square(_encode(Image.fromarray(pixels), format), 8), pixels)


def test_lossless_webp_comes_back_unchanged():
    pixels = _noise(8, 8)
    np.testing.assert_array_equal(
        pictures.to_square(_encode(Image.fromarray(pixels), "WEBP", lossless=True), 8), pixels
    )


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_keep_a_flat_colour(format):
    square = pictures.to_square(_encode(Image.new("RGB", (16, 16), (200, 100, 50)), format), 8)
    assert np.abs(square.astype(int) - (200, 100, 50)).max() <= 4


def test_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    encoded = _encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pictures.to_square(encoded, 8)[0, 0], RED)


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for encoded in (_encode(cyan, "TIFF"), _encode(cyan, "JPEG", quality=100)):
        assert np.abs(pictures.to_square(encoded, 8)[0, 0].astype(int) - (0, 255, 255)).max() <= 2


def test_one_bit_pictures_become_black_and_white():
    square = pictures.to_square(_encode(Image.fromarray(np.eye(8, dtype=bool))), 8, channels=1)
    np.testing.assert_array_equal(square[..., 0], np.eye(8) * 255)


def test_gray_is_repeated_in_rgb():
    gray = _noise(8, 8, 1)
    square = pictures.to_square(_encode(Image.fromarray(gray[..., 0])), 8, channels=3)
    np.testing.assert_array_equal(square, np.repeat(gray, 3, axis=2))


def test_one_channel_is_the_luma_of_rgb():
    pixels = _noise(8, 8)
    square = pictures.to_square(Image.fromarray(pixels), 8, channels=1)
    assert square.shape == (8, 8, 1)
    assert np.abs(square[..., 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_palette_pictures_take_their_palette_colours():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *GREEN])
    np.testing.assert_array_equal(pictures.to_square(_encode(image), 8)[0, 0], GREEN)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bit_gray_scales_to_eight_bits(dtype):
    values = np.full((4, 4), 65535, dtype)
    values[0] = [0, 257 * 100, 257 * 100 + 128, 257 * 100 + 129]
    square = pictures.to_square(Image.fromarray(values), 4, channels=1)
    np.testing.assert_array_equal(square[0, :, 0], [0, 100, 100, 101])
    np.testing.assert_array_equal(square[1:], 255)


def test_sixteen_bit_gray_files_scale_to_eight_bits():
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    for format in ("PNG", "TIFF"):
        square = pictures.to_square(_encode(Image.fromarray(values), format), 8, channels=3)
        np.testing.assert_array_equal(square, np.repeat(np.rint(values / 257.0), 3).reshape(8, 8, 3))


def test_sixteen_bit_rgb_files_scale_to_eight_bits():
    values = np.zeros((4, 4, 3), np.uint16)
    values[0, 0] = 65535, 257 * 100, 0
    square = pictures.to_square(_png16(values), 4)
    np.testing.assert_array_equal(square[0, 0], [255, 100, 0])
    np.testing.assert_array_equal(square[1:], 0)


@pytest.mark.parametrize(("top", "expected"), [(1.0, [0, 64, 128, 255]), (255.0, [0, 64, 128, 255])])
def test_floats_span_zero_to_one_or_to_255(top, expected):
    values = np.tile(np.array([0, 0.25, 0.5, 1], np.float32) * top, (4, 1))
    square = pictures.to_square(_encode(Image.fromarray(values), "TIFF"), 4, channels=1)
    np.testing.assert_array_equal(square[0, :, 0], expected)


@pytest.mark.parametrize(
    "values", [np.full((4, 4), -1, np.int32), np.full((4, 4), 70000, np.int32), np.full((4, 4), np.nan, np.float32)]
)
def test_deep_pictures_outside_the_known_ranges_are_refused(values):
    with pytest.raises(ValueError, match=r"values .* are not in 0\.\."):
        pictures.to_square(Image.fromarray(values), 4)


def test_half_transparent_pixels_mix_with_the_background():
    rgba = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    square = pictures.to_square(_encode(rgba), 4, background=(255, 100, 0))
    np.testing.assert_array_equal(square[0, 0], np.rint(np.array([255, 100, 0]) * 127 / 255))
    assert abs(int(pictures.to_square(_encode(rgba), 4, channels=1)[0, 0, 0]) - 127) <= 1


def test_gray_with_alpha_lies_on_the_background():
    image = Image.new("LA", (4, 4), (90, 255))
    image.putpixel((0, 0), (90, 0))
    square = pictures.to_square(_encode(image), 4, background=GREEN)
    np.testing.assert_array_equal(square[0, 0], GREEN)
    np.testing.assert_array_equal(square[1, 1], (90, 90, 90))


def test_transparent_palette_entries_show_the_background():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*RED, *GREEN])
    image.putpixel((0, 0), 0)
    for encoded in (_encode(image, transparency=0), _encode(image, "GIF", transparency=0)):
        square = pictures.to_square(encoded, 4, background=BLUE)
        np.testing.assert_array_equal(square[0, 0], BLUE)
        np.testing.assert_array_equal(square[1, 1], GREEN)


def test_transparent_colour_of_an_rgb_png_shows_the_background():
    image = Image.new("RGB", (4, 4), RED)
    image.putpixel((0, 0), GREEN)
    square = pictures.to_square(_encode(image, transparency=GREEN), 4, background=BLUE)
    np.testing.assert_array_equal(square[0, 0], BLUE)
    np.testing.assert_array_equal(square[1, 1], RED)


def test_four_channels_keep_colour_and_alpha_apart():
    rgba = _noise(8, 8, 4)
    np.testing.assert_array_equal(pictures.to_square(_encode(Image.fromarray(rgba)), 8, channels=4), rgba)


def test_four_channel_means_weigh_colour_by_alpha():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = 200, 100, 50, 255
    rgba[0, 1] = 100, 100, 50, 255
    rgba[1] = 255, 255, 255, 0  # Hidden white must not show.
    square = pictures.to_square(Image.fromarray(rgba), 1, channels=4)
    np.testing.assert_array_equal(square[0, 0], [150, 100, 50, 128])  # 127.5 rounds to even.
    rgba[..., :3], rgba[..., 3] = 200, 1
    np.testing.assert_array_equal(pictures.to_square(Image.fromarray(rgba), 1, channels=4)[0, 0], [200, 200, 200, 1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(orientation):
    pixels = _noise(4, 4)
    stored_from_upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, 1),  # Shown after a quarter turn clockwise, so it is stored turned counter-clockwise.
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }
    image = Image.fromarray(np.ascontiguousarray(stored_from_upright[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pictures.to_square(_encode(image, exif=exif), 4), pixels)


@pytest.mark.parametrize("wide", [True, False])
def test_crop_keeps_the_centre(wide):
    pixels = np.full((4, 12, 3), RED, np.uint8)
    pixels[:, 4:8] = _noise(4, 4)
    pixels = pixels if wide else pixels.swapaxes(0, 1).copy()
    centre = pixels[:, 4:8] if wide else pixels[4:8]
    np.testing.assert_array_equal(pictures.to_square(Image.fromarray(pixels), 4, fit="crop"), centre)


@pytest.mark.parametrize(("channels", "padding"), [(1, [54]), (3, [0, 80, 60]), (4, [0, 80, 60, 0])])
def test_pad_adds_background_above_and_below(channels, padding):
    square = pictures.to_square(Image.new("RGB", (8, 4), WHITE), 8, channels, "pad", (0, 80, 60))
    np.testing.assert_array_equal(square[:2], np.broadcast_to(padding, (2, 8, channels)))
    np.testing.assert_array_equal(square[2:6], 255)
    np.testing.assert_array_equal(square[6:], square[:2])


def test_pad_adds_background_left_and_right():
    square = pictures.to_square(Image.new("RGB", (2, 4), WHITE), 4, fit="pad", background=RED)
    np.testing.assert_array_equal(square[0], [RED, WHITE, WHITE, RED])


def test_stretch_keeps_everything():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = RED, BLUE
    square = pictures.to_square(Image.fromarray(pixels), 4, fit="stretch")
    np.testing.assert_array_equal(square[0], [RED, RED, BLUE, BLUE])


@pytest.mark.parametrize("multiple", [2, 4, 16])
def test_power_of_two_multiples_are_the_exact_box_mean(multiple):
    pixels = _noise(4 * multiple, 4 * multiple)
    boxes = pixels.reshape(4, multiple, 4, multiple, 3).astype(np.float64)
    np.testing.assert_array_equal(pictures.to_square(Image.fromarray(pixels), 4), np.rint(boxes.mean((1, 3))))


def test_other_sizes_go_through_an_antialiased_filter():
    stripes = np.zeros((96, 96), np.uint8)
    stripes[:, ::2] = 255  # Finer than the result can show: it must come out gray, not as beats.
    square = pictures.to_square(Image.fromarray(stripes), 32, channels=1)[2:-2, 2:-2]
    assert np.abs(square.astype(int) - 127).max() < 20
    assert len(np.unique(pictures.to_square(Image.fromarray(_noise(96, 96)), 32))) > 2


def test_smaller_pictures_are_enlarged():
    square = pictures.to_square(Image.new("RGB", (3, 3), (10, 20, 30)), 8)
    np.testing.assert_array_equal(square, np.broadcast_to((10, 20, 30), (8, 8, 3)))


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
    assert pictures.is_enlarged(size, 8, fit) is expected


def test_an_image_of_pillow_is_left_as_it_was():
    image = Image.fromarray(_noise(6, 9, 4))
    before = np.asarray(image).copy()
    pictures.to_square(image, 4, fit="pad")
    np.testing.assert_array_equal(np.asarray(image), before)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused(format):
    encoded = _encode(Image.fromarray(_noise(64, 64)), format)
    with pytest.raises(ValueError):
        pictures.to_square(encoded[: len(encoded) // 2], 8)


@pytest.mark.parametrize("encoded", [b"", b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_bytes_that_are_no_picture_are_refused(encoded):
    with pytest.raises(ValueError, match="not a readable PNG, JPEG, WebP or other picture of a known format"):
        pictures.load(encoded)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit_px", [200, 100])  # Pillow warns above the limit, and raises above twice the limit.
def test_decompression_bombs_are_refused(monkeypatch, limit_px):
    encoded = _encode(Image.new("RGB", (16, 16)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit_px)
    with pytest.raises(ValueError, match=f"256.*{2 * limit_px}|16x16 is more than the {limit_px} pixels"):
        pictures.load(encoded)


def test_a_lack_of_memory_is_no_fault_of_the_picture(monkeypatch):
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        pictures.load(b"")


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
        pictures.to_square(Image.new("RGB", (4, 4)), 4, **settings)


@pytest.mark.parametrize(
    ("size", "rows"), [((64, 48), 48), ((64, 64), 64), ((128, 128), 64), ((96, 72), 48), ((100, 90), 58)]
)
def test_wide_pictures_become_a_band_between_black_bars(size, rows):
    image = Image.fromarray(_noise(size[1], size[0]))
    found = pictures.to_square(image, 64, fit="wide")
    assert found.shape == (64, 64, 3) and not found[:8].any() and not found[56:].any()
    top = (size[1] - rows) // 2
    band = image.crop((0, top, size[0], (size[1] + rows) // 2)).resize((64, 48), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found[8:56], np.asarray(band))


@pytest.mark.parametrize("size", [(63, 63), (64, 47), (128, 94)])
def test_wide_leaves_out_what_is_too_small(size):
    with pytest.raises(pictures.TooSmall, match=f"{size[0]}x{size[1]} px is not 64 wide with 48 rows"):
        pictures.to_square(Image.new("RGB", size), 64, fit="wide")


@pytest.mark.parametrize("size", [(1, 10000), (10000, 1), (5, 501)])
def test_a_line_is_no_picture(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} px is a line"):
        pictures.to_square(Image.new("RGB", size), 8, fit="pad")


@pytest.mark.parametrize(
    ("image", "options", "kept"),
    [
        (Image.new("RGB", (8, 8)), {}, True),
        (Image.new("RGB", (8, 8)), {"format": "JPEG"}, True),
        (Image.new("RGB", (8, 8)), {"format": "BMP"}, False),
        (Image.new("RGB", (8, 9)), {}, False),
        (Image.new("L", (8, 8)), {}, False),
        (Image.new("RGBA", (8, 8)), {}, False),
        (Image.new("P", (8, 8)), {}, False),
    ],
)
def test_a_file_is_kept_only_if_it_is_the_square_already(image, options, kept):
    encoded = _encode(image, **options)
    assert pictures.is_kept(pictures.load(encoded), 8, 3) == kept
    if kept:
        decoded = np.asarray(pictures.load(encoded))
        np.testing.assert_array_equal(pictures.to_square(encoded, 8), decoded)


def test_a_turned_file_is_not_kept():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    assert not pictures.is_kept(pictures.load(_encode(Image.new("RGB", (8, 8)), "JPEG", exif=exif)), 8, 3)


@pytest.mark.parametrize(
    ("encoded", "remark"),
    [
        (_encode(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK colours, converted to RGB"),
        (_encode(Image.fromarray(np.zeros((8, 8), np.uint16))), "deeper than 8 bits, scaled to 0..255"),
        (_encode(Image.new("RGBA", (8, 8))), "transparent, laid on data.background"),
        (_encode(Image.new("RGB", (8, 8))), None),
    ],
)
def test_what_is_unusual_is_told(encoded, remark):
    assert pictures.remarks(pictures.load(encoded), 3) == (() if remark is None else (remark,))


def test_arrays_of_another_kind_are_refused():
    for values in (np.zeros((8, 8), np.float32), np.zeros((8, 8, 2), np.uint8), np.zeros(8, np.uint8)):
        with pytest.raises(ValueError, match="is no picture of uint8"):
            pictures.to_square(values, 8)


@pytest.mark.parametrize("shape", [(1, 3, 8, 6), (3, 8, 6), (8, 6, 3)])
def test_an_npy_is_brought_to_height_width_channels(shape):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    file = io.BytesIO()
    np.save(file, values)
    expected = values if shape[-1] == 3 else values.reshape(3, 8, 6).transpose(1, 2, 0)
    np.testing.assert_array_equal(pictures.read_npy(file.getvalue()), expected)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_an_npy_that_is_none_is_refused(content):
    with pytest.raises(ValueError, match="not a readable .npy of numbers"):
        pictures.read_npy(content)
