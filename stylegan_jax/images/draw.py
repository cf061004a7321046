"""Images from a trained run, of the classes that are asked for."""

import difflib
import logging
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Config, Model, from_dict, schedule, to_dict
from stylegan_jax.devices import mesh
from stylegan_jax.networks import generator, sampling, streams
from stylegan_jax.runs import checkpoint, grid, restoring, workdir

MAX_LISTED = 50  # Classes named in an error.


def save_grids(
    config: Config | None,
    folder: pathlib.Path,
    classes: Sequence[str] = (),
    out: pathlib.Path | None = None,
    nimg: int | None = None,
) -> list[pathlib.Path]:
    """Draws images from a checkpoint of a run, and saves a grid for each class. Only `out` is written to.

    Args:
        config: the run's settings, which are compared with those in its folder; None: take those.
        folder: the run's workdir.
        classes: names of classes as the checkpoint has them, or their numbers; none: all in turn, or those of an
            unconditional model.
        out: folder of the pictures, made if needed; by default the workdir.
        nimg: images of the checkpoint; None for the newest.

    Returns:
        The pictures' paths: samples<kimg>.png or samples<kimg>-class<number>.png.

    Raises:
        ValueError: there is no run of these settings, no such checkpoint or class, or `out` cannot be written to.
    """
    if not (folder / "checkpoints").is_dir():
        raise _no_checkpoint(folder)
    config = _settings(config, folder)
    workdir.check_writable(out or folder, "--out")
    devices = mesh.make_mesh()
    restored = _restore(config.model, folder, devices, nimg)
    numbers = _numbers(classes, restored.meta.get("class_names", []), config.model.num_labels)
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


def _restore(model: Model, folder: pathlib.Path, devices: jax.sharding.Mesh, nimg: int | None) -> restoring.Restored:
    """Returns what images are drawn with, of a checkpoint in a run's folder: at `nimg`, or the newest."""
    manager = checkpoint.open_reader(folder / "checkpoints")
    restored = restoring.restore(manager, _abstract_generator(model, mesh.replicated(devices)), nimg, is_part=True)
    manager.close()
    if restored is None:
        raise _no_checkpoint(folder)
    for place, reason in restored.damaged.items():
        logging.warning("checkpoint %d cannot be used: %s; using an older one", place, reason)
    return restored


def _no_checkpoint(folder: pathlib.Path) -> ValueError:
    return ValueError(f"{folder} has no checkpoint; train there first, with --mode=train.")


def _settings(config: Config | None, folder: pathlib.Path) -> Config:
    """Returns the settings of the run in a folder, which are `config` if that is given."""
    if config is not None:
        workdir.check_config(folder, to_dict(config))
        return config
    values = workdir.read_config(folder)
    if values is None:
        raise ValueError(f"{folder} has no config.json; give the settings of its run with --config.")
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None


def _abstract_generator(model: Model, sharding: jax.sharding.Sharding) -> dict[str, object]:
    """Returns the fields of a training state that images are drawn with, as shapes, dtypes and a sharding."""
    key = jax.random.key(0)
    params = jax.eval_shape(lambda: generator.init(key, key, model))
    fields = {"ema_params": params, "w_avg": jax.ShapeDtypeStruct((model.w_size,), jnp.float32)}
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), fields)


def _numbers(wanted: Sequence[str], known: Sequence[str], num_classes: int) -> list[int | None]:
    """Returns the number of each class, which is given by name or number; [None] for all classes in turn."""
    if wanted and not num_classes:
        raise ValueError(f"this run's model has no classes, and so no {wanted[0]!r}; leave out --classes.")
    has_numbers = not any(name.isdecimal() for name in known)  # Else a number is a name.
    numbers: list[int | None] = []
    for name in wanted:
        if name in known:
            numbers.append(known.index(name))
        elif has_numbers and name.isdecimal() and int(name) < num_classes:
            numbers.append(int(name))
        else:
            raise ValueError(_unknown(name, known, num_classes, has_numbers))
    return numbers or [None]


def _unknown(name: str, known: Sequence[str], num_classes: int, has_numbers: bool) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = "".join(f"\n  {i}: {known_name}" for i, known_name in enumerate(known[:MAX_LISTED]))
    more = f"\n  ... and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    how = f"Give names or numbers from 0 to {num_classes - 1}" if has_numbers else "Give names"
    return (
        f"this run has no class {name!r}{hint} {how}, with commas between them; put a name that has a comma in "
        f"double quotes: --classes='\"salt, pepper\",7'.{' Its classes:' if known else ''}{listed}{more}"
    )
