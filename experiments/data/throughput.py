"""Times how fast training pictures are read: our store, tf.data from official TFRecords, PyTorch's DataLoader, in turn.

python -m experiments.data.throughput [--tf_python PYTHON_WITH_TENSORFLOW] [--torch_python PYTHON_WITH_TORCH]
"""

import contextlib
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags

from experiments.benchmark import options
from experiments.data import files, table_text

TF_PYTHON = flags.DEFINE_string("tf_python", None, "Python that has TensorFlow and NumPy; none leaves it out.")
TORCH_PYTHON = flags.DEFINE_string("torch_python", None, "Python that has torch, NumPy, Pillow; none leaves it out.")
NUM_PICTURES = flags.DEFINE_integer("num_pictures", 2000, "Procedural faces in the set.", lower_bound=1)
RESOLUTIONS = flags.DEFINE_list("resolutions", "8,16,32,64,128,256", "Sizes of the pictures read, px.")
BATCH = flags.DEFINE_integer("batch", 64, "Pictures in a batch.", lower_bound=1)
SEC = flags.DEFINE_float("sec", 2.0, "Least length of a timing, s.", lower_bound=0.1)
WARM_UP_SEC = flags.DEFINE_float("warm_up_sec", 1.0, "Least time of reading before each timing, s.", lower_bound=0.0)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timings of each; their median counts.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", "runs/data", "Folder for the pictures, which are kept and used again.")
OUT = flags.DEFINE_string("out", None, "File for all numbers, JSON.")

PAUSE_SEC = 1.0  # Pause before each timing: the others' threads may still be reading ahead.
OURS, TF, TORCH = "ours", "tf", "torch"
# Ways to read that throughput_<side>.py has, by side; the fastest of a side counts.
WAYS = {OURS: ("store",), TF: ("a record at a time", "a batch at a time"), TORCH: ("folder",)}


class Child:
    """A process that answers requests; `name` is for messages."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

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
        """Ends the process, which ends its own processes."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclasses.dataclass(frozen=True)
class Row:
    """The images/s measured at a resolution, by side and way."""

    resolution: int  # px
    batch: int
    median: dict[str, dict[str, float]]
    all: dict[str, dict[str, list[float]]]  # All timings, in the order of measurement.

    def best(self, side: str) -> float:
        """Returns the images/s of the side's fastest way."""
        return max(self.median[side].values())


@contextlib.contextmanager
def children(found: files.Files, pythons: dict[str, str]) -> Iterator[dict[str, Child]]:
    """Yields a process for each side, which reads the pictures as that side stores them."""
    script = str(pathlib.Path(__file__).with_name("throughput_child.py"))
    places = {OURS: found.store, TF: found.tfrecords, TORCH: found.png}
    with contextlib.ExitStack() as stack:
        sides = {}
        for side, python in pythons.items():
            start = [python, "-m", "experiments.data.throughput_child"] if side == OURS else [python, script]
            child = Child(side, [*start, side, str(places[side].absolute())])
            sides[side] = stack.enter_context(contextlib.closing(child))
        yield sides


def measured(sides: dict[str, Child], found: files.Files, resolution: int) -> Row:
    """Returns the row of a resolution; all ways of all sides take turns.

    Raises:
        ValueError: a side's first batch is not of pictures of the set, or a process ended.
    """
    ways = [(side, way) for side in sides for way in WAYS[side]]
    request = {"resolution": resolution, "batch": BATCH.value, "sec": SEC.value, "warm_up_sec": WARM_UP_SEC.value}
    known = set(found.crcs(resolution))
    for side, way in ways:
        crcs = sides[side].ask({"way": way, "resolution": resolution, "batch": BATCH.value})["crcs"]
        if len(crcs) != BATCH.value or not known.issuperset(crcs):
            raise ValueError(f"{side}, {way}: the batch at {resolution} px is not {BATCH.value} pictures of the set")
    rates: dict[str, dict[str, list[float]]] = {side: {way: [] for way in WAYS[side]} for side in sides}
    for _ in range(REPEATS.value):
        for side, way in ways:
            time.sleep(PAUSE_SEC)
            rates[side][way].append(sides[side].ask(request | {"way": way})["images_per_sec"])
    median = {side: {way: statistics.median(values) for way, values in of.items()} for side, of in rates.items()}
    return Row(resolution, BATCH.value, median, rates)


def header(sides: Sequence[str]) -> tuple[str, ...]:
    """Returns the head of the table."""
    ways = [f"{side}, {way}" if len(WAYS[side]) > 1 else side for side in sides for way in WAYS[side]]
    return ("px", "batch", *ways, *(f"ours / {side}" for side in sides if side != OURS))


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row of the table under `header`."""
    rates = [f"{rate:,.0f}" for of in row.median.values() for rate in of.values()]
    ratios = [f"{row.best(OURS) / row.best(side):.2f}x" for side in row.median if side != OURS]
    return (str(row.resolution), str(row.batch), *rates, *ratios)


def compare(resolutions: Sequence[int], pythons: dict[str, str], out: pathlib.Path | None) -> None:
    """Prints each row as it is measured, then the table; writes all numbers so far to `out` after each row."""
    found = files.make(pathlib.Path(WORKDIR.value), NUM_PICTURES.value, max(resolutions), print)
    rows = []
    with children(found, pythons) as sides:
        about = {side: child.ask({}) for side, child in sides.items()}
        print(f"{NUM_PICTURES.value} pictures; {'; '.join(f'{side}: {text}' for side, text in about.items())}")
        for resolution in resolutions:
            rows.append(measured(sides, found, resolution))
            named = zip(header(pythons), cells(rows[-1]), strict=True)
            print("  ".join(f"{name} {cell}" for name, cell in named), flush=True)
            if out:
                settings = {"num_pictures": NUM_PICTURES.value, "sec": SEC.value, "warm_up_sec": WARM_UP_SEC.value}
                values = settings | {"about": about, "rows": [dataclasses.asdict(row) for row in rows]}
                options.write_json(out, values)
    print("\nimages/s\n\n" + table_text.markdown([header(pythons), *map(cells, rows)]))


def main(argv: list[str]) -> None:
    """Compares as the flags say."""
    pythons = {OURS: sys.executable, TF: TF_PYTHON.value, TORCH: TORCH_PYTHON.value}
    try:
        options.check_no_arguments(argv)
        out = options.checked_out(OUT.value) if OUT.value else None
        resolutions = [options.checked_resolution("resolutions", text, files.SIZES) for text in RESOLUTIONS.value]
        for side, python in pythons.items():
            if not python:
                print(f"{side} is left out: --{side}_python names no Python for it")
        compare(resolutions, {side: python for side, python in pythons.items() if python}, out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}.")
    if out:
        print(f"wrote {out}")


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
