"""Pictures of any common format, mode and depth, decoded.

Colour profiles embedded in a file are not applied: pixel values are taken as they are stored, as sRGB.
"""

import io
import re
import sys
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from stylegan_jax.config import Data

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "TGA")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif")
EXTENSIONS += (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's mode for each supported number of channels.
MAX_PIXELS = Data().max_pixels
DEEP_TOP = 65535  # Largest value of integers deeper than 8 bits.
WIDE_GAMUTS = ("Display P3", "Adobe RGB", "ProPhoto", "Wide Gamut", "BT.2020", "Rec. 2020", "Rec.2020")

_LOW = "stylegan_jax_low_bytes"  # Key in Image.info of the lower bytes of 16-bit colours; Pillow keeps the upper ones.
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_TURNS = {  # What makes a picture upright, by its EXIF orientation.
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = None  # `load` has a limit of its own; Pillow's prints a warning, and cannot be set for a call.


def load(picture: bytes | np.ndarray, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Returns a picture, decoded whole, from an encoded file or from uint8 values [h, w] or [h, w, c].

    Args:
        picture: an encoded file of FORMATS (the first frame of a GIF is read), or an array.
        max_pixels: limit on an encoded picture; a larger one, which could fill the memory, is refused.

    Raises:
        ValueError: it is of no known format, damaged, cut short, too large, or an array of another kind.
    """
    return _from_array(picture) if isinstance(picture, np.ndarray) else _decode(picture, max_pixels)


def pixels(encoded: bytes, channels: int) -> np.ndarray:
    """Returns an encoded picture of 8 bits in that many channels, 1, 3 or 4. uint8 [h, w, channels]"""
    image = load(encoded).convert(MODES[channels])
    return np.asarray(image).reshape(image.height, image.width, channels)


def _from_array(values: np.ndarray) -> Image.Image:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in MODES):
        raise ValueError(f"{values.dtype}{list(values.shape)} is not a picture of uint8 [h, w] or [h, w, 1, 3 or 4]")
    return Image.fromarray(np.ascontiguousarray(values))


def read_npy(content: bytes) -> np.ndarray:
    """Returns the picture in a .npy: [h, w, c] as it is; Progressive GAN's [1, c, h, w] and [c, h, w] become that.

    Raises:
        ValueError: it is not a .npy, is cut short, or holds objects, which could run code.
    """
    try:
        values = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception:  # Half a dozen unrelated types at damaged bytes, MemoryError at a size that is made up.
        raise ValueError("not a readable .npy of numbers") from None
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[0] in MODES and values.shape[2] not in MODES:
        values = values.transpose(1, 2, 0)
    return values


def _decode(encoded: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise ValueError(
                f"{image.width}x{image.height} px are {image.width * image.height} pixels, more than "
                f"data.max_pixels={max_pixels}"
            )
        tags = getattr(image, "tag_v2", {})
        if tags.get(284) == 2 and max(tags.get(258, (8,))) > 8:  # PlanarConfiguration, BitsPerSample of a TIFF.
            # Pillow takes it for one of 8 bits.
            raise ValueError("colours of more than 8 bits in separate planes; save it with those of a pixel together")
        low = _low_bytes(encoded, image)
        image.load()
        if low is not None:
            image.info[_LOW] = low
        return image
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a readable PNG, JPEG, WebP or other picture of a known format") from error
    except MemoryError:
        raise  # The fault is this machine's, not the picture's.
    except Exception as error:  # Pillow's readers raise a dozen unrelated types at damaged bytes.
        raise ValueError(str(error) or type(error).__name__) from error


def _low_bytes(encoded: bytes, image: Any) -> np.ndarray | None:
    """Returns the lower bytes of 16-bit colours, uint8 [h, w, 3 or 4]; None for any other picture.

    `image` is the picture, not decoded yet. Pillow takes that byte of each colour which is the upper one in the
    order of bytes; told the other order, it takes the lower one.
    """
    if image.mode not in ("RGB", "RGBA") or not re.search(";16[BLN]", str(image.tile)):
        return None
    again: Any = Image.open(io.BytesIO(encoded), formats=FORMATS)
    is_gray = "LA;16B" in str(again.tile)  # Pillow knows one order of these; their four bytes are read as RGBA.

    def other(args: str) -> str:
        return "RGBA" if is_gray else re.sub("(?<=;16)[BLN]", lambda found: _SWAPPED[found[0]], args)

    again.tile = [
        tile._replace(args=other(tile.args) if isinstance(tile.args, str) else (other(tile.args[0]), *tile.args[1:]))
        for tile in again.tile
    ]
    again.load()
    low = np.asarray(again)
    return low[..., [1, 1, 1, 3]] if is_gray else low


def is_deep(image: Image.Image) -> bool:
    """Returns whether a decoded picture has more than 8 bits a channel."""
    return image.mode == "F" or image.mode.startswith("I") or _LOW in image.info


def deep_integers(image: Image.Image) -> np.ndarray | None:
    """Returns the values of a picture of integers deeper than 8 bits, [h, w] or [h, w, 3 or 4]; None for any other."""
    if _LOW in image.info:
        return np.asarray(image).astype(np.uint16) * np.uint16(256) + image.info[_LOW]
    return np.asarray(image) if image.mode.startswith("I") else None


def to_eight_bits(image: Image.Image, white_level: int | None = None) -> Image.Image:
    """Returns a decoded picture upright, as its EXIF orientation says, and with 8 bits a channel.

    Integers (16 bits a channel, and Pillow's mode I) span 0 to `white_level`, floats 0..1, or 0..255 if any is above
    1. They are rounded, half to even.

    Args:
        image: a decoded picture of any mode.
        white_level: value of white in integers; None: the largest that 16 bits hold.

    Raises:
        ValueError: values are out of their range.
    """
    turn = _TURNS.get(_orientation(image))
    if is_deep(image):
        image = _scaled(image, white_level)
    return image if turn is None else image.transpose(turn)


def _scaled(image: Image.Image, white_level: int | None) -> Image.Image:
    values = deep_integers(image)
    if values is None:
        values = np.asarray(image)
        top, range_name = (1.0 if values.max() <= 1 else 255.0), ""
    else:
        white_level = None if image.format == "PPM" else white_level  # The file says its white itself.
        top, range_name = white_level or DEEP_TOP, "" if white_level is None else ", data.white_level"
    colours = values[..., :3] if image.mode == "RGBA" else values
    if not (values.min() >= 0 and colours.max() <= top):  # False for NaN as well.
        raise ValueError(
            f"values {values.min():g}..{values.max():g} of a picture of mode {image.mode} are not in 0..{top:g}"
            f"{range_name}"
        )
    eight = np.rint(colours * (255 / np.float64(top))).astype(np.uint8)
    if image.mode == "RGBA":
        alpha = np.rint(values[..., 3:] * (255 / np.float64(DEEP_TOP))).astype(np.uint8)
        eight = np.concatenate([eight, alpha], axis=2)
    elif image.has_transparency_data:  # One colour stands for transparency.
        is_seen = (values != np.array(image.info["transparency"])).reshape(*values.shape[:2], -1).any(2, keepdims=True)
        eight = np.concatenate([eight.reshape(*values.shape[:2], -1), is_seen * np.uint8(255)], axis=2)
    return Image.fromarray(eight)


def is_kept(image: Image.Image, resolution: int, channels: int) -> bool:
    """Returns whether a file, here decoded, is compressed and already what `square.to_square` would make of it."""
    return (
        image.format in ("PNG", "JPEG", "WEBP")
        and image.size == (resolution, resolution)
        and image.mode == MODES[channels]
        and (channels == 4 or not image.has_transparency_data)
        and _num_frames(image) == 1
        and _orientation(image) not in _TURNS
        and not is_deep(image)
    )


def remarks(image: Image.Image, channels: int) -> tuple[str, ...]:
    """Returns what is unusual about a decoded picture and what is done about it, in a few words each."""
    unusual = []
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        unusual.append(f"{image.mode} colours, converted to RGB")
    if is_deep(image):
        unusual.append("deeper than 8 bits, scaled to 0..255")
    if channels != 4 and image.has_transparency_data:
        unusual.append("transparent, laid on data.background")
    if _orientation(image) in _TURNS:
        unusual.append("turned upright by its EXIF orientation")
    if _num_frames(image) > 1:
        unusual.append("has several frames, the first is taken")
    profile = (image.info.get("icc_profile") or b"").replace(b"\0", b"")  # Its name stands in it in ASCII or UTF-16.
    gamuts = [name for name in WIDE_GAMUTS if name.encode() in profile]
    unusual += [f"in the colours of {name}, which are taken as sRGB and look paler" for name in gamuts]
    return tuple(unusual)


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Whatever Pillow raises at damaged EXIF data, which says nothing then.
        return None


def _num_frames(image: Image.Image) -> float:
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # Whatever Pillow raises at damage after the first frame.
        return float("inf")
