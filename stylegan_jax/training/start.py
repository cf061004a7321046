"""How a run begins: its state, and what the user is told before time is spent."""

import logging
import pathlib
from typing import Any

import jax
from clu import parameter_overview

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.runs import checkpoint, report, restoring
from stylegan_jax.training import saving, state


def open_run(
    config: Config, folder: pathlib.Path, data: dataset.Dataset, devices: jax.sharding.Mesh, back_to_nimg: int | None
) -> tuple[Any, state.TrainState, int, report.Averages]:
    """Opens the checkpoints of the run in `folder`.

    The state to go on from is that of the checkpoint at `back_to_nimg`, for which newer ones are moved aside, or of the
    newest; without checkpoints it is a new one.

    Returns:
        The manager of the checkpoints, the state, whole on each device, its nimg, and the averages of the tick so far.

    Raises:
        ValueError: there is no such sound checkpoint, it is of another model, other pictures or other classes, or the
            disk is too small.
    """
    kept = config.report
    manager = checkpoint.open_manager(
        folder / "checkpoints", kept.keep_checkpoints, round(1000 * kept.keep_every_kimg), kept.keep_best
    )
    train_state, nimg, averages = _restore_or_create(config, manager, data, devices, back_to_nimg)
    checkpoint.check_room(manager, train_state, kept.keep_checkpoints + kept.keep_best + 1)
    return manager, train_state, nimg, averages


def _restore_or_create(
    config: Config, manager: Any, data: dataset.Dataset, devices: jax.sharding.Mesh, back_to_nimg: int | None
) -> tuple[state.TrainState, int, report.Averages]:
    restored = restoring.restore(manager, state.abstract(config, mesh.replicated(devices)), back_to_nimg)
    if restored is None:
        checkpoint.check_none_missing(manager)
        _keep_lines_after(manager, 0)
        return state.create_on(devices, config), 0, report.Averages()
    nimg, train_state, meta, damaged = restored
    saving.check_meta(meta, config, data)
    if back_to_nimg is not None:
        restoring.check_can_go_back(manager, nimg)
        _keep_lines_after(manager, nimg)
    restoring.set_damaged_aside(manager, damaged, logging.warning)
    if back_to_nimg is not None:
        restoring.go_back(manager, nimg, logging.warning)
    return train_state, nimg, report.Averages(meta.get("averages"))


def _keep_lines_after(manager: Any, nimg: int) -> None:
    """Keeps the lines of the log beyond `nimg` in another file, because this run is to write others."""
    kept = report.keep_lines_after(pathlib.Path(manager.directory).parent, nimg)
    if kept:
        logging.warning("the lines of scalars.jsonl after image %d are kept in %s", nimg, kept)


def log_start(
    log: report.Report,
    config: Config,
    data: dataset.Dataset,
    devices: jax.sharding.Mesh,
    nimg: int,
    last: schedule.Chunk,
    stages: list[schedule.Stage],
) -> None:
    """Logs the schedule, what the run consists of, and notes on what the user may not expect.

    Args:
        log: where to.
        config: the run's settings.
        data: its pictures.
        devices: its devices.
        nimg: images after which it goes on.
        last: its last chunk.
        stages: its schedule.
    """
    for line in (report.schedule_text(stages), *about(config, data, devices, nimg)):
        log.log(line)
    notes = schedule_notes(config, last) if nimg <= last.end_nimg else []
    for note in (*notes, *class_notes(config, data)):
        log.log(f"note: {note}")


def about(config: Config, data: dataset.Dataset, devices: jax.sharding.Mesh, nimg: int) -> list[str]:
    """Returns what a run consists of, a line each: pictures, networks, devices and where it starts."""
    shapes = state.abstract(config)
    counts = [int(parameter_overview.count_parameters(params)) for params in (shapes.g_params, shapes.d_params)]
    return [
        f"pictures: {pictures_text(data.describe())}",
        "parameters: {:,} of the generator, {:,} of the discriminator".format(*counts),
        f"devices: {mesh.describe(devices)}",
        f"starting at {nimg / 1000:g} kimg",
    ]


def pictures_text(counts: dict[str, int]) -> str:
    """Returns the numbers of Dataset.describe in words, without those that are 0."""
    words = {
        "images": "to train on",
        "heldout": "held out",
        "skipped": "skipped as unreadable",
        "filtered": "left out as too small",
        "enlarged": "enlarged",
        "ignored": "other files",
        "classes": "classes",
    }
    return ", ".join(f"{counts[name]} {text}" for name, text in words.items() if counts.get(name))


def schedule_notes(config: Config, last: schedule.Chunk) -> list[str]:
    """Returns a sentence if the run ends, with the chunk `last`, before full resolution is stable."""
    phase, resolution = last.phase, config.model.resolution
    full_kimg, end = schedule.full_kimg(config.schedule, resolution), f"{last.end_nimg / 1000:g} kimg"
    if phase.resolution < resolution:
        return [
            f"the run ends at {end} with images of {phase.resolution} px: full resolution, {resolution} px, begins at "
            f"{full_kimg:g} kimg. Use a longer schedule.total_kimg, or shorter schedule.stable_kimg and fade_kimg."
        ]
    if phase.alpha < 1:
        return [
            f"the run ends at {end} while full resolution, {resolution} px, still fades in: it is stable from "
            f"{full_kimg + config.schedule.fade_kimg:g} kimg on. Use a longer schedule.total_kimg."
        ]
    return []


def class_notes(config: Config, data: dataset.Dataset) -> list[str]:
    """Returns a sentence if the pictures have classes that the model does not use."""
    num_classes = data.describe()["classes"]
    if not num_classes or config.model.num_labels:
        return []
    return [
        f"the pictures have {num_classes} classes, and the model is unconditional. To train on the classes, use "
        f"model.num_labels={num_classes}."
    ]


def stopped(reason: str, nimg: int, back_to_nimg: int | None) -> str:
    """Returns what to say where a run was stopped and saved at `nimg`."""
    how = "" if back_to_nimg is None else ", without --checkpoint,"
    return f"stopped by {reason} and saved at {nimg} images; the same command{how} goes on from here"


def ending(config: Config, nimg: int, end_nimg: int) -> str:
    """Returns what to say about a run at `nimg`, which was to end at `end_nimg` and has nothing left to train."""
    if nimg > end_nimg:
        return (
            f"nothing to train: the run is at {nimg / 1000:g} kimg, and schedule.total_kimg is "
            f"{config.schedule.total_kimg:g}. Raise it to train on."
        )
    return f"complete at {nimg / 1000:g} kimg"
