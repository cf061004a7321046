"""Images from a trained run, of the classes that are asked for."""

import logging
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Config, schedule, to_dict
from stylegan_jax.devices import mesh
from stylegan_jax.networks import sampling, streams
from stylegan_jax.runs import grid, workdir
from stylegan_jax.weights import checkpoints, classes


def save_grids(
    config: Config | None,
    folder: pathlib.Path,
    names: Sequence[str] = (),
    out: pathlib.Path | None = None,
    nimg: int | None = None,
) -> list[pathlib.Path]:
    """Draws images from a checkpoint of a run, and saves a grid for each class. Only `out` is written to.

    Args:
        config: the run's settings, which are compared with those in its folder; None: take those.
        folder: the run's workdir.
        names: names of classes as the checkpoint has them, or their numbers; none: all in turn, or those of an
            unconditional model.
        out: folder of the pictures, made if needed; by default the workdir.
        nimg: images of the checkpoint; None for the newest.

    Returns:
        The pictures' paths: samples<kimg>.png or samples<kimg>-class<number>.png.

    Raises:
        ValueError: there is no run of these settings, no such checkpoint or class, or `out` cannot be written to.
    """
    if not checkpoints.is_run(folder):
        raise checkpoints.no_checkpoint(folder)
    config = _settings(config, folder)
    workdir.check_writable(out or folder, "--out")
    devices = mesh.make_mesh()
    fields = checkpoints.generator_fields(config.model)
    restored = checkpoints.restore(folder, fields, mesh.replicated(devices), nimg)
    numbers = _numbers(names, restored.meta.get("class_names", []), config.model.num_labels)
    present = np.flatnonzero(restored.meta.get("class_counts") or np.ones(config.model.num_labels))
    for number in numbers:
        if number is not None and number not in present:
            logging.warning(
                "no picture that this run was trained on is of class %d: what is drawn means nothing", number
            )
    phase = schedule.phase_at(restored.nimg, config.schedule, config.model.resolution)
    key = streams.key_for(config.seed, streams.Stream.DRAWN)
    paths = []
    for number in numbers:
        images = sampling.samples(
            restored.state["ema_params"],
            key,
            config.report.grid_columns * config.report.grid_rows,
            jnp.float32(phase.alpha),
            config.model,
            phase.resolution,
            devices,
            present if number is None else np.asarray([number]),
        )
        suffix = "" if number is None else f"-class{number}"
        paths.append((out or folder) / f"samples{restored.nimg // 1000:06d}{suffix}.png")
        grid.save_png(paths[-1], grid.image_grid(np.asarray(images), config.report.grid_columns))
    return paths


def _settings(config: Config | None, folder: pathlib.Path) -> Config:
    """Returns the settings of the run in a folder, which are `config` if that is given."""
    if config is not None:
        workdir.check_config(folder, to_dict(config))
        return config
    return checkpoints.settings_of(folder)


def _numbers(wanted: Sequence[str], known: Sequence[str], num_classes: int) -> list[int | None]:
    """Returns the number of each class, which is given by name or number; [None] for all classes in turn."""
    if wanted and not num_classes:
        raise ValueError(f"this run's model has no classes, and so no {wanted[0]!r}; leave out --classes.")
    try:
        return [classes.number_of(name, known, num_classes) for name in wanted] or [None]
    except ValueError as error:
        raise ValueError(
            f"{error}\nPut commas between classes; put a name that has a comma in double quotes: "
            "--classes='\"salt, pepper\",7'."
        ) from None
