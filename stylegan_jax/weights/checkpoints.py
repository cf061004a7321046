"""Networks from the checkpoints of a run."""

import logging
import pathlib
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Config, from_dict, schedule
from stylegan_jax.runs import checkpoint, restoring, workdir
from stylegan_jax.weights import classes, trees
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network


def is_run(path: pathlib.Path) -> bool:
    """Returns whether a path is a run's workdir, or a checkpoint in one."""
    return (path / "checkpoints").is_dir() or (path.name.isdecimal() and path.parent.name == "checkpoints")


def read(path: pathlib.Path, nimg: int | None = None) -> Network:
    """Returns the network of a run.

    Args:
        path: a workdir, or the folder of a checkpoint in it: RUN/checkpoints/NIMG.
        nimg: images of the checkpoint in a workdir; None for the newest sound one.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged.
    """
    folder = path
    if path.parent.name == "checkpoints":
        if nimg is not None:
            raise ValueError(f"checkpoint={nimg} has no effect: {path} is a checkpoint; name its workdir, or leave it.")
        folder, nimg = path.parent.parent, int(path.name)
    config = settings_of(folder)
    model = config.model
    fields = {
        "ema_params": trees.abstract_generator(model),
        "g_params": trees.abstract_generator(model),
        "d_params": trees.abstract_discriminator(model),
        "w_avg": jax.ShapeDtypeStruct((model.w_size,), np.float32),
    }
    restored = restore(folder, fields, jax.sharding.SingleDeviceSharding(jax.local_devices()[0]), nimg)
    state = jax.device_get(restored.state)
    phase = schedule.phase_at(restored.nimg, config.schedule, model.resolution)
    place = folder / "checkpoints" / str(restored.nimg)
    arrays = {name: name for name in trees.flat(state)}
    names = tuple(restored.meta.get("class_names", ()))
    counts = restored.meta.get("class_counts") or ()
    empty = [names[i] if names else str(i) for i, count in enumerate(counts) if not count]
    listed = ", ".join(empty[: classes.MAX_LISTED])
    note = f"no picture that this run was trained on is of {listed}: what is drawn of such a class means nothing"
    return Network(
        model,
        state["ema_params"],
        Info(str(place), "checkpoint of a run", arrays, notes=(note,) if empty else (), nimg=restored.nimg),
        state["g_params"],
        state["d_params"],
        state["w_avg"] if model.use_styles else None,
        None,
        names,
        phase.resolution,
        float(phase.alpha),
    )


def settings_of(folder: pathlib.Path) -> Config:
    """Returns the settings of the run in a folder.

    Raises:
        ValueError: there is no config.json, or it holds no settings.
    """
    values = workdir.read_config(folder)
    if values is None:
        raise ValueError(f"{folder} has no config.json: the run has just begun, or the file was moved.")
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None


def restore(
    folder: pathlib.Path, fields: dict[str, Any], sharding: jax.sharding.Sharding, nimg: int | None
) -> restoring.Restored:
    """Returns some fields of a checkpoint in a run's folder: at `nimg`, or the newest sound one.

    Raises:
        ValueError: there is none.
    """
    restored = None
    if (folder / "checkpoints").is_dir():
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), fields)
        manager = checkpoint.open_reader(folder / "checkpoints")
        restored = restoring.restore(manager, abstract, nimg, is_part=True)
        manager.close()
    if restored is None:
        raise ValueError(f"{folder} has no checkpoint; train there first, with --mode=train.")
    for place, reason in restored.damaged.items():
        logging.warning("checkpoint %d cannot be used: %s; using an older one", place, reason)
    return restored
