"""The encoded pictures of a prepared store: array records, which tensorflow-datasets reads too."""

import functools
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from stylegan_jax.data import rows
from stylegan_jax.runs.text import printable

NAME, SPLIT = "pictures", "train"  # TFDS's names of the data set and its split.
FEATURES = "features.json"  # TFDS's name.


class PreparedAnew(ValueError):
    """Another store lies in the folder than when it was opened."""


def shard_path(folder: pathlib.Path, shard: int, num_shards: int) -> pathlib.Path:
    """Returns where the encoded pictures of a shard lie."""
    return folder / f"{NAME}-{SPLIT}.array_record-{shard:05d}-of-{num_shards:05d}"


def features(resolution: int, channels: int, class_names: tuple[str, ...]) -> Any:
    """Returns the TFDS features of a record: image, name (bytes), and label if there are classes."""
    import tensorflow_datasets as tfds  # Takes a second to import, and levels are read without it.

    found = {"image": tfds.features.Image(shape=(resolution, resolution, channels)), "name": tfds.features.Text()}
    if class_names:
        found["label"] = tfds.features.ClassLabel(names=[printable(name) for name in class_names])  # One line each.
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


def picture_reader(
    folder: pathlib.Path, shard_lengths: list[int], open_fn: Callable[[str], rows.File]
) -> Callable[[int], bytes]:
    """Returns a function of a picture's number that returns its encoded bytes."""
    ends = np.cumsum(shard_lengths)

    @functools.cache
    def stored_features() -> Any:
        import tensorflow_datasets as tfds  # Takes a second to import, and levels are read without it.

        try:
            return tfds.features.FeaturesDict.from_config(str(folder))
        except OSError:
            raise
        except Exception as error:  # JSON's, Protobuf's and TFDS's.
            raise ValueError(f"{folder}/{FEATURES} is damaged ({error}); prepare the store again.") from error

    @rows.keep_open
    def open_shard(path: str) -> tuple[Any, threading.Lock]:
        from array_record.python import array_record_module

        options = "readahead_buffer_size:0,max_parallelism:0"
        open_fn(path)  # An OSError here says why; the library's errors do not.
        reader = array_record_module.ArrayRecordReader(path, options)
        open_fn(path)  # Again, as it tells whether the reader has opened the store of the record.
        return reader, threading.Lock()  # As it seeks in its file.

    def read(index: int) -> bytes:
        import tensorflow_datasets as tfds

        shard = int(np.searchsorted(ends, index, side="right"))
        path, example_features = str(shard_path(folder, shard, len(ends))), stored_features()
        try:
            reader, lock = open_shard(path)
            with lock:
                example = reader.read([int(index - ends[shard] + shard_lengths[shard])])[0]
            decoders = {"image": tfds.decode.SkipDecoding()}
            return example_features.deserialize_example_np(example, decoders=decoders)["image"]
        except (OSError, PreparedAnew):
            raise
        except Exception as error:  # Errors of Riegeli, TFDS and Protobuf.
            rows.read_through(path)  # An OSError here says that it is the disk.
            raise ValueError(f"{path} has no readable picture {index} ({error}); prepare the store again.") from error

    return read
