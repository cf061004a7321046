"""Grids of pictures, and PNGs that are written whole or not at all."""

import math
import os

import numpy as np
from PIL import Image

from stylegan_jax.runs import whole


def round_to_uint8(images: np.ndarray) -> np.ndarray:
    """Returns pictures as saved in PNGs: round(127.5 x + 127.5), clipped to 0..255.

    The official misc.convert_to_pil_image; ops.to_uint8 is its truncating counterpart for metrics. NaN becomes black.

    Args:
        images: float, [-1, 1], any shape.
    """
    levels = np.rint(np.asarray(images, np.float32) * np.float32(127.5) + np.float32(127.5))
    return np.nan_to_num(np.clip(levels, 0, 255), nan=0).astype(np.uint8)


def image_grid(images: np.ndarray, columns: int | None = None, rows: int | None = None) -> np.ndarray:
    """Returns one picture of all `images`, row by row. uint8 [rows*h, columns*w, c].

    The official misc.create_image_grid. Cells without an image hold 0 in the units of `images`: black for uint8,
    middle grey for float.

    Args:
        images: float [-1, 1] or uint8. [n, h, w, c].
        columns: images in a row; by default ceil(sqrt(n)), or what `rows` asks for.
        rows: images in a column; by default as many as needed.
    """
    images = np.asarray(images)
    n, h, w, c = images.shape
    if columns is None:
        columns = max(math.ceil(math.sqrt(n)), 1) if rows is None else max(math.ceil(n / rows), 1)
    if rows is None:
        rows = max((n - 1) // columns + 1, 1)
    if n > rows * columns:
        raise ValueError(f"{n} images do not fit in a grid of {columns} columns and {rows} rows.")
    cells = np.zeros((rows * columns, h, w, c), images.dtype)
    cells[:n] = images
    grid = cells.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)
    return grid if grid.dtype == np.uint8 else round_to_uint8(grid)


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a PNG in one piece: a reader finds the whole picture, or none.

    Args:
        path: path of the file; its folder must exist.
        image: uint8 [h, w, c]. The first of 2 channels is shown, and the first 3 of more than 4.
    """
    with whole.writing(path) as file:
        Image.fromarray(visible_channels(image)).save(file, format="PNG")


def visible_channels(image: np.ndarray) -> np.ndarray:
    """Returns [h, w] for 1 or 2 channels, [h, w, 3], or [h, w, 4]."""
    c = image.shape[-1]
    return image[..., 0] if c <= 2 else image[..., : 4 if c == 4 else 3]
