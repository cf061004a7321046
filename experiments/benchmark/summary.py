"""The benchmark's results, as one record for a file and as text."""

import contextlib
import dataclasses
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import jax
import jaxlib

from experiments.benchmark import measure
from stylegan_jax.config import Config, schedule
from stylegan_jax.runs import progress

MATMUL_SIZE = {"cpu": 2048}  # Side of square matrices by backend; FASTER_MATMUL_SIZE for others.
FASTER_MATMUL_SIZE = 8192
COPY_BYTES = {"cpu": 2**28}
FASTER_COPY_BYTES = 2**30
HEADER = (
    "program", "px", "precision", "batch", "cold s", "warm s", "ms", "images/s", "TFLOP/s", "of peak", "GB/s",
    "of copy", "of roofline", "GiB",
)  # fmt: skip


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Returns `table` as text in columns, aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in table)


def cells(row: measure.Row) -> tuple[str, ...]:
    """Returns a row of the table under HEADER."""
    return (
        row.program,
        str(row.resolution),
        row.precision,
        str(row.batch),
        f"{row.cold_compile_sec:.1f}",
        f"{row.warm_compile_sec:.1f}",
        f"{row.ms:.2f}",
        f"{row.images_per_sec:.1f}",
        f"{row.flops_per_sec / 1e12:.3g}",
        f"{row.flops_share:.0%}",
        f"{row.bytes_per_sec / 1e9:.3g}",
        f"{row.bytes_share:.0%}",
        f"{row.roofline_share:.0%}",
        f"{row.program_gib:.2f}",
    )


def projected_hours(config: Config, rows: Sequence[measure.Row]) -> dict[str, float]:
    """Returns the hours of `config`'s whole schedule by precision, if each of its resolutions was measured."""
    stages = schedule.stages(schedule.chunks(config.schedule, config.model.resolution))
    hours = {}
    for precision in measure.PRECISIONS:
        trained = [row for row in rows if row.program == "train" and row.precision == precision]
        seconds, is_complete = progress.time_left(
            0, stages, {row.resolution: 1 / row.images_per_sec for row in trained}
        )
        if seconds is not None and is_complete:
            hours[precision] = seconds / 3600
    return hours


def benchmark(
    config: Config,
    cases: Sequence[measure.Case],
    repeats: int,
    save_fn: Callable[[dict[str, Any]], None],
    trace_dir: pathlib.Path | None = None,
    stream: TextIO | None = None,
) -> None:
    """Measures `cases`, and prints progress and a table.

    Args:
        config: settings.
        cases: what to measure.
        repeats: timings of each program.
        save_fn: function that is called after each case with all measurements so far, as values for JSON.
        trace_dir: folder for profiles; None: no profiles.
        stream: stream to print to; by default sys.stdout.
    """
    stream, device, start_sec = stream or sys.stdout, jax.devices()[0], time.monotonic()
    # The time to measure a program is about proportional to its number of layers.
    weights = [case.resolution.bit_length() for case in cases]
    done, rows, hours = 0, [], {}
    with contextlib.closing(progress.make_line(stream, sum(weights), time.monotonic)) as line:
        line.log(f"device: {device.device_kind}; measuring its peaks")
        size = MATMUL_SIZE.get(device.platform, FASTER_MATMUL_SIZE)
        peaks = measure.peaks(size, COPY_BYTES.get(device.platform, FASTER_COPY_BYTES), repeats)
        line.log(peaks_text(peaks))
        about = {
            "device": device.device_kind,
            "platform": device.platform,
            "versions": {"python": platform.python_version(), "jax": jax.__version__, "jaxlib": jaxlib.__version__},
            "model": dataclasses.asdict(config.model),
            "peaks": dataclasses.asdict(peaks),
            "repeats": repeats,
        }

        def note(text: str) -> None:
            left_sec = (time.monotonic() - start_sec) / done * (sum(weights) - done) if done else None
            line.update(done, f"{text}, {progress.format_duration(left_sec)} left", is_last=False)

        measured = measure.rows(config, cases, peaks, repeats, trace_dir, note)
        for case, weight, found in zip(cases, weights, measured, strict=True):
            done, rows = done + weight, rows + found
            for row in found:
                named = zip(HEADER, cells(row), strict=True)
                line.log("  ".join(f"{cell}" if name == "program" else f"{name} {cell}" for name, cell in named))
            if not found:
                line.log(
                    f"{case.resolution} px, {case.precision}, batch {case.batch}: does not fit the device's memory"
                )
            hours = projected_hours(config, rows)
            save_fn(about | {"rows": [dataclasses.asdict(row) for row in rows], "projected_hours": hours})
    print("\n" + aligned([HEADER, *map(cells, rows)]), file=stream)
    for precision, value in hours.items():
        print(
            f"{config.schedule.total_kimg:g} kimg to {config.model.resolution} px, {precision}: "
            f"{value:.1f} h on this device",
            file=stream,
        )


def peaks_text(peaks: measure.Peaks) -> str:
    """Returns the peaks as one line."""
    products = ", ".join(f"{name} {value / 1e12:.3g} TFLOP/s" for name, value in peaks.flops_per_sec.items())
    return f"matrix products: {products}; copies: {peaks.copy_bytes_per_sec / 1e9:.3g} GB/s read plus written"
