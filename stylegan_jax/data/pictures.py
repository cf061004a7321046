"""Pictures of any common format, mode, depth and shape, made square uint8 arrays.

Colour profiles embedded in a file are not applied: pixel values are taken as they are stored, as sRGB.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
FITS = ("crop", "pad", "stretch")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's mode for each supported number of channels.


def to_square(
    picture: bytes | Image.Image,
    resolution: int,
    channels: int = 3,
    fit: str = "crop",
    background: Sequence[int] = (255, 255, 255),
) -> np.ndarray:
    """Returns a picture as a square of `resolution` px.

    The picture is turned upright as its EXIF orientation says, brought to 8 bits and to `channels`, made square by
    `fit`, and resized. Where both sides are a power-of-two multiple of `resolution`, each new pixel is the exact mean
    of a box of old ones, rounded half to even: that is how training makes its lower resolutions too, so a picture
    gives the same 8x8 pixels whether it was opened at 8 px or at 1024. Any other size goes through a Lanczos filter
    as wide as the change of scale asks for, the sharpest that does not alias; a smaller picture is enlarged by it.

    Args:
        picture: an encoded file (PNG, JPEG, WebP, BMP, TIFF or the first frame of a GIF), or an image of Pillow.
        resolution: height and width of the result, px.
        channels: 1 for luma (ITU-R 601), 3 for RGB, 4 for RGBA with colour and alpha apart.
        fit: "crop" keeps the central square, "pad" adds background to the shorter sides, "stretch" changes the shape.
        background: RGB behind transparency and padding, 0..255. With 4 channels the padding is transparent.

    Returns:
        Pixels, uint8. [resolution, resolution, channels]

    Raises:
        ValueError: the bytes are no readable picture, the values of a deep picture have no known range, or a setting
            is not among its choices.
    """
    check_settings(channels, fit, background)
    image = load(picture) if isinstance(picture, bytes) else upright(picture)
    image = _to_channels(_to_eight_bits(image), channels, background)
    image = _to_shape(image, fit, background)
    return _resize(image, resolution)


def check_settings(channels: int, fit: str, background: Sequence[int]) -> None:
    """Raises a ValueError that names the setting, if a picture cannot be made with these."""
    if channels not in MODES:
        raise ValueError(
            f"model.channels is {channels}, but pictures have 1 (gray), 3 (RGB) or 4 (RGBA) channels; use one of these."
        )
    if fit not in FITS:
        raise ValueError(f"data.fit is {fit!r}; use one of {', '.join(FITS)}.")
    if len(background) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in background):
        raise ValueError(f"data.background is {tuple(background)}; use three whole numbers, RGB, 0..255.")


def load(encoded: bytes) -> Image.Image:
    """Returns an encoded picture, decoded whole and upright.

    Raises:
        ValueError: it is of no known format, damaged, cut short, or so large that it may be a decompression bomb.
    """
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        limit_px = Image.MAX_IMAGE_PIXELS
        if limit_px is not None and image.width * image.height > limit_px:
            raise ValueError(f"{image.width}x{image.height} is more than the {limit_px} pixels taken to be safe")
        image.load()
        return upright(image)
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a readable PNG, JPEG, WebP, BMP, TIFF or GIF picture") from error
    except MemoryError:
        raise  # Of this machine, not of the picture.
    except Exception as error:  # Pillow's readers raise a dozen unrelated types at damaged bytes.
        raise ValueError(str(error) or type(error).__name__) from error


def upright(image: Image.Image) -> Image.Image:
    """Returns the image turned and mirrored as its EXIF orientation says."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def is_enlarged(size: tuple[int, int], resolution: int, fit: str) -> bool:
    """Returns whether `to_square` has to enlarge a picture of this (width, height), px."""
    return (max(size) if fit == "pad" else min(size)) < resolution


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Returns a picture of integers or floats as 8-bit gray; any other as it is.

    Integers (modes I;16*, and I, in which 16-bit files are opened too) span 0..65535. Floats span 0..1, or 0..255
    if any is above 1.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)  # [h, w]
    if image.mode != "F":
        top = 65535.0
    else:
        top = 1.0 if values.max() <= 1 else 255.0
    if not (values.min() >= 0 and values.max() <= top):  # False for NaN as well.
        raise ValueError(
            f"values {values.min():g}..{values.max():g} of a picture of mode {image.mode} are not in 0..{top:g}"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _to_channels(image: Image.Image, channels: int, background: Sequence[int]) -> Image.Image:
    """Returns an 8-bit picture of any mode as gray, RGB or RGBA; without alpha, it lies on the background."""
    if channels == 4:
        return image.convert("RGBA")
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return image.convert("RGB").convert(MODES[channels])  # CMYK and others reach gray only through RGB.


def _to_shape(image: Image.Image, fit: str, background: Sequence[int]) -> Image.Image:
    """Returns the picture cropped or padded to a square, or unchanged to be stretched."""
    width, height = image.size
    if fit == "stretch" or width == height:
        return image
    side = min(width, height) if fit == "crop" else max(width, height)
    left, top = (width - side) // 2, (height - side) // 2  # Negative where padding goes.
    if fit == "crop":
        return image.crop((left, top, left + side, top + side))
    square = Image.new("RGBA", (side, side), (*background, 0)).convert(image.mode)
    square.paste(image, (-left, -top))
    return square


def _resize(image: Image.Image, resolution: int) -> np.ndarray:
    """Returns the picture at `resolution` px by box mean or Lanczos, see `to_square`. uint8 [r, r, c]"""
    if not all(_is_power_of_two_multiple(side, resolution) for side in image.size):
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    if image.size == (resolution, resolution):
        return pixels
    return _alpha_weighted_mean(pixels, resolution) if pixels.shape[2] == 4 else _box_mean(pixels, resolution)


def _is_power_of_two_multiple(side: int, resolution: int) -> bool:
    multiple, rest = divmod(side, resolution)
    return rest == 0 and multiple.bit_count() == 1


def _box_sum(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the sum of each box of pixels. [h, w, c] -> uint64 [r, r, c]"""
    h, w, c = pixels.shape
    rows = pixels.reshape(resolution, h // resolution, w * c).sum(axis=1, dtype=np.uint64)  # [r, w*c]
    return rows.reshape(resolution, resolution, w // resolution, c).sum(axis=2)


def _box_mean(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the mean of each box of pixels, rounded half to even. uint8 [h, w, c] -> uint8 [r, r, c]"""
    area = (pixels.shape[0] // resolution) * (pixels.shape[1] // resolution)
    return np.rint(_box_sum(pixels, resolution) / area).astype(np.uint8)


def _alpha_weighted_mean(rgba: np.ndarray, resolution: int) -> np.ndarray:
    """Returns box means of RGBA in which a pixel's colour counts as much as its alpha, so nothing hidden bleeds in."""
    alpha = rgba[..., 3:]
    colour_sum = _box_sum(rgba[..., :3].astype(np.uint64) * alpha, resolution)
    alpha_sum = _box_sum(alpha, resolution)
    colour = np.rint(colour_sum / np.maximum(alpha_sum, 1)).astype(np.uint8)
    return np.concatenate([colour, _box_mean(alpha, resolution)], axis=2)
