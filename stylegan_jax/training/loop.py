"""The training loop: the one place with time, repetition and signals."""

import contextlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Config, checks, schedule, to_dict
from stylegan_jax.data import dataset
from stylegan_jax.devices import distributed, mesh
from stylegan_jax.runs import checkpoint, owner, progress, report, workdir
from stylegan_jax.training import feed, losses, measuring, observer, pending, programs, saving, start, state
from stylegan_jax.weights.network import Network

# Settings of data that may differ between the hosts of a run.
OF_A_HOST = ("source", "remote_copy", "num_workers", "cache_gib")


def train(
    config: Config,
    folder: pathlib.Path,
    back_to_nimg: int | None = None,
    init_from: str | None = None,
    weights: pathlib.Path | None = None,
) -> state.TrainState:
    """Trains from the newest checkpoint in `folder`, or from the beginning, to the end of the schedule.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 end it early, after saving; the same call goes on from there. If pictures can no
    longer be read, or the next program cannot be compiled, it saves what is trained and raises why.

    Args:
        config: the run's settings.
        folder: its workdir.
        back_to_nimg: images of an older checkpoint to go back to; None for the newest.
        init_from: file or workdir of a network whose arrays a new run begins with.
        weights: folder of the weights that report.metrics needs; None for the usual one.

    Returns:
        The last state.

    Raises:
        ValueError: settings, data, devices or the folder do not allow it, and nothing was trained; or training cannot
            go on (gradients that are not finite, a disk that is full or does not answer).
    """
    measuring.metrics_of(config)  # A wrong name is refused at once.
    devices = mesh.make_mesh()
    checks.check_devices(config, len(devices.devices))
    distributed.check_same("settings (--config)", json.dumps(_shared_settings(config)))
    distributed.check_same("checkpoints to go back to (--checkpoint)", str(back_to_nimg))
    workdir.check_writable(folder)
    for change in workdir.check_config(folder, to_dict(config)):
        logging.warning(change)
    with owner.owning(folder):
        return _train(config, folder, devices, back_to_nimg, start.read_network(init_from, folder), weights)


def _shared_settings(config: Config) -> dict[str, Any]:
    """Returns the settings that must be the same on all hosts."""
    values = to_dict(config)
    return values | {"data": {name: value for name, value in values["data"].items() if name not in OF_A_HOST}}


def _train(
    config: Config,
    folder: pathlib.Path,
    devices: jax.sharding.Mesh,
    back_to_nimg: int | None,
    init_from: Network | None,
    weights: pathlib.Path | None,
) -> state.TrainState:
    """Does what `train` says, in a folder that no other run is in."""
    with progress.counting("pictures") as progress_fn:
        data = dataset.open_dataset(config.data, config.model, config.seed, progress_fn)
    distributed.check_same("pictures (data.source)", data.stored.fingerprint)
    manager, train_state, nimg, averages, imported = start.open_run(
        config, folder, data, devices, back_to_nimg, init_from
    )
    del init_from  # It is as large as the state.
    run = list(schedule.chunks(config.schedule, config.model.resolution, nimg))
    rest, stages = [chunk for chunk in run if chunk.start_nimg >= nimg], schedule.stages(run)
    if nimg <= run[-1].end_nimg:  # A schedule that ends before has nothing to train.
        workdir.record_config(folder, to_dict(config))
    with contextlib.ExitStack() as stack:
        stop_fn = stack.enter_context(distributed.stop_requests())
        stack.callback(checkpoint.close, manager)  # After what it is writing is on disk.
        log = stack.enter_context(report.Report(folder, run[-1].end_nimg, nimg, stages))
        start.log_start(log, config, data, devices, nimg, run[-1], stages, imported)
        metrics = measuring.Measuring(config, data, devices, log, folder, weights)
        stack.callback(metrics.close)
        watcher = observer.Observer(config, data, devices, log, stages, metrics)
        num_steps = programs.steps_per_call(config, devices)

        def wait_fn() -> None:
            jax.block_until_ready(train_state)

        programs_of_chunks = _programs(rest, config, data, devices, num_steps, wait_fn)
        if rest:
            watcher.start()
        if nimg == 0:
            watcher.first(train_state, run[0].phase)
        batches = stack.enter_context(contextlib.closing(feed.Feed(rest, config, data, devices, num_steps)))
        running = pending.Pending(config, averages, jax.device_get(mesh.local(train_state.num_skipped)))
        saver = saving.Saver(manager, config, data)
        for chunk in rest:
            with _saving_on_failure(chunk.start_nimg, nimg, train_state, running, saver, log):
                # All that the chunk needs: from its first call to its last there is no state to save.
                program, taken = next(programs_of_chunks), batches.take(wait_fn)
            if chunk.is_reset:
                train_state = _reset(train_state)
            train_state, values = _run_chunk(train_state, chunk, taken, program, devices, config)
            del taken  # Or the devices would keep these batches until they have the next.
            running.add(chunk, values)
            metrics.step(chunk.end_nimg - chunk.start_nimg)
            stop, is_late = stop_fn(), saver.is_late()
            for done in running.finish(0 if chunk.is_tick or stop or is_late else 1):  # One keeps the devices busy.
                fields = {"alpha": done.phase.alpha} | running.means(("d_loss", "g_loss"))
                fields["waiting for pictures"] = f"{batches.waiting_share():.0%}"
                log.progress(done.end_nimg, done.phase.resolution, **fields)
            distances = {}
            if chunk.is_tick:
                distances = watcher.tick(train_state, chunk, running.averages.take())
                batches.restart_clock()
            is_due = chunk.is_last or is_late or (chunk.is_tick and chunk.tick % config.report.checkpoint_ticks == 0)
            if stop or (is_due and not running.is_stuck()):
                saver.save(chunk.end_nimg, train_state, running.averages, distances.get(config.report.best_metric))
            if stop:
                saver.wait()
                log.log(start.stopped(stop, chunk.end_nimg, back_to_nimg))
                break
        else:
            metrics.finish(stop_fn)
            log.log(start.ending(config, max(nimg, run[-1].end_nimg), run[-1].end_nimg))
    return train_state


@contextlib.contextmanager
def _saving_on_failure(
    nimg: int,
    start_nimg: int,
    train_state: state.TrainState,
    running: pending.Pending,
    saver: saving.Saver,
    log: report.Report,
) -> Iterator[None]:
    """Saves the state at `nimg` before it lets an exception pass, if this start, at `start_nimg`, has trained any."""
    try:
        yield
    except Exception:
        try:
            for _ in running.finish():
                pass
            if jax.process_count() > 1:  # All processes write a checkpoint together, and only this one knows.
                logging.warning(
                    "with several processes nothing is saved now: the same command on all hosts goes on from the "
                    "newest checkpoint. report.checkpoint_minutes sets how old that is at most."
                )
            elif nimg > start_nimg and not running.is_stuck():
                saver.save(nimg, train_state, running.averages)
                saver.wait()
                log.log(f"training cannot go on, and is saved at {nimg} images; the same command goes on from here")
        except Exception as error:
            logging.warning("what was trained since the newest checkpoint could not be saved: %s", error)
        raise


_reset = jax.jit(state.reset_optimizers, donate_argnums=0)


def _programs(
    chunks: list[schedule.Chunk],
    config: Config,
    data: dataset.Dataset,
    devices: jax.sharding.Mesh,
    num_steps: int,
    wait_fn: Callable[[], object],
) -> Iterator[programs.Programs]:
    """Yields the programs of each chunk.

    They are compiled while those before them are in use; on GPUs, when they are due and wait_fn has returned.
    """
    abstract = state.abstract(config, mesh.replicated(devices))

    def request(phase: schedule.Phase) -> tuple[Any, ...]:
        is_fading = programs.has_fade(phase.alpha, devices)
        return phase.resolution, phase.batch, data.stored.size(phase.resolution), num_steps, is_fading

    def make(request: tuple[Any, ...]) -> programs.Programs:
        return programs.make(config, abstract, devices, *request)

    requests = (request(chunk.phase) for chunk in chunks)
    if mesh.platform_of(devices) == "gpu":
        return programs.make_when_due(requests, make, wait_fn)
    return programs.make_ahead(requests, make)


def _is_due(interval: int, chunk: schedule.Chunk, config: Config) -> bool:
    """Returns whether a lazy step comes before the chunk's first iteration; its interval is a multiple of chunks."""
    num_steps = config.schedule.refresh_steps
    return chunk.start_nimg // (chunk.phase.batch * num_steps) % (interval // num_steps) == 0


@jax.transfer_guard("disallow")  # Nothing goes to the devices or comes from them unnoticed.
def _run_chunk(
    train_state: state.TrainState,
    chunk: schedule.Chunk,
    batches: Iterable[dataset.Batch],
    program: programs.Programs,
    devices: jax.sharding.Mesh,
    config: Config,
) -> tuple[state.TrainState, list[losses.Metrics]]:
    """Returns the state after the chunk's steps, and the metrics of each call, before the devices are done."""
    alpha = np.float32(chunk.phase.alpha) if programs.has_fade(chunk.phase.alpha, devices) else None
    with jax.transfer_guard("allow"):  # Two numbers; with several processes JAX counts them as unnoticed transfers.
        scalars = mesh.put((alpha, np.float32(chunk.phase.lr)), mesh.replicated(devices))
    metrics: list[losses.Metrics] = []
    for i, batch in enumerate(batches):
        due = [lazy for interval, lazy in program.lazy if i == 0 and _is_due(interval, chunk, config)]
        for step in (*due, program.train):
            train_state, values = step(train_state, batch.images, batch.labels, *scalars)
            metrics.append(values)
    return train_state, metrics
