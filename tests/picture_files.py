"""Small folders, .zip and .tar of pictures, for tests."""

import io
import pathlib
import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from stylegan_jax.data import decode, square

KINDS = ("folder", "zip", "tar")


def png(value: int = 0, size: int = 8) -> bytes:
    """Returns a gray picture as a file."""
    return encode(Image.new("L", (size, size), value))


def encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    """Returns a picture as a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def to_square(picture: bytes | np.ndarray | Image.Image, resolution: int, *others, **settings) -> np.ndarray:
    """Returns a picture as a square, decoded first if it is encoded."""
    image = picture if isinstance(picture, Image.Image) else decode.load(picture)
    return square.to_square(image, resolution, *others, **settings)


def write(
    place: pathlib.Path, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]], kind: str, top: str = ""
) -> str:
    """Writes files as a folder, a .zip or a .tar called as `place`; returns its path.

    Args:
        place: without its extension.
        files: name and content of each; the names of archives may come twice.
        kind: of KINDS.
        top: what all names of an archive begin with, as "./" where `tar .` wrote it.
    """
    pairs = list(files.items() if isinstance(files, Mapping) else files)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        place.mkdir()
        for name, content in pairs:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return str(place)
    path = f"{place}.{kind}"
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(path, "w") if kind == "zip" else tarfile.open(path, "w") as archive,
    ):  # zipfile warns of names that come twice.
        for name, content in pairs:
            if kind == "zip":
                archive.writestr(top + name, content)
            else:
                member = tarfile.TarInfo(top + name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path
