"""Images from a trained run, of the classes that are asked for."""

import difflib
import logging
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Config, schedule, to_dict
from stylegan_jax.devices import mesh
from stylegan_jax.images import figures
from stylegan_jax.runs import checkpoint, grid, workdir
from stylegan_jax.training import state

DRAWN = 5  # What the key of these images is folded with.


def draw(config: Config, folder: pathlib.Path, class_names: Sequence[str] = ()) -> list[pathlib.Path]:
    """Draws images from the newest checkpoint of a run, a grid for each class.

    Args:
        config: the run's settings.
        folder: its workdir.
        class_names: of the classes, as the checkpoint has them; none: of all in turn, or of an unconditional model.

    Returns:
        The pictures' paths: samples<kimg>.png or samples<kimg>-class<number>.png in `folder`.

    Raises:
        ValueError: no run of these settings is there, or no such class.
    """
    if not (folder / "checkpoints").is_dir():
        raise ValueError(f"{folder} has no checkpoint; train there first, with --mode=train.")
    devices = mesh.make_mesh()
    workdir.check_config(folder, to_dict(config))
    manager = checkpoint.open_reader(folder / "checkpoints")
    abstract = jax.eval_shape(lambda key: state.create(key, config), jax.random.key(config.seed))
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=mesh.replicated(devices)), abstract
    )
    restored = checkpoint.restore_latest(manager, abstract, logging.warning)
    checkpoint.close(manager)
    if restored is None:
        raise ValueError(f"{folder} has no checkpoint; train there first, with --mode=train.")
    nimg, train_state, meta = restored
    numbers = _numbers(class_names, meta.get("class_names", []))
    phase = schedule.phase_at(nimg, config.schedule, config.model.resolution)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1), DRAWN)
    paths = []
    for number in numbers:
        images = figures.samples(
            train_state.ema_params,
            key,
            config.report.grid_columns * config.report.grid_rows,
            jnp.float32(phase.alpha),
            config.model,
            phase.resolution,
            devices,
            number,
        )
        suffix = "" if number is None else f"-class{number}"
        paths.append(folder / f"samples{nimg // 1000:06d}{suffix}.png")
        grid.save_png(paths[-1], grid.image_grid(np.asarray(images), config.report.grid_columns))
    return paths


def _numbers(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Returns the number of each class; [None] for all classes in turn."""
    for name in wanted:
        if name not in known:
            if not known:
                raise ValueError(f"this run's model has no classes, and so no {name!r}; leave out --classes.")
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its classes are {', '.join(known)}."
            raise ValueError(f"this run has no class {name!r}; {hint}")
    return [known.index(name) for name in wanted] or [None]
