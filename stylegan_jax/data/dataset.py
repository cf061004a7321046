"""The images of a run: training and held-out ones, and an order that is a function of (seed, nimg) alone."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from stylegan_jax import config
from stylegan_jax.data import sources

# What a permutation is for; each use has a random stream of its own.
SPLIT, ORDER, SAMPLE = range(3)


class Batch(NamedTuple):
    """Training images as they are sent to the device."""

    images: np.ndarray  # uint8 [n, resolution, resolution, channels]
    labels: np.ndarray | None  # One-hot float32 [n, num_labels]; None if the model is unconditional.


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A source, split. Immutable: asking for a batch changes nothing."""

    source: sources.Source
    train_indices: np.ndarray  # Images of the source to train on. [num_train]
    heldout_indices: np.ndarray  # Images of the source kept from training. [num_heldout]
    num_labels: int  # Classes of the model; 0 is unconditional.
    seed: int

    @property
    def num_train(self) -> int:
        """Number of training images."""
        return len(self.train_indices)

    @property
    def fingerprint(self) -> str:
        """Differs if the source's images do; kept with a checkpoint, to notice data that changed in mid-run."""
        return self.source.fingerprint

    def batch(self, nimg: int, n: int, part: tuple[int, int] = (0, 1)) -> Batch:
        """Returns the training images shown after the first `nimg`.

        The k-th image ever shown is the (k mod num_train)-th of epoch k // num_train, and each epoch is a permutation
        of the training images drawn from (seed, epoch). So a run that resumes, on any number of processes and with
        any batch size, sees what an uninterrupted one would.

        Args:
            nimg: images shown so far, >= 0.
            n: images in the global batch.
            part: (index, count): this process's place among those that share the batch, each a contiguous slice.

        Returns:
            `n / count` images and labels.

        Raises:
            ValueError: the batch does not divide among the processes.
        """
        index, count = part
        if nimg < 0 or n < 1 or not 0 <= index < count or n % count:
            raise ValueError(
                f"batch {n} after {nimg} images has no part {index} of {count}: "
                "the batch must divide by the number of processes."
            )
        size = n // count
        places = np.arange(nimg + index * size, nimg + (index + 1) * size)
        epochs, offsets = np.divmod(places, self.num_train)
        chosen = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            chosen[now] = _permutation(self.seed, ORDER, int(epoch), self.num_train)[offsets[now]]
        indices = self.train_indices[chosen]
        return Batch(self.source.images_fn(indices), self._labels(indices))

    def sample_reals(self, n: int) -> np.ndarray:
        """Returns `n` training images, always the same, or all if there are fewer. uint8 [n, r, r, c]"""
        chosen = _permutation(self.seed, SAMPLE, 0, self.num_train)[:n]
        return self.source.images_fn(self.train_indices[chosen])

    def heldout(self, n: int) -> np.ndarray:
        """Returns the first `n` held-out images, or all if there are fewer. uint8 [n, r, r, c]"""
        return self.source.images_fn(self.heldout_indices[:n])

    def describe(self) -> dict[str, int]:
        """Returns what there is and what became of it, in numbers of images (and of classes)."""
        return {
            "images": self.num_train,
            "heldout": len(self.heldout_indices),
            "skipped": self.source.num_skipped,
            "enlarged": self.source.num_enlarged,
            "ignored": self.source.num_ignored,
            "classes": len(self.source.class_names),
        }

    def _labels(self, indices: np.ndarray) -> np.ndarray | None:
        if self.num_labels == 0:
            return None
        return np.eye(self.num_labels, dtype=np.float32)[self.source.labels[indices]]


def open_dataset(
    data: config.Data, model: config.Model, seed: int, progress_fn: sources.ProgressFn | None = None
) -> Dataset:
    """Returns the images of a run, split into training and held-out ones.

    Args:
        data: the source, and how its pictures become squares.
        model: resolution, channels and number of classes.
        seed: of the run, 0 or more; it draws the split and the order.
        progress_fn: called with (images done, images in all) while they are decoded or drawn.

    Raises:
        ValueError: the source cannot be opened (see `sources.open_source`), has other classes than the model, or has
            too few images to hold some out.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; use 0 or more.")
    if data.num_heldout < 0:
        raise ValueError(f"data.num_heldout is {data.num_heldout}; use 0 or more.")
    source = sources.open_source(data, model, progress_fn)
    if model.num_labels not in (0, len(source.class_names)):
        raise ValueError(
            f"model.num_labels is {model.num_labels}, but data.source {data.source!r} has {len(source.class_names)} "
            f"classes; use model.num_labels={len(source.class_names)}, or a source with {model.num_labels} classes."
        )
    if 2 * data.num_heldout > source.length:
        raise ValueError(
            f"data.num_heldout is {data.num_heldout}, but data.source {data.source!r} has {source.length} images, and "
            f"as many are to train on, for the metrics to compare; use at most {source.length // 2}."
        )
    shuffled = _permutation(seed, SPLIT, 0, source.length)
    heldout, train = np.split(shuffled, [data.num_heldout])
    return Dataset(source, train, heldout, model.num_labels, seed)


@functools.lru_cache(maxsize=4)  # A batch can end one epoch and begin the next.
def _permutation(seed: int, purpose: int, epoch: int, length: int) -> np.ndarray:
    """Returns a permutation of range(length) drawn from (seed, purpose, epoch). int64 [length]

    It sorts raw Philox output, which NumPy promises never to change; of `Generator.permutation` it promises nothing.
    """
    key = np.array([seed, epoch], np.uint64)
    draws = np.random.Philox(key=key, counter=np.array([0, 0, 0, purpose], np.uint64)).random_raw(length)
    order = np.argsort(draws, kind="stable")
    order.flags.writeable = False  # It is shared by all who ask.
    return order
