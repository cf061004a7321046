"""Writes one shard of a prepared store."""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from stylegan_jax.config import Data, Model
from stylegan_jax.data import decode, records, square, store, survey
from stylegan_jax.data.source import Source
from stylegan_jax.runs import whole
from stylegan_jax.runs.text import printable

MAX_NAMES = 20  # Pictures named for each remark.


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to prepare, where, and in which pieces."""

    data: Data
    model: Model
    partial: pathlib.Path  # Folder of the unfinished store and of the summaries of its finished shards.
    length: int  # Pictures of the source.
    per_shard: int

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.length // self.per_shard)

    @property
    def store(self) -> pathlib.Path:
        """Folder that will be the store."""
        return self.partial / "store"

    def indices(self, shard: int) -> range:
        """Returns the pictures of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.length))

    def summary_path(self, shard: int) -> pathlib.Path:
        """Returns the path of a shard's summary, which is written once the shard is whole."""
        return self.partial / "shards" / f"{shard:05d}.json"


@dataclasses.dataclass
class Summary:
    """What became of the pictures of a shard. All plain JSON."""

    length: int = 0  # Pictures in the shard.
    num_bytes: int = 0  # Bytes of their records.
    num_enlarged: int = 0
    brightest: int = 0  # Largest value of pictures of deep integers; 0 if there are none.
    sha256: str = ""  # Hash of the pixels and labels.
    labels: list[int] = dataclasses.field(default_factory=list)
    left_out: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)  # name, kind, reason
    remarks: dict[str, tuple[int, list[str]]] = dataclasses.field(default_factory=dict)  # count, first names


def write(plan: Plan, source: Source, shard: int, done_fn: Callable[[], None]) -> Summary:
    """Writes the pictures of shard number `shard` of a source; `done_fn` is called after each.

    When this returns, all its files are on disk and have their final names.

    Raises:
        survey.SourceFailed: a picture could not be read, though it may be sound.
        OSError, RuntimeError: the files cannot be written.
    """
    data, model = plan.data, plan.model
    sizes = store.level_sizes(model.resolution)
    summary, digest = Summary(), hashlib.sha256()
    with contextlib.ExitStack() as stack:
        streams = {}
        for size in sizes:
            file = store.level_path(plan.store, size, shard, plan.num_shards)
            file.parent.mkdir(parents=True, exist_ok=True)
            streams[size] = stack.enter_context(whole.writing(file, is_durable=True))
            _write_header(streams[size], (0, size, size, model.channels))
        path = records.shard_path(plan.store, shard, plan.num_shards)
        write_record = stack.enter_context(_records(path, source, model))
        for i in plan.indices(shard):
            found = survey.square_of(source, i, data, model)
            if isinstance(found, survey.LeftOut):
                summary.left_out.append(dataclasses.astuple(found))
            else:
                _note(summary, found, printable(source.names[i]), model)
                label = None if source.classes is None else int(source.classes.labels[i])
                summary.num_bytes += write_record(source.names[i], _encoded(found, model), label)
                for size, means in square.box_means(found.pixels, sizes).items():
                    streams[size].write(means.tobytes())
                digest.update(found.pixels.tobytes() + str(label).encode())
                summary.labels += [] if label is None else [label]
                summary.length += 1
            done_fn()
        for size, stream in streams.items():
            _end_npy(stream, (summary.length, size, size, model.channels))
    summary.sha256 = digest.hexdigest()
    return summary


@contextlib.contextmanager
def _records(file: pathlib.Path, source: Source, model: Model) -> Iterator[Callable[[str, bytes, int | None], int]]:
    """Yields a function of (name, encoded picture, class) that writes a record and returns its size, bytes."""
    from array_record.python import array_record_module
    from tensorflow_datasets.core import example_serializer

    names = source.classes.names if source.classes else ()
    features = records.features(model.resolution, model.channels, names)
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    partial = whole.partial_path(file)
    writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1,uncompressed")

    def write(name: str, encoded: bytes, label: int | None) -> int:
        values = {"image": io.BytesIO(encoded), "name": name.encode("utf-8", "surrogateescape")}
        if label is not None:
            values["label"] = label
        example = serializer.get_tf_example(features.encode_example(values))
        record = example.SerializeToString(deterministic=True)  # Else the order of its map may vary.
        writer.write(record)
        return len(record)

    try:
        yield write
    finally:
        writer.close()
    sync(partial)
    partial.replace(file)


def _note(summary: Summary, found: survey.Square, name: str, model: Model) -> None:
    """Adds to the summary what is worth telling about a picture."""
    for remark in decode.remarks(found.image, model.channels):
        count, names = summary.remarks.get(remark, (0, []))
        summary.remarks[remark] = (count + 1, [*names, name][:MAX_NAMES])
    summary.num_enlarged += found.is_enlarged
    summary.brightest = max(summary.brightest, found.brightest)


def _encoded(found: survey.Square, model: Model) -> bytes:
    """Returns the picture's own file if that is the square, else a lossless file of the square."""
    if isinstance(found.picture, bytes) and decode.is_kept(found.image, model.resolution, model.channels):
        return found.picture
    return encode(found.pixels)


def encode(pixels: np.ndarray) -> bytes:
    """Returns uint8 [r, r, c] as a lossless WebP: a third smaller than a PNG as fast to write, and faster to read."""
    file = io.BytesIO()
    decode.load(pixels).save(file, "WEBP", lossless=True, exact=True, quality=0, method=0)
    return file.getvalue()


def _end_npy(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Writes the number of pictures into the header of a .npy."""
    begin = stream.tell() - int(np.prod(shape))
    stream.seek(0)
    _write_header(stream, shape)
    assert stream.tell() == begin, "NumPy leaves room in the header for the first axis to grow"


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Writes the header of a .npy of uint8 values."""
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


def sync(file: pathlib.Path) -> None:
    """Waits until a file is on disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
