"""What runs left behind, to be compared: numbers, curves and samples."""

import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes

from stylegan_jax.metrics import results
from stylegan_jax.runs import grid
from stylegan_jax.weights.network import Network

Curve = list[tuple[float, float]]  # Pairs (thousands of images, value).


def lines(path: pathlib.Path) -> list[dict]:
    """Returns the objects of a .jsonl file.

    Raises:
        SystemExit: there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise SystemExit(f"{path} is missing: has the run ended, and been measured? Give the command of run.sh again.")
    try:
        return [json.loads(text) for text in path.read_bytes().splitlines() if text.strip()]
    except ValueError as error:
        raise SystemExit(f"{path} is damaged ({error}); move it away, and give the command of run.sh again.") from None


def curve(folder: pathlib.Path, name: str) -> Curve:
    """Returns a scalar of a run over its images."""
    return [(line["nimg"] / 1000, line[name]) for line in lines(folder / "scalars.jsonl") if name in line]


def measured(folder: pathlib.Path, names: Sequence[str], of: str = "values") -> list[float]:
    """Returns the newest numbers of --mode=evaluate by their names; with of="floor", those of real pictures.

    Raises:
        SystemExit: there is no such file, or it lacks a number.
    """
    found: dict[str, float] = {}
    for line in lines(folder / results.FILE):
        found |= line[of]
    if missing := [name for name in names if name not in found]:
        raise SystemExit(
            f"{folder / results.FILE} lacks {', '.join(missing)}: measuring was interrupted. Give the command of "
            "run.sh again."
        )
    return [float(found[name]) for name in names]


def draw(axes: Axes, curves: Iterable[tuple[str, str, Curve]], title: str) -> None:
    """Draws curves, each a name (empty: not in the legend), a colour and pairs of thousands of images and value."""
    for name, colour, pairs in curves:
        axes.plot(*zip(*pairs, strict=True), label=name or None, color=colour, marker="." if len(pairs) < 12 else None)
    axes.set(xlabel="thousands of images", title=title)
    axes.legend(frameon=False)


def sheet(networks: Sequence[Network], rows: int = 2, columns: int = 16) -> np.ndarray:
    """Returns one picture of images as they come, `rows` rows of each network. uint8 [h, w, c]"""
    return grid.image_grid(np.concatenate([network(seeds=range(rows * columns)) for network in networks]), columns)
