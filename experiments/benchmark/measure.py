"""The peaks of a device, and how near the programs come to them."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from experiments.benchmark import calls, work
from stylegan_jax.config import Config
from stylegan_jax.training import state

MIN_SEC = 0.1  # Time that the calls of a timing fill.
MAX_CALLS = 1000  # Largest number of calls in a timing.
NUM_WARMUP = 2  # Calls before the first timing.
TRACE_CALLS = 3  # Calls in a profile.
MIN_GAIN = 1.05  # Least ratio of images/s at which doubling the batch pays.
PRECISIONS = {"float32": 4, "bfloat16": 2}  # Bytes of a feature.
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Peaks:
    """The measured peaks of a device."""

    flops_per_sec: Mapping[str, float]  # FLOP/s of a matrix product, by precision.
    copy_bytes_per_sec: float  # Bytes/s of a copy, read plus written.


@dataclasses.dataclass(frozen=True)
class Case:
    """One case to measure: the training step, then the sampling."""

    precision: str
    resolution: int  # px
    batch: int  # Images; the first batch to try if `doubles`.
    doubles: bool = False  # Whether to double the batch as long as that pays.


@dataclasses.dataclass(frozen=True)
class Row:
    """The measurements of a program. Shares are of the device's peaks."""

    program: str  # "train" or "sample".
    precision: str
    resolution: int  # px
    batch: int
    cold_compile_sec: float  # Tracing, lowering and compiling, with an empty cache.
    warm_compile_sec: float  # The same with the program in the persistent cache.
    ms: float  # Time of a batch.
    images_per_sec: float
    flops_per_sec: float
    flops_share: float
    bytes_per_sec: float  # Lower bound.
    bytes_share: float
    roofline_share: float  # The larger of the two shares.
    program_gib: float  # Arguments, results and temporaries of the compiled program.
    device_peak_gib: float | None  # Peak memory of the process so far; None if the device does not report it.


def seconds_per_call(call_fn: Callable[[], Any], repeats: int) -> float:
    """Returns the median over `repeats` timings, each of one or more calls and the wait for their results."""
    for _ in range(NUM_WARMUP):
        jax.block_until_ready(call_fn())

    def seconds(num_calls: int) -> float:
        start = time.perf_counter()
        for _ in range(num_calls):
            result = call_fn()
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / num_calls

    num_calls = min(max(1, round(MIN_SEC / seconds(1))), MAX_CALLS)
    return statistics.median(seconds(num_calls) for _ in range(repeats))


def peaks(size: int, copy_bytes: int, repeats: int) -> Peaks:
    """Returns the peaks of the default device; float32 products have JAX's default precision.

    Args:
        size: side of the square matrices.
        copy_bytes: size of an array too large for the caches.
        repeats: timings of each peak.
    """
    flops = {}
    product, plus_one = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    for precision in PRECISIONS:
        x = jax.random.normal(jax.random.key(0), (size, size)).astype(precision)
        seconds = seconds_per_call(functools.partial(product, x, x), repeats)
        flops[precision] = 2 * size**3 / seconds
    x = jnp.zeros(copy_bytes // 4, jnp.float32)
    # An addition, because XLA would return an unchanged array without a copy.
    seconds = seconds_per_call(functools.partial(plus_one, x), repeats)
    return Peaks(flops, 2 * copy_bytes / seconds)


@contextlib.contextmanager
def empty_compilation_cache() -> Iterator[None]:
    """Lets JAX keep all compiled programs in a new folder, until the end of the context."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "jax_compilation_cache_dir": folder,
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        old = {name: getattr(jax.config, name) for name in settings}
        try:
            for name, value in settings.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            yield
        finally:
            for name, value in old.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def _compile(program: calls.Program) -> tuple[jax.stages.Compiled, float]:
    """Returns the compiled program and the seconds to compile it, with JAX's caches in memory cleared."""
    jax.clear_caches()
    start = time.perf_counter()
    compiled = program.compile()
    return compiled, time.perf_counter() - start


def _program_gib(compiled: jax.stages.Compiled) -> float:
    memory = compiled.memory_analysis()
    size = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    return size / GIB


def _device_peak_gib() -> float | None:
    stats = jax.devices()[0].memory_stats() or {}
    return stats["peak_bytes_in_use"] / GIB if "peak_bytes_in_use" in stats else None


def _measured(
    name: str,
    case: Case,
    config: Config,
    train_state: state.TrainState,
    device: Peaks,
    repeats: int,
    trace_dir: pathlib.Path | None,
) -> Row | None:
    """Returns the measurements of program `name` at case.batch, or None if it does not fit the memory."""
    element_bytes = PRECISIONS[case.precision]
    try:
        program = calls.PROGRAMS[name](config, train_state, case.resolution, case.batch)
        compiled, cold_sec = _compile(program)
        compiled, warm_sec = _compile(program)
        call_fn = calls.caller(compiled, program)
        seconds = seconds_per_call(call_fn, repeats) / program.num_steps
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    if trace_dir:
        folder = trace_dir / f"{name}_{case.resolution}px_{case.precision}_batch{case.batch}"
        with jax.profiler.trace(str(folder)):
            for _ in range(TRACE_CALLS):
                jax.block_until_ready(call_fn())
    if name == "train":
        flops, num_bytes = work.step_work(config, case.resolution, case.batch, element_bytes)
    else:
        flops, num_bytes = work.sample_work(config.model, case.resolution, case.batch, element_bytes)
    flops_share = flops / seconds / device.flops_per_sec[case.precision]
    bytes_share = num_bytes / seconds / device.copy_bytes_per_sec
    return Row(
        program=name,
        precision=case.precision,
        resolution=case.resolution,
        batch=case.batch,
        cold_compile_sec=cold_sec,
        warm_compile_sec=warm_sec,
        ms=1000 * seconds,
        images_per_sec=case.batch / seconds,
        flops_per_sec=flops / seconds,
        flops_share=flops_share,
        bytes_per_sec=num_bytes / seconds,
        bytes_share=bytes_share,
        roofline_share=max(flops_share, bytes_share),
        program_gib=_program_gib(compiled),
        device_peak_gib=_device_peak_gib(),
    )


def best_batch(measure_fn: Callable[[int], Row | None], batch: int, doubles: bool) -> Row | None:
    """Returns the row of `batch` or, if `doubles`, of the last doubling that paid; None if `batch` does not fit."""
    best = measure_fn(batch)
    while best and doubles:
        row = measure_fn(2 * best.batch)
        if row is None or row.images_per_sec < MIN_GAIN * best.images_per_sec:
            break
        best = row
    return best


def rows(
    config: Config,
    cases: Sequence[Case],
    device: Peaks,
    repeats: int,
    trace_dir: pathlib.Path | None,
    note_fn: Callable[[str], None],
) -> Iterator[list[Row]]:
    """Yields the rows of each case: training, then sampling at the batch of that row; [] if none fits.

    Args:
        config: settings; the cases set the precision.
        cases: what to measure.
        device: peaks of the device.
        repeats: timings of each program.
        trace_dir: folder for profiles; None: no profiles.
        note_fn: function that is called with a description of each measurement before it begins.
    """
    train_state = calls.new_state(config)
    for case in cases:
        precise = calls.at_precision(config, case.precision)

        def measure(name: str, batch: int, case: Case = case, precise: Config = precise) -> Row | None:
            note_fn(f"{name}, {case.resolution} px, {case.precision}, batch {batch}")
            at_batch = dataclasses.replace(case, batch=batch)
            return _measured(name, at_batch, precise, train_state, device, repeats, trace_dir)

        with empty_compilation_cache():
            train = best_batch(functools.partial(measure, "train"), case.batch, case.doubles)
            yield [row for row in (train, train and measure("sample", train.batch)) if row]
