"""Times our step and sampling against rosinality/style-based-gan-pytorch, in turn, on this device.

python -m experiments.benchmark.port --port CHECKOUT [--python PYTHON_WITH_TORCH]
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags

from experiments.benchmark import options, summary
from stylegan_jax.config import Model
from stylegan_jax.runs import progress

PORT = flags.DEFINE_string("port", None, "Checkout of the port: the folder of its model.py.", required=True)
PYTHON = flags.DEFINE_string("python", sys.executable, "Python that has torch.")
TRAIN = flags.DEFINE_string("train", None, 'Resolutions and batches of the step, such as "8:8,64:4"; "" for none.')
SAMPLE = flags.DEFINE_string(
    "sample", "64:1,64:4,256:1,256:4,1024:1,1024:4", 'Resolutions and batches of the sampling; "" for none.'
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Calls of each; their median counts.", lower_bound=5)
OUT = flags.DEFINE_string("out", "runs/benchmark_port.json", "File for all numbers.")

TRAIN_PAIRS = {"cpu": "8:8,16:8,32:8,64:4"}  # Default of --train by device; GPU_TRAIN_PAIRS on others.
GPU_TRAIN_PAIRS = "8:256,16:128,32:64,64:32,128:16,256:16,512:8,1024:4"
OURS = "ours"
LAYOUTS = ("contiguous", "channels_last")  # Memory layouts of the port.
PAUSE_SEC = 0.05  # Pause before each call: the other side's threads may still be waiting busily.
HEADER = ("program", "px", "batch", "ours ms", *(f"port ms, {layout}" for layout in LAYOUTS), "port / ours")


class Child:
    """A process that answers requests; `name` is for messages."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        # The port's model.py calls functions that torch has renamed; JAX would take most of a GPU's memory at once.
        environment = os.environ | {"PYTHONWARNINGS": "ignore", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        pipe = subprocess.PIPE
        self._name = name
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Returns the answer; raises ValueError if the process ended instead."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f"the process of {self._name} ended with status {self._process.wait()}; see above why")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def children(port: pathlib.Path, python: str) -> Iterator[tuple[Child, Child]]:
    """Yields the process of our side and that of the port."""
    script = pathlib.Path(__file__).with_name("port_child.py")
    num_threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    with (
        contextlib.closing(Child("ours", [sys.executable, "-m", "experiments.benchmark.port_child"])) as ours,
        contextlib.closing(Child("the port", [python, str(script), str(port.resolve()), num_threads])) as theirs,
    ):
        yield ours, theirs


@dataclasses.dataclass(frozen=True)
class Row:
    """The milliseconds of a batch by variant: ours, and the port in each memory layout."""

    program: str  # "train" or "sample".
    resolution: int  # px
    batch: int
    ms: dict[str, float]  # Medians.
    all_ms: dict[str, list[float]]  # All timings, in the order of measurement.
    ratio: float  # Time of the port's better layout / ours: above 1, ours is faster.
    remarks: dict[str, str]


def measured(ours: Child, port: Child, program: str, resolution: int, batch: int, repeats: int) -> Row:
    """Returns the row of a program; its variants take turns, `repeats` times."""
    sides = {OURS: ours} | dict.fromkeys(LAYOUTS, port)
    request = {"program": program, "resolution": resolution, "batch": batch}
    remarks = {name: side.ask(request | {"variant": name})["remark"] for name, side in sides.items()}  # Warms up.
    all_ms: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            time.sleep(PAUSE_SEC)
            all_ms[name].append(1000 * side.ask(request | {"variant": name})["sec"])
    ms = {name: statistics.median(values) for name, values in all_ms.items()}
    ratio = min(ms[layout] for layout in LAYOUTS) / ms[OURS]
    return Row(**request, ms=ms, all_ms=all_ms, ratio=ratio, remarks={k: v for k, v in remarks.items() if v})


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row of the table under HEADER."""
    times = (f"{row.ms[name]:.2f}" for name in (OURS, *LAYOUTS))
    return row.program, str(row.resolution), str(row.batch), *times, f"{row.ratio:.2f}x"


def compare(
    port_dir: pathlib.Path,
    python: str,
    train: str | None,
    sample: str,
    repeats: int,
    save_fn: Callable[[dict[str, Any]], None],
) -> None:
    """Prints progress and the table; after each row it saves all measurements so far, as values for JSON.

    This process leaves the device to the two others: JAX would take most of a GPU's memory.

    Raises:
        ValueError: a flag has an impossible value, or a process ended.
    """
    model = Model()
    if not (port_dir / "model.py").is_file():
        raise ValueError(f"--port={port_dir}: there is no model.py; name a checkout of style-based-gan-pytorch")
    parsed = [
        options.pairs(name, text or "", model.resolutions[1:]) for name, text in (("train", train), ("sample", sample))
    ]
    for _, batch in parsed[0]:
        options.check_group("train", batch, model.stddev_group)
    with children(port_dir, python) as (ours, port):
        about = {"ours": ours.ask({}), "port": port.ask({})}
        device = about["ours"]["device"]
        if device != about["port"]["device"]:
            raise ValueError(f"ours runs on {device}, the port on {about['port']['device']}: no comparison")
        if train is None:
            parsed[0] = options.pairs("train", TRAIN_PAIRS.get(device, GPU_TRAIN_PAIRS), model.resolutions[1:])
        wanted = [(name, *pair) for name, pairs in zip(("train", "sample"), parsed, strict=True) for pair in pairs]
        rows, start_sec = [], time.monotonic()
        with contextlib.closing(progress.make_line(sys.stdout, len(wanted), time.monotonic)) as line:
            for done, case in enumerate(wanted):
                left_sec = (time.monotonic() - start_sec) / done * (len(wanted) - done) if done else None
                text = f"{case[0]}, {case[1]} px, batch {case[2]}, {progress.format_duration(left_sec)} left"
                line.update(done, text, is_last=False)
                rows.append(measured(ours, port, *case, repeats))
                line.log("  ".join(f"{name} {cell}" for name, cell in zip(HEADER, cells(rows[-1]), strict=True)))
                save_fn({"about": about, "repeats": repeats, "rows": [dataclasses.asdict(row) for row in rows]})
    print("\n" + summary.aligned([HEADER, *map(cells, rows)]))
    for row in rows:
        for name, remark in row.remarks.items():
            print(f"{row.program}, {row.resolution} px, batch {row.batch}, {name}: {remark}")


def main(argv: list[str]) -> None:
    """Compares as the flags say."""
    try:
        options.check_no_arguments(argv)
        save_fn = functools.partial(options.write_json, options.checked_out(OUT.value))
        compare(pathlib.Path(PORT.value), PYTHON.value, TRAIN.value, SAMPLE.value, REPEATS.value, save_fn)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}.")
    print(f"wrote {OUT.value}")


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
