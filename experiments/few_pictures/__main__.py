"""Compares the runs of run.sh: python -m experiments.few_pictures --runs=FOLDER

It prints the table of README.md, and writes curves.png and samples.jpg beside this file, or to --out.
"""

import argparse
import pathlib

import matplotlib.figure
from PIL import Image

import stylegan_jax
from experiments.architectures import runs
from experiments.few_pictures.config import REMEDIES

COLOURS = dict(zip(REMEDIES, ("black", "tab:green", "tab:orange", "tab:purple"), strict=True))
SHOWN = {  # Columns of the table, by the names of the numbers in metrics.jsonl.
    "fd_faces10k:2583": "fd_faces",
    "swd16k:2583": "swd",
    "pr_faces10k:2583_precision": "precision",
    "pr_faces10k:2583_recall": "recall",
}


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--out", default=pathlib.Path(__file__).parent, type=pathlib.Path, help="folder to write to")
    arguments = parser.parse_args()
    folders = {remedy: arguments.runs / remedy for remedy in REMEDIES}
    measured = {remedy: over_time(folder) for remedy, folder in folders.items()}
    print(table(measured, arguments.runs / "chosen"))
    figure = matplotlib.figure.Figure(figsize=(12, 3.2), layout="constrained")
    of_distance, of_recall, of_p = figure.subplots(1, 3)
    for axes, name in ((of_distance, "fd_faces"), (of_recall, "recall")):
        curves = [(r, COLOURS[r], [(k, values[name]) for k, values in found]) for r, found in measured.items()]
        runs.draw(axes, curves, f"{name} against the other emoji")
        axes.set_ylim(0)
    runs.draw(of_p, [("ada", COLOURS["ada"], runs.curve(folders["ada"], "augment_p"))], "p of ADA")
    of_p.set_ylim(0)
    figure.savefig(arguments.out / "curves.png", dpi=110)
    networks = [stylegan_jax.load(str(folder)) for folder in folders.values()]
    Image.fromarray(runs.sheet(networks)).save(arguments.out / "samples.jpg", quality=90)
    print(f"{arguments.out} has curves.png and samples.jpg")


def over_time(folder: pathlib.Path) -> list[tuple[float, dict[str, float]]]:
    """Returns pairs (thousands of images, numbers by column), for each checkpoint that was measured."""
    found = sorted(folder.glob("at/[0-9]*"), key=lambda place: int(place.name))
    if not found:
        raise SystemExit(f"{folder / 'at'} is missing: give the command of run.sh again.")
    return [(int(place.name) / 1000, shown(place)) for place in found]


def shown(folder: pathlib.Path, of: str = "values") -> dict[str, float]:
    """Returns the numbers that the table shows, by its columns, of what was measured in a folder."""
    return dict(zip(SHOWN.values(), runs.measured(folder, tuple(SHOWN), of), strict=True))


def table(measured: dict[str, list[tuple[float, dict[str, float]]]], chosen: pathlib.Path) -> str:
    """Returns the table: the last numbers of each run and its least fd_faces, and real pictures below.

    Args:
        measured: for each remedy, what `over_time` returned.
        chosen: folder where the 1,000 pictures themselves were measured.
    """
    rows = [f"| remedy | {' | '.join(SHOWN.values())} | least fd_faces, at thousands of images |"]
    rows.append("| --- " * (len(SHOWN) + 2) + "|")
    for remedy, found in measured.items():
        kimg, least = min(((kimg, values["fd_faces"]) for kimg, values in found), key=lambda pair: pair[1])
        rows.append(f"| {remedy} | {_cells(found[-1][1])} | {least:.3g}, {kimg:g} |")
    rows.append(f"| the 1,000 pictures themselves | {_cells(shown(chosen))} | |")
    rows.append(f"| one half of the others, against the other half | {_cells(shown(chosen, 'floor'))} | |")
    return "\n".join(rows)


def _cells(values: dict[str, float]) -> str:
    return " | ".join(f"{value:.3g}" for value in values.values())


if __name__ == "__main__":
    main()
