"""What a run will take of memory and time, told by its compiled programs before it begins.

Nothing is trained and no data is looked at. Not counted are the time of ticks, their pictures and metrics, and memory
that the devices keep for themselves.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Config, checks, schedule
from stylegan_jax.data import sources, store
from stylegan_jax.devices import mesh, topology
from stylegan_jax.runs import progress
from stylegan_jax.training import estimate, programs, state, step

GIB = topology.GIB
NUM_CALLS = 3  # Timed calls, after one warm-up.
SLOW_SEC = 10.0  # A first call that takes longer is the timing.

HEADER = (
    "px G D batch each parts remat temp_GiB peak_GiB fits compile GFLOP/image MB/image step_ms by images/s read/s time"
)


@dataclasses.dataclass(frozen=True)
class Trial:
    """The program of a resolution, as it was compiled once. Bytes are a device's."""

    accumulation: int
    remat: bool
    compile_sec: float = 0.0
    temp_bytes: int | None = None  # Activations, mostly. None: the compiler found no place for them.
    peak_bytes: int | None = None  # Of the program, and of the images that wait for its next call.
    flops_per_image: float | None = None  # As compiled, with lazy R1's share.
    bytes_per_image: float | None = None  # Read and written, by the compiler's count.
    fits: bool = False
    images_per_sec: float | None = None  # Of all devices: measured, or an estimate where they are not here.
    binds: str | None = None  # What the estimate says takes most of the time: "arithmetic" or "memory".
    used_bytes: int | None = None  # Where devices tell: what this process has used at most, up to now.


@dataclasses.dataclass(frozen=True)
class Row:
    """A resolution of the schedule."""

    resolution: int  # px
    images_px: int  # Size of the images given.
    g_params: int  # In use.
    d_params: int
    batch: int
    kimg: float  # Length of training at this resolution.
    trials: tuple[Trial, ...]  # The first is as the settings say; the last fits, if any does.
    read_per_sec: float | None = None  # Pictures of images_px that all hosts decode; None where they are kept raw.

    @property
    def hours(self) -> float | None:
        """Of training at this resolution, in the way that fits."""
        speed = self.trials[-1].images_per_sec
        return self.kimg * 1000 / speed / 3600 if speed else None


# ---- trials


def choices(config: Config, resolution: int, num_devices: int) -> list[Config]:
    """Returns what to try in turn: `config`, then doublings of its accumulation there, then the last with remat."""
    schedule, batch, result = config.schedule, config.schedule.batch_at(resolution), [config]
    parts = schedule.num_parts(resolution)
    while (parts := 2 * parts) <= batch:
        pairs = tuple((dict(schedule.accumulation_by_resolution) | {resolution: parts}).items())
        changed = dataclasses.replace(config, schedule=dataclasses.replace(schedule, accumulation_by_resolution=pairs))
        with contextlib.suppress(ValueError):
            checks.check(changed)
            result += [changed] if batch % (parts * num_devices) == 0 else []
    remat = dataclasses.replace(result[-1], model=dataclasses.replace(config.model, remat=True))
    return result if config.model.remat else [*result, remat]


def find_fitting(configs: Sequence[Config], trial_fn: Callable[[Config], Trial]) -> tuple[Trial, ...]:
    """Returns trials of `configs` in turn, up to the first that fits."""
    trials: list[Trial] = []
    while len(trials) < len(configs) and not (trials and trials[-1].fits):
        trials.append(trial_fn(configs[len(trials)]))
    return tuple(trials)


def images_size(config: Config, resolution: int) -> int:
    """Returns the size of the images given, px, if they are prepared; else they have model.resolution."""
    sizes = () if config.data.source in sources.PROCEDURAL else store.level_sizes(config.model.resolution)
    return min(size for size in (*sizes, config.model.resolution) if size >= resolution)


def try_program(config: Config, devices: jax.sharding.Mesh, is_here: bool, resolution: int) -> Trial:
    """Returns how the program of a resolution compiles and, if it fits, how fast it is, when it does not fade."""
    device, num_devices = devices.devices.flat[0], devices.devices.size
    batch, parts, size = (
        config.schedule.batch_at(resolution),
        config.schedule.num_parts(resolution),
        images_size(config, resolution),
    )
    abstract = state.abstract(config, mesh.replicated(devices))
    trial, start_sec = Trial(parts, config.model.remat), time.perf_counter()
    num_steps, is_fading = programs.steps_per_call(config, devices), programs.has_fade(1.0, devices)
    try:
        found = programs.make(config, abstract, devices, resolution, batch, size, num_steps, is_fading)
        compile_sec, each = time.perf_counter() - start_sec, batch // num_devices
        images_shape = num_steps, batch, size, size, config.model.channels
        memory = [program.memory_analysis() for program in found if program]
        peak = max(map(_peak_bytes, memory)) + math.prod(images_shape) // num_devices  # Images of the next call.
        work = [(estimate.program_work(found.train, device, each * num_steps, num_steps * parts), 1.0)]
        if found.lazy_r1:
            share = 1 / config.train.r1_interval
            work.append((estimate.program_work(found.lazy_r1, device, each, parts), share))
        flops, num_bytes = (sum(getattr(w, name) * share for w, share in work) for name in ("flops", "num_bytes"))
        temp_bytes = max(m.temp_size_in_bytes for m in memory)
        trial = Trial(parts, config.model.remat, compile_sec, temp_bytes, peak, flops, num_bytes)
        if peak > estimate.memory_bytes(device, is_here):
            return trial
        if is_here:
            speed, used_bytes = _measured(found, config, devices, images_shape, is_fading)
            return dataclasses.replace(trial, fits=True, images_per_sec=speed, used_bytes=used_bytes)
        least = [(estimate.floor(w, config.model, device), share) for w, share in work]
        names = ("seconds", "arithmetic_seconds", "memory_seconds")
        seconds, arithmetic, memory_sec = (sum(getattr(f, name) * share for f, share in least) for name in names)
        binds = "arithmetic" if arithmetic > memory_sec else "memory"
        return dataclasses.replace(trial, fits=True, images_per_sec=num_devices / seconds, binds=binds)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return dataclasses.replace(trial, compile_sec=trial.compile_sec or time.perf_counter() - start_sec)


def _peak_bytes(m: Any) -> int:
    """Returns the memory that a program takes, from its memory analysis."""
    peak = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes
    # XLA:CPU's own peak leaves temporaries out. The code lies in the same memory.
    return max(peak, getattr(m, "peak_memory_in_bytes", 0)) + m.generated_code_size_in_bytes


def _measured(
    found: programs.Programs,
    config: Config,
    devices: jax.sharding.Mesh,
    images_shape: tuple[int, ...],
    is_fading: bool,
) -> tuple[float, int | None]:
    """Returns images/s of the programs on random images, and the memory that the fullest device has used."""
    create = jax.jit(state.create, static_argnums=1, out_shardings=mesh.replicated(devices))
    train_state, rng = create(jax.random.key(config.seed), config), np.random.default_rng(config.seed)
    images, labels = rng.integers(0, 256, images_shape, np.uint8), None
    if n := config.model.num_labels:
        labels = np.eye(n, dtype=np.float32)[rng.integers(n, size=images_shape[:2])]
    images, labels = mesh.put((images, labels), mesh.split_stack(devices))
    scalars = mesh.put((np.float32(1) if is_fading else None, np.float32(0)), mesh.replicated(devices))
    sec_per_image = 0.0
    for program, calls_an_image in (
        (found.train, 1 / math.prod(images_shape[:2])),
        (found.lazy_r1, 1 / images_shape[1] / config.train.r1_interval),
    ):
        seconds: list[float] = []
        while program and len(seconds) <= NUM_CALLS and max(seconds, default=0.0) < SLOW_SEC:
            start_sec = time.perf_counter()
            train_state, _ = jax.block_until_ready(program(train_state, images, labels, *scalars))
            seconds.append(time.perf_counter() - start_sec)
        sec_per_image += float(np.mean(seconds[1:] or seconds or [0.0])) * calls_an_image
    used = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in jax.local_devices()]
    return 1 / sec_per_image, max(used) if all(used) else None


# ---- the plan


def plan(config: Config, folder: str | os.PathLike, topology_name: str | None = None) -> str:
    """Returns the plan as text, after compiling the program of each resolution; plan.json has all numbers.

    Args:
        config: settings of the run.
        folder: where to write; made if needed.
        topology_name: TPUs or GPUs to plan for, in place of the devices at hand; see `topology.devices`.
    """
    is_here = topology_name is None
    found = jax.devices() if is_here else topology.devices(topology_name)
    devices = mesh.make_mesh(found)
    checks.check_devices(config, devices.devices.size)
    file, s, rows, start_sec = pathlib.Path(folder) / "plan.json", state.abstract(config), list[Row](), time.monotonic()
    kind, num_hosts = devices.devices.flat[0].device_kind, topology.num_hosts(found)
    about = {
        "device": kind,
        "num_devices": devices.devices.size,
        "num_hosts": num_hosts,
        "memory_bytes": estimate.memory_bytes(devices.devices.flat[0], is_here),
        "topology": topology_name,
        "is_measured": is_here,
        "dollars_per_hour": devices.devices.size * topology.LIMITS[kind].dollars_per_hour if not is_here else None,
        "checkpoint_bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(s)),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    stages = schedule.stages(schedule.chunks(config.schedule, config.model.resolution))
    resolutions = sorted({stage.resolution for stage in stages})
    # Compiling takes time with the square of the number of layers: on TPUs 8 times as long at 1024 px as at 8 px.
    ends = list(itertools.accumulate(r.bit_length() ** 2 for r in resolutions))
    read_per_sec = {
        size: estimate.reading_speed(config, size) for size in {images_size(config, r) for r in resolutions}
    }
    with contextlib.closing(progress.make_line(sys.stdout, ends[-1], time.monotonic)) as line:
        for r, done in zip(resolutions, [0, *ends], strict=False):

            def trial(changed: Config, r: int = r, done: int = done) -> Trial:
                left_sec = (time.monotonic() - start_sec) / done * (ends[-1] - done) if done else None
                how = f"{r} px, accumulation {changed.schedule.num_parts(r)}{', remat' * changed.model.remat}"
                line.update(done, f"compiling {how}: {progress.format_duration(left_sec)} left", is_last=False)
                return try_program(changed, devices, is_here, r)

            trials = find_fitting(choices(config, r, devices.devices.size), trial)
            kimg = sum(stage.end_nimg - stage.start_nimg for stage in stages if stage.resolution == r) / 1000
            g, d = (sum(x.size for x in jax.tree.leaves(step.grown(p, r))) for p in (s.g_params, s.d_params))
            size = images_size(config, r)
            speed = read_per_sec[size] and read_per_sec[size] * num_hosts
            rows.append(Row(r, size, g, d, config.schedule.batch_at(r), kimg, trials, speed))
            values = about | {"rows": [dataclasses.asdict(row) | {"hours": row.hours} for row in rows]}
            file.write_text(json.dumps(values, indent=1) + "\n")  # Each time, for compiling can take hours.
    return plan_text(config, about, rows)


def plan_text(config: Config, about: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Returns the plan as a table, with a line a trial, and what follows from it."""
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
    limits = "~: not measured, but what published limits allow, by the compiled program's operations and bytes"
    how = "images/s: measured" if about["is_measured"] else limits
    hours = [row.hours for row in rows if row.hours]
    total = "at least " * (len(hours) < len(rows)) + mark + duration(sum(hours) * 3600)
    if about["dollars_per_hour"]:
        total += (
            f", ${sum(hours) * about['dollars_per_hour']:,.0f} at ${about['dollars_per_hour']:,.2f} an hour (mid-2025)"
        )
    used = [f"{t.used_bytes / GIB:.3g} GiB to {row.resolution} px" for row in rows for t in row.trials if t.used_bytes]
    lines = [
        f"{about['num_devices']} x {about['device']} of {about['memory_bytes'] / GIB:.2f} GiB; {how}",
        *["  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)) for cells in table],
        *advice(config, rows),
        *_reading_advice(config, rows),
        f"memory that was used: {', '.join(used) or 'not told by these devices; peak_GiB is what the compiler says'}",
        f"a checkpoint: {about['checkpoint_bytes'] / GIB:.3g} GiB at most; {config.report.keep_checkpoints} are kept",
        f"training, without its ticks: {total}",
    ]
    return "\n".join(lines)


def _reading_advice(config: Config, rows: Sequence[Row]) -> list[str]:
    """Returns what to say of reading, if a size has to be decoded: which resolutions would wait for pictures."""
    if not any(row.read_per_sec for row in rows):
        return []
    waiting = [row for row in rows if row.read_per_sec and row.read_per_sec < (row.trials[-1].images_per_sec or 0)]
    text = f"read/s: pictures that {config.data.num_workers} threads of this machine decode, for each host"
    if waiting:
        slowest = min(waiting, key=lambda row: row.read_per_sec / row.trials[-1].images_per_sec)
        factor = slowest.trials[-1].images_per_sec / slowest.read_per_sec
        sizes = ", ".join(str(row.resolution) for row in waiting)
        text += (
            f"; at {sizes} px the devices would wait: use {factor:.1f} times data.num_workers={config.data.num_workers}"
        )
    return [text]


def advice(config: Config, rows: Sequence[Row]) -> list[str]:
    """Returns what to change where `config` does not fit, a line a resolution."""
    failing, lines = {row.resolution: row.trials[-1] for row in rows if not row.trials[0].fits}, []
    changes = {r: last.accumulation for r, last in failing.items() if last.fits}
    pairs = tuple((dict(config.schedule.accumulation_by_resolution) | changes).items())
    for r, last in failing.items():
        remat = "--config.model.remat=True and " * (last.remat and not config.model.remat)
        use = f": use {remat}--config.schedule.accumulation_by_resolution='{pairs}', or {last.accumulation} there"
        failed = f" in {last.accumulation} parts, even with model.remat: use more devices, or a smaller batch there"
        lines.append(f"{r} px does not fit" + (use if last.fits else failed))
    return lines
