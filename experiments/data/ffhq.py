"""Estimates the time to prepare FFHQ: times `make_store` on 1024 px faces, smooth ones and ones with a camera's noise.

python -m experiments.data.ffhq
"""

import dataclasses
import io
import pathlib
import shutil
import sys
import time
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.benchmark import options
from experiments.data import files, table_text
from stylegan_jax.config import Data, Model
from stylegan_jax.data import faces, prepare, tfrecords
from tests import tfrecord_writer

NUM_PICTURES = flags.DEFINE_integer("num_pictures", 1000, "Faces of each kind.", lower_bound=1)
NUM_PROCESSES = flags.DEFINE_list("num_processes", "1,2", "Numbers of processes; each number prepares a store.")
WORKDIR = flags.DEFINE_string("workdir", "runs/data", "Folder for the pictures, which are kept, and for the stores.")
OUT = flags.DEFINE_string("out", None, "File for all numbers, JSON.")

RESOLUTION = 1024  # px
# images1024x1024 of github.com/NVlabs/ffhq-dataset. Its GB are GiB: 70,000 of `official_bytes` are 293 GB or 273 GiB,
# and its TFRecords have "273 GB".
FFHQ_LENGTH, FFHQ_BYTES = 70_000, 89.1 * 2**30
CORES = (1, 2, 8, 32)  # Numbers of cores for which hours are estimated.
CHUNK = 4  # Pictures drawn at once.
FACES_SEED, NOISE_SEED = 0, 1
MAX_SIGMA = 4.0  # Upper end of the search for the noise's sigma: 1.8 MB per picture.
NUM_TRIED, NUM_HALVINGS = 16, 7  # Pictures in that search; number of times that it halves the range.
HEADER = (
    "pictures", "PNG MB", "store MB", "store / PNG", "TFRecords / PNG", "processes", "s a picture",
    *(f"h, {cores} core{'s'[: cores > 1]}" for cores in CORES),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """The time and sizes of preparing one kind of pictures."""

    name: str  # Kind of pictures.
    sigma: float  # Standard deviation of their noise, in 0..255.
    png_bytes: float  # Bytes per picture.
    store_bytes: float  # Bytes per picture of all files of the store.
    tfrecord_bytes: float  # Bytes per picture in official TFRecords of all resolutions.
    sec: dict[int, float]  # Seconds per picture, by number of processes.

    def hours(self, cores: int) -> float | None:
        """Returns the hours for FFHQ; cores without a measured process are assumed to do as much as the others."""
        known = [processes for processes in self.sec if processes <= cores]
        return FFHQ_LENGTH * self.sec[max(known)] * max(known) / cores / 3600 if known else None


def draw(folder: pathlib.Path, num_pictures: int) -> None:
    """Writes those PNG files of the first faces that are missing in a folder."""
    missing = _missing(folder, num_pictures)
    for start in range(0, len(missing), CHUNK):
        indices = missing[start : start + CHUNK]
        for i, face in zip(indices, faces.images(np.array(indices), FACES_SEED, RESOLUTION), strict=True):
            _write(folder, i, face)


def add_noise(smooth: pathlib.Path, folder: pathlib.Path, num_pictures: int, sigma: float) -> None:
    """Writes those PNG files of `smooth`, with noise, that are missing in another folder."""
    for i in _missing(folder, num_pictures):
        _write(folder, i, noisy(files.read_png(smooth / _name(i)), i, sigma))


def _missing(folder: pathlib.Path, num_pictures: int) -> list[int]:
    """Returns the numbers of the missing pictures; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(num_pictures) if not (folder / _name(i)).exists()]
    if missing:
        print(f"making {len(missing)} PNG files in {folder}", flush=True)
    return missing


def _write(folder: pathlib.Path, index: int, pixels: np.ndarray) -> None:
    partial = folder.with_name(f"{folder.name}.partial")  # Outside of the folder, all of which is prepared.
    partial.write_bytes(png(pixels))
    partial.replace(folder / _name(index))


def _name(index: int) -> str:
    return f"{index:05d}.png"


def noisy(face: np.ndarray, index: int, sigma: float) -> np.ndarray:
    """Returns uint8 [h, w, 3] plus Gaussian noise, independent in each pixel and channel, the same in each call."""
    noise = np.random.default_rng([NOISE_SEED, index]).standard_normal(face.shape, np.float32)
    return np.clip(np.rint(face + np.float32(sigma) * noise), 0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Returns a PNG file with Pillow's default compression."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def sigma_of_ffhq(smooth: pathlib.Path, num_pictures: int) -> float:
    """Returns the sigma of noise that makes a folder's first PNG files about as large as FFHQ's in the mean."""
    tried = [files.read_png(smooth / _name(i)) for i in range(min(NUM_TRIED, num_pictures))]
    low, high = 0.0, MAX_SIGMA
    for _ in range(NUM_HALVINGS):
        sigma = (low + high) / 2
        size = np.mean([len(png(noisy(face, i, sigma))) for i, face in enumerate(tried)])
        low, high = (sigma, high) if size < FFHQ_BYTES / FFHQ_LENGTH else (low, sigma)
    return (low + high) / 2


def prepared(source: pathlib.Path, store: pathlib.Path, num_processes: int) -> tuple[float, float]:
    """Returns the seconds and bytes per picture of preparing a store; removes the store."""
    data = Data(source=str(source), num_workers=num_processes)
    num_pictures = len(list(source.iterdir()))
    per_shard = min(prepare.PICTURES_PER_SHARD, -(-num_pictures // num_processes))  # A shard or more for each process.
    for leftover in (store, store.with_name(f"{store.name}.partial")):
        shutil.rmtree(leftover, ignore_errors=True)
    start = time.perf_counter()
    prepare.make_store(data, Model(resolution=RESOLUTION), store, pictures_per_shard=per_shard)
    sec, num_bytes = time.perf_counter() - start, folder_bytes(store)
    shutil.rmtree(store)
    return sec / num_pictures, num_bytes / num_pictures


def folder_bytes(folder: pathlib.Path) -> int:
    """Returns the size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def official_bytes() -> int:
    """Returns the bytes of a picture in official TFRecords, at all resolutions."""
    sizes = [2**k for k in range(2, RESOLUTION.bit_length())]
    examples = [tfrecord_writer.example(np.zeros((3, size, size), np.uint8)) for size in sizes]
    return sum(len(example) + tfrecords.FRAME_BYTES for example in examples)


def cells(row: Row) -> list[tuple[str, ...]]:
    """Returns a row's lines in the table under HEADER, one for each number of processes."""
    sizes = (
        row.name,
        f"{row.png_bytes / 1e6:.2f}",
        f"{row.store_bytes / 1e6:.2f}",
        f"{row.store_bytes / row.png_bytes:.2f}",
        f"{row.tfrecord_bytes / row.png_bytes:.2f}",
    )
    hours = tuple("-" if (h := row.hours(cores)) is None else f"{h:.1f}" for cores in CORES)
    times = {processes: (str(processes), f"{sec:.3f}") for processes, sec in row.sec.items()}
    blank = ("",) * len(hours)
    return [(*sizes, *cell, *(hours if p == max(times) else blank)) for p, cell in times.items()]


def compare(num_processes: Sequence[int], out: pathlib.Path | None) -> None:
    """Prints progress, then the table; writes all numbers so far to `out` after each kind of pictures."""
    workdir, count, rows = pathlib.Path(WORKDIR.value), NUM_PICTURES.value, []
    smooth = workdir / f"ffhq-{count}-smooth"
    draw(smooth, count)
    sigma = sigma_of_ffhq(smooth, count)
    noise = workdir / f"ffhq-{count}-{sigma:.3f}"
    add_noise(smooth, noise, count, sigma)
    print(f"PNG files of faces with noise of sigma {sigma:.3f} are as large as FFHQ's")
    for folder, name, noise_sigma in ((smooth, "smooth", 0.0), (noise, f"noise of sigma {sigma:.2f}", sigma)):
        sec, store_bytes = {}, 0.0
        for processes in num_processes:
            sec[processes], store_bytes = prepared(folder, workdir / "ffhq-store", processes)
            print(f"{name}, {processes} processes: {sec[processes]:.3f} s a picture", flush=True)
        png_bytes = folder_bytes(folder) / count
        rows.append(Row(name, noise_sigma, png_bytes, store_bytes, official_bytes(), sec))
        if out:
            values = {"num_pictures": count, "rows": [dataclasses.asdict(row) for row in rows]}
            options.write_json(out, values)
    lines = [line for row in rows for line in cells(row)]
    print(f"\n{count} of each; hours for {FFHQ_LENGTH}\n\n" + table_text.markdown([HEADER, *lines]))


def main(argv: list[str]) -> None:
    """Measures as the flags say."""
    try:
        options.check_no_arguments(argv)
        out = options.checked_out(OUT.value) if OUT.value else None
        if not all(text.isdecimal() and int(text) > 0 for text in NUM_PROCESSES.value):
            raise ValueError(f"--num_processes={','.join(NUM_PROCESSES.value)}: name numbers, such as 1,2")
        compare(sorted(map(int, NUM_PROCESSES.value)), out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}.")
    if out:
        print(f"wrote {out}")


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
