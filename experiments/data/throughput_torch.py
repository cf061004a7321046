"""The side of PyTorch: a folder of PNG files of the requested size, so that none has to be resized."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils import data

NUM_WORKERS = 2


class Pictures(data.Dataset):
    """The pictures of a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._files = [str(file) for file in sorted(folder.glob("*.png"))]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self._files[index]) as image:
            return torch.from_numpy(np.array(image))


class Shuffled(data.Sampler):
    """One permutation after another: no worker waits for an epoch to end."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self._length).tolist()


class Side:
    """Reads a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = pathlib.Path(folder)

    def about(self) -> dict[str, Any]:
        """Returns the versions and the number of workers that read."""
        return {"torch": torch.__version__, "pillow": PIL.__version__, "num_workers": NUM_WORKERS}

    def batches(self, way: str, resolution: int, batch: int) -> Iterator[np.ndarray]:
        """Returns shuffled batches without end. uint8 [batch, resolution, resolution, 3]"""
        pictures = Pictures(self._folder / str(resolution))
        loader = data.DataLoader(
            pictures, batch, sampler=Shuffled(len(pictures)), num_workers=NUM_WORKERS, persistent_workers=True
        )
        return (tensors.numpy() for tensors in loader)
