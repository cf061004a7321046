"""Training images: the squares of a source's pictures, made, kept in memory or read from where they are stored."""

import dataclasses
import logging
from collections.abc import Callable
from concurrent import futures

import numpy as np
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import labels, pictures, prefetch, sources
from stylegan_jax.data.source import Source, hash_lines, printable

ProgressFn = Callable[[int, int], None]  # Called with (images done, images in all).

CHUNK_PX = 2**22  # Pixels of faces rendered at once: some 100 MB of intermediate arrays.
LOADED_AT_ONCE = 2**22  # Bytes of stored squares that a thread reads.
CHUNK_PICTURES = 16  # Pictures decoded between two reports of progress.
MAX_LISTED = 20  # Bad pictures that a message names.
GIB = 2**30

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Images:
    """Square images of the model's channels, at one or more sizes."""

    name: str  # data.source
    length: int
    sizes: tuple[int, ...]  # That are stored, px, ascending; the lower ones are box means of the largest.
    # Indices [n] and one of the sizes to images, uint8 [n, size, size, channels].
    images_fn: Callable[[np.ndarray, int], np.ndarray]
    fingerprint: str  # Differs if the images do: 16 hexadecimal digits.
    classes: labels.Classes | None = None
    num_skipped: int = 0  # Unreadable pictures left out.
    num_filtered: int = 0  # Sound pictures left out for their size.
    num_enlarged: int = 0  # Pictures smaller than the images.
    num_ignored: int = 0  # Files that are no pictures.


def open_images(data: Data, model: Model, progress_fn: ProgressFn | None = None) -> Images:
    """Returns the images that `data.source` gives a model, every one of them known to be readable.

    A prepared store and official TFRecords are read as they lie, at the size that is asked for. Pictures are decoded
    once, and kept in memory if all fit in `data.cache_gib`; else they are decoded again whenever asked for.

    Args:
        data: where to look, and how pictures become squares.
        model: resolution and channels of the images.
        progress_fn: called in this thread with (images done, images in all) while images are decoded or drawn.

    Raises:
        ValueError: no such source, no pictures, unreadable ones, or settings that fit none.
    """
    pictures.check_settings(model.channels, data.fit, data.background)
    if data.num_workers < 1:
        raise ValueError(f"data.num_workers is {data.num_workers}; use at least 1.")
    source = sources.open_source(data, model.resolution)
    for note in source.notes:
        _log.warning("%s", printable(note))
    try:
        sources.check_classes(source, data, model.num_labels)
    except ValueError:
        source.close_fn()
        raise
    if source.path == "faces":
        return _draw_faces(source, data, model, progress_fn)
    if fits(source, model):
        return _stored(source, data, model)
    return _decoded(source, data, model, progress_fn)


def fits(source: Source, model: Model) -> bool:
    """Returns whether the squares that a source has are those of the model, or larger."""
    return (
        source.levels is not None
        and source.levels.channels == model.channels
        and source.levels.sizes[-1] >= model.resolution
    )


def _stored(source: Source, data: Data, model: Model) -> Images:
    """Returns the squares of a source that has them, up to the model's resolution or the next that is stored."""
    levels = source.levels
    largest = min(size for size in levels.sizes if size >= model.resolution)

    def load(indices: np.ndarray, size: int) -> np.ndarray:
        images = np.empty((len(indices), size, size, levels.channels), np.uint8)

        def load_chunk(chunk: range) -> None:
            levels.fill_fn(indices[chunk.start : chunk.stop], size, images[chunk.start : chunk.stop])

        if images.size <= LOADED_AT_ONCE:
            load_chunk(range(len(indices)))
            return images

        in_threads(load_chunk, len(indices), max(1, LOADED_AT_ONCE // images[:1].size), data.num_workers)
        return images

    return Images(
        name=data.source,
        length=source.length,
        sizes=tuple(size for size in levels.sizes if size <= largest),
        images_fn=load,
        fingerprint=source.fingerprint(),
        classes=source.classes,
        num_ignored=source.num_ignored,
    )


def _draw_faces(source: Source, data: Data, model: Model, progress_fn: ProgressFn | None) -> Images:
    """Returns the procedural faces, drawn many at once."""
    from stylegan_jax.data import faces

    chunk_size = max(1, CHUNK_PX // model.resolution**2)

    def draw(indices: np.ndarray, progress_fn: ProgressFn | None = None) -> np.ndarray:
        images = _empty_images(len(indices), model)

        def draw_chunk(chunk: range) -> None:
            rgb = faces.images(indices[chunk.start : chunk.stop], faces.SEED, model.resolution)
            images[chunk.start : chunk.stop] = (
                rgb if model.channels == 3 else np.stack([make_square(face, data, model)[0] for face in rgb])
            )

        in_threads(draw_chunk, len(indices), chunk_size, data.num_workers, progress_fn)
        return images

    images_fn = draw
    if _fits_cache(source.length, data, model):
        images_fn = draw(np.arange(source.length), progress_fn).__getitem__
    return Images(
        name="faces",
        length=source.length,
        sizes=(model.resolution,),
        images_fn=lambda indices, size: images_fn(indices),
        fingerprint=hash_lines([f"faces {faces.SEED} {source.length}"]),
    )


def _decoded(source: Source, data: Data, model: Model, progress_fn: ProgressFn | None) -> Images:
    """Returns the pictures of a source as squares, after decoding each of them once."""
    data = settings_for(source, data)
    images = _empty_images(source.length, model) if _fits_cache(source.length, data, model) else None
    try:
        enlarged, left_out = _decode_all(source, images, data, model, progress_fn)
        _report(source, enlarged, left_out, data, model)
    except BaseException:
        source.close_fn()
        raise
    kept = np.array([i for i in range(source.length) if i not in left_out])
    if images is not None:
        source.close_fn()

    def from_memory(indices: np.ndarray, size: int) -> np.ndarray:
        return images[kept[indices]]

    def from_source(indices: np.ndarray, size: int) -> np.ndarray:
        again = _empty_images(len(indices), model)

        def decode(chunk: range) -> None:
            for place in chunk:
                again[place] = _decode_again(source, kept[indices[place]], data, model)

        in_threads(decode, len(indices), 1, data.num_workers)
        return again

    num_filtered = sum(isinstance(reason, pictures.TooSmall) for reason in left_out.values())
    return Images(
        name=data.source,
        length=len(kept),
        sizes=(model.resolution,),
        images_fn=from_source if images is None else from_memory,
        fingerprint=source.fingerprint(kept),
        classes=None if source.classes is None else source.classes.of(kept),
        num_skipped=len(left_out) - num_filtered,
        num_filtered=num_filtered,
        num_enlarged=int(enlarged.sum()),
        num_ignored=source.num_ignored,
    )


def _decode_all(
    source: Source,
    images: np.ndarray | None,
    data: Data,
    model: Model,
    progress_fn: ProgressFn | None,
) -> tuple[np.ndarray, dict[int, Exception]]:
    """Decodes every picture of a source into `images`, if given.

    Returns:
        Which were enlarged, bool [length], and why others are left out.
    """
    enlarged = np.zeros(source.length, bool)
    left_out: dict[int, Exception] = {}

    def decode(chunk: range) -> None:
        for i in chunk:
            try:
                pixels, image = make_square(source.read_fn(i), data, model)
            except (ValueError, OSError) as error:
                left_out[i] = error
                continue
            enlarged[i] = pictures.is_enlarged(image.size, model.resolution, data.fit)
            if images is not None:
                images[i] = pixels

    in_threads(decode, source.length, CHUNK_PICTURES, data.num_workers, progress_fn)
    return enlarged, left_out


def settings_for(source: Source, data: Data) -> Data:
    """Returns how the pictures of a source become squares: those that are already are neither shaped nor left out."""
    return data if source.levels is None else dataclasses.replace(data, fit="crop", min_side_px=0)


def make_square(picture: bytes | np.ndarray, data: Data, model: Model) -> tuple[np.ndarray, Image.Image]:
    """Returns a picture as the model's uint8 [r, r, c], and as it was decoded.

    Raises:
        pictures.TooSmall: the settings leave it out.
        ValueError: it cannot be read.
    """
    image = pictures.load(picture)
    if min(image.size) < data.min_side_px:
        raise pictures.TooSmall(f"{image.width}x{image.height} px, with data.min_side_px {data.min_side_px}")
    return pictures.to_square(image, model.resolution, model.channels, data.fit, data.background), image


def _decode_again(source: Source, index: int, data: Data, model: Model) -> np.ndarray:
    """Returns a picture that was readable when the source was opened. uint8 [r, r, c]"""
    try:
        return make_square(source.read_fn(index), data, model)[0]
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{source.full_name(index)} could be read when the run began, but no longer: {error}. "
            "Put it back and resume from the last checkpoint."
        ) from error


def _report(source: Source, enlarged: np.ndarray, left_out: dict[int, Exception], data: Data, model: Model) -> None:
    """Raises an error that lists the bad pictures, or logs them if they are to be skipped; logs the small ones."""
    total = source.length
    reasons = {i: str(error) for i, error in left_out.items() if not isinstance(error, pictures.TooSmall)}
    if reasons:
        listed = [f"{source.full_name(i)}: {reasons[i]}" for i in sorted(reasons)[:MAX_LISTED]]
        if len(reasons) > len(listed):
            listed.append(f"and {len(reasons) - len(listed)} more")
        if len(left_out) == total or data.on_bad_image != "skip":
            remedy = "Mend or remove them" + ("." if len(left_out) == total else ", or set data.on_bad_image=skip.")
            raise ValueError("\n  ".join([f"{len(reasons)} of {total} pictures cannot be read:", *listed, remedy]))
        _log.warning("Skipping %d of %d pictures, which cannot be read: %s", len(reasons), total, "; ".join(listed))
    check_any_left(data, total, len(left_out))
    if len(left_out) > len(reasons):
        _log.warning("Leaving out %d of %d pictures for their size.", len(left_out) - len(reasons), total)
    if enlarged.any():
        _log.warning("Enlarging %d of %d pictures, smaller than %d px.", enlarged.sum(), total, model.resolution)


def check_any_left(data: Data, length: int, num_left_out: int) -> None:
    """Raises ValueError if all of a source's pictures are left out for their size."""
    if num_left_out == length:
        raise ValueError(
            f"all {length} pictures of {data.source} are smaller than data.fit={data.fit!r} with data.min_side_px="
            f"{data.min_side_px} takes; change these."
        )


def _empty_images(length: int, model: Model) -> np.ndarray:
    """Returns room for images. uint8 [length, r, r, c]"""
    return np.empty((length, model.resolution, model.resolution, model.channels), np.uint8)


def _fits_cache(length: int, data: Data, model: Model) -> bool:
    return length * model.resolution**2 * model.channels <= data.cache_gib * GIB


def in_threads(
    fn: Callable[[range], None], length: int, chunk: int, num_workers: int, progress_fn: ProgressFn | None = None
) -> None:
    """Calls `fn` with consecutive ranges of `chunk` that cover range(length), `num_workers` at a time.

    Raises:
        ValueError: a chunk did not come to its end in prefetch.PATIENCE_SEC; its thread is left behind.
    """
    chunks = [range(start, min(start + chunk, length)) for start in range(0, length, chunk)]
    pool = futures.ThreadPoolExecutor(num_workers)
    try:
        for done, result in zip(chunks, [pool.submit(fn, chunk) for chunk in chunks], strict=True):
            result.result(prefetch.PATIENCE_SEC)
            if progress_fn is not None:
                progress_fn(done.stop, length)
    except TimeoutError:
        if result.done():  # It is the read's own.
            raise
        raise prefetch.stalled(prefetch.PATIENCE_SEC) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
