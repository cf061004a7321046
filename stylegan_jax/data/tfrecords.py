"""Official multi-resolution TFRecords of StyleGAN and Progressive GAN, read without TensorFlow or Protobuf.

Each resolution is a file NAME-rNN.tfrecords, NN being log2 of it, and NAME-rxx.labels is a .npy of one-hot rows. A
record is

    length uint64 | CRC of the length uint32 | tf.train.Example | CRC of the Example uint32

and its Example has two features: "shape", int64 [c, h, w], and "data", the pixels as bytes in that order. So all
records of a file have one length, and the file mapped into memory is an array whose rows are records.
"""

import dataclasses
import mmap
import pathlib
import re

import numpy as np

from stylegan_jax.data import labels
from stylegan_jax.data.source import Levels, Source, file_identity

LENGTH_BYTES, CRC_BYTES = 8, 4
FRAME_BYTES = LENGTH_BYTES + 2 * CRC_BYTES  # Of a record, around its Example.
CHANNELS = (1, 3)
GATHERED_BYTES = 2**18  # Read at once, to be still in the processor's cache when channels are put last.

_NAME = re.compile(r"(.+)-r(0[2-9]|1\d)\.tfrecords")
_REMEDY = "Copy, download or export it again."


@dataclasses.dataclass(frozen=True)
class _File:
    """The images of one file."""

    length: int
    size: int  # px
    channels: int
    views: tuple[np.ndarray, np.ndarray]  # The pixels, had all records the one frame or the other. [length, c, h, w]
    is_other: np.ndarray  # Whether record i has the other. bool [length]


def open_source(path: str) -> Source:
    """Returns official TFRecords as a source: decoded pictures of the largest resolution, and all as levels.

    Every record is checked but for its pixels and their CRC: that would read each byte. The files stay mapped as long
    as the source is in use.

    Args:
        path: folder of the files, or any one of them.

    Raises:
        ValueError: no such files, or they are cut, damaged, of another format or at odds with each other.
    """
    try:
        folder, name, paths = _find(pathlib.Path(path))
        files = {size: _open_file(file, size) for size, file in paths.items()}
        top = files[max(files)]
        for size, file in files.items():
            if (file.length, file.channels) != (top.length, top.channels):
                raise ValueError(
                    f"{paths[size]} has {file.length} records of {file.channels} channels, but {paths[top.size]} has "
                    f"{top.length} of {top.channels}; export them again, together."
                )
        label_file = folder / f"{name}-rxx.labels"
        classes, unused_labels = None, None
        if label_file.exists():
            classes, unused_labels = labels.or_reason(lambda: _read_labels(label_file, top.length))
        identity = file_identity(paths[top.size])
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error

    def fill(indices: np.ndarray, size: int, images: np.ndarray) -> None:
        images[...] = _gather(files[size], indices)

    return Source(
        str(folder),
        names=[f"{paths[top.size].name}#{i:06d}" for i in range(top.length)],
        identities=[identity] * top.length,
        read_fn=lambda index: _gather(top, np.array([index]))[0],
        classes=classes,
        unused_labels=unused_labels,
        levels=Levels(tuple(files), top.channels, fill),
    )


def _find(path: pathlib.Path) -> tuple[pathlib.Path, str, dict[int, pathlib.Path]]:
    """Returns the folder, the common NAME, and the files by resolution, ascending."""
    folder = path if path.is_dir() else path.parent
    matches = [(match, file) for file in sorted(folder.iterdir()) if (match := _NAME.fullmatch(file.name))]
    names = {match[1] for match, file in matches if path in (folder, file)}
    if len(names) != 1:
        raise ValueError(
            f"{path} has NAME-rNN.tfrecords, NN being log2 of the resolution, of {len(names)} data sets: "
            f"{', '.join(sorted(names)) or 'none'}; name a folder of one set, or one of its files."
        )
    name = names.pop()
    return folder, name, {2 ** int(match[2]): file for match, file in matches if match[1] == name}


def _open_file(path: pathlib.Path, size: int) -> _File:
    """Returns the images of a file, after comparing each record's frame with those that an image can have.

    Raises:
        ValueError: the file is empty, cut or of another kind, or a record is unlike the others.
    """
    num_bytes = path.stat().st_size
    if not num_bytes:
        raise ValueError(f"{path} is empty. {_REMEDY}")
    with path.open("rb") as stream:
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    mapping.madvise(mmap.MADV_RANDOM)  # Else reading ahead, to look at each frame is to read most of the file.
    mapped = np.frombuffer(mapping, np.uint8)
    begin = mapped[:LENGTH_BYTES].tobytes()
    if mapped[LENGTH_BYTES : LENGTH_BYTES + CRC_BYTES].tobytes() != masked_crc32c(begin):
        raise ValueError(f"{path} is no TFRecord file, or a compressed one: its first CRC is wrong. {_REMEDY}")
    stride = int.from_bytes(begin, "little") + FRAME_BYTES
    frames_of = {channels: _frames(channels, size) for channels in CHANNELS}
    strides = {sum(map(len, f[0])) + c * size**2 + CRC_BYTES: c for c, f in frames_of.items()}
    if stride not in strides:
        raise ValueError(
            f"{path} has records of {stride} bytes, but an image of shape [1 or 3, {size}, {size}], as its name says, "
            f"takes {' or '.join(map(str, strides))}; name it after its resolution, or export it again."
        )
    length, rest, channels = num_bytes // stride, num_bytes % stride, strides[stride]
    rows, frames = mapped[: length * stride].reshape(length, stride), frames_of[channels]
    is_one, is_other = (_has_frame(rows, *frame) for frame in frames)
    unlike = np.flatnonzero(~(is_one | is_other))
    if unlike.size:
        num_own = int.from_bytes(rows[unlike[0], :LENGTH_BYTES].tobytes(), "little")
        raise ValueError(
            f"{path}: record {unlike[0]}, of {num_own} bytes, is no tf.train.Example of {stride - FRAME_BYTES} bytes "
            f"with 'shape' [{channels}, {size}, {size}] and 'data'. {_REMEDY}"
        )
    mapping.madvise(mmap.MADV_NORMAL)
    if rest:
        raise ValueError(f"{path} is cut in record {length}: {rest} bytes of {stride}. {_REMEDY}")
    pixels = (rows[:, len(before) : len(before) + channels * size**2] for before, _ in frames)
    one, other = (view.reshape(length, channels, size, size) for view in pixels)
    return _File(length, size, channels, (one, other), is_other)


def _has_frame(rows: np.ndarray, before: bytes, after: bytes) -> np.ndarray:
    """Returns which records [n, stride] have these bytes before and after their pixels. bool [n]"""
    begins = rows[:, : len(before)]
    ends = rows[:, rows.shape[1] - CRC_BYTES - len(after) : -CRC_BYTES]
    return (begins == np.frombuffer(before, np.uint8)).all(1) & (ends == np.frombuffer(after, np.uint8)).all(1)


def _frames(channels: int, size: int) -> list[tuple[bytes, bytes]]:
    """Returns what can stand before and after the pixels in a record, but for the last CRC.

    There are two such frames: which feature of an Example comes first is left to the program that writes it.
    """
    num_pixels = channels * size**2
    dimensions = b"".join(map(_varint, (channels, size, size)))
    shape = _field(1, _field(1, b"shape") + _field(2, _field(3, _field(1, dimensions))))
    value = _field(2, _field(1, _field(1, b"", num_pixels), num_pixels), num_pixels)
    data = _field(1, _field(1, b"data") + value, num_pixels)  # But for the pixels themselves.
    frames = []
    for features, after in ((data, shape), (shape + data, b"")):
        example = _field(1, features, num_pixels + len(after))
        length = (len(example) + num_pixels + len(after)).to_bytes(LENGTH_BYTES, "little")
        frames.append((length + masked_crc32c(length) + example, after))
    return frames


def _field(number: int, content: bytes, num_more: int = 0) -> bytes:
    """Returns a field of a Protobuf message, of wire type 2 (length first), but for its last `num_more` bytes."""
    return _varint(number << 3 | 2) + _varint(len(content) + num_more) + content


def _varint(value: int) -> bytes:
    """Returns a whole number as Protobuf writes it: 7 bits a byte, lowest first, the high bit set in all but one."""
    return bytes([value & 127 | 128]) + _varint(value >> 7) if value > 127 else bytes([value])


def masked_crc32c(content: bytes) -> bytes:
    """Returns a TFRecord's CRC of a few bytes: Castagnoli's, turned by 15 bits, plus a constant. uint32"""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(CRC_BYTES, "little")


def _gather(file: _File, indices: np.ndarray) -> np.ndarray:
    """Returns the images `indices`. uint8 [n, size, size, c]"""
    images = np.empty((len(indices), file.size, file.size, file.channels), np.uint8)
    step = max(1, GATHERED_BYTES // (file.channels * file.size**2))
    for start in range(0, len(indices), step):
        some = indices[start : start + step]
        planes = file.views[0][some]  # [k, c, size, size]
        is_other = file.is_other[some]
        planes[is_other] = file.views[1][some[is_other]]
        for channel in range(file.channels):  # Several times as fast as a transpose.
            images[start : start + step, :, :, channel] = planes[:, channel]
    return images


def _read_labels(path: pathlib.Path, length: int) -> labels.Classes:
    """Returns the classes in a .labels file.

    Raises:
        ValueError: it is no .npy of `length` one-hot rows or whole numbers.
    """
    try:
        with path.open("rb") as stream:  # np.load would say how to run a pickle.
            rows = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy of numbers ({error}); write it with np.save.") from error
    if rows.dtype.kind not in "biuf" or rows.shape[:1] != (length,):
        raise ValueError(f"{path} has {rows.dtype}{list(rows.shape)}, but there are {length} records to label.")
    return labels.from_values(list(rows), str(path)) if rows.ndim == 1 else labels.from_one_hot(rows, str(path))
