"""Joins the logs of the runs that made the network: python -m experiments.faces64 --runs=GROWN,REFINED,...

It writes log.jsonl, the lines with distances, and curves.png beside this file.
"""

import json
import pathlib
from typing import Any

import matplotlib.figure
from absl import app, flags

FOLDER = pathlib.Path(__file__).parent
RUNS = flags.DEFINE_list("runs", [], "Workdirs of the runs, each of which began with the network of the one before.")
LARGEST = 150.0  # Of distances that the plot shows.


def read(folders: list[str]) -> list[dict[str, Any]]:
    """Returns the lines with distances of all runs; their nimg counts the images of the runs before, too."""
    lines: list[dict[str, Any]] = []
    before = 0
    for i, folder in enumerate(map(pathlib.Path, folders)):
        if i:  # The network that it began with is RUN/checkpoints/NIMG of the run before.
            before += int(pathlib.Path(json.loads((folder / "init_from.json").read_text())["source"]).name)
        found = [json.loads(text) for text in (folder / "scalars.jsonl").read_text().splitlines()]
        lines = [line for line in lines if line["nimg"] < before]
        lines += [line | {"run": i, "nimg": line["nimg"] + before} for line in found if "swd" in line]
    return lines


def plot(lines: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws the distances over the images that were shown."""
    figure = matplotlib.figure.Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name in ("fd_faces", "swd"):
        axes.plot([line["nimg"] / 1000 for line in lines], [line[name] for line in lines], label=name)
    for first, second in zip(lines, lines[1:], strict=False):
        if first["run"] < second["run"]:
            axes.axvline(second["nimg"] / 1000, color="0.7", linewidth=1)
    axes.set(xlabel="thousands of images", ylim=(0, LARGEST))
    axes.legend()
    figure.savefig(path, dpi=110)


def main(argv: list[str]) -> None:
    """Writes both files."""
    if len(argv) > 1 or not RUNS.value:
        raise app.UsageError("name the runs: --runs=GROWN,REFINED,...")
    lines = read(RUNS.value)
    (FOLDER / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    plot(lines, FOLDER / "curves.png")
    print(f"{FOLDER} has log.jsonl of {len(lines)} lines, and curves.png")


if __name__ == "__main__":
    app.run(main)
