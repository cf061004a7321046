"""The training loop: the one place with time, repetition and signals."""

import collections
import contextlib
import itertools
import logging
import pathlib
import signal
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax import (
    checkpoint,
    checks,
    config,
    figures,
    grid,
    mesh,
    objectives,
    programs,
    progress,
    report,
    schedule,
    state,
    step,
    workdir,
)
from stylegan_jax.data import dataset, prefetch
from stylegan_jax.metrics import quality

# What the keys of pictures and measurements are folded with; training's are folded with nimg.
GRID, METRICS, MIXING, TRUNCATION = range(1, 5)


def train(c: config.Config, folder: pathlib.Path) -> state.TrainState:
    """Trains from the newest checkpoint in `folder`, or from the beginning, to the end of the schedule.

    Ctrl-C and SIGTERM end it early, after saving; the same call goes on from there.

    Returns:
        The last state.

    Raises:
        ValueError: settings, data, devices or the folder do not allow it; nothing was trained.
    """
    devices = mesh.make_mesh()
    checks.check_devices(c, len(devices.devices))
    workdir.check_config(folder, config.to_dict(c))
    with progress.counting("pictures") as progress_fn:
        data = dataset.open_dataset(c.data, c.model, c.seed, progress_fn)
    run = list(schedule.chunks(c.schedule, c.model.resolution))
    manager = checkpoint.open_manager(folder / "checkpoints", c.report.keep_checkpoints)
    train_state, nimg = _restore_or_create(c, manager, data, devices)
    workdir.record_config(folder, config.to_dict(c))
    stages = schedule.stages(run)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(_stop_signals())
        stack.callback(checkpoint.close, manager)  # After what it is writing is on disk.
        log = stack.enter_context(report.Report(folder, run[-1].end_nimg, nimg, stages))
        log.log(report.schedule_text(stages))
        log.log(f"data: {data.describe()}   devices: {len(devices.devices)}   starting at {nimg} images")
        observer = _Observer(c, data, devices, log, stages)
        rest = [chunk for chunk in run if chunk.end_nimg > nimg]
        num_steps = programs.steps_per_call(c)
        programs_of_chunks = _programs(rest, c, data, train_state, devices, num_steps)
        observer.start()
        if nimg == 0:
            observer.first(train_state, run[0].phase)
        batches = _batches(rest, c, data, devices, num_steps)
        running = collections.deque()
        for chunk, program in zip(rest, programs_of_chunks, strict=True):
            if chunk.is_reset:
                train_state = _reset(train_state)
            calls = itertools.islice(batches, c.schedule.refresh_steps // num_steps)
            train_state, metrics = _run_chunk(train_state, chunk, calls, program, devices)
            running.append((chunk, metrics))
            _wait(running, 0 if chunk.is_tick or stop else 1, log)  # The next call takes the state that a tick shows.
            if chunk.is_tick:
                observer.tick(train_state, chunk, metrics)
            if stop or chunk.is_last or (chunk.is_tick and chunk.tick % c.report.checkpoint_ticks == 0):
                checkpoint.save(manager, chunk.end_nimg, train_state, _meta(data))
            if stop:
                checkpoint.wait(manager)
                log.log(
                    f"stopped by {stop[0]} and saved at {chunk.end_nimg} images; the same command goes on from here"
                )
                break
        batches.close()
    return train_state


_reset = jax.jit(state.reset_optimizers, donate_argnums=0)


def _restore_or_create(c: config.Config, manager: Any, data: dataset.Dataset, devices: jax.sharding.Mesh):
    """Returns the newest state and its nimg, replicated over the devices."""
    create = jax.jit(state.create, static_argnums=1, out_shardings=mesh.replicated(devices))
    key = jax.random.key(c.seed)
    abstract = jax.eval_shape(create, key, c)
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=mesh.replicated(devices)), abstract
    )
    restored = checkpoint.restore_latest(manager, abstract, logging.warning)
    if restored is None:
        return create(key, c), 0
    nimg, train_state, meta = restored
    if meta.get("class_names", []) != list(data.class_names):
        raise ValueError(
            f"the classes of data.source={c.data.source!r} are {', '.join(data.class_names)}, but this run was trained "
            f"with {', '.join(meta.get('class_names', []))}; restore them, or start in another --workdir."
        )
    if meta["fingerprint"] != data.fingerprint:
        raise ValueError(
            f"the pictures of data.source={c.data.source!r} are not those that this run began with (fingerprint "
            f"{data.fingerprint}, not {meta['fingerprint']}); restore them, or start in another --workdir."
        )
    return train_state, nimg


def _meta(data: dataset.Dataset) -> dict[str, Any]:
    """Returns what a checkpoint keeps beside the state."""
    return {"fingerprint": data.fingerprint, "class_names": list(data.class_names)}


def _batches(
    chunks: list[schedule.Chunk], c: config.Config, data: dataset.Dataset, devices: jax.sharding.Mesh, num_steps: int
) -> Generator[dataset.Batch, None, None]:
    """Yields the batches of `chunks`, stacked by `num_steps`, on the devices before they are asked for."""
    requests = (
        (chunk.start_nimg + i * chunk.phase.batch, chunk.phase)
        for chunk in chunks
        for i in range(0, c.schedule.refresh_steps, num_steps)
    )
    part = (jax.process_index(), jax.process_count())

    def load(nimg: int, phase: schedule.Phase) -> dataset.Batch:
        n, resolution = phase.batch, phase.resolution
        batches = [data.batch(nimg + i * n, n, resolution, part) for i in range(num_steps)]
        return jax.tree.map(lambda *x: np.stack(x), *batches)

    return prefetch.prefetch(requests, load, lambda b: mesh.put(b, mesh.split_stack(devices)))


def _programs(
    chunks: list[schedule.Chunk],
    c: config.Config,
    data: dataset.Dataset,
    train_state: state.TrainState,
    devices: jax.sharding.Mesh,
    num_steps: int,
) -> Iterator[jax.stages.Compiled]:
    """Yields the program of each chunk; that of the next resolution is compiled meanwhile."""
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), train_state)
    requests = ((chunk.phase.resolution, chunk.phase.batch, data.size(chunk.phase.resolution)) for chunk in chunks)
    return programs.make_ahead(requests, lambda r: programs.train_program(c, abstract, devices, *r, num_steps))


@jax.transfer_guard("disallow")  # Nothing goes to the devices or comes from them unnoticed.
def _run_chunk(
    train_state: state.TrainState,
    chunk: schedule.Chunk,
    batches: Iterable[dataset.Batch],
    program: jax.stages.Compiled,
    devices: jax.sharding.Mesh,
) -> tuple[state.TrainState, objectives.Metrics]:
    """Returns the state after the chunk's steps, and the last step's metrics, before the devices are done."""
    phase = step.Phase(alpha=np.float32(chunk.phase.alpha), lr=np.float32(chunk.phase.lr))
    phase = mesh.put(phase, mesh.replicated(devices))
    metrics: objectives.Metrics = {}
    for batch in batches:
        train_state, metrics = program(train_state, batch.images, batch.labels, phase)
    return train_state, metrics


def _wait(
    running: collections.deque[tuple[schedule.Chunk, objectives.Metrics]], num_left: int, log: report.Report
) -> None:
    """Waits until the devices have at most `num_left` chunks to do, and shows how far the run is."""
    while len(running) > num_left:
        chunk, metrics = running.popleft()
        jax.block_until_ready(metrics)
        log.progress(chunk.end_nimg, chunk.phase.resolution, alpha=chunk.phase.alpha)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Yields a list that fills with the names of the signals asking to stop; a second Ctrl-C ends at once."""
    received: list[str] = []

    def note(number: int, frame: Any) -> None:
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    old = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Observer:
    """What a run shows of itself at its ticks: scalars, grids, distances and, at the end, the paper's figures."""

    def __init__(
        self,
        c: config.Config,
        data: dataset.Dataset,
        devices: jax.sharding.Mesh,
        log: report.Report,
        stages: list[schedule.Stage],
    ) -> None:
        self._c, self._data, self._devices, self._log, self._stages = c, data, devices, log, stages
        self._reals: quality.RealStatistics | None = None
        self._seen: set[int] = set()  # Resolutions whose speed the table has.

    def start(self) -> None:
        """Writes reals.png, and measures the reals once: the distances' floor, and a bad reference."""
        r, n = self._c.report, self._c.data.num_heldout
        self._log.picture("reals", self._grid(self._data.sample_reals(r.grid_columns * r.grid_rows)))
        if r.metric_ticks:
            reals = self._data.sample_reals(n)
            self._reals = quality.real_statistics(reals, self._c.seed)
            for name, values in quality.references(reals, self._data.heldout(n), self._reals).items():
                self._log.log(f"{name}: {_as_text(values)}")

    def first(self, train_state: state.TrainState, phase: schedule.Phase) -> None:
        """Writes how a run begins: what its distances fall from."""
        if self._c.report.metric_ticks:
            self._log.scalars(0, self._distances(train_state, phase, 0))
        self._samples(train_state, phase, 0)

    def tick(self, train_state: state.TrainState, chunk: schedule.Chunk, metrics: objectives.Metrics) -> None:
        """Writes what is due at the end of `chunk`."""
        c, nimg, tick = self._c, chunk.end_nimg, chunk.tick
        scalars = {name: float(value) for name, value in jax.device_get(metrics).items()}
        scalars |= {"resolution": chunk.phase.resolution, "alpha": chunk.phase.alpha, "lr": chunk.phase.lr}
        if c.report.metric_ticks and (chunk.is_last or tick % c.report.metric_ticks == 0):
            scalars |= self._distances(train_state, chunk.phase, nimg)
        self._log.scalars(nimg, scalars)
        if chunk.is_last or tick % c.report.image_ticks == 0:
            self._samples(train_state, chunk.phase, nimg)
        if set(self._log.sec_per_image) != self._seen:
            self._seen = set(self._log.sec_per_image)
            self._log.log(report.schedule_text(self._stages, self._log.sec_per_image))
        if chunk.is_last:
            self._figures(train_state, chunk.phase)

    def _distances(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> dict[str, float]:
        assert self._reals is not None, "measured by start()"
        fakes = self._fakes(train_state, phase, METRICS, self._c.data.num_heldout)
        distances = quality.quality(fakes, self._reals)
        self._log.log(f"{nimg / 1000:.1f} kimg: {_as_text(distances)}")
        return distances

    def _samples(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> None:
        r = self._c.report
        self._log.image(nimg, "fakes", self._grid(self._fakes(train_state, phase, GRID, r.grid_columns * r.grid_rows)))

    def _grid(self, images: np.ndarray) -> np.ndarray:
        return grid.image_grid(images, self._c.report.grid_columns, self._c.report.grid_rows)

    def _key(self, purpose: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self._c.seed), 2**31 - 1), purpose)

    def _fakes(self, train_state: state.TrainState, phase: schedule.Phase, purpose: int, n: int) -> np.ndarray:
        alpha, key = jnp.float32(phase.alpha), self._key(purpose)
        return figures.samples(train_state.ema_params, key, n, alpha, self._c.model, phase.resolution, self._devices)

    def _figures(self, train_state: state.TrainState, phase: schedule.Phase) -> None:
        m, alpha, params = self._c.model, jnp.float32(phase.alpha), train_state.ema_params
        images = figures.style_mixing(params, self._key(MIXING), alpha, m, phase.resolution)
        self._log.picture("style_mixing", grid.image_grid(images, 7, 7))
        images = figures.truncation(params, train_state.w_avg, self._key(TRUNCATION), alpha, m, phase.resolution)
        self._log.picture("truncation", grid.image_grid(images, len(figures.TRUNCATION_PSIS)))


def _as_text(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
