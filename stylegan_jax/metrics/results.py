"""What was measured, with all that one needs to measure it again: as a table for people, as JSON for machines."""

import dataclasses
import datetime
import errno
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FILE = "metrics.jsonl"  # In the workdir: one JSON object a line, a metric of one seed each.


@dataclasses.dataclass(frozen=True)
class Result:
    """A metric of a generator, or of pictures.

    Attributes:
        metric: its name, as it was asked for.
        values: numbers by their names; the first one is the metric.
        floor: the same numbers for real pictures: one half against the other, or the real pictures alone.
        floor_text: which of them, and how many.
        what: the definition, a phrase.
        seed: seed of the generator's draws and of the metric's; of `spreads`, all of them.
        about: what else decides about the number, for JSON: counts, pictures, weights, network.
        notes: sentences that a user should know.
    """

    metric: str
    values: dict[str, float]
    floor: dict[str, float]
    floor_text: str
    what: str
    seed: int | list[int]
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


def spreads(results: Sequence[Result]) -> list[Result]:
    """Returns, for each metric with several seeds, the means of its values, with "std" (n - 1) in `about`."""
    found = []
    for group in _by_metric(results).values():
        values = {name: np.array([result.values[name] for result in group]) for name in group[0].values}
        if len(group) > 1:
            about = group[0].about | {"std": {name: float(value.std(ddof=1)) for name, value in values.items()}}
            means = {name: float(value.mean()) for name, value in values.items()}
            seeds = [result.seed for result in group]
            found.append(dataclasses.replace(group[0], values=means, seed=seeds, about=about))
    return found


def _by_metric(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.metric, []).append(result)
    return found


def check_file(folder: pathlib.Path) -> None:
    """Raises ValueError if results cannot be appended to the metrics.jsonl that a folder has."""
    path = folder / FILE
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); move it away, or choose another --workdir."
        ) from None


def append(folder: pathlib.Path, result: Result, about: dict[str, Any]) -> None:
    """Appends a result to metrics.jsonl in one write, on a line of its own, with what it is of and the time.

    Raises:
        OSError: the disk is full, or the file cannot be written; no part of the line stays.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = record(result, time=now, **about).encode()
    with (folder / FILE).open("a+b", buffering=0) as file:  # With reading, a pipe without a reader is not waited for.
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # The last line was left unfinished.
            line = b"\n" + line
        num_written = file.write(line)
        if num_written < len(line):
            if file.seek(0, os.SEEK_END) == end + num_written:  # Otherwise another process has written too.
                file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def table(results: Sequence[Result]) -> str:
    """Returns results as aligned text: each number, its spread over seeds if there are several, and its floor.

    Results of one metric with several seeds are one row: the mean and the standard deviation (n - 1) over the seeds.
    Notes stand below.
    """
    by_metric = _by_metric(results)
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
