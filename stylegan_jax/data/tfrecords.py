"""Official multi-resolution TFRecords of StyleGAN and Progressive GAN, read without TensorFlow or Protobuf.

Each resolution is a file NAME-rNN.tfrecords, NN being log2 of it, and NAME-rxx.labels is a .npy of one-hot rows. A
record is

    length uint64 | CRC of the length uint32 | tf.train.Example | CRC of the Example uint32

and its Example has two features: "shape", int64 [c, h, w], and "data", the pixels as bytes in that order. So all
records of a file have one length, and each lies at a known place.
"""

import dataclasses
import pathlib
import re

import numpy as np

from stylegan_jax.data import labels, rows
from stylegan_jax.data.source import Source, file_identity, unchanged_since_now

LENGTH_BYTES, CRC_BYTES = 8, 4
FRAME_BYTES = LENGTH_BYTES + 2 * CRC_BYTES  # Bytes of a record around its Example.
CHANNELS = (1, 3)
JPEG_START = b"\xff\xd8\xff"
JPEG_SEARCH_BYTES = 1024  # First bytes of a record, in which a JPEG file would start.
GATHERED_BYTES = 2**18  # Bytes read at once: still in the processor's cache when channels are put last.

_NAME = re.compile(r"(.+)-r(0[2-9]|1\d)\.tfrecords")
_REMEDY = "Copy, download or export it again."


@dataclasses.dataclass(frozen=True)
class _File:
    """The images of one file."""

    file: rows.File
    channels: int
    starts: np.ndarray  # Where the pixels of each begin, [c, h, w]. int64 [length]


def open_source(path: str) -> Source:
    """Returns official TFRecords as a source: decoded pictures of the largest resolution, and levels of all.

    Every record is checked, except its pixels and their CRC: that would read each byte. The files stay open as long as
    the source is in use.

    Args:
        path: folder of the files, or any one of them.

    Raises:
        ValueError: no such files, or they are cut, damaged, of another format or at odds with each other.
    """
    try:
        folder, name, paths = _find(pathlib.Path(path))
        unchanged_fn = unchanged_since_now(paths.values())
        files = {size: _open_file(file, size) for size, file in paths.items()}
        largest = max(files)
        top, top_path = files[largest], paths[largest]
        length = len(top.starts)
        for size, file in files.items():
            if (len(file.starts), file.channels) != (length, top.channels):
                raise ValueError(
                    f"{paths[size]} has {len(file.starts)} records of {file.channels} channels, but {top_path} has "
                    f"{length} of {top.channels}; export them again, together."
                )
        classes, unused_labels = labels.or_reason(lambda: _read_labels(folder / f"{name}-rxx.labels", length))
        identity = file_identity(top_path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error

    def read(index: int) -> np.ndarray:
        image = np.empty((1, largest, largest, top.channels), np.uint8)
        _gather(top, np.array([index]), image)
        return image[0]

    return Source(
        str(folder),
        names=[f"{top_path.name}#{i:06d}" for i in range(length)],
        identities=[identity] * length,
        read_fn=read,
        classes=classes,
        unused_labels=unused_labels,
        read_many_fn=lambda indices, images: _gather(files[images.shape[1]], indices, images),
        sizes=tuple(files),
        channels=top.channels,
        unchanged_fn=unchanged_fn,
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
    file = rows.File(str(path))
    if not file.num_bytes:
        raise ValueError(f"{path} is empty. {_REMEDY}")
    begin = file.read(0, min(file.num_bytes, LENGTH_BYTES + CRC_BYTES))
    if begin[LENGTH_BYTES:] != masked_crc32c(begin[:LENGTH_BYTES]):
        raise ValueError(f"{path} is not a TFRecord file, or is a compressed one: its first CRC is wrong. {_REMEDY}")
    stride = int.from_bytes(begin[:LENGTH_BYTES], "little") + FRAME_BYTES
    frames_of = {channels: _frames(channels, size) for channels in CHANNELS}
    strides = {sum(map(len, f[0])) + c * size**2 + CRC_BYTES: c for c, f in frames_of.items()}
    if stride not in strides:
        _refuse_jpeg(file, 0, path)
        raise ValueError(
            f"{path} has records of {stride} bytes, but an image of shape [1 or 3, {size}, {size}], as its name says, "
            f"takes {' or '.join(map(str, strides))}; name it after its resolution, or export it again."
        )
    length, rest, channels = file.num_bytes // stride, file.num_bytes % stride, strides[stride]
    one, other = frames_of[channels]
    begins = np.arange(length) * stride
    is_one, is_other = (_has_frame(file, begins, stride, *frame) for frame in (one, other))
    unlike = np.flatnonzero(~(is_one | is_other))
    if unlike.size:
        start = int(begins[unlike[0]])
        _refuse_jpeg(file, start, path)
        raise ValueError(
            f"{path}: record {unlike[0]}, of {int.from_bytes(file.read(start, LENGTH_BYTES), 'little')} bytes, is not "
            f"a tf.train.Example of {stride - FRAME_BYTES} bytes with 'shape' [{channels}, {size}, {size}] and 'data'. "
            f"{_REMEDY}"
        )
    if rest:
        raise ValueError(f"{path} is cut in record {length}: {rest} bytes of {stride}. {_REMEDY}")
    return _File(file, channels, begins + np.where(is_other, len(other[0]), len(one[0])))


def _refuse_jpeg(file: rows.File, start: int, path: pathlib.Path) -> None:
    """Raises ValueError if the record that starts there holds a JPEG file."""
    if JPEG_START in file.read(start, min(file.num_bytes - start, JPEG_SEARCH_BYTES)):
        raise ValueError(
            f"{path} holds JPEG files, as a fork of the official code writes them, not pixels. Unpack them into a "
            "folder or a .zip, and name that."
        )


def _has_frame(file: rows.File, begins: np.ndarray, stride: int, before: bytes, after: bytes) -> np.ndarray:
    """Returns which of the records that begin there have these bytes before and after their pixels. bool [n]"""
    found = np.ones(len(begins), bool)
    for frame, offset in ((before, 0), (after, stride - CRC_BYTES - len(after))):
        if frame:
            there = np.empty((len(begins), len(frame)), np.uint8)
            rows.read_rows([file] * len(begins), (begins + offset).tolist(), there)
            found &= (there == np.frombuffer(frame, np.uint8)).all(1)
    return found


def _frames(channels: int, size: int) -> list[tuple[bytes, bytes]]:
    """Returns what can stand before and after the pixels in a record, except the last CRC.

    There are two such frames, as the program that writes an Example chooses which feature comes first.
    """
    num_pixels = channels * size**2
    dimensions = b"".join(map(_varint, (channels, size, size)))
    shape = _field(1, _field(1, b"shape") + _field(2, _field(3, _field(1, dimensions))))
    value = _field(2, _field(1, _field(1, b"", num_pixels), num_pixels), num_pixels)
    data = _field(1, _field(1, b"data") + value, num_pixels)  # Without the pixels themselves.
    frames = []
    for features, after in ((data, shape), (shape + data, b"")):
        example = _field(1, features, num_pixels + len(after))
        length = (len(example) + num_pixels + len(after)).to_bytes(LENGTH_BYTES, "little")
        frames.append((length + masked_crc32c(length) + example, after))
    return frames


def _field(number: int, content: bytes, num_more: int = 0) -> bytes:
    """Returns a field of a Protobuf message, of wire type 2 (length first), without its last `num_more` bytes."""
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


def _gather(file: _File, indices: np.ndarray, images: np.ndarray) -> None:
    """Writes the images `indices` into uint8 [n, size, size, c]."""
    _, h, w, c = images.shape
    step = max(1, GATHERED_BYTES // (c * h * w))
    for start in range(0, len(indices), step):
        some = indices[start : start + step]
        planes = np.empty((len(some), c, h, w), np.uint8)
        rows.read_rows([file.file] * len(some), file.starts[some].tolist(), planes)
        for channel in range(c):  # Several times as fast as a transpose.
            images[start : start + step, :, :, channel] = planes[:, channel]


def _read_labels(path: pathlib.Path, length: int) -> labels.Classes | None:
    """Returns the classes in a .labels file, or None if there is no such file.

    Raises:
        ValueError: it is not a .npy of `length` one-hot rows or whole numbers.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream:  # np.load would say how to run a pickle.
            rows = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy of numbers ({error}); write it with np.save.") from error
    if rows.dtype.kind not in "biuf" or rows.shape[:1] != (length,):
        raise ValueError(f"{path} has {rows.dtype}{list(rows.shape)}, but there are {length} records to label.")
    return labels.from_values(list(rows), str(path)) if rows.ndim == 1 else labels.from_one_hot(rows, str(path))
