"""One side of the comparison, in a process of its own: answers each line of stdin with a line of JSON.

    python -m experiments.data.throughput_child ours STORE                 ours
    PYTHON experiments/data/throughput_child.py tf TFRECORD_FOLDER         tf.data, where TensorFlow is
    PYTHON experiments/data/throughput_child.py torch PNG_FOLDER           PyTorch's DataLoader, where torch is

A request is {} for a description; {"way", "resolution", "batch"} for the CRC of each picture of a batch; or these with
"warm_up_sec" and "sec" for images/s. Readers stay open until a request for another resolution or batch.
"""

import json
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import numpy as np


def answer(side: Any, requests: Iterable[str], stream: TextIO) -> None:
    """Answers `requests` on `stream` until they end."""
    opened: dict[str, Iterator[np.ndarray]] = {}
    now = None
    for line in requests:
        request = json.loads(line)
        if not request:
            reply = side.about()
        else:
            size, way = (request["resolution"], request["batch"]), request["way"]
            if size != now:
                opened, now = {}, size
            if way not in opened:
                opened[way] = side.batches(way, *size)
            if "sec" in request:
                read_for(opened[way], request["warm_up_sec"])
                reply = {"images_per_sec": read_for(opened[way], request["sec"])}
            else:
                reply = {"crcs": crcs(next(opened[way]), *size)}
        print(json.dumps(reply), file=stream, flush=True)


def read_for(batches: Iterator[np.ndarray], sec: float) -> float:
    """Returns images/s of reading batches for at least `sec` seconds."""
    start, count = time.perf_counter(), 0
    while True:
        count += len(next(batches))
        elapsed = time.perf_counter() - start
        if elapsed >= sec:
            return count / elapsed


def crcs(batch: np.ndarray, resolution: int, num_pictures: int) -> list[int]:
    """Returns the CRC of each picture, uint8 [r, r, 3] or [3, r, r]; an empty list if the batch has another form."""
    if batch.dtype != np.uint8 or batch.shape not in {
        (num_pictures, resolution, resolution, 3),
        (num_pictures, 3, resolution, resolution),
    }:
        return []
    pixels = batch if batch.shape[3] == 3 else batch.transpose(0, 2, 3, 1)
    return [zlib.crc32(picture.tobytes()) for picture in pixels]


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # Other output must not be taken for an answer.
    which, folder = sys.argv[1:]
    if which == "ours":
        from experiments.data import throughput_ours as module
    elif which == "tf":
        import throughput_tf as module  # From this folder: the others' Pythons do not find our packages.
    else:
        import throughput_torch as module
    answer(module.Side(folder), sys.stdin, answers)
