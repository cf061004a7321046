"""Times Inception's features and the distances of path length: ours, pytorch-fid and torch-fidelity, in turn.

python -m experiments.metrics_speed --torch_python PYTHON_WITH_THE_PACKAGES
"""

import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from absl import app, flags

from experiments.benchmark import options
from experiments.data import table_text

TORCH_PYTHON = flags.DEFINE_string("torch_python", None, "Python that has pytorch-fid and torch-fidelity.")
FEATURES_BATCH = flags.DEFINE_integer("features_batch", 32, "Pictures whose features are timed.", lower_bound=1)
PAIRS_BATCH = flags.DEFINE_integer("pairs_batch", 8, "Pairs whose distances are timed.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 7, "Timings of each; their median counts.", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "File for all numbers, JSON.")

OURS = "ours"
SIDES = {"features": (OURS, "pytorch_fid", "torch_fidelity"), "pairs": (OURS, "torch_fidelity")}


def ask(process: subprocess.Popen, task: str, count: int) -> dict[str, float]:
    """Returns the answer of a side; raises ValueError if its process ended instead."""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"task": task, "count": count}) + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise ValueError(f"the process {process.args} ended with status {process.wait()}; see above why")
    return json.loads(line)


def measured(processes: dict[str, subprocess.Popen], task: str, count: int) -> dict[str, list[dict[str, float]]]:
    """Returns the timings of each side; the sides take turns."""
    for side in SIDES[task]:
        ask(processes[side], task, count)  # Compiles.
    timings: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES[task]}
    for _ in range(REPEATS.value):
        for side, found in timings.items():
            found.append(ask(processes[side], task, count))
    return timings


def rows(task: str, count: int, timings: dict[str, list[dict[str, float]]]) -> list[tuple[str, ...]]:
    """Returns a row of the table for each side. A ratio is the median of those of neighbouring timings."""
    result = []
    for side in timings:
        cells = []
        for unit in ("wall_sec", "cpu_sec"):
            of_side, of_ours = ([timing[unit] for timing in timings[name]] for name in (side, OURS))
            ratio = statistics.median(a / b for a, b in zip(of_side, of_ours, strict=True))
            cells += [f"{count / statistics.median(of_side):.1f}", "" if side == OURS else f"{ratio:.2f}x"]
        result.append((task, side, *cells))
    return result


def main(argv: list[str]) -> None:
    """Compares as the flags say."""
    try:
        options.check_no_arguments(argv)
        out = options.checked_out(OUT.value) if OUT.value else None
        if not TORCH_PYTHON.value:
            raise ValueError("--torch_python must name a Python that has torch, pytorch-fid and torch-fidelity")
        script = str(pathlib.Path(__file__).with_name("side.py"))
        all_rows, values = [], {}
        with contextlib.ExitStack() as stack:
            processes = {}
            for side in SIDES["features"]:
                command = [sys.executable, "-m", "experiments.metrics_speed.side"]
                command = [*(command if side == OURS else [TORCH_PYTHON.value, script]), side]
                pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                processes[side] = stack.enter_context(subprocess.Popen(command, **pipes))
            for task, count in (("features", FEATURES_BATCH.value), ("pairs", PAIRS_BATCH.value)):
                values[task] = measured(processes, task, count)
                all_rows += rows(task, count, values[task])
                print(*(" ".join(row) for row in all_rows[-len(values[task]) :]), sep="\n", flush=True)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}.")
    if out:
        options.write_json(out, values)
    header = ("task", "side", "per second", "ours is faster by", "per second of CPU time", "ours needs less by")
    print("\n" + table_text.markdown([header, *all_rows]))


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
