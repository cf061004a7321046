"""Tries the program of a resolution: how it compiles, whether it fits into memory, and how fast it is."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Config, checks
from stylegan_jax.data import sources, store
from stylegan_jax.devices import mesh
from stylegan_jax.training import estimate, programs, state

NUM_CALLS = 3  # Timed calls, after one warm-up.
SLOW_SEC = 10.0  # Limit on a first call; one that takes longer is itself the timing.


@dataclasses.dataclass(frozen=True)
class Trial:
    """What was found about a resolution's program, compiled in one way. Bytes are those of one device."""

    accumulation: int
    remat: bool
    compile_sec: float = 0.0
    temp_bytes: int | None = None  # Mostly activations. None: the compiler found no place for them.
    peak_bytes: int | None = None  # The program's memory, with the images that wait for its next call.
    flops_per_image: float | None = None  # Operations of the compiled program, with lazy R1's share.
    bytes_per_image: float | None = None  # Bytes read and written, by the compiler's count.
    fits: bool = False
    images_per_sec: float | None = None  # Speed of all devices: measured, or an estimate where they are not here.
    binds: str | None = None  # What takes most of the time by the estimate: "arithmetic" or "memory".
    used_bytes: int | None = None  # Most memory that this process has used so far, where devices tell.


def choices(config: Config, resolution: int, num_devices: int) -> list[Config]:
    """Returns what to try in turn: `config`, then twice its accumulation at `resolution`, and so on, then remat too."""
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
    """Returns the size of the images that the step is given, px: a size of a prepared store, or model.resolution."""
    sizes = () if config.data.source in sources.PROCEDURAL else store.level_sizes(config.model.resolution)
    return min(size for size in (*sizes, config.model.resolution) if size >= resolution)


def try_program(config: Config, devices: jax.sharding.Mesh, is_here: bool, resolution: int) -> Trial:
    """Returns how the program of a stable resolution compiles and, if it fits, how fast it is."""
    device, num_devices = devices.devices.flat[0], devices.devices.size
    batch, parts = config.schedule.batch_at(resolution), config.schedule.num_parts(resolution)
    size = images_size(config, resolution)
    abstract = state.abstract(config, mesh.replicated(devices))
    trial, start_sec = Trial(parts, config.model.remat), time.perf_counter()
    num_steps, is_fading = programs.steps_per_call(config, devices), programs.has_fade(1.0, devices)
    try:
        found = programs.make(config, abstract, devices, resolution, batch, size, num_steps, is_fading)
        compile_sec, each = time.perf_counter() - start_sec, batch // num_devices
        images_shape = num_steps, batch, size, size, config.model.channels
        memory = [program.memory_analysis() for program in (found.train, *(lazy for _, lazy in found.lazy))]
        peak = max(map(_peak_bytes, memory)) + math.prod(images_shape) // num_devices  # Images of the next call.
        work = [(estimate.program_work(found.train, device, each * num_steps, num_steps * parts), 1.0)]
        work += [(estimate.program_work(lazy, device, each, parts), 1 / interval) for interval, lazy in found.lazy]
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
    train_state, rng = state.create_on(devices, config), np.random.default_rng(config.seed)
    images, labels = rng.integers(0, 256, images_shape, np.uint8), None
    if n := config.model.num_labels:
        labels = np.eye(n, dtype=np.float32)[rng.integers(n, size=images_shape[:2])]
    images, labels = mesh.put((images, labels), mesh.split_stack(devices))
    scalars = mesh.put((np.float32(1) if is_fading else None, np.float32(0)), mesh.replicated(devices))
    sec_per_image = 0.0
    for program, calls_an_image in (
        (found.train, 1 / math.prod(images_shape[:2])),
        *((lazy, 1 / images_shape[1] / interval) for interval, lazy in found.lazy),
    ):
        seconds: list[float] = []
        while len(seconds) <= NUM_CALLS and max(seconds, default=0.0) < SLOW_SEC:
            start_sec = time.perf_counter()
            train_state, _ = jax.block_until_ready(program(train_state, images, labels, *scalars))
            seconds.append(time.perf_counter() - start_sec)
        sec_per_image += float(np.mean(seconds[1:] or seconds or [0.0])) * calls_an_image
    used = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in jax.local_devices()]
    return 1 / sec_per_image, max(used) if all(used) else None
