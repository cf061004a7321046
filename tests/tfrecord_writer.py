"""Writes official multi-resolution TFRecords: byte for byte what dataset_tool.TFRecordExporter writes."""

import pathlib
from collections.abc import Sequence

import numpy as np

CRC_BLOCK_BYTES = 2**28  # Bytes of records that are transposed at once.


def write_tfrecords(
    folder: pathlib.Path,
    name: str,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    orders: Sequence[str] = ("data shape",),
) -> None:
    """Writes NAME-r02.tfrecords ... NAME-rNN.tfrecords, and NAME-rxx.labels if there are labels.

    Args:
        folder: folder to make and to write to.
        name: NAME.
        images: uint8 [n, r, r, c], r a power of two, in the order of the records.
        labels: array that np.save writes.
        orders: orders of the features in the records' Examples, in turn: "data shape" or "shape data".
    """
    folder.mkdir(parents=True, exist_ok=True)
    pyramids = [pyramid(image) for image in images]
    for size in pyramids[0]:
        level = np.stack([levels[size] for levels in pyramids])
        examples = [example(pixels, orders[i % len(orders)]) for i, pixels in enumerate(level)]
        (folder / f"{name}-r{size.bit_length() - 1:02d}.tfrecords").write_bytes(records(examples))
    if labels is not None:
        with (folder / f"{name}-rxx.labels").open("wb") as stream:
            np.save(stream, labels)


def pyramid(image: np.ndarray) -> dict[int, np.ndarray]:
    """Returns uint8 [c, s, s] at each size s of an image [r, r, c]: 2x2 means in float32, rounded when written."""
    level, found = image.transpose(2, 0, 1), {}
    while level.shape[1] >= 4:
        found[level.shape[1]] = np.rint(level).astype(np.uint8)
        level = level.astype(np.float32)
        level = (level[:, 0::2, 0::2] + level[:, 0::2, 1::2] + level[:, 1::2, 0::2] + level[:, 1::2, 1::2]) * 0.25
    return found


def example(pixels: np.ndarray, order: str = "data shape") -> bytes:
    """Returns uint8 [c, h, w] as a serialized tf.train.Example with the features data and shape."""
    dimensions = b"".join(_varint(size) for size in pixels.shape)
    values = {"data": _field(1, _field(1, pixels.tobytes())), "shape": _field(3, _field(1, dimensions))}
    return _field(1, b"".join(_field(1, _field(1, key.encode()) + _field(2, values[key])) for key in order.split()))


def records(examples: Sequence[bytes]) -> bytes:
    """Returns the file of some Examples, all of one length."""
    lengths = np.full(len(examples), len(examples[0]), "<u8").view(np.uint8).reshape(-1, 8)
    rows = np.frombuffer(b"".join(examples), np.uint8).reshape(len(examples), -1)
    crcs = [crc.astype("<u4").view(np.uint8).reshape(-1, 4) for crc in (masked_crc32c(lengths), masked_crc32c(rows))]
    return np.concatenate([lengths, crcs[0], rows, crcs[1]], axis=1).tobytes()


def masked_crc32c(rows: np.ndarray) -> np.ndarray:
    """Returns the TFRecord CRC, uint32 [n], of each row of uint8 [n, length]: a byte of all rows at a time."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    step = max(1, CRC_BLOCK_BYTES // len(rows))
    for start in range(0, rows.shape[1], step):
        for column in np.ascontiguousarray(rows[:, start : start + step].T):
            crc = table[(crc ^ column) & 255] ^ crc >> 8
    crc = ~crc
    return (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = [value >> shift & 127 for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])
