"""Pictures of every format, mode and depth are decoded to the values that they have."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from stylegan_jax.data import decode, square
from tests.picture_files import encode, noise, to_square

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
_BLACK = Image.new("RGB", (8, 8))
_PALE = "in the colours of {}, which are taken as sRGB and look paler"


def _png16(values: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """Returns uint16 values [h, w, 1 to 4] as a 16-bit PNG: gray, with alpha, RGB or RGBA."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    h, w, c = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", w, h, 16, {1: 0, 2: 4, 3: 2, 4: 6}[c], 0, 0, 0)
    transparency = chunk(b"tRNS", np.array(transparent, ">u2").tobytes()) if transparent else b""
    chunks = chunk(b"IHDR", header) + transparency + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _tiff16(values: np.ndarray, order: str, is_planar: bool = False) -> bytes:
    """Returns uint16 RGB values [h, w, 3] as an uncompressed TIFF in the order of bytes "<" or ">"."""
    h, w, c = values.shape
    tags = [(256, 4, w), (257, 4, h), (258, 3, 16), (259, 3, 1), (262, 3, 2), (273, 4, 1000), (277, 3, c), (278, 4, h)]
    tags += [(279, 4, values.nbytes), (284, 3, 2 if is_planar else 1)]
    plane = values.nbytes // c
    lists = {258: struct.pack(order + "HHH", 16, 16, 16)}  # What does not fit into the entries.
    if is_planar:
        lists |= {273: struct.pack(order + "III", *(1000 + i * plane for i in range(c)))}
        lists |= {279: struct.pack(order + "III", plane, plane, plane)}
    entries, places = b"", {number: 900 + 20 * i for i, number in enumerate(lists)}
    for number, kind, value in tags:
        if number in lists:
            entries += struct.pack(order + "HHII", number, kind, c, places[number])
        else:
            entries += struct.pack(order + "HHI", number, kind, 1)
            entries += struct.pack(order + "I", value) if kind == 4 else struct.pack(order + "HH", value, 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    content = head + struct.pack(order + "H", len(tags)) + entries + bytes(4)
    for number, listed in lists.items():
        content = content.ljust(places[number], b"\0") + listed
    pixels = np.moveaxis(values, 2, 0) if is_planar else values
    return content.ljust(1000, b"\0") + pixels.astype(order + "u2").tobytes()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000", "TGA"])
def test_lossless_formats_at_model_resolution_come_back_unchanged(format):
    pixels = noise(8, 8)
    np.testing.assert_array_equal(to_square(encode(Image.fromarray(pixels), format), 8), pixels)


def test_lossless_webp_comes_back_unchanged():
    pixels = noise(8, 8)
    np.testing.assert_array_equal(to_square(encode(Image.fromarray(pixels), "WEBP", lossless=True), 8), pixels)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_keep_a_flat_colour(format):
    found = to_square(encode(Image.new("RGB", (16, 16), (200, 100, 50)), format), 8)
    assert np.abs(found.astype(int) - (200, 100, 50)).max() <= 4


def test_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(to_square(encoded, 8)[0, 0], RED)


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for encoded in (encode(cyan, "TIFF"), encode(cyan, "JPEG", quality=100)):
        assert np.abs(to_square(encoded, 8)[0, 0].astype(int) - (0, 255, 255)).max() <= 2


def test_one_bit_pictures_become_black_and_white():
    found = to_square(encode(Image.fromarray(np.eye(8, dtype=bool))), 8, channels=1)
    np.testing.assert_array_equal(found[..., 0], np.eye(8) * 255)


def test_palette_pictures_take_their_palette_colours():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *GREEN])
    np.testing.assert_array_equal(to_square(encode(image), 8)[0, 0], GREEN)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bit_gray_scales_to_eight_bits(dtype):
    values = np.full((4, 4), 65535, dtype)
    values[0] = [0, 257 * 100, 257 * 100 + 128, 257 * 100 + 129]
    found = to_square(Image.fromarray(values), 4, channels=1)
    np.testing.assert_array_equal(found[0, :, 0], [0, 100, 100, 101])
    np.testing.assert_array_equal(found[1:], 255)


def test_sixteen_bit_gray_files_scale_to_eight_bits():
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    for format in ("PNG", "TIFF"):
        found = to_square(encode(Image.fromarray(values), format), 8, channels=3)
        np.testing.assert_array_equal(found, np.repeat(np.rint(values / 257.0), 3).reshape(8, 8, 3))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_gray_and_colours_are_rounded_alike(channels):
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, channels), np.uint16)
    values[0, 0] = 511  # 1.99 of 255; its upper byte alone is 1.
    expected = np.rint(values / 257).astype(np.uint8)
    expected = {1: lambda v: v.repeat(3, 2), 2: lambda v: v[..., [0, 0, 0, 1]]}.get(channels, lambda v: v)(expected)
    with_alpha = 4 if channels in (2, 4) else 3
    found = to_square(_png16(values), 8, with_alpha)
    np.testing.assert_array_equal(found, expected)
    assert (found[0, 0] == 2).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_planes_of_a_tiff_are_refused(order):
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), np.uint16)
    with pytest.raises(ValueError, match="in separate planes; save it with those of a pixel together"):
        decode.load(_tiff16(values, order, is_planar=True))


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colours_of_a_tiff_are_rounded_in_either_order_of_bytes(order):
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), np.uint16)
    np.testing.assert_array_equal(to_square(_tiff16(values, order), 8), np.rint(values / 257))


@pytest.mark.parametrize(("channels", "colour"), [(1, (300,)), (3, (300, 511, 65535))])
def test_the_transparent_colour_of_a_sixteen_bit_png_is_compared_with_all_its_bits(channels, colour):
    values = np.full((4, 4, channels), 301, np.uint16)  # The upper byte is that of 300.
    values[0, 0] = colour
    found = to_square(_png16(values, colour), 4, background=BLUE)
    np.testing.assert_array_equal(found[0, 0], BLUE)
    np.testing.assert_array_equal(found[1:], 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_white_level_makes_its_value_white(channels):
    values = np.full((4, 4, channels), 4095, np.uint16)
    values[0, :, 0] = [0, 1024, 2048, 4000]
    found = to_square(_png16(values), 4, white_level=4095)
    np.testing.assert_array_equal(found[0, :, 0], [0, 64, 128, 249])
    np.testing.assert_array_equal(found[1:], 255)
    with pytest.raises(ValueError, match=r"values 0\.\.4095 .* are not in 0\.\.4000, data.white_level"):
        to_square(_png16(values), 4, white_level=4000)


def test_a_file_that_says_its_white_itself_needs_no_white_level():
    values = np.tile(np.array([0, 1024, 2048, 4095], ">u2"), (4, 1))
    pgm = b"P5\n4 4\n4095\n" + values.tobytes()
    for white_level in (None, 4095):
        np.testing.assert_array_equal(to_square(pgm, 4, 1, white_level=white_level)[0, :, 0], [0, 64, 128, 255])


def test_a_white_level_says_nothing_of_alpha_nor_of_eight_bits():
    values = np.full((4, 4, 4), 4095, np.uint16)
    values[..., 3] = 65535
    np.testing.assert_array_equal(to_square(_png16(values), 4, 4, white_level=4095), 255)
    gray = noise(4, 4)
    np.testing.assert_array_equal(to_square(Image.fromarray(gray), 4, white_level=4095), gray)


@pytest.mark.parametrize(("top", "expected"), [(1.0, [0, 64, 128, 255]), (255.0, [0, 64, 128, 255])])
def test_floats_span_zero_to_one_or_to_255(top, expected):
    values = np.tile(np.array([0, 0.25, 0.5, 1], np.float32) * top, (4, 1))
    found = to_square(encode(Image.fromarray(values), "TIFF"), 4, channels=1)
    np.testing.assert_array_equal(found[0, :, 0], expected)


@pytest.mark.parametrize(
    "values", [np.full((4, 4), -1, np.int32), np.full((4, 4), 70000, np.int32), np.full((4, 4), np.nan, np.float32)]
)
def test_deep_pictures_outside_the_known_ranges_are_refused(values):
    with pytest.raises(ValueError, match=r"values .* are not in 0\.\."):
        to_square(Image.fromarray(values), 4)


def test_transparent_palette_entries_show_the_background():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*RED, *GREEN])
    image.putpixel((0, 0), 0)
    for encoded in (encode(image, transparency=0), encode(image, "GIF", transparency=0)):
        found = to_square(encoded, 4, background=BLUE)
        np.testing.assert_array_equal(found[0, 0], BLUE)
        np.testing.assert_array_equal(found[1, 1], GREEN)


def test_transparent_colour_of_an_rgb_png_shows_the_background():
    image = Image.new("RGB", (4, 4), RED)
    image.putpixel((0, 0), GREEN)
    found = to_square(encode(image, transparency=GREEN), 4, background=BLUE)
    np.testing.assert_array_equal(found[0, 0], BLUE)
    np.testing.assert_array_equal(found[1, 1], RED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(orientation):
    pixels = noise(4, 4)
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
    np.testing.assert_array_equal(to_square(encode(image, exif=exif), 4), pixels)


def test_an_image_of_pillow_is_left_as_it_was():
    image = Image.fromarray(noise(6, 9, 4))
    before = np.asarray(image).copy()
    to_square(image, 4, fit="pad")
    np.testing.assert_array_equal(np.asarray(image), before)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_refused(format):
    encoded = encode(Image.fromarray(noise(64, 64)), format)
    with pytest.raises(ValueError):
        to_square(encoded[: len(encoded) // 2], 8)


@pytest.mark.parametrize("encoded", [b"", b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_bytes_that_are_no_picture_are_refused(encoded):
    with pytest.raises(ValueError, match="not a readable PNG, JPEG, WebP or other picture of a known format"):
        decode.load(encoded)


@pytest.mark.parametrize("max_pixels", [255, 100])  # Pillow warns above its limit, and raises above twice that.
def test_pictures_of_more_pixels_than_allowed_are_refused_by_the_settings_name_without_a_warning(max_pixels):
    encoded = encode(Image.new("RGB", (16, 16)))
    with pytest.raises(ValueError, match=f"16x16 px are 256 pixels, more than data.max_pixels={max_pixels}"):
        decode.load(encoded, max_pixels)
    assert decode.load(encoded, 256).size == (16, 16)


def test_a_picture_above_pillows_own_limit_is_read_if_the_setting_allows_it():
    encoded = encode(Image.new("1", (13_000, 14_000)))  # 182 million pixels, twice Pillow's limit.
    with pytest.raises(ValueError, match="more than data.max_pixels=89478485"):
        decode.load(encoded)
    assert square.to_square(decode.load(encoded, 200_000_000), 8, 1).shape == (8, 8, 1)


def test_a_lack_of_memory_is_no_fault_of_the_picture(monkeypatch):
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError):
        decode.load(b"")


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
    encoded = encode(image, **options)
    assert decode.is_kept(decode.load(encoded), 8, 3) == kept
    if kept:
        decoded = np.asarray(decode.load(encoded))
        np.testing.assert_array_equal(to_square(encoded, 8), decoded)


def test_a_turned_file_is_not_kept():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    assert not decode.is_kept(decode.load(encode(Image.new("RGB", (8, 8)), "JPEG", exif=exif)), 8, 3)


@pytest.mark.parametrize(
    ("encoded", "remark"),
    [
        (encode(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK colours, converted to RGB"),
        (encode(Image.fromarray(np.zeros((8, 8), np.uint16))), "deeper than 8 bits, scaled to 0..255"),
        (encode(Image.new("RGBA", (8, 8))), "transparent, laid on data.background"),
        (encode(Image.new("RGB", (8, 8))), None),
        (encode(_BLACK, icc_profile=b"..desc\0Display P3\0"), _PALE.format("Display P3")),
        (
            encode(Image.new("RGB", (8, 8)), icc_profile="..Adobe RGB (1998)".encode("utf-16-be")),
            _PALE.format("Adobe RGB"),
        ),
        (encode(_BLACK, icc_profile=b"..desc\0sRGB IEC61966-2.1\0"), None),
    ],
)
def test_what_is_unusual_is_told(encoded, remark):
    assert decode.remarks(decode.load(encoded), 3) == (() if remark is None else (remark,))


def test_arrays_of_another_kind_are_refused():
    for values in (np.zeros((8, 8), np.float32), np.zeros((8, 8, 2), np.uint8), np.zeros(8, np.uint8)):
        with pytest.raises(ValueError, match="is not a picture of uint8"):
            to_square(values, 8)


@pytest.mark.parametrize("shape", [(1, 3, 8, 6), (3, 8, 6), (8, 6, 3)])
def test_an_npy_is_brought_to_height_width_channels(shape):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    file = io.BytesIO()
    np.save(file, values)
    expected = values if shape[-1] == 3 else values.reshape(3, 8, 6).transpose(1, 2, 0)
    np.testing.assert_array_equal(decode.read_npy(file.getvalue()), expected)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_an_npy_that_is_none_is_refused(content):
    with pytest.raises(ValueError, match="not a readable .npy of numbers"):
        decode.read_npy(content)
