"""What was measured, with all that one needs to measure it again: as a table for people, as JSON for machines."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Result:
    """A metric of a generator, or of pictures.

    Attributes:
        metric: its name, as it was asked for.
        values: numbers by their names; the first one is the metric.
        floor: the same numbers for real pictures: one half against the other, or the real pictures alone.
        floor_text: which of them, and how many.
        what: the definition, a phrase.
        seed: seed of the generator's draws and of the metric's.
        about: what else decides about the number, for JSON: counts, pictures, weights, network.
        notes: sentences that a user should know.
    """

    metric: str
    values: dict[str, float]
    floor: dict[str, float]
    floor_text: str
    what: str
    seed: int
    about: dict[str, Any]
    notes: tuple[str, ...] = ()


def record(result: Result, **more: Any) -> str:
    """Returns a result as a line of JSON, with more fields; NaN and infinities are strings, which float() reads."""
    fields = {
        "metric": result.metric,
        "values": _numbers(result.values),
        "floor": _numbers(result.floor),
        "floor_text": result.floor_text,
        "definition": result.what,
        "seed": result.seed,
        **result.about,
        "notes": list(result.notes),
    }
    return json.dumps(more | fields) + "\n"


def table(results: Sequence[Result]) -> str:
    """Returns results as aligned text: each number, its spread over seeds if there are several, and its floor.

    Results of one metric with several seeds are one row: the mean and the standard deviation (n - 1) over the seeds.
    Notes stand below.
    """
    by_metric: dict[str, list[Result]] = {}
    for result in results:
        by_metric.setdefault(result.metric, []).append(result)
    has_seeds = any(len(group) > 1 for group in by_metric.values())
    rows = [["metric", "value", *(["spread over seeds"] if has_seeds else []), "real pictures", "what it is"]]
    for group in by_metric.values():
        for i, name in enumerate(group[0].values):
            found = np.array([result.values[name] for result in group])
            spread = f"+- {found.std(ddof=1):.3g} ({len(found)})" if len(found) > 1 else ""
            floor = f"{group[0].floor[name]:.5g}" if name in group[0].floor else "-"
            what = "" if i else group[0].what + (f"; {group[0].floor_text}" if group[0].floor_text else "")
            rows.append([name, f"{found.mean():.5g}", *([spread] if has_seeds else []), floor, what])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = dict.fromkeys(note for result in results for note in result.notes)
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
