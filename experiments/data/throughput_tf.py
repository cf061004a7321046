"""The side of tf.data: official TFRecords, in the order of the official reader, training/dataset.py of NVlabs/stylegan.

Its pictures stay [channels, height, width], as they are stored; the device would put channels last.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # Else TensorFlow reports the end of each pipeline.

import numpy as np
import tensorflow as tf

READ_BYTES = 8 << 20  # Read buffer. The official 256 MiB are slower at 256 px: they are out of the cache when parsed.
SHUFFLED_BYTES = 4096 << 20  # The official shuffle_mb.
FEATURES = {
    "shape": tf.io.FixedLenFeature([3], tf.int64),
    "data": tf.io.FixedLenFeature([], tf.string),
}


class Side:
    """Reads TFRecords."""

    def __init__(self, folder: str) -> None:
        self._folder = pathlib.Path(folder)

    def about(self) -> dict[str, Any]:
        """Returns the versions of the packages that read."""
        return {"tensorflow": tf.__version__}

    def batches(self, way: str, resolution: int, batch: int) -> Iterator[np.ndarray]:
        """Returns shuffled batches without end. uint8 [batch, 3, resolution, resolution]"""
        (file,) = self._folder.glob(f"*-r{resolution.bit_length() - 1:02d}.tfrecords")
        records = tf.data.TFRecordDataset(str(file), buffer_size=READ_BYTES)
        num_shuffled = SHUFFLED_BYTES // (3 * resolution**2)
        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": False}

        def pictures(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
            pixels = tf.io.decode_raw(parsed["data"], tf.uint8)
            return tf.reshape(pixels, [*parsed["data"].shape, 3, resolution, resolution])

        def parse_one(record: tf.Tensor) -> tf.Tensor:
            return pictures(tf.io.parse_single_example(record, FEATURES))

        def parse_batch(serialized: tf.Tensor) -> tf.Tensor:
            return pictures(tf.io.parse_example(serialized, FEATURES))

        def batches(dataset: tf.data.Dataset) -> tf.data.Dataset:
            return dataset.shuffle(num_shuffled).repeat().batch(batch, drop_remainder=True, **parallel)

        if way == "a record at a time":
            made = batches(records.map(parse_one, **parallel))
        else:
            made = batches(records).map(parse_batch, **parallel)
        return made.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
