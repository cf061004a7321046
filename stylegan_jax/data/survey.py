"""Looks at the pictures of a source: each becomes a square, or is left out for a reason."""

import dataclasses
import errno
import functools
import os
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import decode, square, waiting
from stylegan_jax.data.source import Source
from stylegan_jax.runs.text import printable

ProgressFn = Callable[[int, int], None]  # Called with (pictures done, pictures in all).

CHUNK_PICTURES = 16  # Pictures decoded between two reports of progress.
MAX_LISTED = 20  # Bad pictures that a message names.
OF_DISK = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)
DARK = 4  # Divisor of white: integers are dark if none reaches this part of it.


@dataclasses.dataclass(frozen=True)
class Square:
    """A picture as training sees it, and as it was."""

    pixels: np.ndarray  # uint8 [r, r, c]
    picture: bytes | np.ndarray  # The picture as the source has it.
    image: Image.Image  # The decoded picture.
    is_enlarged: bool
    brightest: int  # Largest value of integers deeper than 8 bits; 0 if it has none.


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A picture that is not trained on."""

    name: str
    kind: str  # "unreadable", or "filtered": sound, but left out for its size.
    reason: str


class SourceFailed(OSError):
    """A source changed, or the disk or network that it lies on failed; its pictures may be sound."""


def square_of(source: Source, index: int, data: Data, model: Model) -> Square | LeftOut:
    """Returns picture `index` of a source as a square of the model's resolution and channels, or why it is left out.

    Raises:
        SourceFailed: it could not be read, though it may be sound.
    """
    if source.read_many_fn is not None:  # Its pictures are squares, which are neither shaped nor left out.
        data = dataclasses.replace(data, fit="crop", min_side_px=0)
    try:
        picture = source.read_fn(index)
        image = decode.load(picture, data.max_pixels)
        if min(image.size) < data.min_side_px:
            raise square.TooSmall(f"{image.width}x{image.height} px, with data.min_side_px {data.min_side_px}")
        pixels = square.to_square(image, model.resolution, model.channels, data.fit, data.background, data.white_level)
        values = decode.deep_integers(image)
        is_enlarged = square.is_enlarged(image.size, model.resolution, data.fit)
        return Square(pixels, picture, image, is_enlarged, 0 if values is None else int(values.max()))
    except (ValueError, OSError) as error:
        if (failure := _failure(source, index, error)) is not None:
            raise SourceFailed(f"{source.full_name(index)} {failure}, and give the same command again.") from error
        kind = "filtered" if isinstance(error, square.TooSmall) else "unreadable"
        return LeftOut(printable(source.names[index]), kind, printable(str(error)))


def _failure(source: Source, index: int, error: Exception) -> str | None:
    """Returns why a picture that may be sound could not be read, and what to do; None if the picture is at fault."""
    reason = f"could not be read: {printable(str(error))}."
    if isinstance(error, PermissionError):
        return "may not be read by this user. Change that, or remove it"
    if _is_of_disk(error):
        return f"{reason} The disk or network that it lies on failed, and the picture may be sound: mend that"
    if not isinstance(error, square.TooSmall) and not source.unchanged_fn([index]):
        return f"{reason} {printable(source.path)} changed while it was read. Wait until nothing changes it"
    return None


def _is_of_disk(error: BaseException) -> bool:
    """Returns whether an error comes from the disk or network that a picture lies on, not from the picture.

    An OSError may have become a ValueError. The OSErrors that Pillow and HDF5 raise at damage have no number.
    """
    cause = error.__cause__
    has_number = isinstance(cause, OSError) and cause.errno is not None
    return isinstance(error, OSError) or has_number or any(os.strerror(n) in str(cause) for n in OF_DISK)


def look_at_all(
    source: Source, data: Data, model: Model, see_fn: Callable[[int, Square], None], progress_fn: ProgressFn | None
) -> dict[int, LeftOut]:
    """Makes a square of every picture of a source, in `data.num_workers` threads.

    Args:
        source: source of the pictures.
        data: how they become squares.
        model: resolution and channels.
        see_fn: called in these threads with each picture's number and square.
        progress_fn: called in this thread with (pictures done, pictures in all).

    Returns:
        The pictures that are left out, by their numbers, ascending.

    Raises:
        SourceFailed: a picture could not be read, though it may be sound.
        ValueError: no picture came for a long time.
    """
    left_out: dict[int, LeftOut] = {}

    def look(chunk: range) -> None:
        for i in chunk:
            found = square_of(source, i, data, model)
            if isinstance(found, LeftOut):
                left_out[i] = found
            else:
                see_fn(i, found)

    in_threads(look, source.length, CHUNK_PICTURES, data.num_workers, progress_fn)
    return dict(sorted(left_out.items()))


def check(left_out: Sequence[LeftOut], source: Source, data: Data, others: str = "", remedy: str = "") -> list[str]:
    """Returns a sentence for each kind of pictures that are left out.

    Args:
        left_out: pictures of the source that are left out.
        source: source of the pictures.
        data: whether unreadable ones are skipped.
        others: name of the file that lists all of them, if there is one.
        remedy: what else to do about unreadable pictures that can be skipped.

    Raises:
        ValueError: pictures are unreadable and not to be skipped, or all are left out.
    """
    total, sentences = source.length, []
    bad = [row for row in left_out if row.kind == "unreadable"]
    if bad:
        lines = listing(bad, printable(source.path), others)
        if len(left_out) == total or data.on_bad_image == "fail":
            end = f"Mend or remove them, or set data.on_bad_image=skip{remedy}."
            if len(left_out) == total:
                end = "No picture is left."
            raise ValueError("\n  ".join([f"{len(bad)} of {total} pictures cannot be read:", *lines]) + f"\n{end}")
        sentences.append(f"Skipping {len(bad)} of {total} pictures, which cannot be read: {'; '.join(lines)}")
    if len(left_out) == total:
        raise ValueError(
            f"all {total} pictures of {data.source} are too small for data.fit={data.fit!r} with data.min_side_px="
            f"{data.min_side_px}; change these."
        )
    if len(left_out) > len(bad):
        sentences.append(f"Leaving out {len(left_out) - len(bad)} of {total} pictures for their size")
    return sentences


def listing(left_out: Sequence[LeftOut], folder: str, others: str = "") -> list[str]:
    """Returns a line for each of the first pictures that are left out, and one for the others, listed in `others`."""
    lines = [f"{folder}/{row.name}: {row.reason}" for row in left_out[:MAX_LISTED]]
    more = len(left_out) - len(lines)
    return [*lines, f"and {more} more" + (f", all in {others}" if others else "")] if more else lines


def dark(brightest: int, data: Data) -> list[str]:
    """Returns a sentence if the largest value of all pictures of deep integers is far below their white; else none."""
    white = data.white_level or decode.DEEP_TOP
    if not 0 < brightest * DARK < white:
        return []
    likely = 2 ** max(brightest.bit_length(), 8) - 1
    return [
        f"The brightest pixel of all pictures deeper than 8 bits is {brightest} of {white}, so they will be dark; if "
        f"their white is {likely}, set data.white_level={likely}"
    ]


def in_threads(
    fn: Callable[[range], None],
    length: int,
    chunk: int,
    threads: int | futures.Executor,
    progress_fn: ProgressFn | None = None,
) -> None:
    """Calls `fn` with consecutive ranges of `chunk` that cover range(length).

    Args:
        fn: function of a range.
        length: end of the last range.
        chunk: length of the ranges.
        threads: number of threads to make, or an executor that has them.
        progress_fn: called in this thread with (done, length).

    Raises:
        ValueError: a chunk was not done in waiting.PATIENCE_SEC; its thread is left behind.
    """
    chunks = [range(start, min(start + chunk, length)) for start in range(0, length, chunk)]
    pool = futures.ThreadPoolExecutor(threads) if isinstance(threads, int) else threads
    results = [pool.submit(fn, chunk) for chunk in chunks]
    try:
        for done, result in zip(chunks, results, strict=True):
            waiting.wait(functools.partial(_is_done, result))
            result.result()
            if progress_fn is not None:
                progress_fn(done.stop, length)
    finally:
        for result in results:
            result.cancel()
        if pool is not threads:
            pool.shutdown(wait=False)


def _is_done(result: futures.Future, sec: float) -> bool:
    return result.done() or bool(futures.wait([result], sec).done)
