"""What memory and time a run will take, told by its compiled programs before it begins.

Nothing is trained and no data is looked at. The plan leaves out the time of ticks, with their pictures and metrics, and
the memory that devices keep for themselves.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from clu import parameter_overview

from stylegan_jax.config import Config, checks, schedule
from stylegan_jax.devices import mesh, topology
from stylegan_jax.networks import growth
from stylegan_jax.runs import progress, whole
from stylegan_jax.training import estimate, start, state, trials

GIB = topology.GIB

HEADER = (
    "px G D batch each parts remat temp_GiB peak_GiB fits compile GFLOP/image MB/image step_ms by images/s read/s time"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A resolution of the schedule."""

    resolution: int  # px
    images_px: int  # Size of the images that the step is given.
    g_params: int  # Parameters in use.
    d_params: int
    batch: int
    kimg: float  # Length of training at this resolution.
    trials: tuple[trials.Trial, ...]  # The first is as the settings say; the last fits, if any does.
    read_per_sec: float | None = None  # Pictures of images_px that all hosts decode a second; None if kept raw.

    @property
    def hours(self) -> float | None:
        """Hours of training at this resolution, in the way that fits."""
        speed = self.trials[-1].images_per_sec
        return self.kimg * 1000 / speed / 3600 if speed else None


def write(config: Config, folder: str | os.PathLike, topology_name: str | None = None) -> str:
    """Compiles the program of each resolution, writes all numbers to plan.json, and returns the plan as text.

    Args:
        config: settings of the run.
        folder: where to write; made if needed.
        topology_name: TPUs or GPUs to plan for instead of the devices at hand; see `topology.devices`.
    """
    is_here = topology_name is None
    found = jax.devices() if is_here else topology.devices(topology_name)
    devices = mesh.make_mesh(found)
    checks.check_devices(config, devices.devices.size)
    shapes, kind = state.abstract(config), devices.devices.flat[0].device_kind
    about = {
        "device": kind,
        "num_devices": devices.devices.size,
        "num_hosts": len({device.process_index for device in found}),
        "memory_bytes": estimate.memory_bytes(devices.devices.flat[0], is_here),
        "topology": topology_name,
        "is_measured": is_here,
        "dollars_per_hour": devices.devices.size * topology.LIMITS[kind].dollars_per_hour if not is_here else None,
        "checkpoint_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes)),
    }
    file = pathlib.Path(folder) / "plan.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in _rows(config, devices, is_here, about["num_hosts"]):
        rows.append(row)
        values = about | {"rows": [dataclasses.asdict(row) | {"hours": row.hours} for row in rows]}
        with whole.writing(file, "w") as stream:  # After each row, for compiling can take hours.
            stream.write(json.dumps(values, indent=1) + "\n")
    return "\n".join((parameters_text(shapes), plan_text(config, about, rows)))


def _rows(config: Config, devices: jax.sharding.Mesh, is_here: bool, num_hosts: int) -> Iterator[Row]:
    """Yields the row of each resolution, and shows on a status line what is being compiled."""
    shapes, start_sec = state.abstract(config), time.monotonic()
    stages = schedule.stages(schedule.chunks(config.schedule, config.model.resolution))
    resolutions = sorted({stage.resolution for stage in stages})
    # Compiling takes time with the square of the number of layers: on TPUs 8 times as long at 1024 px as at 8 px.
    ends = list(itertools.accumulate(r.bit_length() ** 2 for r in resolutions))
    sizes = {r: trials.images_size(config, r) for r in resolutions}
    read_per_sec = {size: estimate.reading_speed(config, size) for size in set(sizes.values())}
    with contextlib.closing(progress.make_line(sys.stdout, ends[-1], time.monotonic)) as line:
        for r, done in zip(resolutions, [0, *ends], strict=False):

            def trial(changed: Config, r: int = r, done: int = done) -> trials.Trial:
                left_sec = (time.monotonic() - start_sec) / done * (ends[-1] - done) if done else None
                how = f"{r} px, accumulation {changed.schedule.num_parts(r)}{', remat' * changed.model.remat}"
                line.update(done, f"compiling {how}: {progress.format_duration(left_sec)} left", is_last=False)
                return trials.try_program(changed, devices, is_here, r)

            found = trials.find_fitting(trials.choices(config, r, devices.devices.size), trial)
            kimg = sum(stage.end_nimg - stage.start_nimg for stage in stages if stage.resolution == r) / 1000
            networks = (growth.grown(params, r) for params in (shapes.g_params, shapes.d_params))
            g, d = (int(parameter_overview.count_parameters(params)) for params in networks)
            speed = read_per_sec[sizes[r]] and read_per_sec[sizes[r]] * num_hosts
            yield Row(r, sizes[r], g, d, config.schedule.batch_at(r), kimg, found, speed)


def parameters_text(shapes: state.TrainState) -> str:
    """Returns a table of the parameters of each network; `shapes` are from `state.abstract`."""
    tables = {"generator": shapes.g_params, "discriminator": shapes.d_params}
    return "\n".join(
        f"parameters of the {name}:\n{parameter_overview.get_parameter_overview(params, include_stats=False)}"
        for name, params in tables.items()
    )


def plan_text(config: Config, about: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Returns the plan as a table, with a line for each trial, and what follows from it."""
    mark, duration = "" if about["is_measured"] else "~", progress.format_duration
    table = [HEADER.split()]
    for row in rows:
        params = [f"{n / 1e6:.2f}M" for n in (row.g_params, row.d_params)]
        for t in row.trials:
            sizes = [*params, str(row.batch), str(row.batch // about["num_devices"]), str(t.accumulation)]
            gib = ["?" if n is None else f"{n / GIB:.3g}" for n in (t.temp_bytes, t.peak_bytes)]
            cost = [f"{n / u:.3g}" if n else "?" for n, u in ((t.flops_per_image, 1e9), (t.bytes_per_image, 1e6))]
            speed = ["-"] * 5
            if t.fits:
                step_ms, read = f"{mark}{1000 * row.batch / t.images_per_sec:.3g}", row.read_per_sec
                speed = [step_ms, t.binds or "-", f"{mark}{t.images_per_sec:.3g}", f"{read:.3g}" if read else "-"]
                speed.append(mark + duration(row.hours * 3600))
            is_remat, fits = ("yes" if t.remat else "no"), ("yes" if t.fits else "NO")
            table.append([str(row.resolution), *sizes, is_remat, *gib, fits, duration(t.compile_sec), *cost, *speed])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    limits = "~: not measured, but the most that published limits allow the compiled program"
    how = "images/s: measured" if about["is_measured"] else limits
    hours = [row.hours for row in rows if row.hours]
    total = "at least " * (len(hours) < len(rows)) + mark + duration(sum(hours) * 3600)
    if rate := about["dollars_per_hour"]:
        total += f", ${sum(hours) * rate:,.0f} at ${rate:,.2f} an hour (mid-2025)"
    used = [f"{t.used_bytes / GIB:.3g} GiB to {row.resolution} px" for row in rows for t in row.trials if t.used_bytes]
    *_, last = schedule.chunks(config.schedule, config.model.resolution)
    lines = [
        f"{about['num_devices']} x {about['device']} of {about['memory_bytes'] / GIB:.2f} GiB; {how}",
        *["  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)) for cells in table],
        *advice(config, rows),
        *_reading_advice(config, rows),
        *(f"note: {note}" for note in start.schedule_notes(config, last)),
        f"memory used: {', '.join(used) or 'these devices do not tell; peak_GiB is what the compiler expects'}",
        f"a checkpoint: {about['checkpoint_bytes'] / GIB:.3g} GiB at most; {config.report.keep_checkpoints} are kept",
        f"training, without its ticks: {total}",
    ]
    return "\n".join(lines)


def _reading_advice(config: Config, rows: Sequence[Row]) -> list[str]:
    """Returns a line about reading, if pictures have to be decoded: where devices would wait for them."""
    if not any(row.read_per_sec for row in rows):
        return []
    waiting = [row for row in rows if row.read_per_sec and row.read_per_sec < (row.trials[-1].images_per_sec or 0)]
    workers = config.data.num_workers
    text = f"read/s: pictures that all hosts decode a second, if each is like this, in {workers} threads"
    if waiting:
        slowest = min(waiting, key=lambda row: row.read_per_sec / row.trials[-1].images_per_sec)
        factor = slowest.trials[-1].images_per_sec / slowest.read_per_sec
        sizes = ", ".join(str(row.resolution) for row in waiting)
        text += f"; at {sizes} px the devices would wait: use {factor:.1f} times data.num_workers={workers}"
    return [text]


def advice(config: Config, rows: Sequence[Row]) -> list[str]:
    """Returns what to change where `config` does not fit, a line for each resolution."""
    failing, lines = {row.resolution: row.trials[-1] for row in rows if not row.trials[0].fits}, []
    changes = {r: last.accumulation for r, last in failing.items() if last.fits}
    pairs = tuple((dict(config.schedule.accumulation_by_resolution) | changes).items())
    for r, last in failing.items():
        remat = "--config.model.remat=True and " * (last.remat and not config.model.remat)
        use = f": use {remat}--config.schedule.accumulation_by_resolution='{pairs}', or {last.accumulation} there"
        failed = f" in {last.accumulation} parts, even with model.remat: use more devices, or a smaller batch there"
        lines.append(f"{r} px does not fit" + (use if last.fits else failed))
    return lines
