"""Images of seeds with their attributes: what directions are found from."""

import csv
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.weights.network import Network

AT_ONCE = 32  # Images that an attributes' function sees in a call.


def read_csv(path: str | os.PathLike) -> tuple[list[int], dict[str, np.ndarray]]:
    """Returns the seeds of a table of images, and which of them have each attribute.

    The first line is seed,NAME,NAME...; each other one has a seed and a number for each attribute. An image whose
    number is above 0 has the attribute, as in `metrics.attributes`: 0 and 1, -1 and 1, or logits.

    Returns:
        seeds [n], and bool [n] for each name

    Raises:
        ValueError: the table is no such, with the line that is wrong.
        OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            (first, *lines) = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row] or [(1, [""])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}.") from None
    names = [name.strip() for name in first[1]]
    if names[0].lower() != "seed" or len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(
            f"{path}: its first line is {','.join(names)!r:.100}; use seed,NAME,NAME... of different names."
        )
    seeds, values = [], []
    for number, row in lines:
        try:
            seeds.append(int(row[0]))
            values.append([float(text) for text in row[1:]])
        except ValueError:
            raise ValueError(f"{path}, line {number}: {','.join(row)!r:.100} is no seed and numbers.") from None
        if len(row) != len(names) or not np.isfinite(values[-1]).all() or not 0 <= seeds[-1] < 2**32:
            raise ValueError(
                f"{path}, line {number}: {','.join(row)!r:.100}; use a seed from 0 to {2**32 - 1} and {len(names) - 1} "
                "finite numbers."
            )
    if not lines:
        raise ValueError(f"{path} has no images; give a line for each.")
    if len(set(seeds)) < len(seeds):
        twice = next(seed for i, seed in enumerate(seeds) if seed in seeds[:i])
        raise ValueError(f"{path} has the seed {twice} in two lines; give each image one.")
    present = np.array(values) > 0
    for name, column in zip(names[1:], present.T, strict=True):
        if column.all() or not column.any():
            raise ValueError(
                f"{path}: {'all' if column.all() else 'no'} numbers of {name!r} are above 0, which means that an image "
                "has it; subtract the number that parts those that have it from the others."
            )
    return seeds, dict(zip(names[1:], present.T, strict=True))


def logits_of(
    network: Network,
    ws: np.ndarray,
    attributes: Attributes,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Returns the logits of images' attributes; an image has those that are above 0. float32 [n, len(attributes.names)]

    Args:
        network: network that makes the images.
        ws: styles. [n, num_layers, w_size]
        attributes: what is asked of the images.
        progress_fn: called with the number of images that are done, and of all.
    """
    logits_fn, found = jax.jit(attributes.logits_fn), []
    for i in range(0, len(ws), AT_ONCE):
        images = network.synthesize(ws[i : i + AT_ONCE])
        padded = np.resize(images, (AT_ONCE, *images.shape[1:]))  # So that one program serves all.
        found.append(np.asarray(logits_fn(attributes.params, padded))[: len(images)])
        progress_fn(min(i + AT_ONCE, len(ws)), len(ws))
    return np.concatenate(found)


def for_layers(w: np.ndarray, network: Network) -> np.ndarray:
    """Returns the ws [n, num_layers, w_size] of w [n, w_size], or of w [n, num_layers / 2, w_size] by resolution."""
    return np.repeat(w if w.ndim == 3 else w[:, None], 2 if w.ndim == 3 else network.model.num_layers, axis=1)


def draw_w(network: Network, seeds: Sequence[int], class_numbers: Sequence[int | None] = (None,)) -> np.ndarray:
    """Returns the w of seeds, of classes that take turns in a conditional network. float32 [n, w_size]"""
    return network.map(network.latents(seeds), in_turns(class_numbers, len(seeds)))[:, 0]


def draw_mixed_w(network: Network, seeds: Sequence[int], class_numbers: Sequence[int | None] = (None,)) -> np.ndarray:
    """Returns a w for each resolution of each seed, from latents of their own. float32 [n, num_layers / 2, w_size]

    The first is the seed's; the others follow it in the same row of random numbers.
    """
    num, size = len(network.model.resolutions), network.model.z_size
    z = np.concatenate([np.random.RandomState(seed).randn(num, size) for seed in seeds])
    turns = in_turns(class_numbers, len(seeds))
    w = network.map(z, None if turns is None else np.repeat(turns, num))[:, 0]
    return w.reshape(len(seeds), num, -1)


def in_turns(class_numbers: Sequence[int | None], n: int) -> list[int] | None:
    """Returns the class of each of n images, which take turns; None for [None], a network without classes."""
    return None if class_numbers[0] is None else [class_numbers[i % len(class_numbers)] for i in range(n)]
