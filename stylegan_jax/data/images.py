"""Training images: the squares of a source's pictures, decoded, drawn or read from where they are stored."""

import dataclasses
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from stylegan_jax.config import Data, Model
from stylegan_jax.data import decode, labels, sources, square, store, survey
from stylegan_jax.data.source import Source, hash_lines
from stylegan_jax.data.survey import ProgressFn
from stylegan_jax.runs.text import printable

CHUNK_PX = 2**22  # Pixels drawn at once: some 100 MB of intermediate arrays.
LOADED_AT_ONCE = 2**22  # Bytes of stored squares that a thread reads at once.
GIB = 2**30

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Images:
    """Square images of the model's channels, at one or more sizes."""

    name: str  # data.source
    length: int
    sizes: tuple[int, ...]  # Stored sizes, px, ascending; the lower ones are box means of the largest.
    # Function of indices [n] and one of the sizes that returns images, uint8 [n, size, size, channels].
    images_fn: Callable[[np.ndarray, int], np.ndarray]
    fingerprint: str  # 16 hexadecimal digits that differ if the images do; a checkpoint has them, to notice a change.
    classes: labels.Classes | None = None
    names: Sequence[str] = ()  # Names of the pictures, with / between folders; unique. [length]
    num_skipped: int = 0  # Number of unreadable pictures left out.
    num_filtered: int = 0  # Number of sound pictures left out for their size.
    num_enlarged: int = 0  # Number of pictures smaller than the images.
    num_ignored: int = 0  # Number of files that are not pictures.
    # What else decides about their pixels: channels; and of pictures, settings of config.Data, and a digest of all
    # pixels, since the fingerprint does not see a file that changes and keeps its size.
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def size(self, resolution: int) -> int:
        """Returns the smallest stored size of at least `resolution`, px."""
        return min(size for size in self.sizes if size >= resolution)

    def squares(self, indices: np.ndarray, resolution: int) -> np.ndarray:
        """Returns images at `resolution` px: box means, where they are stored larger. uint8 [n, r, r, channels]"""
        found = self.images_fn(indices, self.size(resolution))
        if found.shape[1] == resolution:
            return found
        return np.stack([square.box_mean(image, resolution) for image in found])


def open_images(data: Data, model: Model, progress_fn: ProgressFn | None = None) -> Images:
    """Returns the images that `data.source` gives a model, every one of them known to be readable.

    A prepared store and official TFRecords are read as they are, at the size that is asked for. Pictures are decoded
    once, and kept in memory if all fit in `data.cache_gib`; else they are decoded again whenever they are asked for.

    Args:
        data: where to look, and how pictures become squares.
        model: resolution and channels of the images.
        progress_fn: called in this thread with (images done, images in all) while images are decoded or drawn.

    Raises:
        ValueError: no such source, no pictures, unreadable ones, or settings that suit none.
        OSError: the disk or network that the source lies on failed.
    """
    square.check_settings(model.channels, data.fit, data.background)
    if data.num_workers < 1:
        raise ValueError(f"data.num_workers is {data.num_workers}; use at least 1.")
    source = sources.open_source(data, model.resolution)
    for note in (*source.notes, *without_effect(source, data)):
        _log.warning("%s", printable(note))
    try:
        sources.check_classes(source, data, model.num_labels)
        if is_stored(source, model):
            return _stored(source, data, model)
        if source.read_many_fn is not None and not source.sizes:
            return _drawn(source, data, model, progress_fn)
        return _decoded(source, data, model, progress_fn)
    except BaseException:
        source.close_fn()
        raise


def is_stored(source: Source, model: Model) -> bool:
    """Returns whether a source has squares that are those of the model, or larger."""
    return bool(source.sizes) and source.channels == model.channels and source.sizes[-1] >= model.resolution


def without_effect(source: Source, data: Data) -> list[str]:
    """Returns a sentence for each setting that has no effect, because a source has squares already."""
    if source.read_many_fn is None:
        return []
    recorded = store.SQUARE_SETTINGS if source.square_settings else ()
    names = (*store.SQUARE_SETTINGS, "max_pixels")
    made = {name: source.square_settings.get(name, getattr(Data(), name)) for name in names}
    return [
        f"data.{name}={getattr(data, name)!r} has no effect: the pictures of {source.path} are squares already"
        + (f", made with data.{name}={made[name]!r}" if name in recorded else "")
        for name in names
        if getattr(data, name) != made[name]
    ]


def _stored(source: Source, data: Data, model: Model) -> Images:
    """Returns the squares of a source that has them, up to the smallest stored size of at least the resolution."""
    largest = min(size for size in source.sizes if size >= model.resolution)
    threads = futures.ThreadPoolExecutor(data.num_workers)  # Made once: that takes as long as reading a batch.

    def load(indices: np.ndarray, size: int) -> np.ndarray:
        images = np.empty((len(indices), size, size, source.channels), np.uint8)

        def load_chunk(chunk: range) -> None:
            source.read_many_fn(indices[chunk.start : chunk.stop], images[chunk.start : chunk.stop])

        if images.size <= LOADED_AT_ONCE:
            load_chunk(range(len(indices)))
        else:
            survey.in_threads(load_chunk, len(indices), max(1, LOADED_AT_ONCE // images[:1].size), threads)
        return images

    return Images(
        name=data.source,
        length=source.length,
        sizes=tuple(size for size in source.sizes if size <= largest),
        images_fn=load,
        fingerprint=source.fingerprint(),
        made_with={"channels": source.channels},
        classes=source.classes,
        names=source.names,
        num_ignored=source.num_ignored,
    )


def _drawn(source: Source, data: Data, model: Model, progress_fn: ProgressFn | None) -> Images:
    """Returns the pictures of a source that draws them at any size, many at once."""
    chunk_size = max(1, CHUNK_PX // model.resolution**2)

    def draw(indices: np.ndarray, progress_fn: ProgressFn | None = None) -> np.ndarray:
        images = _empty_images(len(indices), model)

        def draw_chunk(chunk: range) -> None:
            some = images[chunk.start : chunk.stop]
            is_same = model.channels == source.channels
            drawn = some if is_same else np.empty((*some.shape[:3], source.channels), np.uint8)
            source.read_many_fn(indices[chunk.start : chunk.stop], drawn)
            if not is_same:
                some[...] = [square.to_square(decode.load(one), model.resolution, model.channels) for one in drawn]

        survey.in_threads(draw_chunk, len(indices), chunk_size, data.num_workers, progress_fn)
        return images

    images_fn = draw
    if _fits_cache(source.length, data, model):
        images_fn = draw(np.arange(source.length), progress_fn).__getitem__
    return Images(
        name=data.source,
        length=source.length,
        sizes=(model.resolution,),
        images_fn=lambda indices, size: images_fn(indices),
        fingerprint=hash_lines([f"{source.path} {source.identities[0]}"]),  # All that is drawn is a function of these.
        made_with={"channels": model.channels},
        names=source.names,
    )


def _decoded(source: Source, data: Data, model: Model, progress_fn: ProgressFn | None) -> Images:
    """Returns the pictures of a source as squares, after decoding each of them once."""
    images = _empty_images(source.length, model) if _fits_cache(source.length, data, model) else None
    enlarged, brightest = np.zeros(source.length, bool), np.zeros(source.length, np.int64)
    checksums = np.zeros(source.length, np.int64)

    def see(i: int, found: survey.Square) -> None:
        enlarged[i] = found.is_enlarged
        brightest[i] = found.brightest
        checksums[i] = zlib.crc32(np.ascontiguousarray(found.pixels))
        if images is not None:
            images[i] = found.pixels

    left_out = survey.look_at_all(source, data, model, see, progress_fn)
    sentences = survey.check([*left_out.values()], source, data)
    if enlarged.any():
        sentences.append(f"Enlarging {enlarged.sum()} of {source.length} pictures below {model.resolution} px")
    for sentence in (*sentences, *survey.dark(int(brightest.max()), data)):
        _log.warning("%s", sentence)
    kept = np.array([i for i in range(source.length) if i not in left_out])
    if images is not None:
        source.close_fn()

    def from_source(indices: np.ndarray, size: int) -> np.ndarray:
        again = _empty_images(len(indices), model)

        def decode_again(chunk: range) -> None:
            for place in chunk:
                again[place] = _pixels_again(source, int(kept[indices[place]]), data, model)

        survey.in_threads(decode_again, len(indices), 1, data.num_workers)
        return again

    num_filtered = sum(row.kind == "filtered" for row in left_out.values())
    return Images(
        name=data.source,
        length=len(kept),
        sizes=(model.resolution,),
        images_fn=from_source if images is None else lambda indices, size: images[kept[indices]],
        fingerprint=source.fingerprint(kept),
        made_with={"channels": model.channels, "fit": data.fit, "background": list(data.background)}
        | {"white_level": data.white_level, "pixels": hash_lines(map(str, checksums[kept]))},
        classes=None if source.classes is None else source.classes.of(kept),
        names=[source.names[i] for i in kept],
        num_skipped=len(left_out) - num_filtered,
        num_filtered=num_filtered,
        num_enlarged=int(enlarged.sum()),
        num_ignored=source.num_ignored,
    )


def _pixels_again(source: Source, index: int, data: Data, model: Model) -> np.ndarray:
    """Returns a picture that was readable when the source was opened. uint8 [r, r, c]"""
    try:
        found = survey.square_of(source, index, data, model)
        if isinstance(found, survey.Square):
            return found.pixels
        reason = found.reason
    except survey.SourceFailed as error:
        reason = str(error.__cause__)
    raise ValueError(
        f"{source.full_name(index)} could be read when the run began, but no longer: {reason}. Put it back, or mend "
        "the disk or network that it lies on, and resume from the last checkpoint."
    )


def _empty_images(length: int, model: Model) -> np.ndarray:
    """Returns room for images. uint8 [length, r, r, c]"""
    return np.empty((length, model.resolution, model.resolution, model.channels), np.uint8)


def _fits_cache(length: int, data: Data, model: Model) -> bool:
    return length * model.resolution**2 * model.channels <= data.cache_gib * GIB
