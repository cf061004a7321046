"""The training loop: the one place with time, repetition and signals."""

import collections
import contextlib
import itertools
import json
import logging
import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Config, checks, schedule, to_dict
from stylegan_jax.data import dataset, prefetch
from stylegan_jax.devices import distributed, mesh
from stylegan_jax.runs import checkpoint, owner, progress, report, restoring, workdir
from stylegan_jax.training import losses, observer, programs, state

MAX_SKIPPED_CHUNKS = 25  # Chunks whose updates were all skipped before the run is given up: 100 steps.


def train(config: Config, folder: pathlib.Path, back_to_nimg: int | None = None) -> state.TrainState:
    """Trains from the newest checkpoint in `folder`, or from the beginning, to the end of the schedule.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 end it early, after saving; the same call goes on from there.

    Args:
        config: the run's settings.
        folder: its workdir.
        back_to_nimg: images of an older checkpoint to go back to; None for the newest.

    Returns:
        The last state.

    Raises:
        ValueError: settings, data, devices or the folder do not allow it, and nothing was trained; or training has
            come to where it cannot go on (gradients that are not finite, a disk that is full or does not answer).
    """
    devices = mesh.make_mesh()
    checks.check_devices(config, len(devices.devices))
    distributed.check_same("settings (--config)", json.dumps(to_dict(config)))
    distributed.check_same("checkpoints to go back to (--checkpoint)", str(back_to_nimg))
    workdir.check_writable(folder)
    for change in workdir.check_config(folder, to_dict(config)):
        logging.warning(change)
    with owner.owning(folder, log_fn=logging.warning):
        return _train(config, folder, devices, back_to_nimg)


def _train(
    config: Config, folder: pathlib.Path, devices: jax.sharding.Mesh, back_to_nimg: int | None
) -> state.TrainState:
    """Does what `train` says, in a folder that no other run is in."""
    with progress.counting("pictures") as progress_fn:
        data = dataset.open_dataset(config.data, config.model, config.seed, progress_fn)
    distributed.check_same("pictures (data.source)", data.fingerprint)
    run = list(schedule.chunks(config.schedule, config.model.resolution))
    r = config.report
    manager = checkpoint.open_manager(
        folder / "checkpoints", r.keep_checkpoints, round(1000 * r.keep_every_kimg), r.keep_best
    )
    train_state, nimg, averages = _restore_or_create(config, manager, data, devices, back_to_nimg)
    checkpoint.check_room(manager, train_state, r.keep_checkpoints + r.keep_best + 1)
    workdir.record_config(folder, to_dict(config))
    stages = schedule.stages(run)
    with contextlib.ExitStack() as stack:
        stop_fn = stack.enter_context(distributed.stop_requests())
        stack.callback(checkpoint.close, manager)  # After what it is writing is on disk.
        log = stack.enter_context(report.Report(folder, run[-1].end_nimg, nimg, stages))
        log.log(report.schedule_text(stages))
        log.log(f"data: {data.describe()}   devices: {len(devices.devices)}   starting at {nimg} images")
        watcher = observer.Observer(config, data, devices, log, stages)
        rest = [chunk for chunk in run if chunk.end_nimg > nimg]
        num_steps = programs.steps_per_call(config, devices)
        programs_of_chunks = _programs(
            rest, config, data, train_state, devices, num_steps, lambda: jax.block_until_ready(train_state)
        )
        watcher.start()
        if nimg == 0:
            watcher.first(train_state, run[0].phase)
        batches = stack.enter_context(contextlib.closing(_batches(rest, config, data, devices, num_steps)))
        running = collections.deque()
        skipped = collections.deque([int(np.sum(train_state.num_skipped))], maxlen=MAX_SKIPPED_CHUNKS + 1)
        for chunk, program in zip(rest, programs_of_chunks, strict=True):
            if chunk.is_reset:
                train_state = _reset(train_state)
            calls = itertools.islice(batches, config.schedule.refresh_steps // num_steps)
            train_state, metrics = _run_chunk(train_state, chunk, calls, program, devices, _has_lazy_r1(chunk, config))
            running.append((chunk, metrics))
            stop = stop_fn()
            num_in_flight = 0 if chunk.is_tick or stop else 1  # The next call takes the state that a tick shows.
            while len(running) > num_in_flight:
                done, metrics = running.popleft()
                values = jax.device_get(metrics)  # Waits until the devices have done it.
                skipped.append(int(values[-1]["num_skipped"]))
                for value in values:
                    averages.add({name: v for name, v in value.items() if name != "num_skipped"})
                log.progress(done.end_nimg, done.phase.resolution, alpha=done.phase.alpha)
                _check_finite(skipped, config, done.end_nimg, manager)
            distances = watcher.tick(train_state, chunk, averages.take()) if chunk.is_tick else {}
            is_due = chunk.is_last or (chunk.is_tick and chunk.tick % config.report.checkpoint_ticks == 0)
            if stop or (is_due and not _is_stuck(skipped, config)):
                meta = _meta(data, averages)
                checkpoint.save(manager, chunk.end_nimg, train_state, meta, distances.get(r.best_metric))
            if stop:
                checkpoint.wait(manager)
                log.log(f"stopped by {stop} and saved at {chunk.end_nimg} images; the same command goes on from here")
                break
    return train_state


def _is_stuck(skipped: Sequence[int], config: Config) -> bool:
    """Returns whether a network had no update in the last chunk, from the counts of skipped ones after each."""
    return len(skipped) > 1 and skipped[-1] - skipped[-2] >= config.schedule.refresh_steps


def _check_finite(skipped: Sequence[int], config: Config, nimg: int, manager: Any) -> None:
    """Raises ValueError if no chunk of the last MAX_SKIPPED_CHUNKS has updated both networks."""
    counts = list(skipped)
    is_stuck = [_is_stuck(counts[: i + 1], config) for i in range(1, len(counts))]
    if len(is_stuck) == MAX_SKIPPED_CHUNKS and all(is_stuck):
        saved = manager.latest_step()
        raise ValueError(
            f"all updates of the last {MAX_SKIPPED_CHUNKS * config.schedule.refresh_steps} steps up to image {nimg} "
            "were skipped, because gradients were not finite. Use a lower schedule.lr, model.compute_dtype=float32 or "
            "model.matmul_precision=highest, or more train.r1_gamma. "
            + (f"The newest checkpoint, of image {saved}, is from before." if saved else "There is no checkpoint yet.")
        )


_reset = jax.jit(state.reset_optimizers, donate_argnums=0)


def _restore_or_create(
    config: Config, manager: Any, data: dataset.Dataset, devices: jax.sharding.Mesh, back_to_nimg: int | None
):
    """Returns the newest state, replicated over the devices, its nimg, and the averages of the tick so far."""
    create = jax.jit(state.create, static_argnums=1, out_shardings=mesh.replicated(devices))
    key = jax.random.key(config.seed)
    abstract = jax.eval_shape(create, key, config)
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=mesh.replicated(devices)), abstract
    )
    restored = restoring.restore(manager, abstract, back_to_nimg)
    if restored is None:
        checkpoint.check_none_missing(manager)
        _keep_lines_after(manager, 0)
        return create(key, config), 0, report.Averages()
    nimg, train_state, meta, damaged = restored
    if meta.get("class_names", []) != list(data.class_names):
        raise ValueError(
            f"the classes of data.source={config.data.source!r} are {', '.join(data.class_names)}, but this run was "
            f"trained with {', '.join(meta.get('class_names', []))}; restore them, or start in another --workdir."
        )
    if meta["fingerprint"] != data.fingerprint:
        raise ValueError(
            f"the pictures of data.source={config.data.source!r} are not those that this run began with (fingerprint "
            f"{data.fingerprint}, not {meta['fingerprint']}); restore them, or start in another --workdir."
        )
    restoring.set_damaged_aside(manager, damaged, logging.warning)
    if back_to_nimg is not None:
        restoring.go_back(manager, nimg, logging.warning)
        _keep_lines_after(manager, nimg)
    return train_state, nimg, report.Averages(meta.get("averages"))


def _keep_lines_after(manager: Any, nimg: int) -> None:
    """Keeps what the log has beyond `nimg`, where this run is to write other lines."""
    kept = report.keep_lines_after(pathlib.Path(manager.directory).parent, nimg)
    if kept:
        logging.warning("the lines of scalars.jsonl after image %d are kept in %s", nimg, kept)


def _meta(data: dataset.Dataset, averages: report.Averages) -> dict[str, Any]:
    """Returns what a checkpoint keeps beside the state."""
    return {
        "fingerprint": data.fingerprint,
        "class_names": list(data.class_names),
        "averages": averages.kept(),
    }


def _batches(
    chunks: list[schedule.Chunk], config: Config, data: dataset.Dataset, devices: jax.sharding.Mesh, num_steps: int
) -> Generator[dataset.Batch, None, None]:
    """Yields the batches of `chunks`, stacked by `num_steps`, on the devices before they are asked for."""
    requests = (
        (chunk.start_nimg + i * chunk.phase.batch, chunk.phase)
        for chunk in chunks
        for i in range(0, config.schedule.refresh_steps, num_steps)
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
    config: Config,
    data: dataset.Dataset,
    train_state: state.TrainState,
    devices: jax.sharding.Mesh,
    num_steps: int,
    wait_fn: Callable[[], object],
) -> Iterator[programs.Programs]:
    """Yields the programs of each chunk; the next ones are compiled meanwhile, or on GPUs when wait_fn has returned."""
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), train_state)

    def request(phase: schedule.Phase) -> tuple[Any, ...]:
        is_fading = programs.has_fade(phase.alpha, devices)
        return phase.resolution, phase.batch, data.size(phase.resolution), num_steps, is_fading

    def make(request: tuple[Any, ...]) -> programs.Programs:
        return programs.make(config, abstract, devices, *request)

    requests = (request(chunk.phase) for chunk in chunks)
    if programs.platform_of(devices) == "gpu":
        return programs.make_when_due(requests, make, wait_fn)
    return programs.make_ahead(requests, make)


def _has_lazy_r1(chunk: schedule.Chunk, config: Config) -> bool:
    """Returns whether the chunk's first iteration is one that lazy R1 comes before."""
    interval, num_steps = config.train.r1_interval, config.schedule.refresh_steps
    return interval > 1 and chunk.start_nimg // (chunk.phase.batch * num_steps) % (interval // num_steps) == 0


@jax.transfer_guard("disallow")  # Nothing goes to the devices or comes from them unnoticed.
def _run_chunk(
    train_state: state.TrainState,
    chunk: schedule.Chunk,
    batches: Iterable[dataset.Batch],
    program: programs.Programs,
    devices: jax.sharding.Mesh,
    has_lazy_r1: bool = False,
) -> tuple[state.TrainState, list[losses.Metrics]]:
    """Returns the state after the chunk's steps, and the metrics of each call, before the devices are done."""
    alpha = np.float32(chunk.phase.alpha) if programs.has_fade(chunk.phase.alpha, devices) else None
    with jax.transfer_guard("allow"):  # Two numbers; with several processes JAX counts them as unnoticed.
        scalars = mesh.put((alpha, np.float32(chunk.phase.lr)), mesh.replicated(devices))
    metrics: list[losses.Metrics] = []
    for i, batch in enumerate(batches):
        if has_lazy_r1 and i == 0:
            train_state, values = program.lazy_r1(train_state, batch.images, batch.labels, *scalars)
            metrics.append(values)
        train_state, values = program.train(train_state, batch.images, batch.labels, *scalars)
        metrics.append(values)
    return train_state, metrics
