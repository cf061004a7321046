"""A prepared store: pictures made squares once, so that no training step waits for them.

prepared.json                               what was done: settings, counts, remarks, content hash
left_out.jsonl                              each picture of the source that was left out, and why
dataset_info.json, features.json            with these, `tfds.builder_from_directory` reads the store too
pictures-train.array_record-00000-of-00004  the full resolution, encoded without loss, with name and class
levels/8/00000-of-00004.npy ...             box means at 4, 8, ... 256 px of the same pictures, raw
labels.npy                                  class of each picture, if there are any
"""

import functools
import json
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from stylegan_jax.data import labels, pictures
from stylegan_jax.data.source import Levels, Source, printable

RECORD = "prepared.json"
LEFT_OUT = "left_out.jsonl"
LABELS = "labels.npy"
FORMAT = 1  # Of the store; raised when an older package could not read it.
MAX_LEVEL_PX = 256
NAME, SPLIT = "pictures", "train"  # Of the data set, to TFDS.


def level_sizes(resolution: int) -> tuple[int, ...]:
    """Returns the sizes that a store of `resolution` px keeps raw, ascending: 4, 8, ... 256."""
    return tuple(2**k for k in range(2, min(resolution, MAX_LEVEL_PX).bit_length()))


def level_path(folder: pathlib.Path, size: int, shard: int, num_shards: int) -> pathlib.Path:
    """Returns where the level of `size` px of a shard lies."""
    return folder / "levels" / str(size) / f"{shard:05d}-of-{num_shards:05d}.npy"


def shard_path(folder: pathlib.Path, shard: int, num_shards: int) -> pathlib.Path:
    """Returns where the encoded pictures of a shard lie."""
    return folder / f"{NAME}-{SPLIT}.array_record-{shard:05d}-of-{num_shards:05d}"


def features(resolution: int, channels: int, class_names: tuple[str, ...]) -> Any:
    """Returns the TFDS features of a record: image, name (bytes), and label if there are classes."""
    import tensorflow_datasets as tfds  # Takes a second to import, and levels are read without it.

    found = {"image": tfds.features.Image(shape=(resolution, resolution, channels)), "name": tfds.features.Text()}
    if class_names:
        found["label"] = tfds.features.ClassLabel(names=[printable(name) for name in class_names])  # A line each.
    return tfds.features.FeaturesDict(found)


def write_metadata(folder: pathlib.Path, feature_dict: Any, shard_lengths: list[int], num_bytes: int) -> None:
    """Writes what TFDS needs to read the store."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=str(folder), dataset_name=NAME, split=SPLIT, filetype_suffix="array_record"
    )
    split = tfds.core.SplitInfo(
        name=SPLIT, shard_lengths=shard_lengths, num_bytes=num_bytes, filename_template=template
    )
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=NAME, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="stylegan_jax"
    )
    info = tfds.core.DatasetInfo(builder=identity, description="Pictures for stylegan_jax.", features=feature_dict)
    info.set_file_format("array_record")
    info.set_splits(tfds.core.SplitDict([split]))
    info.write_to_directory(folder)


def open_source(path: str) -> Source:
    """Returns the pictures of a store, with all its sizes as levels.

    Raises:
        ValueError: it is of another format, or a file of it is missing or damaged.
    """
    folder = pathlib.Path(path)
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, and this package reads format {FORMAT}")
        resolution, channels = record["resolution"], record["channels"]
        shard_lengths, left_out = record["shard_lengths"], record["num_unreadable"] + record["num_filtered"]
        raw_sizes, length, identity = level_sizes(resolution), sum(shard_lengths), record["sha256"]
        classes = None
        if record["class_names"]:
            classes = labels.Classes(labels.load_npy(str(folder / LABELS)), tuple(record["class_names"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is not a store that can be read ({error}); prepare it again.") from error
    read_fn = _reader(folder)
    _check_files(folder, raw_sizes, shard_lengths, channels)
    level_fns = {size: _level_reader(folder, size, shard_lengths, channels) for size in raw_sizes}

    def fill(indices: np.ndarray, size: int, images: np.ndarray) -> None:
        if size in level_fns:
            level_fns[size](indices, images)
            return
        for image, i in zip(images, indices, strict=True):
            picture = pictures.load(read_fn(i)).convert(pictures.MODES[channels])
            image[...] = np.asarray(picture).reshape(resolution, resolution, channels)

    return Source(
        path,
        names=[f"{i:08d}" for i in range(length)],
        identities=[identity] * length,
        read_fn=read_fn,
        classes=classes,
        levels=Levels(raw_sizes if resolution in raw_sizes else (*raw_sizes, resolution), channels, fill),
        notes=(f"{path} was prepared without {left_out} pictures, listed in {LEFT_OUT}",) if left_out else (),
    )


def _check_files(folder: pathlib.Path, sizes: tuple[int, ...], shard_lengths: list[int], channels: int) -> None:
    """Raises ValueError if a file is missing or cut short, without reading any."""
    num_shards = len(shard_lengths)
    for shard, length in enumerate(shard_lengths):
        levels = {level_path(folder, size, shard, num_shards): length * size**2 * channels for size in sizes}
        for file, least in (levels | {shard_path(folder, shard, num_shards): 1}).items():
            if not file.is_file() or file.stat().st_size < least:
                raise ValueError(f"{file} is missing or cut short; copy the store again, or prepare it again.")


def _level_reader(
    folder: pathlib.Path, size: int, shard_lengths: list[int], channels: int
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Returns a function of picture numbers [n] that writes them into uint8 [n, size, size, channels]."""
    ends = np.cumsum(shard_lengths)
    starts = ends - shard_lengths

    @functools.cache
    def level(shard: int) -> np.ndarray:
        file = level_path(folder, size, shard, len(shard_lengths))
        shape = (shard_lengths[shard], size, size, channels)
        try:
            found = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{file} cannot be read ({error}); prepare the store again.") from error
        if found.shape != shape or found.dtype != np.uint8:
            raise ValueError(f"{file} has {found.dtype}{list(found.shape)}, not uint8{list(shape)}; prepare it again.")
        return found.view(np.ndarray)  # Of np.memmap, each row would be an object with the map's attributes.

    def fill(indices: np.ndarray, images: np.ndarray) -> None:
        shards = np.searchsorted(ends, indices, side="right")
        for place, (shard, row) in enumerate(zip(shards.tolist(), (indices - starts[shards]).tolist(), strict=True)):
            images[place] = level(shard)[row]

    return fill


def _reader(folder: pathlib.Path) -> Callable[[int], bytes]:
    """Returns a function of a picture's number that returns its encoded bytes."""
    lock = threading.Lock()  # The readers of array records seek in their files.

    @functools.cache
    def records() -> Any:
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(folder).as_data_source(SPLIT, decoders={"image": tfds.decode.SkipDecoding()})

    def read(index: int) -> bytes:
        try:
            with lock:
                return records()[int(index)]["image"]
        except Exception as error:  # Riegeli's, TFDS's and Protobuf's.
            raise ValueError(f"{folder} has no readable picture {index} ({error}); prepare it again.") from error

    return read
