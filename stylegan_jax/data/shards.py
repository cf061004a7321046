"""Writes one shard of a prepared store."""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, pictures, store
from stylegan_jax.data.source import Source, printable

MAX_NAMES = 20  # Pictures named for each remark.


@dataclasses.dataclass
class Summary:
    """What became of the pictures of a shard. All plain JSON."""

    length: int = 0  # Pictures in the shard.
    num_bytes: int = 0  # Of their records.
    num_enlarged: int = 0
    sha256: str = ""  # Of the pixels and labels.
    labels: list[int] = dataclasses.field(default_factory=list)
    left_out: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)  # name, kind, reason
    remarks: dict[str, tuple[int, list[str]]] = dataclasses.field(default_factory=dict)  # count, first names


def write(
    folder: pathlib.Path,
    shard: int,
    num_shards: int,
    source: Source,
    indices: Iterable[int],
    data: Data,
    model: Model,
    done_fn: Callable[[], None],
) -> Summary:
    """Writes the pictures `indices` of a source as a shard.

    When this returns, all its files are on disk and have their final names; until then none has.

    Args:
        folder: of the store.
        shard: number of the shard.
        num_shards: of the store.
        source: of the pictures.
        indices: of the shard's pictures.
        data: how they become squares.
        model: resolution and channels.
        done_fn: called after each picture.
    """
    sizes = store.level_sizes(model.resolution)
    levels = {size: store.level_path(folder, size, shard, num_shards) for size in sizes}
    records = store.shard_path(folder, shard, num_shards)
    data = images.settings_for(source, data)
    summary, digest = Summary(), hashlib.sha256()
    with contextlib.ExitStack() as stack:
        streams = {size: stack.enter_context(_begin_npy(file, size, model.channels)) for size, file in levels.items()}
        write_record = stack.enter_context(_records(_partial(records), source, model))
        for i in indices:
            kept = _square(source, i, data, model, summary)
            if kept is not None:
                pixels, encoded = kept
                label = None if source.classes is None else int(source.classes.labels[i])
                summary.num_bytes += write_record(source.names[i], encoded, label)
                for size, means in pictures.levels(pixels, sizes).items():
                    streams[size].write(means.tobytes())
                digest.update(pixels.tobytes() + str(label).encode())
                summary.labels += [] if label is None else [label]
                summary.length += 1
            done_fn()
        for size, stream in streams.items():
            _end_npy(stream, (summary.length, size, size, model.channels))
    summary.sha256 = digest.hexdigest()
    for file in (records, *levels.values()):
        sync(_partial(file))
        _partial(file).replace(file)
    return summary


@contextlib.contextmanager
def _records(file: pathlib.Path, source: Source, model: Model) -> Iterator[Callable[[str, bytes, int | None], int]]:
    """Yields a function of (name, encoded picture, class) that writes a record and returns its bytes."""
    from array_record.python import array_record_module
    from tensorflow_datasets.core import example_serializer

    names = source.classes.names if source.classes else ()
    features = store.features(model.resolution, model.channels, names)
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1,uncompressed")

    def write(name: str, encoded: bytes, label: int | None) -> int:
        values = {"image": io.BytesIO(encoded), "name": name.encode("utf-8", "surrogateescape")}
        if label is not None:
            values["label"] = label
        example = serializer.get_tf_example(features.encode_example(values))
        record = example.SerializeToString(deterministic=True)  # Else its map has any order.
        writer.write(record)
        return len(record)

    try:
        yield write
    finally:
        writer.close()


def _square(source: Source, index: int, data: Data, model: Model, summary: Summary) -> tuple[np.ndarray, bytes] | None:
    """Returns a picture's pixels [r, r, c] and encoded file, or None if it is left out; `summary` says why."""
    name = printable(source.names[index])
    try:
        picture = source.read_fn(index)
        pixels, image = images.make_square(picture, data, model)
    except (ValueError, OSError) as error:
        kind = "filtered" if isinstance(error, pictures.TooSmall) else "unreadable"
        summary.left_out.append((name, kind, printable(str(error))))
        return None
    for remark in pictures.remarks(image, model.channels):
        count, names = summary.remarks.get(remark, (0, []))
        summary.remarks[remark] = (count + 1, [*names, name][:MAX_NAMES])
    summary.num_enlarged += pictures.is_enlarged(image.size, model.resolution, data.fit)
    if isinstance(picture, bytes) and pictures.is_kept(image, model.resolution, model.channels):
        return pixels, picture
    return pixels, encode(pixels)


def encode(pixels: np.ndarray) -> bytes:
    """Returns uint8 [r, r, c] as a lossless WebP: a third smaller than a PNG of its speed, and faster to decode."""
    file = io.BytesIO()
    values = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(values).save(file, "WEBP", lossless=True, exact=True, quality=0, method=0)
    return file.getvalue()


def _partial(file: pathlib.Path) -> pathlib.Path:
    return file.with_name(f".{file.name}.partial")


def _begin_npy(file: pathlib.Path, size: int, channels: int) -> BinaryIO:
    """Returns a .npy of no pictures yet, open to write them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = _partial(file).open("wb")
    _write_header(stream, (0, size, size, channels))
    return stream


def _end_npy(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Makes the header say how many pictures there are."""
    begin = stream.tell() - int(np.prod(shape))
    stream.seek(0)
    _write_header(stream, shape)
    assert stream.tell() == begin, "NumPy leaves room in the header for the first axis to grow"


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def sync(file: pathlib.Path) -> None:
    """Returns when a file is on disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
