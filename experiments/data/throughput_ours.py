"""Our side: batches of a prepared store, as training asks for them."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from stylegan_jax.config import Data, Model
from stylegan_jax.data import dataset


class Side:
    """Reads a store."""

    def __init__(self, store: str) -> None:
        self._store = store

    def about(self) -> dict[str, Any]:
        """Returns the versions of the packages that read."""
        return {"numpy": np.__version__}

    def batches(self, way: str, resolution: int, batch: int) -> Iterator[np.ndarray]:
        """Returns shuffled batches without end. uint8 [batch, resolution, resolution, 3]"""
        data = Data(source=self._store, num_heldout=0)
        found = dataset.open_dataset(data, Model(resolution=resolution), seed=0)
        return (found.batch(nimg, batch, resolution).images for nimg in itertools.count(0, batch))
