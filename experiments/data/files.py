"""The same procedural faces in the format of each side."""

import dataclasses
import pathlib
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import faces, prepare, square
from tests import tfrecord_writer

SIZES = (4, 8, 16, 32, 64, 128, 256)  # px
CHUNK = 64  # Faces drawn at once.
NUM_PROCESSES = 2  # Processes that prepare the store.


@dataclasses.dataclass(frozen=True)
class Files:
    """The folders of the pictures."""

    folder: pathlib.Path

    @property
    def png(self) -> pathlib.Path:
        """A folder of PNG files for each size."""
        return self.folder / "png"

    @property
    def tfrecords(self) -> pathlib.Path:
        """Official TFRecords."""
        return self.folder / "tfrecords"

    @property
    def store(self) -> pathlib.Path:
        """Our store."""
        return self.folder / "store"

    def crcs(self, size: int) -> list[int]:
        """Returns the CRC of each picture's pixels, uint8 [size, size, 3]."""
        return [zlib.crc32(read_png(file).tobytes()) for file in sorted((self.png / str(size)).iterdir())]


def make(workdir: pathlib.Path, num_pictures: int, resolution: int, note_fn: Callable[[str], None]) -> Files:
    """Returns faces up to a resolution as PNG files, as TFRecords and as a store; makes them if they are missing.

    Args:
        workdir: folder that contains theirs.
        num_pictures: number of faces.
        resolution: largest size, px; each lower one of SIZES has box means.
        note_fn: function that is called with a description of each part before it is made.
    """
    folder = workdir / f"faces-{num_pictures}-{resolution}px"
    if folder.exists():
        return Files(folder)
    partial = Files(folder.with_name(f"{folder.name}.partial"))  # Renamed when complete.
    sizes = [size for size in SIZES if size <= resolution]
    images = np.empty((num_pictures, resolution, resolution, 3), np.uint8)
    for size in sizes:
        (partial.png / str(size)).mkdir(parents=True, exist_ok=True)
    note_fn(f"drawing {num_pictures} faces of {resolution} px")
    for start in range(0, num_pictures, CHUNK):
        indices = np.arange(start, min(start + CHUNK, num_pictures))
        images[indices] = faces.images(indices, faces.SEED, resolution)
    note_fn("writing PNG files")
    for i, image in enumerate(images):
        for size, pixels in square.box_means(image, sizes).items():
            Image.fromarray(pixels).save(partial.png / str(size) / f"{i:06d}.png")
    note_fn("writing TFRecords")
    tfrecord_writer.write_tfrecords(partial.tfrecords, "faces", images)
    note_fn("preparing the store")
    data = Data(source=str(partial.png / str(resolution)), num_workers=NUM_PROCESSES)
    prepare.make_store(data, Model(resolution=resolution), partial.store)
    partial.folder.rename(folder)
    return Files(folder)


def read_png(file: pathlib.Path) -> np.ndarray:
    """Returns the pixels of a file. uint8 [h, w, 3]"""
    with Image.open(file) as image:
        return np.asarray(image)
