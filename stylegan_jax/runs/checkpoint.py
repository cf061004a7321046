"""Checkpoints that are written in the background, and sealed so that damage is found when they are read.

A checkpoint is an Orbax step named by nimg, with two items: the state, and a small JSON record. Each is sealed twice:

*   `files.json` lists every file of the state with its size and CRC, so that damage on disk is found
    before Orbax reads it, and the next older checkpoint is used instead;
*   the record holds the shape, dtype and content checksum of every leaf, taken on the device when `save` was called,
    so that what comes back is what the run had.

`restoring` reads them.
"""

import contextlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from stylegan_jax.devices import distributed
from stylegan_jax.runs import retention, seals

SAVED = ".saved"  # File in the workdir that says that checkpoints were saved there.


class CheckpointNotWritten(ValueError):
    """The disk did not take a checkpoint; those before it are unharmed."""


def open_manager(
    directory: str | os.PathLike, keep: int, keep_every: int = 0, keep_best: int = 0
) -> ocp.CheckpointManager:
    """Returns the manager of the checkpoints in `directory`, which is made if needed.

    It removes what an interrupted save left behind, so no other process may be saving there. Use `open_reader` to read.

    Args:
        directory: folder of the checkpoints in the workdir, on a file system that all processes share.
        keep: number of newest checkpoints that stay, at least 1. With 1 there is none to fall back to.
        keep_every: interval in images; the first checkpoint in each stays too. 0: no such interval.
        keep_best: number of checkpoints with the lowest scores that stay too.

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
    """Returns a manager that only reads `directory`, which must exist: another process may be saving there."""
    options = ocp.CheckpointManagerOptions(read_only=True, create=False, save_interval_steps=0)
    return ocp.CheckpointManager(pathlib.Path(directory).resolve(), handler_registry=_handlers(), options=options)


def _handlers() -> ocp.handlers.CheckpointHandlerRegistry:
    logging.getLogger("absl").addFilter(_is_worth_showing)
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    record_handler = ocp.JsonCheckpointHandler()
    registry.add("state", ocp.args.StandardSave, _SealingHandler())
    registry.add("state", ocp.args.PyTreeRestore, ocp.PyTreeCheckpointHandler())
    registry.add("record", ocp.args.JsonSave, record_handler)
    registry.add("record", ocp.args.JsonRestore, record_handler)
    return registry


def check_room(manager: ocp.CheckpointManager, state: Any, num_checkpoints: int) -> None:
    """Raises ValueError if the disk has no room for `num_checkpoints` of `state`, those already there included."""
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

    The buffers of `state` may be donated as soon as this returns. It first waits for the save before it, and raises
    that one's failure. A checkpoint that is already there stays as it is: the state is a function of nimg.

    Args:
        manager: from `open_manager`.
        nimg: real images shown so far; the name of the checkpoint.
        state: pytree of arrays: bool, integer or float, no PRNG keys.
        meta: what else to keep, as plain JSON values; `restoring.restore` returns it.
        score: what keep_best compares; lower is better.
    """
    wait(manager)
    _note_saved(manager)
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
    except Exception as error:  # Errors of Orbax, TensorStore and the operating system.
        raise CheckpointNotWritten(
            f"a checkpoint could not be written to {manager.directory} ({(str(error).splitlines() or [''])[0]}); those "
            "before it are unharmed. Make room on the disk, or mend it; the same command goes on from the newest."
        ) from error


def close(manager: ocp.CheckpointManager) -> None:
    """Waits for the last `save` and ends the manager's threads."""
    wait(manager)
    _note_saved(manager)
    manager.close()


def check_none_missing(manager: ocp.CheckpointManager) -> None:
    """Raises ValueError if a run without checkpoints had some: they would be lost if it began anew.

    Where its log was moved away too, it is to begin anew, and `SAVED` is removed.
    """
    workdir = pathlib.Path(manager.directory).parent
    if not (workdir / SAVED).exists():
        return
    log = workdir / "scalars.jsonl"
    if log.exists() and log.stat().st_size:
        with contextlib.suppress(OSError):  # The empty folder was just made, and would be in the way of the old one.
            pathlib.Path(manager.directory).rmdir()
        raise ValueError(
            f"{workdir} has the settings and the log of a run that saved checkpoints, but {manager.directory} has "
            "none. Bring them back to go on. To begin anew, choose another --workdir, or move scalars.jsonl away."
        )
    if distributed.process_index() == 0:
        (workdir / SAVED).unlink(missing_ok=True)


def _note_saved(manager: ocp.CheckpointManager) -> None:
    if distributed.process_index() == 0 and manager.all_steps():
        with _naming_the_write(manager):
            (pathlib.Path(manager.directory).parent / SAVED).touch()


class _SealingHandler(ocp.StandardCheckpointHandler):
    """Orbax's handler of pytrees, which also lists every file written, with its size and CRC."""

    def finalize(self, directory: os.PathLike) -> None:
        """Runs once all processes have written, before the checkpoint gets its final name."""
        super().finalize(directory)
        seals.seal_files(pathlib.Path(directory))


def _is_worth_showing(record: logging.LogRecord) -> bool:
    """Returns False for Orbax's own log, which is pages long; its failures are raised here too."""
    return "orbax" not in record.pathname
