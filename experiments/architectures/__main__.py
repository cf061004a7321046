"""Compares the runs of run.sh: python -m experiments.architectures --runs=FOLDER

It prints the table of README.md, and writes curves.png and samples.jpg beside this file, or to --out.
"""

import argparse
import pathlib

import jax
import matplotlib.figure
import numpy as np
from PIL import Image

import stylegan_jax
from experiments.architectures import runs
from experiments.architectures.config import ARCHITECTURES

COLOURS = {"stylegan": "tab:blue", "stylegan2": "tab:orange"}
OF_TRAINING = ("fd_faces", "swd")  # Of 1,024 held-out faces.
NUM_SEEDS = 3
METRICS = ("fd_faces10k", "swd16k:4096")  # Of --mode=evaluate in run.sh, in the table.
SHOWN = 0.7  # Share of a curve that the plot has in full: the distances at the beginning are much larger.


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--out", default=pathlib.Path(__file__).parent, type=pathlib.Path, help="folder to write to")
    arguments = parser.parse_args()
    folders = {a: sorted(arguments.runs.glob(f"{a}-[0-9]*/")) for a in ARCHITECTURES}
    for architecture, found in folders.items():
        if not found:
            raise SystemExit(f"{arguments.runs} has no runs of {architecture}; see run.sh.")
    if {len(found) for found in folders.values()} != {NUM_SEEDS}:
        print(f"note: run.sh trains {NUM_SEEDS} seeds of each; here are {', '.join(map(_counted, folders.items()))}")
    try:
        networks = {a: stylegan_jax.load(str(found[0])) for a, found in folders.items()}
    except ValueError as error:
        raise SystemExit(f"{error} Give the command of run.sh again.") from None
    sizes = {a: [number_of_parameters(p) for p in (n.params, n.d_params)] for a, n in networks.items()}
    print(table({a: [runs.measured(folder, METRICS) for folder in found] for a, found in folders.items()}, sizes))
    floor = " | ".join(f"{value:.3g}" for value in runs.measured(found[0], METRICS, "floor"))
    print(f"| one half of the real faces, against the other half | {floor} | | | |")
    plot(folders, arguments.out / "curves.png")
    Image.fromarray(runs.sheet([networks[a] for a in ARCHITECTURES])).save(arguments.out / "samples.jpg", quality=90)
    print(f"{arguments.out} has curves.png and samples.jpg")


def _counted(of: tuple[str, list[pathlib.Path]]) -> str:
    return f"{len(of[1])} of {of[0]}"


def number_of_parameters(params: object) -> int:
    """Returns the number of elements of all arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def table(measured: dict[str, list[list[float]]], sizes: dict[str, list[int]]) -> str:
    """Returns the table: mean and deviation over the seeds, the number of each, and parameters of G and D.

    Args:
        measured: for each architecture, the METRICS of each seed's run.
        sizes: for each architecture, the parameters of the generator and of the discriminator.
    """
    rows = ["| architecture | fd_faces | swd | fd_faces of each seed | swd of each seed | parameters of G, D |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    for architecture, of_seeds in measured.items():
        columns = np.array(of_seeds).T  # [2, seeds]
        spreads = [f" +- {c.std(ddof=1):.2g}" if len(c) > 1 else "" for c in columns]
        means = [f"{c.mean():#.3g}{spread}" for c, spread in zip(columns, spreads, strict=True)]
        each = [", ".join(f"{value:#.3g}" for value in column) for column in columns]
        cells = [architecture, *means, *each, ", ".join(f"{size:,}" for size in sizes[architecture])]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def plot(folders: dict[str, list[pathlib.Path]], path: pathlib.Path) -> None:
    """Draws the distances of all runs over the images that were shown."""
    figure = matplotlib.figure.Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), OF_TRAINING, strict=True):
        curves = [
            (architecture if i == 0 else "", COLOURS[architecture], runs.curve(folder, name))
            for architecture, found in folders.items()
            for i, folder in enumerate(found)
        ]
        runs.draw(axes, curves, f"{name} of 1,024 held-out faces")
        late = [value for *_, pairs in curves for kimg, value in pairs if kimg >= (1 - SHOWN) * pairs[-1][0]]
        axes.set_ylim(0, 1.1 * max(late))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
