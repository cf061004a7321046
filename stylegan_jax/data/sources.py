"""Where training images come from: each source is one record of an image function, labels and counts."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterable
from concurrent import futures

import numpy as np
from PIL import Image

from stylegan_jax import config
from stylegan_jax.data import faces, pictures, stores

ProgressFn = Callable[[int, int], None]  # Called with (images done, images in all).

FACES_SEED = 0  # The faces are one data set, the same for every run; the seed of a run orders and splits them.
CHUNK_PX = 2**22  # Pixels of faces rendered at once: some 100 MB of intermediate arrays.
CHUNK_PICTURES = 16  # Pictures decoded between two reports of progress.
MAX_LISTED = 20  # Bad pictures that a message names.
GIB = 2**30

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Source:
    """Images at the model's resolution."""

    name: str  # data.source
    length: int
    images_fn: Callable[[np.ndarray], np.ndarray]  # Indices [n] to images, uint8 [n, resolution, resolution, channels].
    fingerprint: str  # Differs if the images do: 16 hexadecimal digits.
    labels: np.ndarray | None = None  # Class of each image, int [length]; None without classes.
    class_names: tuple[str, ...] = ()
    num_skipped: int = 0  # Unreadable pictures left out.
    num_enlarged: int = 0  # Pictures smaller than the model's resolution.
    num_ignored: int = 0  # Files that are no pictures.


def open_source(data: config.Data, model: config.Model, progress_fn: ProgressFn | None = None) -> Source:
    """Returns the source that `data.source` names, every image of it known to be readable.

    Images are kept in memory if all fit in `data.cache_gib`, else they are made again whenever asked for.

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
    if data.source == "faces":
        return _open_faces(data, model, progress_fn)
    if data.source == "digits":
        return _open_digits(data, model)
    return _open_pictures(data, model, progress_fn)


def _open_faces(data: config.Data, model: config.Model, progress_fn: ProgressFn | None) -> Source:
    """Returns the procedural faces: `data.num_faces` to train on, and as many more as are held out."""
    if data.num_faces < 1:
        raise ValueError(f"data.num_faces is {data.num_faces}; use at least 1.")
    length = data.num_faces + data.num_heldout

    chunk_size = max(1, CHUNK_PX // model.resolution**2)

    def draw(indices: np.ndarray, progress_fn: ProgressFn | None = None) -> np.ndarray:
        images = _empty_images(len(indices), model)

        def draw_chunk(chunk: range) -> None:
            rgb = faces.images(indices[chunk.start : chunk.stop], FACES_SEED, model.resolution)
            images[chunk.start : chunk.stop] = rgb if model.channels == 3 else _squares(rgb, data, model)

        _in_threads(draw_chunk, len(indices), chunk_size, data.num_workers, progress_fn)
        return images

    images_fn = draw(np.arange(length), progress_fn).__getitem__ if _fits_cache(length, data, model) else draw
    return Source("faces", length, images_fn, _fingerprint([f"faces {FACES_SEED} {length}"]))


def _open_digits(data: config.Data, model: config.Model) -> Source:
    """Returns scikit-learn's 1797 handwritten digits, 8x8 gray, resized."""
    from sklearn import datasets  # Takes a second to import, and only this source needs it.

    digits = datasets.load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # [n, 8, 8], from 0..16
    images = _squares(gray, data, model)
    return Source(
        name="digits",
        length=len(images),
        images_fn=images.__getitem__,
        fingerprint=_fingerprint(["digits"]),
        labels=digits.target,
        class_names=tuple(str(name) for name in digits.target_names),
        num_enlarged=len(images) if model.resolution > gray.shape[1] else 0,
    )


def _open_pictures(data: config.Data, model: config.Model, progress_fn: ProgressFn | None) -> Source:
    """Returns the pictures of a folder or .zip, after decoding each of them once."""
    store = stores.open_store(data.source)
    images = _empty_images(len(store.names), model) if _fits_cache(len(store.names), data, model) else None
    try:
        enlarged, reasons = _decode_all(store, images, data, model, progress_fn)
        _report(store, enlarged, reasons, data, model)
    except BaseException:
        store.close_fn()
        raise
    kept = np.array([i for i in range(len(store.names)) if i not in reasons])
    if images is not None:
        store.close_fn()

    def from_memory(indices: np.ndarray) -> np.ndarray:
        return images[kept[indices]]

    def from_store(indices: np.ndarray) -> np.ndarray:
        again = _empty_images(len(indices), model)

        def decode(chunk: range) -> None:
            for place in chunk:
                again[place] = _decode_again(store, kept[indices[place]], data, model)

        _in_threads(decode, len(indices), 1, data.num_workers)
        return again

    return Source(
        name=data.source,
        length=len(kept),
        images_fn=from_store if images is None else from_memory,
        fingerprint=_fingerprint(f"{store.names[i]}\0{store.identities[i]}" for i in kept),
        num_skipped=len(reasons),
        num_enlarged=int(enlarged.sum()),
        num_ignored=store.num_ignored,
    )


def _decode_all(
    store: stores.Store,
    images: np.ndarray | None,
    data: config.Data,
    model: config.Model,
    progress_fn: ProgressFn | None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Decodes every picture of a store into `images`, if given; returns which were enlarged, and why others failed."""
    enlarged = np.zeros(len(store.names), bool)
    reasons = {}

    def decode(chunk: range) -> None:
        for i in chunk:
            try:
                pixels, enlarged[i] = _decode(store, i, data, model)
            except (ValueError, OSError) as error:
                reasons[i] = str(error)
                continue
            if images is not None:
                images[i] = pixels

    _in_threads(decode, len(store.names), CHUNK_PICTURES, data.num_workers, progress_fn)
    return enlarged, reasons


def _decode(store: stores.Store, index: int, data: config.Data, model: config.Model) -> tuple[np.ndarray, bool]:
    """Returns a picture as uint8 [r, r, c], and whether it had to be enlarged."""
    image = pictures.load(store.read_fn(index))
    pixels = pictures.to_square(image, model.resolution, model.channels, data.fit, data.background)
    return pixels, pictures.is_enlarged(image.size, model.resolution, data.fit)


def _decode_again(store: stores.Store, index: int, data: config.Data, model: config.Model) -> np.ndarray:
    """Returns a picture that was readable when the store was opened. uint8 [r, r, c]"""
    try:
        return _decode(store, index, data, model)[0]
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{store.full_name(index)} could be read when the run began, but no longer: {error}. "
            "Put it back and resume from the last checkpoint."
        ) from error


def _report(
    store: stores.Store, enlarged: np.ndarray, reasons: dict[int, str], data: config.Data, model: config.Model
) -> None:
    """Raises an error that lists the bad pictures, or logs them if they are to be skipped; logs the small ones."""
    total = len(store.names)
    if reasons:
        listed = [f"{store.full_name(i)}: {reasons[i]}" for i in sorted(reasons)[:MAX_LISTED]]
        if len(reasons) > len(listed):
            listed.append(f"and {len(reasons) - len(listed)} more")
        if len(reasons) == total or data.on_bad_image != "skip":
            remedy = "Mend or remove them" + ("." if len(reasons) == total else ", or set data.on_bad_image=skip.")
            raise ValueError("\n  ".join([f"{len(reasons)} of {total} pictures cannot be read:", *listed, remedy]))
        _log.warning("Skipping %d of %d pictures, which cannot be read: %s", len(reasons), total, "; ".join(listed))
    if enlarged.any():
        _log.warning("Enlarging %d of %d pictures, smaller than %d px.", enlarged.sum(), total, model.resolution)


def _squares(arrays: np.ndarray, data: config.Data, model: config.Model) -> np.ndarray:
    """Returns gray [n, s, s] or RGB [n, s, s, 3] uint8 arrays as images of the model. uint8 [n, r, r, c]"""
    return np.stack(
        [
            pictures.to_square(Image.fromarray(a), model.resolution, model.channels, data.fit, data.background)
            for a in arrays
        ]
    )


def _empty_images(length: int, model: config.Model) -> np.ndarray:
    """Returns room for images. uint8 [length, r, r, c]"""
    return np.empty((length, model.resolution, model.resolution, model.channels), np.uint8)


def _fits_cache(length: int, data: config.Data, model: config.Model) -> bool:
    return length * model.resolution**2 * model.channels <= data.cache_gib * GIB


def _in_threads(
    fn: Callable[[range], None], length: int, chunk: int, num_workers: int, progress_fn: ProgressFn | None = None
) -> None:
    """Calls `fn` with consecutive ranges of `chunk` that cover range(length), `num_workers` at a time."""
    chunks = [range(start, min(start + chunk, length)) for start in range(0, length, chunk)]
    with futures.ThreadPoolExecutor(num_workers) as pool:
        for done, _ in zip(chunks, pool.map(fn, chunks), strict=True):
            if progress_fn is not None:
                progress_fn(done.stop, length)


def _fingerprint(lines: Iterable[str]) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the lines."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
