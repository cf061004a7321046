"""How a run begins: its state, and what the user is told before time is spent."""

import hashlib
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from clu import parameter_overview

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import backend, distributed, mesh
from stylegan_jax.networks import growth
from stylegan_jax.runs import checkpoint, report, restoring, whole
from stylegan_jax.training import saving, state
from stylegan_jax.weights import load, transfer
from stylegan_jax.weights.network import Network

IMPORTED = "init_from.json"  # File in the workdir: which network the run began with, and what became of its arrays.


def read_network(init_from: str | None, folder: pathlib.Path) -> Network | None:
    """Returns the network that a new run in `folder` is to begin with; None if it begins anew, or has checkpoints.

    Args:
        init_from: file or workdir of the network.
        folder: the run's workdir.

    Raises:
        ValueError: there is no such network, processes of this run have different ones, or the run in `folder` began
            with one that is not given now.
    """
    checkpoints = folder / "checkpoints"
    if checkpoints.is_dir() and any(place.name.isdecimal() for place in checkpoints.iterdir()):
        if init_from is not None:
            logging.warning("--init_from=%s has no effect: the run goes on from its checkpoints.", init_from)
        return None
    if init_from is None and (folder / IMPORTED).exists():
        raise ValueError(
            f"{folder} has no checkpoint, and {IMPORTED} of a run that began with another network. Give its "
            f"--init_from again to begin so, or move {IMPORTED} away to begin anew."
        )
    if init_from is not None and not init_from.strip():
        raise ValueError("--init_from is empty; name a file or workdir (a shell variable in it may not be set).")
    distributed.check_same("networks (--init_from)", str(init_from is None))  # Processes read a workdir together.
    if init_from is None:
        return None
    network = load.load(init_from)
    distributed.check_same("networks (--init_from)", _digest(network))
    return network


def _digest(network: Network) -> str:
    """Returns a hash of a network's model and arrays, wherever they were read from."""
    found = hashlib.sha256(repr(network.model).encode())
    for array in jax.tree.leaves((network.params, network.g_params, network.d_params, network.w_avg)):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def open_run(
    config: Config,
    folder: pathlib.Path,
    data: dataset.Dataset,
    devices: jax.sharding.Mesh,
    back_to_nimg: int | None,
    network: Network | None = None,
) -> tuple[Any, state.TrainState, int, report.Averages, list[str]]:
    """Opens the checkpoints of the run in `folder`.

    The state to go on from is that of the checkpoint at `back_to_nimg`, for which newer ones are moved aside, or of the
    newest; without checkpoints it is a new one, with the arrays of `network` as far as it has them.

    Returns:
        The manager of the checkpoints, the state, whole on each device, its nimg, the averages of the tick so far, and
        what to tell the user about the arrays of a new state.

    Raises:
        ValueError: there is no such sound checkpoint, it is of another model, other pictures or other classes, or the
            disk is too small.
    """
    kept = config.report
    manager = checkpoint.open_manager(
        folder / "checkpoints", kept.keep_checkpoints, round(1000 * kept.keep_every_kimg), kept.keep_best
    )
    restored = restoring.restore(manager, state.abstract(config, mesh.replicated(devices)), back_to_nimg)
    if restored is None:
        checkpoint.check_none_missing(manager)
        _keep_lines_after(manager, 0)
        train_state, notes = _create(config, folder, data, devices, network)
        nimg, meta = 0, {}
    else:
        nimg, train_state, meta, damaged = restored
        notes = []
        saving.check_meta(meta, config, data)
        if back_to_nimg is not None:
            restoring.check_can_go_back(manager, nimg)
            _keep_lines_after(manager, nimg)
        restoring.set_damaged_aside(manager, damaged)
        if back_to_nimg is not None:
            restoring.go_back(manager, nimg)
    checkpoint.check_room(manager, train_state, kept.keep_checkpoints + kept.keep_best + 1)
    return manager, train_state, nimg, report.Averages(meta.get("averages")), notes


def _create(
    config: Config,
    folder: pathlib.Path,
    data: dataset.Dataset,
    devices: jax.sharding.Mesh,
    network: Network | None,
) -> tuple[state.TrainState, list[str]]:
    """Returns the state of a new run, which begins with the arrays of `network`, and what to tell the user of them."""
    train_state = state.create_on(devices, config)
    if network is None:
        return train_state, frozen_notes(config, ())
    arrays, rows = transfer.transfer(network, state.imported(train_state), config.model, data.class_names)
    if distributed.process_index() == 0:
        record = {"source": network.info.source, "layout": network.info.layout, "resolution": network.resolution}
        record |= {"sha256_of_arrays": _digest(network), "rows": [row._asdict() for row in rows]}
        with whole.writing(folder / IMPORTED, "w") as stream:
            stream.write(json.dumps(record, indent=1) + "\n")
    lines = ["beginning with " + str(network.info), *(f"  {line}" for line in transfer.summary(rows))]
    lines += import_notes(config, network) + frozen_notes(config, rows)
    return state.with_imported(train_state, arrays), lines


def _keep_lines_after(manager: Any, nimg: int) -> None:
    """Keeps the lines of the log beyond `nimg` in another file, because this run is to write others."""
    kept = report.keep_lines_after(pathlib.Path(manager.directory).parent, nimg)
    if kept:
        logging.warning("the lines of scalars.jsonl after image %d are kept in %s", nimg, kept)


def import_notes(config: Config, network: Network) -> list[str]:
    """Returns a sentence for each thing about an imported network that the user may not expect."""
    first, last, at = config.schedule.initial_resolution, config.model.resolution, network.resolution
    notes = []
    if network.params is not None and network.g_params is None:
        notes.append("note: it has no generator in training; training goes on from the average of its weights.")
    if first < min(at, last):
        notes.append(
            f"warning: it is trained at {at} px, and the run begins at {first} px: the layers above come in again as "
            f"new ones would. To begin where it is, use schedule.initial_resolution={min(at, last)}."
        )
    elif first > at and config.model.architecture == "stylegan2":
        notes.append(
            f"note: it is of {at} px, and the run of {first} px: the layers above {at} px begin random; with "
            "model.g_connections='skip' the first images are the network's own, enlarged."
        )
    elif first > at:
        notes.append(
            f"warning: it is trained at {at} px, and the run begins at {first} px: the layers above {at} px begin "
            f"random, without a fade. To begin where it is, use schedule.initial_resolution={at}."
        )
    elif last < at:
        notes.append(
            f"note: it is trained at {at} px, and the model ends at {last} px: what turns features of {last} px into "
            "colours, and back, was last trained before higher resolutions came in."
        )
    if network.alpha < 1:
        notes.append(f"note: its {at} px were fading in (alpha {network.alpha:g}); here they begin with alpha 1.")
    return notes + [f"warning: {line}" for line in transfer.differences(network.model, config.model)]


def frozen_notes(config: Config, rows: Sequence[transfer.Row]) -> list[str]:
    """Returns a sentence if train.freeze_d keeps parts of the discriminator that begin random.

    `rows` tell what became of each array of an imported network; there are none without one.
    """
    frozen = growth.frozen_modules(config.model.resolutions, config.train.freeze_d)
    imported = {tuple(row.array.split("/")[:2]) for row in rows if row.what in (transfer.COPIED, transfer.PARTLY)}
    fresh = sorted({r for name, r in frozen.items() if ("d_params", name) not in imported})
    if not fresh:
        return []
    return [
        f"warning: train.freeze_d={config.train.freeze_d} keeps the discriminator's parts at "
        f"{', '.join(map(str, fresh))} px as they begin, which is random: they are not imported (--init_from)."
    ]


def log_start(
    log: report.Report,
    config: Config,
    data: dataset.Dataset,
    devices: jax.sharding.Mesh,
    nimg: int,
    last: schedule.Chunk,
    stages: list[schedule.Stage],
    imported: Sequence[str] = (),
) -> None:
    """Logs the schedule, what the run consists of, and notes on what the user may not expect.

    The run goes on after `nimg` images, and ends with the chunk `last`; `imported` is lines about the arrays that it
    begins with.
    """
    for line in (report.schedule_text(stages), *about(config, data, devices, nimg), *imported):
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
        f"devices: {backend.describe(devices.devices.flat)}",
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
