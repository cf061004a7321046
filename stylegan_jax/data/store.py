"""A prepared store: pictures made squares once, so that no training step waits for them.

prepared.json                               what was done: settings, counts, remarks, content hash
left_out.jsonl                              each picture of the source that was left out, and why
dataset_info.json, features.json            with these, `tfds.builder_from_directory` reads the store too
pictures-train.array_record-00000-of-00004  the full resolution, encoded without loss, with name and class
levels/8/00000-of-00004.npy ...             box means at 4, 8, ... 256 px of the same pictures, raw
labels.npy                                  class of each picture, if there are any
"""

import contextlib
import functools
import io
import json
import pathlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from stylegan_jax.data import decode, labels, records, rows
from stylegan_jax.data.source import Source, unchanged_since_now

RECORD = "prepared.json"
LEFT_OUT = "left_out.jsonl"
LABELS = "labels.npy"
FORMAT = 1  # Format of the store; raised when an older package could not read it.
MAX_LEVEL_PX = 256
LEVELS_OF_RGBA = "colour weighed by alpha"  # How the levels of four channels are made.
SQUARE_SETTINGS = ("fit", "background", "min_side_px", "white_level")  # Settings of config.Data in a record.
MAX_WHOLE_BYTES = 2**30  # Limit on a level that is kept in memory: FFHQ's up to 64 px.
MOST_WHOLE = 2  # Number of such levels: the one that is trained at, and the one that metrics take.
HEADER_BYTES = 4096  # Bytes read for the header of a .npy, which is shorter.


def level_sizes(resolution: int) -> tuple[int, ...]:
    """Returns the sizes that a store of `resolution` px keeps raw, ascending: 4, 8, ... 256."""
    return tuple(2**k for k in range(2, min(resolution, MAX_LEVEL_PX).bit_length()))


def level_path(folder: pathlib.Path, size: int, shard: int, num_shards: int) -> pathlib.Path:
    """Returns where the level of `size` px of a shard lies."""
    return folder / "levels" / str(size) / f"{shard:05d}-of-{num_shards:05d}.npy"


def read_record(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what prepared.json says.

    Raises:
        ValueError: it is missing, damaged, or of another format.
        OSError: it cannot be read.
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, and this package reads format {FORMAT}")
        return record
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is not a store that can be read ({error}); prepare it again.") from error


def open_source(path: str) -> Source:
    """Returns the pictures of a store, with its squares at all its sizes.

    Raises:
        ValueError: it is of another format, or a file of it is missing or damaged.
        OSError: a file of it cannot be read.
    """
    folder = pathlib.Path(path)
    same_record_fn = unchanged_since_now([folder / RECORD])
    record = read_record(folder)
    try:
        resolution, channels = record["resolution"], record["channels"]
        shard_lengths, left_out = record["shard_lengths"], record["num_unreadable"] + record["num_filtered"]
        raw_sizes, length, identity = level_sizes(resolution), sum(shard_lengths), record["sha256"]
        classes = None
        if record["class_names"]:
            classes = labels.Classes(np.array(labels.load_npy(str(folder / LABELS))), tuple(record["class_names"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is not a store that can be read ({error}); prepare it again.") from error
    _check_files(folder, raw_sizes, shard_lengths, channels)
    open_fn, unchanged_fn = _checked(folder, identity, same_record_fn)
    read_fn = records.picture_reader(folder, shard_lengths, open_fn)
    read_rows = _level_reader(folder, shard_lengths, channels, open_fn)

    def read_many(indices: np.ndarray, images: np.ndarray) -> None:
        if images.shape[1] in raw_sizes:
            read_rows(indices, images)
            return
        for image, i in zip(images, indices, strict=True):
            image[...] = decode.pixels(read_fn(i), channels)

    notes = [f"{path} was prepared without {left_out} pictures, listed in {LEFT_OUT}"] if left_out else []
    if channels == 4 and record.get("levels") != LEVELS_OF_RGBA:
        notes.append(f"an older package made {path}, and hidden colours show in its levels; prepare it again")
    return Source(
        path,
        names=[f"{i:08d}" for i in range(length)],
        identities=[identity] * length,
        read_fn=read_fn,
        classes=classes,
        read_many_fn=read_many,
        sizes=raw_sizes if resolution in raw_sizes else (*raw_sizes, resolution),
        channels=channels,
        square_settings={k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k in SQUARE_SETTINGS},
        notes=tuple(notes),
        unchanged_fn=unchanged_fn,
    )


def _check_files(folder: pathlib.Path, sizes: tuple[int, ...], shard_lengths: list[int], channels: int) -> None:
    """Raises ValueError if a file is missing or cut short, without reading any."""
    num_shards = len(shard_lengths)
    for shard, length in enumerate(shard_lengths):
        levels = {level_path(folder, size, shard, num_shards): length * size**2 * channels for size in sizes}
        for file, least in (levels | {records.shard_path(folder, shard, num_shards): 1}).items():
            if not file.is_file() or file.stat().st_size < least:
                raise ValueError(f"{file} is missing or cut short; copy the store again, or prepare it again.")


def _checked(
    folder: pathlib.Path, identity: str, same_record_fn: Callable[[Iterable[int]], bool]
) -> tuple[Callable[[str], rows.File], Callable[[Iterable[int]], bool]]:
    """Returns a function that opens a file, or raises records.PreparedAnew, and the unchanged_fn of a store's source.

    Args:
        folder: folder of the store.
        identity: hash of the store's pictures.
        same_record_fn: whether prepared.json is the same file as before, which need not be read again.
    """

    def check() -> None:
        if not same_record_fn(()) and read_record(folder).get("sha256") != identity:
            raise records.PreparedAnew(
                f"{folder} was prepared anew since this run began: it has other pictures. Put the former store back, "
                "or begin a new run."
            )

    def is_unchanged(indices: Iterable[int]) -> bool:
        with contextlib.suppress(ValueError, OSError):
            check()
            return True
        return False

    def open_file(path: str) -> rows.File:
        try:
            return rows.File(path)
        finally:  # Also where there is no such file: another store may have fewer.
            check()

    return open_file, is_unchanged


def _level_reader(
    folder: pathlib.Path, shard_lengths: list[int], channels: int, open_fn: Callable[[str], rows.File]
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Returns a function of picture numbers [n] that writes them into uint8 [n, size, size, channels].

    A level of at most MAX_WHOLE_BYTES is read whole when it is first asked for: its rows are so short that a read of
    each would take longer than all the rest.
    """
    ends, num_shards = np.cumsum(shard_lengths), len(shard_lengths)
    starts = ends - shard_lengths
    open_file = rows.keep_open(open_fn)

    @functools.cache
    def paths(size: int) -> list[str]:
        return [str(level_path(folder, size, shard, num_shards)) for shard in range(num_shards)]

    @functools.cache
    def begin(size: int, shard: int) -> int:
        """Returns where the rows of a shard's level begin, after checking the file's header."""
        return _check_header(open_file(paths(size)[shard]), (shard_lengths[shard], size, size, channels))

    lock = threading.Lock()  # Threads that ask for a level at once wait for one of them to read it.

    @functools.lru_cache(maxsize=MOST_WHOLE)
    def whole_level(size: int) -> np.ndarray:
        level = np.empty((ends[-1], size, size, channels), np.uint8)
        for shard in range(num_shards):
            room = memoryview(level[starts[shard] : ends[shard]].reshape(-1))
            open_file(paths(size)[shard]).read_into(begin(size, shard), room)
        return level

    def read(indices: np.ndarray, images: np.ndarray) -> None:
        size = images.shape[1]
        row_bytes = size**2 * channels
        if ends[-1] * row_bytes <= MAX_WHOLE_BYTES:
            with lock:
                level = whole_level(size)
            np.take(level, indices, axis=0, out=images, mode="clip")  # Without a mode, NumPy copies it twice.
            return
        shards = np.searchsorted(ends, indices, side="right")
        within = ((indices - starts[shards]) * row_bytes).tolist()
        shards = shards.tolist()
        begins = {shard: begin(size, shard) for shard in set(shards)}
        offsets = [begins[shard] + offset for shard, offset in zip(shards, within, strict=True)]
        files = map(open_file, map(paths(size).__getitem__, shards))  # Opened one by one: there may be thousands.
        rows.read_rows(files, offsets, images)

    return read


def _check_header(file: rows.File, shape: tuple[int, ...]) -> int:
    """Returns where the values of a .npy begin; raises ValueError if it is not one of uint8 `shape`."""
    with io.BytesIO(file.read(0, min(file.num_bytes, HEADER_BYTES))) as stream:
        try:
            np.lib.format.read_magic(stream)
            found, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        except Exception as error:  # NumPy raises half a dozen unrelated types at damaged bytes.
            raise ValueError(f"{file.path} is damaged ({error}); prepare the store again.") from error
        if (found, is_fortran, dtype) != (shape, False, np.uint8):
            raise ValueError(f"{file.path} has {dtype}{list(found)}, not uint8{list(shape)}; prepare it again.")
        return stream.tell()
