"""Makes a decoded picture of any mode and shape a square of uint8 pixels; has the one box mean of this package."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from stylegan_jax.data import decode
from stylegan_jax.data.decode import MODES

FITS = ("crop", "pad", "stretch", "wide")
MAX_ASPECT = 100  # A picture longer than this many times its width is a line.
STRIP_PIXELS = 2**22  # Pixels of a padded picture that are in memory at once.


class TooSmall(ValueError):
    """A sound picture that the filter leaves out for its size."""


def to_square(
    image: Image.Image,
    resolution: int,
    channels: int = 3,
    fit: str = "crop",
    background: Sequence[int] = (255, 255, 255),
    white_level: int | None = None,
) -> np.ndarray:
    """Returns a picture as a square of `resolution` px.

    The picture is turned upright as its EXIF orientation says, brought to 8 bits and to `channels`, made square by
    `fit`, and resized. Where both sides are a power-of-two multiple of `resolution`, each new pixel is the exact mean
    of a box of old ones (`box_means`). Training makes its lower resolutions in the same way: so a picture of 1024 px
    gives the same 8x8 pixels whether it is opened at 8 px or at 1024. Any other size goes through a Lanczos filter as
    wide as the change of scale asks for, the sharpest that does not alias; a smaller picture is enlarged by it.

    "wide" is how LSUN's cars were prepared. It takes a picture at least `resolution` px wide that, scaled to that
    width, has at least 3/4 as many rows. A central band of round(resolution h / w) rows is scaled to 4:3 and laid
    between black bars. If the picture is wider than `resolution` px, its band is wider than 4:3 and is squeezed.

    Args:
        image: as `decode.load` returns it.
        resolution: height and width of the result, px.
        channels: 1 for luma (ITU-R 601), 3 for RGB, 4 for RGBA with colour and alpha apart.
        fit: "crop" keeps the central square, "pad" adds background to the shorter sides, "stretch" changes the shape,
            "wide" is above.
        background: RGB behind transparency and padding, 0..255. With 4 channels the padding is transparent.
        white_level: white in integers deeper than 8 bits, see `decode.to_eight_bits`.

    Returns:
        Pixels, uint8. [resolution, resolution, channels]

    Raises:
        TooSmall: "wide" leaves it out.
        ValueError: the values of a deep picture have no known range, or the picture is only a line.
    """
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise ValueError(f"{image.width}x{image.height} px is a line rather than a picture")
    image = _to_channels(decode.to_eight_bits(image, white_level), channels, background)
    if fit == "wide":
        return np.asarray(_between_bars(image, resolution)).reshape(resolution, resolution, channels)
    if fit == "pad" and image.width != image.height:
        return _padded(image, resolution, background)
    if fit == "crop" and image.width != image.height:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
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


def is_enlarged(size: tuple[int, int], resolution: int, fit: str) -> bool:
    """Returns whether `to_square` has to enlarge a picture of this (width, height), px."""
    return (max(size) if fit == "pad" else min(size)) < resolution


def box_means(pixels: np.ndarray, sizes: Iterable[int]) -> dict[int, np.ndarray]:
    """Returns a picture at lower resolutions: exact box means, rounded half to even once.

    In RGBA a colour counts as much as its alpha, so that nothing hidden bleeds in; where all of a box is transparent,
    it is black. The device's lower resolutions are the same: networks/ops.box_downscale_uint8.

    Args:
        pixels: uint8. [h, w, c]
        sizes: px; both sides are power-of-two multiples of each.

    Returns:
        For each size s, uint8 [s, s, c].
    """
    sums, found = _weighed(pixels), {}
    for size in sorted(sizes, reverse=True):
        sums = _box_sums(sums, size, size)
        found[size] = _means(sums, pixels)
    return found


def box_mean(pixels: np.ndarray, size: int) -> np.ndarray:
    """Returns `box_means` at one size. uint8 [h, w, c] -> uint8 [size, size, c]"""
    return box_means(pixels, [size])[size]


def _weighed(pixels: np.ndarray) -> np.ndarray:
    """Returns RGBA as colour times alpha, and alpha, uint16; any other as it is. [h, w, c]"""
    if pixels.shape[2] != 4:
        return pixels
    weighed = pixels.astype(np.uint16)  # 255 times 255 is below 2**16.
    weighed[..., :3] *= weighed[..., 3:]
    return weighed


def _box_sums(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Returns the sum of each box of values. [h, w, c] -> uint64 [rows, columns, c]"""
    h, w, c = values.shape
    if (h, w) == (rows, columns):
        return values
    sums = values.reshape(rows, h // rows, w * c).sum(axis=1, dtype=np.uint64)  # [rows, w*c]
    return sums.reshape(rows, columns, w // columns, c).sum(axis=2)


def _means(sums: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Returns the means of boxes of `pixels` from the boxes' sums. uint8 [rows, columns, c]"""
    area = pixels.shape[0] * pixels.shape[1] // (sums.shape[0] * sums.shape[1])
    if area == 1:
        return pixels  # RGBA keeps its hidden colours.
    if pixels.shape[2] != 4:
        return np.rint(sums / np.float64(area)).astype(np.uint8)
    colour_sums, alpha_sums = sums[..., :3], sums[..., 3:]
    means = [colour_sums / np.maximum(alpha_sums, 1), alpha_sums / np.float64(area)]
    return np.rint(np.concatenate(means, axis=2)).astype(np.uint8)


def _to_channels(image: Image.Image, channels: int, background: Sequence[int]) -> Image.Image:
    """Returns an 8-bit picture of any mode as gray, RGB or RGBA; without alpha, it lies on the background."""
    if channels == 4:
        return image.convert("RGBA")
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return image.convert("RGB").convert(MODES[channels])  # CMYK and others reach gray only through RGB.


def _between_bars(image: Image.Image, resolution: int) -> Image.Image:
    """Returns a wide picture as 4:3 in the middle of a black square, see `to_square`."""
    width, height = resolution, resolution * 3 // 4
    rows = round(width * image.height / image.width)  # Rows of the whole picture, scaled to the width.
    if image.width < width or rows < height:
        raise TooSmall(f"{image.width}x{image.height} px is less than {width} wide, or {height} high at that width")
    top = (image.height - rows) // 2
    band = image.crop((0, top, image.width, (image.height + rows) // 2))
    square = Image.new("RGBA", (width, width), (0, 0, 0, 0)).convert(image.mode)
    square.paste(band.resize((width, height), Image.Resampling.LANCZOS), (0, (width - height) // 2))
    return square


def _padded(image: Image.Image, resolution: int, background: Sequence[int]) -> np.ndarray:
    """Returns what `_resize` makes of the picture padded to a square, strip by strip. uint8 [r, r, c]

    The square of a panorama would be many times as large as the picture. Pillow scales rows before columns, so rows
    can be scaled in strips, and the result is the same to the bit.
    """
    side = max(image.size)
    left, top = (side - image.width + 1) // 2, (side - image.height + 1) // 2
    behind = Image.new("RGBA", (1, 1), (*background, 0)).convert(image.mode).getpixel((0, 0))

    def strip(first: int, rows: int) -> Image.Image:
        """Returns some rows of the padded picture."""
        found = Image.new(image.mode, (side, rows), behind)
        found.paste(image, (left, top - first))
        return found

    if _is_power_of_two_multiple(side, resolution):
        rows = side // resolution
        strips = (np.asarray(strip(y * rows, rows)).reshape(rows, side, -1) for y in range(resolution))
        return np.concatenate([_means(_box_sums(_weighed(pixels), 1, resolution), pixels) for pixels in strips])
    weighed = {"RGBA": "RGBa"}.get(image.mode, image.mode)  # Pillow, too, scales RGBA as colour times alpha.
    narrow = Image.new(image.mode, (resolution, side), behind).convert(weighed)
    rows = max(1, STRIP_PIXELS // side)
    for first in range(top, top + image.height, rows):
        some = strip(first, min(rows, top + image.height - first)).convert(weighed)
        narrow.paste(some.resize((resolution, some.height), Image.Resampling.LANCZOS), (0, first))
    square = narrow.resize((resolution, resolution), Image.Resampling.LANCZOS).convert(image.mode)
    return np.asarray(square).reshape(resolution, resolution, -1)


def _resize(image: Image.Image, resolution: int) -> np.ndarray:
    """Returns the picture at `resolution` px by box means or Lanczos, see `to_square`. uint8 [r, r, c]"""
    if not all(_is_power_of_two_multiple(side, resolution) for side in image.size):
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return box_mean(np.asarray(image).reshape(image.height, image.width, -1), resolution)


def _is_power_of_two_multiple(side: int, resolution: int) -> bool:
    multiple, rest = divmod(side, resolution)
    return rest == 0 and multiple.bit_count() == 1
