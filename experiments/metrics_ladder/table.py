"""The scores of a ladder as text and as numbers."""

import dataclasses
from typing import Any

import numpy as np

from experiments.metrics_ladder import scores


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The scores of one set of pictures.

    Attributes:
        name: of the set.
        count: pictures compared with as many others.
        floors: scores of reals against other reals.
        rungs: scores of each fault.
        samples: a few of each fault's pictures. uint8 [k, px, px, c]
    """

    name: str
    count: int
    floors: list[dict[str, float]]
    rungs: dict[str, dict[str, float]]
    samples: dict[str, np.ndarray]

    @property
    def metrics(self) -> list[str]:
        """Names of the scores."""
        return list(self.floors[0])

    def floor(self, metric: str) -> np.ndarray:
        """Returns the scores of reals against other reals. float64 [num_splits]"""
        return np.array([found[metric] for found in self.floors])

    def z_scores(self, rung: str) -> dict[str, float]:
        """Returns how many deviations of the floor a rung's scores are worse than the floor."""
        return scores.z_scores(self.rungs[rung], self.floors)


def markdown(ladder: Ladder) -> str:
    """Returns a table of a ladder: each score, and whether its metric sees the fault."""
    floors = [ladder.floor(metric) for metric in ladder.metrics]
    rows = [
        [f"{ladder.name}, {ladder.count} against {ladder.count}", *ladder.metrics],
        ["---"] * (1 + len(floors)),
        ["floor, mean", *(short(floor.mean()) for floor in floors)],
        ["floor, deviation", *(short(floor.std(ddof=1)) for floor in floors)],
    ]
    for name, found in ladder.rungs.items():
        verdicts = {metric: scores.verdict(z) for metric, z in ladder.z_scores(name).items()}
        rows.append([name, *(f"{short(value)} {verdicts[metric].value}" for metric, value in found.items())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def numbers(ladder: Ladder) -> dict[str, Any]:
    """Returns all scores and z scores of a ladder as plain values."""
    rungs = {
        name: {metric: {"score": found[metric], "z": z} for metric, z in ladder.z_scores(name).items()}
        for name, found in ladder.rungs.items()
    }
    return {"count": ladder.count, "floors": ladder.floors, "rungs": rungs}


def short(value: float) -> str:
    """Returns a number with three significant digits; what is below 0.0001 has one, and rounding alone is 0."""
    size = abs(value)
    if size < 1e-9 or size >= 1000:
        return f"{value if size >= 1000 else 0:.0f}"
    if size < 1e-4:
        return f"{value:.0e}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(size))))}f}"
