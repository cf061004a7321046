"""Measures this device, and the training step and the sampling on it: python -m experiments.benchmark [--flags]."""

import functools
import pathlib
import sys

import jax
from absl import app, flags, logging

from experiments.benchmark import measure, options, summary
from stylegan_jax.config import Config, Model

RESOLUTIONS = flags.DEFINE_list("resolutions", None, "Resolutions, px; by default 8 to 64 on a CPU, to 1024 elsewhere.")
BATCH = flags.DEFINE_string(
    "batch", "", 'Batches by resolution, such as "8:8,64:4"; by default 8 or 4 on a CPU, what pays elsewhere.'
)
PRECISION = flags.DEFINE_enum(
    "precision",
    None,
    [*measure.PRECISIONS, "both"],
    "Precision of features and convolutions; float32 on a CPU, both elsewhere.",
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timings of each program; their median counts.", lower_bound=5)
OUT = flags.DEFINE_string("out", "runs/benchmark.json", "File for all numbers.")
TRACE = flags.DEFINE_string("trace", None, "Folder for profiles of a few calls of each program.")

CPU_RESOLUTIONS = (8, 16, 32, 64)
CPU_BATCHES = {8: 8, 16: 8, 32: 8}
CPU_BATCH = 4  # Batch at other resolutions.
FIRST_PIXELS = 2048  # Product of resolution and first batch on other devices; the batch is FIRST_BATCH at least.
FIRST_BATCH = 8


def cases(
    model: Model, platform: str, resolutions: list[str] | None, batch: str, precision: str | None
) -> list[measure.Case]:
    """Returns the cases that the flags ask for.

    Raises:
        ValueError: a flag has an impossible value.
    """
    is_cpu, known = platform == "cpu", model.resolutions[1:]
    if resolutions is None:
        chosen = [r for r in known if r in CPU_RESOLUTIONS or not is_cpu]
    else:
        chosen = [options.checked_resolution("resolutions", text, known) for text in resolutions]
    batches = dict(options.pairs("batch", batch, known))
    if not chosen:
        raise ValueError(f"--resolutions names none; use some of {', '.join(map(str, known))}")
    if others := set(batches) - set(chosen):
        raise ValueError(f"--batch={batch}: {min(others)} px is not measured; the resolutions are {chosen}")
    for n in batches.values():
        options.check_group("batch", n, model.stddev_group)
    precision = precision or ("float32" if is_cpu else "both")
    result = []
    for p in measure.PRECISIONS if precision == "both" else (precision,):
        for r in chosen:
            default = CPU_BATCHES.get(r, CPU_BATCH) if is_cpu else max(FIRST_PIXELS // r, FIRST_BATCH)
            doubles = r not in batches and not is_cpu
            result.append(measure.Case(p, r, batches.get(r, default), doubles))
    return result


def main(argv: list[str]) -> None:
    """Measures as the flags say."""
    logging.set_verbosity(logging.WARNING)
    config = Config()
    try:
        options.check_no_arguments(argv)
        platform = jax.devices()[0].platform
        wanted = cases(config.model, platform, RESOLUTIONS.value, BATCH.value, PRECISION.value)
        out = options.checked_out(OUT.value)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}.")
    trace_dir = pathlib.Path(TRACE.value) if TRACE.value else None
    summary.benchmark(config, wanted, REPEATS.value, functools.partial(options.write_json, out), trace_dir)
    print(f"wrote {out}")


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
