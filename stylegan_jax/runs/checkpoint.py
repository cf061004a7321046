"""Checkpoints that are written in the background, checked when read, and never lost to one bad file.

A checkpoint is an Orbax step named by nimg, with two items: the state, and a small JSON record. Each is sealed twice:

*   `files.json` lists every file of the state with its size and CRC, so that damage on disk is found
    before Orbax reads it, and the next older checkpoint is used instead;
*   the record holds the shape, dtype and content checksum of every leaf, taken on the device when `save` was called,
    so that what comes back is what the run had.
"""

import contextlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from stylegan_jax.runs import retention, seals

_MAX_LISTED = 12  # Parameters named in a mismatch report.


class CheckpointMismatch(ValueError):
    """A sound checkpoint belongs to another model."""


class CheckpointDamaged(ValueError):
    """There are checkpoints, and not one of them can be read."""


class CheckpointNotWritten(ValueError):
    """The disk did not take a checkpoint; those before it are unharmed."""


# ---- saving


def open_manager(
    directory: str | os.PathLike, keep: int, keep_every: int = 0, keep_best: int = 0
) -> ocp.CheckpointManager:
    """Returns the manager of the checkpoints in `directory`, which is made if needed.

    What an interrupted save left behind is removed: no other process may be saving there. To read alone, see
    `open_reader`.

    Args:
        directory: folder of the checkpoints, on a file system that all processes share.
        keep: newest checkpoints kept, at least 1. With 1 there is none to fall back to.
        keep_every: the first checkpoint at or after each multiple of so many images stays too; 0 keeps none for this.
        keep_best: so many with the lowest scores stay too.

    Raises:
        ValueError: keep is below 1, or the directory cannot be written.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, and at least 1 checkpoint must be kept; 2 lets a run survive a damaged one.")
    directory = pathlib.Path(directory).resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=directory, prefix=".").cleanup()
    except OSError as error:
        raise ValueError(
            f"checkpoints cannot be written to {directory} ({error.strerror}); mend it, or choose another --workdir."
        ) from None
    policy = retention.Retention(directory, keep, keep_every, keep_best)
    options = ocp.CheckpointManagerOptions(preservation_policy=policy, cleanup_tmp_directories=True)
    return ocp.CheckpointManager(directory, handler_registry=_handlers(), options=options)


def open_reader(directory: str | os.PathLike) -> ocp.CheckpointManager:
    """Returns a manager that leaves all in `directory`, which must exist, to the process that may be saving there."""
    options = ocp.CheckpointManagerOptions(read_only=True, create=False, save_interval_steps=0)
    return _Reader(pathlib.Path(directory).resolve(), handler_registry=_handlers(), options=options)


class _Reader(ocp.CheckpointManager):
    """Says by its type that it reads alone."""


def _handlers() -> ocp.handlers.CheckpointHandlerRegistry:
    logging.getLogger("absl").addFilter(_is_worth_showing)
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    state_handler, record_handler = _SealingHandler(), ocp.JsonCheckpointHandler()
    registry.add("state", ocp.args.StandardSave, state_handler)
    registry.add("state", ocp.args.StandardRestore, state_handler)
    registry.add("record", ocp.args.JsonSave, record_handler)
    registry.add("record", ocp.args.JsonRestore, record_handler)
    return registry


def check_room(manager: ocp.CheckpointManager, state: Any, num_checkpoints: int) -> None:
    """Raises ValueError if so many checkpoints of `state`, with those that are there, do not fit on the disk."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    needed = size * max(1, num_checkpoints - len(manager.all_steps()))
    free = shutil.disk_usage(manager.directory).free
    if free < needed:
        raise ValueError(
            f"{manager.directory} has {free / 2**30:.3g} GiB free, and its checkpoints need {needed / 2**30:.3g} GiB; "
            "make room, keep fewer (report.keep_checkpoints), or choose another --workdir."
        )


def save(
    manager: ocp.CheckpointManager, nimg: int, state: Any, meta: dict[str, Any], score: float | None = None
) -> None:
    """Saves `state` at `nimg`: copies it off the device, and writes it in the background.

    The buffers of `state` may be donated as soon as this returns. An earlier save is waited for first, and its failure
    raised here. An nimg that is already saved is left as it is: the state is a function of nimg.

    Args:
        manager: from `open_manager`.
        nimg: real images shown so far; the name of the checkpoint.
        state: pytree of arrays: bool, integer or float, no PRNG keys.
        meta: what else to keep, as plain JSON values; `restore_latest` returns it.
        score: the lower, the better; for keep_best.
    """
    wait(manager)
    if nimg in manager.all_steps():
        return
    sums = seals.checksums(state)
    leaves = {k: [*v, int(s)] for (k, v), s in zip(seals.describe(state).items(), sums, strict=True)}
    record = json.loads(json.dumps({"nimg": nimg, "meta": meta, "leaves": leaves, "score": score}))
    sealed = {"record": record, "crc": seals.crc_of_json(record)}
    args = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(sealed))
    with _naming_the_write(manager):
        manager.save(nimg, args=args, force=True)


def wait(manager: ocp.CheckpointManager) -> None:
    """Waits until the last `save` is on disk; raises CheckpointNotWritten if it failed."""
    with _naming_the_write(manager):
        manager.wait_until_finished()


@contextlib.contextmanager
def _naming_the_write(manager: ocp.CheckpointManager) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax's, TensorStore's and the operating system's.
        raise CheckpointNotWritten(
            f"a checkpoint could not be written to {manager.directory} ({(str(error).splitlines() or [''])[0]}); those "
            "before it are unharmed. Make room on the disk, or mend it; the same command goes on from the newest."
        ) from error


def close(manager: ocp.CheckpointManager) -> None:
    """Waits for the last `save` and ends the manager's threads."""
    wait(manager)
    manager.close()


class _SealingHandler(ocp.StandardCheckpointHandler):
    """Orbax's handler of pytrees, which also lists every file written, with its size and CRC."""

    def finalize(self, directory: os.PathLike) -> None:
        """Runs once all processes have written, before the checkpoint gets its final name."""
        super().finalize(directory)
        seals.seal_files(pathlib.Path(directory))


# ---- restoring


def restore_latest(
    manager: ocp.CheckpointManager, abstract_state: Any, log_fn: Callable[[str], None] = print
) -> tuple[int, Any, dict[str, Any]] | None:
    """Returns (nimg, state, meta) of the newest sound checkpoint, or None where none was ever saved.

    Damaged checkpoints newer than it are moved to damaged-<nimg> beside it, with one line to `log_fn` for each, so that
    the run can save at those nimg again. Nothing is moved unless a sound one was found, or by a reader.

    Args:
        manager: from `open_manager` or `open_reader`.
        abstract_state: pytree of jax.ShapeDtypeStruct with shardings, or of arrays; the result has its structure,
            shapes, dtypes and shardings, whatever devices the checkpoint came from.
        log_fn: takes one line of text.

    Raises:
        CheckpointMismatch: the newest readable checkpoint has other parameters, shapes or dtypes.
        CheckpointDamaged: there are checkpoints, and none is sound.
    """
    damaged, found = {}, sorted(manager.all_steps(), reverse=True)
    for nimg in found:
        record, problem = _read_record(manager, nimg)
        if problem is None:
            _check_fits(manager.directory / str(nimg), record["leaves"], seals.describe(abstract_state))
            problem = seals.first_bad_file(pathlib.Path(manager.directory) / str(nimg) / "state")
        if not _seen_by_any_process(problem):
            state, problem = _read_state(manager, nimg, abstract_state, record["leaves"])
            if not _seen_by_any_process(problem):
                if isinstance(manager, _Reader):
                    for place, reason in damaged.items():
                        log_fn(f"Checkpoint {place} cannot be used: {reason}. Using an older one.")
                else:
                    _move_aside(manager, damaged, log_fn)
                return nimg, state, record["meta"]
        damaged[nimg] = problem or "another process cannot read it"
    if isinstance(manager, _Reader):
        manager.reload()
        if sorted(manager.all_steps(), reverse=True) != found:  # Newer ones have come in their place.
            return restore_latest(manager, abstract_state, log_fn)
    if damaged:
        reasons = "".join(f"\n  {nimg}: {problem}" for nimg, problem in damaged.items())
        raise CheckpointDamaged(
            f"Every checkpoint in {manager.directory} is damaged:{reasons}\n"
            "Put a good copy in its place, or choose another --workdir to start from the beginning."
        )
    return None


def _read_record(manager: ocp.CheckpointManager, nimg: int) -> tuple[dict | None, str | None]:
    """Returns (record, None), or (None, what is wrong with it)."""
    try:
        sealed = manager.restore(nimg, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
        if sealed["crc"] == seals.crc_of_json(sealed["record"]):
            found = sealed["record"].get("nimg", nimg)  # Those of before it was recorded are taken by their name.
            return (sealed["record"], None) if found == nimg else (None, f"it is that of image {found}, renamed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"its record cannot be read ({str(error).splitlines()[0]})"
    return None, "its record has changed since it was written"


def _read_state(
    manager: ocp.CheckpointManager, nimg: int, abstract_state: Any, leaves: dict[str, list]
) -> tuple[Any, str | None]:
    """Returns (state, None), or what is wrong with it."""
    try:
        state = manager.restore(nimg, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))).state
    except Exception as error:  # Orbax's and TensorStore's.
        if not isinstance(manager, _Reader):  # Its files are sound: this is something else.
            raise
        return None, f"it was deleted while it was read ({type(error).__name__})"
    return state, _first_bad_leaf(state, leaves)


def _check_fits(checkpoint: os.PathLike, saved: dict[str, list], wanted: dict[str, list]) -> None:
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
            f"Checkpoint {checkpoint} does not fit this model: {len(lines)} of {len(names)} arrays differ.\n"
            + "\n".join(lines[:_MAX_LISTED] + more)
            + "\nUse the config it was trained with (config.json in its workdir), or another --workdir."
        )


def _first_bad_leaf(state: Any, saved: dict[str, list]) -> str | None:
    """Returns which leaf differs from what was saved, or None."""
    sums = seals.checksums(state)
    bad = [name for name, found in zip(seals.describe(state), sums, strict=True) if saved[name][2] != int(found)]
    return f"{len(bad)} arrays differ from what was saved, first of all {bad[0]}" if bad else None


def _move_aside(manager: ocp.CheckpointManager, damaged: dict[int, str], log_fn: Callable[[str], None]) -> None:
    for nimg, problem in damaged.items():
        source = pathlib.Path(manager.directory) / str(nimg)
        target = source.with_name(f"damaged-{nimg}")
        if jax.process_index() == 0:
            count = len(list(source.parent.glob(f"{target.name}*")))
            target = target.with_name(f"{target.name}-{count + 1}") if count else target
            source.rename(target)
            log_fn(f"Checkpoint {nimg} is damaged: {problem}. Moved it to {target}; using an older one.")
    if damaged:
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("checkpoint: moved the damaged ones aside")
        manager.reload()


def _seen_by_any_process(problem: str | None) -> bool:
    """Returns whether any process has a problem: all must take the same way, or they wait for each other forever."""
    if jax.process_count() == 1:
        return problem is not None
    return bool(multihost_utils.process_allgather(np.bool_(problem is not None)).any())


def _is_worth_showing(record: logging.LogRecord) -> bool:
    """Returns False for Orbax's own log, which comes in pages; what fails there is also raised here."""
    return "orbax" not in record.pathname
