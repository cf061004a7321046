"""Pictures of any common format, mode, depth and shape, made square uint8 arrays.

Colour profiles embedded in a file are not applied: pixel values are taken as they are stored, as sRGB.
"""

import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "TGA")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif")
EXTENSIONS += (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga")
FITS = ("crop", "pad", "stretch", "wide")
MAX_ASPECT = 100  # A picture longer than this many times its width is a line.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's mode for each supported number of channels.

_IS_DEEP = "stylegan_jax_is_deep"  # In Image.info: Pillow has dropped the lower bytes, as it has no deep colours.
_TURNS = {  # EXIF orientation to what makes it upright.
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooSmall(ValueError):
    """A sound picture that the filter leaves out for its size."""


def to_square(
    picture: bytes | np.ndarray | Image.Image,
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

    "wide" is how LSUN's cars were prepared: of a picture at least `resolution` px wide, and of which 3/4 as many rows
    are left when it is scaled to that width, a central band of round(resolution h / w) rows is scaled to 4:3 and laid
    between black bars. Of pictures wider than `resolution` the band is not 4:3, and is squeezed a little.

    Args:
        picture: an encoded file of FORMATS (of a GIF the first frame), uint8 [h, w] or [h, w, c], or Pillow's.
        resolution: height and width of the result, px.
        channels: 1 for luma (ITU-R 601), 3 for RGB, 4 for RGBA with colour and alpha apart.
        fit: "crop" keeps the central square, "pad" adds background to the shorter sides, "stretch" changes the shape,
            "wide" is above.
        background: RGB behind transparency and padding, 0..255. With 4 channels the padding is transparent.

    Returns:
        Pixels, uint8. [resolution, resolution, channels]

    Raises:
        TooSmall: "wide" leaves it out.
        ValueError: the bytes are no readable picture, the values of a deep picture have no known range, it is but a
            line, or a setting is not among its choices.
    """
    check_settings(channels, fit, background)
    image = picture if isinstance(picture, Image.Image) else load(picture)
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise ValueError(f"{image.width}x{image.height} px is a line rather than a picture")
    image = _to_channels(_to_eight_bits(upright(image)), channels, background)
    if fit == "wide":
        return np.asarray(_between_bars(image, resolution)).reshape(resolution, resolution, channels)
    image = _to_shape(image, fit, background)
    return _resize(image, resolution)


def levels(pixels: np.ndarray, sizes: Sequence[int]) -> dict[int, np.ndarray]:
    """Returns a square at lower resolutions: box means, rounded half to even once, as ops.box_downscale_uint8.

    Args:
        pixels: uint8. [r, r, c], for a power of two r
        sizes: px, each a power of two of at most r.

    Returns:
        For each size s, uint8 [s, s, c].
    """
    sums, size, found = pixels.astype(np.uint32), len(pixels), {}
    while True:
        if size in sizes:
            area = (len(pixels) // size) ** 2
            found[size] = np.rint(sums / np.float64(area)).astype(np.uint8)
        if size <= min(sizes):
            return found
        rows = sums[0::2] + sums[1::2]
        sums, size = rows[:, 0::2] + rows[:, 1::2], size // 2


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


def load(picture: bytes | np.ndarray) -> Image.Image:
    """Returns a picture, decoded whole: of an encoded file, or of uint8 values [h, w] or [h, w, c].

    Raises:
        ValueError: it is of no known format, damaged, cut short, so large that it may be a decompression bomb, or an
            array of another kind.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    return _decode(picture)


def _from_array(values: np.ndarray) -> Image.Image:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in MODES):
        raise ValueError(f"{values.dtype}{list(values.shape)} is no picture of uint8 [h, w] or [h, w, 1, 3 or 4]")
    return Image.fromarray(np.ascontiguousarray(values))


def read_npy(content: bytes) -> np.ndarray:
    """Returns the picture in a .npy: [h, w, c] as it is, Progressive GAN's [1, c, h, w] or [c, h, w] brought to it.

    Raises:
        ValueError: it is no .npy, is cut short, or holds objects, which could run code.
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


def _decode(encoded: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        limit_px = Image.MAX_IMAGE_PIXELS
        if limit_px is not None and image.width * image.height > limit_px:
            raise ValueError(f"{image.width}x{image.height} is more than the {limit_px} pixels taken to be safe")
        is_deep = re.search(";16[BLN]", str(image.tile))  # Pillow's names for 16 bits in either order of bytes.
        image.load()
        if is_deep:
            image.info[_IS_DEEP] = True
        return image
    except Image.UnidentifiedImageError as error:
        raise ValueError("not a readable PNG, JPEG, WebP or other picture of a known format") from error
    except MemoryError:
        raise  # Of this machine, not of the picture.
    except Exception as error:  # Pillow's readers raise a dozen unrelated types at damaged bytes.
        raise ValueError(str(error) or type(error).__name__) from error


def upright(image: Image.Image) -> Image.Image:
    """Returns the image turned and mirrored as its EXIF orientation says."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def is_enlarged(size: tuple[int, int], resolution: int, fit: str) -> bool:
    """Returns whether `to_square` has to enlarge a picture of this (width, height), px."""
    return (max(size) if fit == "pad" else min(size)) < resolution


def is_kept(image: Image.Image, resolution: int, channels: int) -> bool:
    """Returns whether a decoded file already is what `to_square` makes of it, and small: it can be kept as it is."""
    return (
        image.format in ("PNG", "JPEG", "WEBP")
        and image.size == (resolution, resolution)
        and image.mode == MODES[channels]
        and (channels == 4 or not image.has_transparency_data)
        and _num_frames(image) == 1
        and _orientation(image) not in _TURNS
        and _IS_DEEP not in image.info
    )


def remarks(image: Image.Image, channels: int) -> tuple[str, ...]:
    """Returns what is unusual about a decoded picture and what `to_square` does about it, in a few words each."""
    unusual = []
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        unusual.append(f"{image.mode} colours, converted to RGB")
    if image.mode == "F" or image.mode.startswith("I") or _IS_DEEP in image.info:
        unusual.append("deeper than 8 bits, scaled to 0..255")
    if channels != 4 and image.has_transparency_data:
        unusual.append("transparent, laid on data.background")
    if _orientation(image) in _TURNS:
        unusual.append("turned upright by its EXIF orientation")
    if _num_frames(image) > 1:
        unusual.append("has several frames, the first is taken")
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


def _between_bars(image: Image.Image, resolution: int) -> Image.Image:
    """Returns a wide picture as 4:3 in the middle of a black square, see `to_square`."""
    width, height = resolution, resolution * 3 // 4
    rows = round(width * image.height / image.width)  # Of the whole picture, when it is scaled to the width.
    if image.width < width or rows < height:
        raise TooSmall(f"{image.width}x{image.height} px is not {width} wide with {height} rows at that width")
    top = (image.height - rows) // 2
    band = image.crop((0, top, image.width, (image.height + rows) // 2))
    square = Image.new("RGBA", (width, width), (0, 0, 0, 0)).convert(image.mode)
    square.paste(band.resize((width, height), Image.Resampling.LANCZOS), (0, (width - height) // 2))
    return square


def _resize(image: Image.Image, resolution: int) -> np.ndarray:
    """Returns the picture at `resolution` px by box mean or Lanczos, see `to_square`. uint8 [r, r, c]"""
    if not all(_is_power_of_two_multiple(side, resolution) for side in image.size):
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    if image.size == (resolution, resolution):
        return pixels
    return _alpha_weighted_mean(pixels, resolution) if pixels.shape[2] == 4 else box_mean(pixels, resolution)


def _is_power_of_two_multiple(side: int, resolution: int) -> bool:
    multiple, rest = divmod(side, resolution)
    return rest == 0 and multiple.bit_count() == 1


def _box_sum(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the sum of each box of pixels. [h, w, c] -> uint64 [r, r, c]"""
    h, w, c = pixels.shape
    rows = pixels.reshape(resolution, h // resolution, w * c).sum(axis=1, dtype=np.uint64)  # [r, w*c]
    return rows.reshape(resolution, resolution, w // resolution, c).sum(axis=2)


def box_mean(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the mean of each box of pixels, rounded half to even. uint8 [h, w, c] -> uint8 [r, r, c]"""
    area = (pixels.shape[0] // resolution) * (pixels.shape[1] // resolution)
    return np.rint(_box_sum(pixels, resolution) / area).astype(np.uint8)


def _alpha_weighted_mean(rgba: np.ndarray, resolution: int) -> np.ndarray:
    """Returns box means of RGBA in which a pixel's colour counts as much as its alpha, so nothing hidden bleeds in."""
    alpha = rgba[..., 3:]
    colour_sum = _box_sum(rgba[..., :3].astype(np.uint64) * alpha, resolution)
    alpha_sum = _box_sum(alpha, resolution)
    colour = np.rint(colour_sum / np.maximum(alpha_sum, 1)).astype(np.uint8)
    return np.concatenate([colour, box_mean(alpha, resolution)], axis=2)
