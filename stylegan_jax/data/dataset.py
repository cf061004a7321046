"""The images of a run: training and held-out ones, and an order that is a function of (seed, nimg) alone."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images

# What a permutation is for; each use has a random stream of its own.
SPLIT, ORDER, SAMPLE = range(3)
MIN_HELDOUT = 2  # Fewest images that metrics can compare.


class Batch(NamedTuple):
    """Training images as they are sent to the device."""

    images: np.ndarray  # uint8 [n, size, size, channels]
    labels: np.ndarray | None  # One-hot float32 [n, num_labels]; None if the model is unconditional.


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images, split. Immutable: asking for a batch changes nothing."""

    stored: images.Images
    train_indices: np.ndarray  # Numbers of the images to train on. int64 [num_train]
    heldout_indices: np.ndarray  # Numbers of the images kept from training. int64 [num_heldout]
    model: Model
    seed: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the model's classes; empty if it is unconditional."""
        return self.stored.classes.names if self.model.num_labels else ()

    @property
    def class_counts(self) -> np.ndarray | None:
        """Number of training images of each of the model's classes; None if it is unconditional. int [num_labels]"""
        if not self.model.num_labels:
            return None
        return np.bincount(self.stored.classes.labels[self.train_indices], minlength=self.model.num_labels)

    def batch(self, nimg: int, n: int, resolution: int, part: tuple[int, int] = (0, 1)) -> Batch:
        """Returns the training images shown after the first `nimg`.

        The k-th image ever shown is the (k mod num_train)-th of epoch k // num_train, and each epoch is a permutation
        of the training images drawn from (seed, epoch). So a run that resumes, on any number of processes and with
        any batch size, sees what an uninterrupted one would.

        Args:
            nimg: images shown so far, >= 0.
            n: images in the global batch.
            resolution: resolution of training, px.
            part: (index, count): this process's place among those that share the batch, each a contiguous slice.

        Returns:
            `n / count` images of `stored.size(resolution)` px, of which the device makes box means, and labels.

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
        epochs, offsets = np.divmod(places, len(self.train_indices))
        chosen = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            chosen[now] = _permutation(self.seed, ORDER, int(epoch), len(self.train_indices))[offsets[now]]
        indices = self.train_indices[chosen]
        return Batch(self.stored.images_fn(indices, self.stored.size(resolution)), self._labels(indices))

    def sample_reals(self, stop: int, start: int = 0) -> np.ndarray:
        """Returns training images `start` to `stop` of an order that is always the same. uint8 [n, r, r, c]"""
        chosen = _permutation(self.seed, SAMPLE, 0, len(self.train_indices))[start:stop]
        return self.stored.squares(self.train_indices[chosen], self.model.resolution)

    def heldout(self, stop: int, start: int = 0) -> np.ndarray:
        """Returns held-out images `start` to `stop`, or as many as there are. uint8 [n, r, r, c]"""
        return self.stored.squares(self.heldout_indices[start:stop], self.model.resolution)

    def describe(self) -> dict[str, int]:
        """Returns the numbers of images by what became of them, of other files, and of classes."""
        return {
            "images": len(self.train_indices),
            "heldout": len(self.heldout_indices),
            "skipped": self.stored.num_skipped,
            "filtered": self.stored.num_filtered,
            "enlarged": self.stored.num_enlarged,
            "ignored": self.stored.num_ignored,
            "classes": len(self.stored.classes.names) if self.stored.classes else 0,
        }

    def _labels(self, indices: np.ndarray) -> np.ndarray | None:
        if self.model.num_labels == 0:
            return None
        of_images = self.stored.classes.labels[indices]
        return (of_images[:, None] == np.arange(self.model.num_labels)).astype(np.float32)


def open_dataset(data: Data, model: Model, seed: int, progress_fn: images.ProgressFn | None = None) -> Dataset:
    """Returns the images of a run, split into training and held-out ones.

    Args:
        data: the source, and how its pictures become squares.
        model: resolution, channels and number of classes.
        seed: the run's seed, 0 or more; it draws the split and the order.
        progress_fn: called with (images done, images in all) while they are decoded or drawn.

    Raises:
        ValueError: the source cannot be opened (see `images.open_images`), has other classes than the model, or has
            too few images to hold some out.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; use 0 or more.")
    if data.num_heldout < 0:
        raise ValueError(f"data.num_heldout is {data.num_heldout}; use 0 or more.")
    found = images.open_images(data, model, progress_fn)
    if (refusal := refused_split(data, found.length)) is not None:
        raise ValueError(f"data.source {data.source!r} has {found.length} images, but {refusal}.")
    shuffled = _permutation(seed, SPLIT, 0, found.length)
    heldout, train = np.split(shuffled, [data.num_heldout])
    return Dataset(found, train, heldout, model, seed)


def refused_split(data: Data, num_images: int) -> str | None:
    """Returns why `num_images` cannot be split as the settings say, and what to do; None if they can."""
    if 2 * data.num_heldout <= num_images:
        return None
    most = num_images // 2
    fewer = f"use data.num_heldout={most} or less, or " if most >= MIN_HELDOUT else "use "
    return (
        f"data.num_heldout is {data.num_heldout}, and the metrics need as many images to train on; {fewer}"
        "data.num_heldout=0 with report.metric_ticks=0"
    )


@functools.lru_cache(maxsize=4)  # A batch can end one epoch and begin the next.
def _permutation(seed: int, purpose: int, epoch: int, length: int) -> np.ndarray:
    """Returns a permutation of range(length) drawn from (seed, purpose, epoch). int64 [length]

    It sorts raw Philox output, which NumPy promises never to change; for `Generator.permutation` it promises nothing.
    """
    key = np.array([seed, epoch], np.uint64)
    draws = np.random.Philox(key=key, counter=np.array([0, 0, 0, purpose], np.uint64)).random_raw(length)
    order = np.argsort(draws, kind="stable")
    order.flags.writeable = False  # It is shared by all who ask.
    return order
