"""The training loop: the one place with time, repetition and signals."""

import collections
import contextlib
import itertools
import json
import logging
import pathlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax import (
    checkpoint,
    checks,
    config,
    distributed,
    mesh,
    objectives,
    observer,
    programs,
    progress,
    report,
    schedule,
    state,
    step,
    workdir,
)
from stylegan_jax.data import dataset, prefetch

MAX_SKIPPED_CHUNKS = 25  # Chunks whose updates were all skipped before the run is given up: 100 steps.


def train(c: config.Config, folder: pathlib.Path) -> state.TrainState:
    """Trains from the newest checkpoint in `folder`, or from the beginning, to the end of the schedule.

    Ctrl-C and SIGTERM end it early, after saving; the same call goes on from there.

    Returns:
        The last state.

    Raises:
        ValueError: settings, data, devices or the folder do not allow it, and nothing was trained; or training has
            come to where it cannot go on (gradients that are not finite, a disk that is full or does not answer).
    """
    devices = mesh.make_mesh()
    checks.check_devices(c, len(devices.devices))
    distributed.check_same("settings (--config)", json.dumps(config.to_dict(c)))
    workdir.check_config(folder, config.to_dict(c))
    with workdir.locked(folder):
        return _train(c, folder, devices)


def _train(c: config.Config, folder: pathlib.Path, devices: jax.sharding.Mesh) -> state.TrainState:
    """Does what `train` says, in a folder that no other run is in."""
    with progress.counting("pictures") as progress_fn:
        data = dataset.open_dataset(c.data, c.model, c.seed, progress_fn)
    distributed.check_same("pictures (data.source)", data.fingerprint)
    run = list(schedule.chunks(c.schedule, c.model.resolution))
    r = c.report
    manager = checkpoint.open_manager(
        folder / "checkpoints", r.keep_checkpoints, round(1000 * r.keep_every_kimg), r.keep_best
    )
    train_state, nimg = _restore_or_create(c, manager, data, devices)
    checkpoint.check_room(manager, train_state, r.keep_checkpoints + r.keep_best + 1)
    workdir.record_config(folder, config.to_dict(c))
    stages = schedule.stages(run)
    with contextlib.ExitStack() as stack:
        stop_fn = stack.enter_context(distributed.stop_requests())
        stack.callback(checkpoint.close, manager)  # After what it is writing is on disk.
        log = stack.enter_context(report.Report(folder, run[-1].end_nimg, nimg, stages))
        log.log(report.schedule_text(stages))
        log.log(f"data: {data.describe()}   devices: {len(devices.devices)}   starting at {nimg} images")
        watcher = observer.Observer(c, data, devices, log, stages)
        rest = [chunk for chunk in run if chunk.end_nimg > nimg]
        num_steps = programs.steps_per_call(c, devices)
        programs_of_chunks = _programs(rest, c, data, train_state, devices, num_steps)
        watcher.start()
        if nimg == 0:
            watcher.first(train_state, run[0].phase)
        batches = stack.enter_context(contextlib.closing(_batches(rest, c, data, devices, num_steps)))
        running = collections.deque()
        skipped = collections.deque([int(np.sum(train_state.num_skipped))], maxlen=MAX_SKIPPED_CHUNKS + 1)
        for chunk, program in zip(rest, programs_of_chunks, strict=True):
            if chunk.is_reset:
                train_state = _reset(train_state)
            calls = itertools.islice(batches, c.schedule.refresh_steps // num_steps)
            train_state, metrics = _run_chunk(train_state, chunk, calls, program, devices)
            running.append((chunk, metrics))
            stop = stop_fn()
            while len(running) > (
                0 if chunk.is_tick or stop else 1
            ):  # The next call takes the state that a tick shows.
                done, values = running.popleft()
                skipped.append(int(jax.device_get(values["num_skipped"])))  # Waits until the devices have done it.
                log.progress(done.end_nimg, done.phase.resolution, alpha=done.phase.alpha)
                _check_finite(skipped, c, done.end_nimg, manager)
            distances = watcher.tick(train_state, chunk, metrics) if chunk.is_tick else {}
            is_due = chunk.is_last or (chunk.is_tick and chunk.tick % c.report.checkpoint_ticks == 0)
            if stop or (is_due and not _is_stuck(skipped, c)):
                checkpoint.save(manager, chunk.end_nimg, train_state, _meta(data), distances.get(r.best_metric))
            if stop:
                checkpoint.wait(manager)
                log.log(f"stopped by {stop} and saved at {chunk.end_nimg} images; the same command goes on from here")
                break
    return train_state


def _is_stuck(skipped: Sequence[int], c: config.Config) -> bool:
    """Returns whether a network had no update in the last chunk, from the counts of skipped ones after each."""
    return len(skipped) > 1 and skipped[-1] - skipped[-2] >= c.schedule.refresh_steps


def _check_finite(skipped: Sequence[int], c: config.Config, nimg: int, manager: Any) -> None:
    """Raises ValueError if no chunk of the last MAX_SKIPPED_CHUNKS has updated both networks."""
    counts = list(skipped)
    is_stuck = [_is_stuck(counts[: i + 1], c) for i in range(1, len(counts))]
    if len(is_stuck) == MAX_SKIPPED_CHUNKS and all(is_stuck):
        saved = manager.latest_step()
        raise ValueError(
            f"all updates of the last {MAX_SKIPPED_CHUNKS * c.schedule.refresh_steps} steps up to image {nimg} were "
            "skipped, because gradients were not finite. Use a lower schedule.lr, model.compute_dtype=float32 or "
            "model.matmul_precision=highest, or more train.r1_gamma. "
            + (f"The newest checkpoint, of image {saved}, is from before." if saved else "There is no checkpoint yet.")
        )


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
        if num_steps == 1:  # Without a copy.
            return jax.tree.map(lambda x: x[None], batches[0])
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
    with jax.transfer_guard("allow"):  # Two numbers; with several processes JAX counts them as unnoticed.
        phase = mesh.put(phase, mesh.replicated(devices))
    metrics: objectives.Metrics = {}
    for batch in batches:
        train_state, metrics = program(train_state, batch.images, batch.labels, phase)
    return train_state, metrics
