"""Reads checkpoints: the newest sound one, or the one that is asked for, whole or in part."""

import logging
import pathlib
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from stylegan_jax.devices import distributed
from stylegan_jax.runs import seals

_MAX_LISTED = 12  # Parameters named in a mismatch report.


class CheckpointMismatch(ValueError):
    """A sound checkpoint belongs to another model."""


class CheckpointDamaged(ValueError):
    """There are checkpoints, but none of those that could be used is sound."""


class Restored(NamedTuple):
    """What a checkpoint holds."""

    nimg: int
    state: Any
    meta: dict[str, Any]
    damaged: dict[int, str]  # Newer checkpoints that cannot be used, and why.


def restore(
    manager: ocp.CheckpointManager, abstract_state: Any, nimg: int | None = None, is_part: bool = False
) -> Restored | None:
    """Returns the newest sound checkpoint, or the one at `nimg`; None where none was ever saved.

    It changes nothing on disk: what to do with damaged checkpoints is the caller's choice, see `set_damaged_aside`.

    Args:
        manager: from `checkpoint.open_manager` or `checkpoint.open_reader`.
        abstract_state: pytree of jax.ShapeDtypeStruct with shardings, or of arrays; the result has its structure,
            shapes, dtypes and shardings, whatever devices the checkpoint came from.
        nimg: real images of the checkpoint to read; None for the newest sound one.
        is_part: whether `abstract_state` is a dict of some of the checkpoint's fields.

    Raises:
        CheckpointMismatch: the checkpoint has other parameters, shapes or dtypes.
        CheckpointDamaged: there are checkpoints, and none is sound; or the one at `nimg` is not.
        ValueError: there is no checkpoint at `nimg`.
    """
    damaged: dict[int, str] = {}
    found = sorted(manager.all_steps(), reverse=True)
    if nimg is not None and nimg not in found:
        there = ", ".join(map(str, reversed(found))) or "none"
        went_back = _after(manager, nimg).exists()
        hint = " The run went back to it before; leave --checkpoint out for the newest." if went_back else ""
        raise ValueError(f"{manager.directory} has no checkpoint of image {nimg}; it has: {there}.{hint}")
    for candidate in found if nimg is None else [nimg]:
        restored = _read(manager, candidate, abstract_state, is_part)
        if not isinstance(restored, str):
            return Restored(candidate, *restored, damaged)
        damaged[candidate] = restored
    manager.reload()
    if nimg is None and sorted(manager.all_steps(), reverse=True) != found:  # Another process has saved newer ones.
        return restore(manager, abstract_state, nimg, is_part)
    if damaged:
        reasons = "".join(f"\n  {candidate}: {problem}" for candidate, problem in damaged.items())
        which, others = "Every checkpoint", "choose another --workdir to start from the beginning"
        if nimg is not None:
            which = "The checkpoint that is asked for"
            others = f"give another of {', '.join(map(str, reversed(found)))}, or leave --checkpoint out"
        raise CheckpointDamaged(
            f"{which} in {manager.directory} is damaged:{reasons}\nPut a good copy in its place, or {others}."
        )
    return None


def set_damaged_aside(manager: ocp.CheckpointManager, damaged: dict[int, str]) -> None:
    """Moves damaged checkpoints to damaged-<nimg> beside them, so that the run can save at those images again.

    Args:
        manager: from `checkpoint.open_manager`.
        damaged: the field of `Restored`; a warning is logged for each.
    """
    for nimg, problem in damaged.items():
        source = pathlib.Path(manager.directory) / str(nimg)
        if distributed.process_index() == 0:
            target = source.with_name(f"damaged-{nimg}")
            count = len(list(source.parent.glob(f"{target.name}*")))
            target = target.with_name(f"{target.name}-{count + 1}") if count else target
            source.rename(target)
            logging.warning(f"Checkpoint {nimg} is damaged: {problem}. Moved it to {target}; using an older one.")
    if damaged:
        _reload_together(manager)


def check_can_go_back(manager: ocp.CheckpointManager, nimg: int) -> None:
    """Raises ValueError if the run went back to this image before.

    It does so once: a command that is given again, by a person or a script, must not undo what was trained since.
    """
    folder = _after(manager, nimg)
    if folder.exists():
        raise ValueError(
            f"this run went back to image {nimg} before: {folder} is there. Leave --checkpoint out to go on with what "
            "was trained since, or give that folder another name to go back once more."
        )


def _after(manager: ocp.CheckpointManager, nimg: int) -> pathlib.Path:
    return pathlib.Path(manager.directory) / f"after-{nimg}"


def go_back(manager: ocp.CheckpointManager, nimg: int) -> None:
    """Makes the checkpoint at `nimg` the newest one: what came after it is moved to after-<nimg> beside it.

    The folder has its name once all are in it: after a kill meanwhile, the same call goes on. A warning says so.

    Args:
        manager: from `checkpoint.open_manager`.
        nimg: real images of a checkpoint.
    """
    folder = _after(manager, nimg)
    growing = folder.with_name(f"{folder.name}.partial")
    if distributed.process_index() == 0:
        growing.mkdir(exist_ok=True)
        for step in sorted((step for step in manager.all_steps() if step > nimg), reverse=True):
            (folder.parent / str(step)).rename(growing / str(step))
        growing.rename(folder)
        moved = sorted(int(step.name) for step in folder.iterdir())
        what = f"checkpoints {', '.join(map(str, moved))} are now in {folder}" if moved else f"{nimg} is the newest"
        logging.warning(f"Going back to image {nimg}: {what}.")
    _reload_together(manager)


def _reload_together(manager: ocp.CheckpointManager) -> None:
    """Lets all processes see what process 0 has moved."""
    if distributed.process_count() > 1:
        multihost_utils.sync_global_devices("checkpoints: some were moved")
    manager.reload()


def _read(
    manager: ocp.CheckpointManager, nimg: int, abstract_state: Any, is_part: bool
) -> tuple[Any, dict[str, Any]] | str:
    """Returns the state and meta of a checkpoint, or what is wrong with it."""
    place = pathlib.Path(manager.directory) / str(nimg)
    record, problem = _read_record(manager, nimg)
    if problem is None:
        wanted = seals.describe(abstract_state)
        saved = record["leaves"]
        if is_part:
            fields = {name.partition("/")[0] for name in wanted}
            saved = {name: leaf for name, leaf in saved.items() if name.partition("/")[0] in fields}
        _check_fits(place, saved, wanted)
        problem = seals.first_bad_file(place / "state")
    if not _seen_by_any_process(problem):
        state, problem = _read_state(manager, nimg, abstract_state, record["leaves"])
        if not _seen_by_any_process(problem):
            return state, record["meta"]
    return problem or "another process cannot read it"


def _read_record(manager: ocp.CheckpointManager, nimg: int) -> tuple[dict | None, str | None]:
    """Returns (record, None), or (None, what is wrong with it)."""
    try:
        sealed = manager.restore(nimg, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
        if sealed["crc"] == seals.crc_of_json(sealed["record"]):
            found = sealed["record"].get("nimg", nimg)  # Older records lack it: the folder's name counts.
            return (sealed["record"], None) if found == nimg else (None, f"it was saved at image {found}, and renamed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"its record cannot be read ({str(error).splitlines()[0]})"
    return None, "its record has changed since it was written"


def _read_state(
    manager: ocp.CheckpointManager, nimg: int, abstract_state: Any, leaves: dict[str, list]
) -> tuple[Any, str | None]:
    """Returns (state, None), or (None, what is wrong with it)."""
    how = ocp.checkpoint_utils.construct_restore_args(abstract_state)
    args = ocp.args.PyTreeRestore(abstract_state, restore_args=how, partial_restore=True)
    try:
        state = manager.restore(nimg, args=ocp.args.Composite(state=args)).state
    except Exception as error:  # Errors of Orbax and TensorStore.
        if seals.first_bad_file(pathlib.Path(manager.directory) / str(nimg) / "state") is None:
            raise  # The files are sound: the cause lies elsewhere.
        return None, f"it was deleted while it was read ({type(error).__name__})"
    return state, _first_bad_leaf(state, leaves)


def _check_fits(place: pathlib.Path, saved: dict[str, list], wanted: dict[str, list]) -> None:
    """Raises CheckpointMismatch, naming the parameters whose shape or dtype is not the model's."""

    def say(leaf):
        return f"{leaf[0]}{leaf[1]}" if leaf else "absent"

    names = [*wanted, *(name for name in saved if name not in wanted)]
    lines = [
        f"  {name}: {say(saved.get(name))} in the checkpoint, {say(wanted.get(name))} in this model"
        for name in names
        if saved.get(name, [])[:2] != wanted.get(name, [])
    ]
    if lines:
        more = [f"  ... and {len(lines) - _MAX_LISTED} more"] if len(lines) > _MAX_LISTED else []
        raise CheckpointMismatch(
            f"Checkpoint {place} does not fit this model: {len(lines)} of {len(names)} arrays differ.\n"
            + "\n".join(lines[:_MAX_LISTED] + more)
            + "\nUse the config it was trained with (config.json in its workdir), or another --workdir with "
            f"--init_from={place}, which begins with its networks."
        )


def _first_bad_leaf(state: Any, saved: dict[str, list]) -> str | None:
    """Returns how many leaves differ from what was saved, and which is the first; None if all are the same."""
    sums = seals.checksums(state)
    bad = [name for name, found in zip(seals.describe(state), sums, strict=True) if saved[name][2] != int(found)]
    return f"{len(bad)} arrays differ from what was saved; the first is {bad[0]}" if bad else None


def _seen_by_any_process(problem: str | None) -> bool:
    """Returns whether any process has a problem: all must take the same way, or they wait for each other forever."""
    if distributed.process_count() == 1:
        return problem is not None
    return bool(multihost_utils.process_allgather(np.bool_(problem is not None)).any())
