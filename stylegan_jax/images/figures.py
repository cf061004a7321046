"""Figures of the paper, at its layout, from any network: each function returns one picture.

The seeds, psis, crops and layers are those of the official generate_figures.py. Cells of small networks are enlarged by
repeating pixels.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from stylegan_jax.images import styles
from stylegan_jax.runs import grid
from stylegan_jax.weights.network import Network

SMALLEST_CELL_PX = 128
SMALLEST_UNCURATED_PX = 256  # Of the largest images among uncurated ones; the smallest have an eighth.
SOURCE_SEEDS = (639, 701, 687, 615, 2268)  # Fig. 3: the images that give styles, on top,
TARGET_SEEDS = (888, 829, 1898, 1733, 1614, 845)  # and those that take them, at the left.
STRAND_SEEDS, NUM_DRAWS = (1157, 1012), 100  # Fig. 4: its rows; draws of noise that the deviation is over.
STRANDS = (650 / 1024, 180 / 1024, 906 / 1024, 436 / 1024)  # Left, top, right and bottom of Fig. 4's details: hair.
NOISE_SEEDS = (1967, 1555)  # Fig. 5: its rows.
PSI_SEEDS, PSIS = (91, 388), (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)  # Fig. 8: its rows and columns.
CAR = (0.0, 64 / 512, 1.0, 448 / 512)  # LSUN's cars are wider than high.
CATS = (0, 0, 1, 1, 2, 2, 2)  # Levels of LSUN's bedrooms and cats.

ProgressFn = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


def uncurated(
    network: Network,
    labels: Sequence[int] = (),
    progress_fn: ProgressFn = _silent,
    seed: int = 5,
    rows: int = 3,
    levels: Sequence[int] = (0, 1, 2, 2, 3, 3),
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> np.ndarray:
    """Returns images as they come, in columns of ever smaller ones (StyleGAN, Figs. 2 and 10 to 12).

    psi is 0.7 up to the 8th layer, and noise is random, as in official calls.

    Args:
        network: network that makes the images.
        labels: classes of a conditional network, which take turns; none: all.
        progress_fn: called with the number of images that are done, and of all.
        seed: of all latents together.
        rows: images in a column of level 0.
        levels: of each column: images of level k are 1/2^k as high, and 2^k as many.
        box: part of each image that is shown: left, top, right and bottom, 0 to 1.

    Returns:
        uint8 [height, width, channels]
    """
    model = network.model
    n = sum(rows << level for level in levels)
    z, classes = np.random.RandomState(seed).randn(n, model.z_size), _turns(network, labels, n)
    look: dict[str, Any] = {} if network.w_avg is None else {"psi": 0.7, "cutoff": min(8, model.num_layers)}
    left, top, right, bottom = (round(side * model.resolution) for side in box)
    enlargement = max(1, SMALLEST_UNCURATED_PX // model.resolution)
    w, h, first, columns = (right - left) * enlargement, (bottom - top) * enlargement, 0, []
    for column, level in enumerate(levels):
        part = slice(first, first + (rows << level))
        if model.use_noise:
            look |= {"noise": "random", "noise_seed": column}
        images = network(z=z[part], labels=None if classes is None else classes[part], **look)
        cells = [_resized(image[top:bottom, left:right], w >> level, h >> level) for image in images]
        columns.append(np.concatenate(cells))
        first = part.stop
        progress_fn(first, n)
    return np.concatenate(columns, axis=1)


def style_mixing(network: Network, labels: Sequence[int] = (), progress_fn: ProgressFn = _silent) -> np.ndarray:
    """Returns images where each row's image takes the styles of each column's (StyleGAN, Fig. 3).

    Half of the rows take the coarse styles, a third the middle ones, and the last the fine ones: see
    `styles.style_bounds`.

    Args: network, labels and progress_fn of `uncurated`.

    Returns:
        uint8 [height, width, channels]; the corner is white.
    """
    _check(network, "style_mixing")
    n, rows = len(SOURCE_SEEDS), len(TARGET_SEEDS)
    ws = _ws(network, [*SOURCE_SEEDS, *TARGET_SEEDS], labels)
    sources, targets = ws[:n], ws[n:]
    layers, bounds = np.arange(network.model.num_layers), (0, *styles.style_bounds(network), network.model.num_layers)
    total, cells = n + rows * (n + 1), [np.full((1, *_size(network)), 255, np.uint8), network.images(sources)]
    for row in range(rows):
        progress_fn(sum(map(len, cells)) - 1, total)
        kind = 0 if row < rows / 2 else 1 if row < rows - 1 else 2
        is_given = (layers >= bounds[kind]) & (layers < bounds[kind + 1])
        mixed = np.where(is_given[None, :, None], sources, targets[row])
        cells += [network.images(targets[row : row + 1]), network.images(mixed)]
    progress_fn(total, total)
    return _table(np.concatenate(cells), n + 1)


def stochastic_variation(network: Network, labels: Sequence[int] = (), progress_fn: ProgressFn = _silent) -> np.ndarray:
    """Returns what noise changes: an image, details with four other draws, and the deviation (StyleGAN, Fig. 4).

    Args: network, labels and progress_fn of `uncurated`.

    Returns:
        uint8 [height, 3 h, channels]. The deviation is of the mean of the channels, times 4.
    """
    _check(network, "stochastic_variation")
    left, top, right, bottom = (round(side * network.model.resolution) for side in STRANDS)
    px, rows = max(network.model.resolution, SMALLEST_CELL_PX), []
    for i, ws in enumerate(_ws(network, STRAND_SEEDS, labels)):
        images = []
        for draw in range(NUM_DRAWS):
            images.append(network.images(ws[None], noise="random", noise_seed=draw)[0])
            progress_fn(i * NUM_DRAWS + draw + 1, len(STRAND_SEEDS) * NUM_DRAWS)
        details = [_resized(image[top:bottom, left:right], px // 2, px // 2) for image in images[1:5]]
        spread = 4 * np.std(np.mean(images, axis=3), axis=0)
        spread = np.repeat(np.clip(spread + 0.5, 0, 255).astype(np.uint8)[:, :, None], network.model.channels, axis=2)
        cells = [_resized(images[0], px, px), grid.image_grid(np.stack(details), 2), _resized(spread, px, px)]
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


def noise_layers(network: Network, labels: Sequence[int] = (), progress_fn: ProgressFn = _silent) -> np.ndarray:
    """Returns images with noise in all layers, in none, in the fine ones and in the others (StyleGAN, Fig. 5).

    Args: network, labels and progress_fn of `uncurated`.

    Returns:
        uint8 [height, 4 h, channels]
    """
    _check(network, "noise_layers")
    ws, maps, fine = _ws(network, NOISE_SEEDS, labels), network.const_noise(), styles.style_bounds(network)[1]
    columns = []
    for low, high in ((0, len(maps)), (0, 0), (fine, len(maps)), (0, fine)):
        noise = [m if m is None or low <= layer < high else np.zeros_like(m) for layer, m in enumerate(maps)]
        columns.append(network.images(ws, noise))
        progress_fn(len(columns) * len(NOISE_SEEDS), 4 * len(NOISE_SEEDS))
    return _table(np.stack(columns, axis=1).reshape(-1, *_size(network)), len(columns))


def truncation(network: Network, labels: Sequence[int] = (), progress_fn: ProgressFn = _silent) -> np.ndarray:
    """Returns images with styles scaled about their mean by each psi (StyleGAN, Fig. 8).

    Args: network, labels and progress_fn of `uncurated`.

    Returns:
        uint8 [height, width, channels]
    """
    _check(network, "truncation")
    columns = []
    for psi in PSIS:
        columns.append(network.images(_ws(network, PSI_SEEDS, labels, psi)))
        progress_fn(len(columns) * len(PSI_SEEDS), len(PSIS) * len(PSI_SEEDS))
    return _table(np.stack(columns, axis=1).reshape(-1, *_size(network)), len(PSIS))


FIGURES: dict[str, Callable[[Network, Sequence[int], ProgressFn], np.ndarray]] = {
    "uncurated": uncurated,
    "style_mixing": style_mixing,
    "stochastic_variation": stochastic_variation,
    "noise_layers": noise_layers,
    "truncation": truncation,
    # Uncurated images at the layouts of LSUN: Figs. 10, 11 (without the bars above and below) and 12.
    "bedrooms": functools.partial(uncurated, seed=0, rows=5, levels=CATS),
    "cars": functools.partial(uncurated, seed=2, rows=4, box=CAR),
    "cats": functools.partial(uncurated, seed=1, rows=5, levels=CATS),
}
OF_NOISE, OF_STYLES = ("stochastic_variation", "noise_layers"), ("style_mixing", "truncation")


def lacking(network: Network, name: str) -> str | None:
    """Returns what a network lacks for a figure, in words; None if it can draw it."""
    if name in OF_NOISE and not network.model.use_noise:
        return "takes no noise"
    return "has no styles with a mean" if name in OF_STYLES and network.w_avg is None else None


def _check(network: Network, name: str) -> None:
    if why := lacking(network, name):
        raise ValueError(f"this network {why}, and so cannot draw {name}.")


def _size(network: Network) -> tuple[int, int, int]:
    return network.model.resolution, network.model.resolution, network.model.channels


def _turns(network: Network, labels: Sequence[int], n: int) -> np.ndarray | None:
    """Returns the class of each of n images, which take turns; None for a network without classes. int [n]"""
    if not network.model.num_labels:
        return None
    return np.resize(np.asarray(labels or range(network.model.num_labels)), n)


def _ws(network: Network, seeds: Sequence[int], labels: Sequence[int], psi: float = 1.0) -> np.ndarray:
    """Returns the styles of seeds. [n, num_layers, w_size]"""
    return network.map(network.latents(seeds), _turns(network, labels, len(seeds)), psi)


def _table(images: np.ndarray, columns: int) -> np.ndarray:
    """Returns one picture of images, row by row, whose cells have SMALLEST_CELL_PX at least."""
    enlargement = max(1, SMALLEST_CELL_PX // images.shape[1])
    return grid.image_grid(images.repeat(enlargement, axis=1).repeat(enlargement, axis=2), columns)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns an image enlarged by repeating pixels, or made smaller by Lanczos's filter. uint8 [height, width, c]"""
    is_smaller = width < image.shape[1]
    how = Image.Resampling.LANCZOS if is_smaller else Image.Resampling.NEAREST
    planes = [Image.fromarray(image[..., c]).resize((width, height), how) for c in range(image.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)
