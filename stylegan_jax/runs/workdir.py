"""The folder of a run, and the settings that it was begun with."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from stylegan_jax.config import Config, Report, to_dict

# Settings that leave a run the same: pictures are told by their fingerprint, gradients are the same in parts, and what
# is reported takes no part in training (but scores of two metrics cannot be compared).
FREE = frozenset(
    {"data.source", "data.remote_copy", "data.num_workers", "data.cache_gib", "model.remat"}
    | {"schedule.accumulation", "schedule.accumulation_by_resolution"}
    | {f"report.{field.name}" for field in dataclasses.fields(Report) if field.name != "best_metric"}
)


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[None]:
    """Keeps other runs of this machine out of a folder until this process ends, in whatever way, or leaves the context.

    The lock is the name of a socket: network drives can keep locks of hosts that are no more. Only Linux has it.

    Raises:
        ValueError: another run is in it; or the processes of this one do not see one folder.
    """
    digest = hashlib.sha256(str(pathlib.Path(workdir).resolve()).encode()).hexdigest()
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            if jax.process_index() == 0:
                lock.bind(f"\0stylegan_jax {digest}")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(
                    f"another run of this machine is at work in {workdir}; wait for its end, or choose another "
                    "--workdir."
                ) from None
        _check_shared(pathlib.Path(workdir))
        yield


def _check_shared(workdir: pathlib.Path) -> None:
    """Raises ValueError, in all processes, if what process 0 writes to the folder is not there for all."""
    if jax.process_count() == 1:
        return
    name = multihost_utils.broadcast_one_to_all(np.frombuffer(os.urandom(8), np.uint8)).tobytes().hex()
    file = workdir / f".{name}.tmp"
    if jax.process_index() == 0:
        file.touch()
    multihost_utils.sync_global_devices("workdir: a file is there")
    sees = multihost_utils.process_allgather(np.bool_(file.exists()))
    if jax.process_index() == 0:
        file.unlink()
    if not sees.all():
        blind = ", ".join(str(i) for i in np.flatnonzero(~sees))
        raise ValueError(
            f"--workdir={workdir} of process {blind} is not that of process 0; name one folder that all hosts share."
        )


def check_config(workdir: str | os.PathLike, config_dict: dict[str, Any]) -> None:
    """Checks that a folder can be written, and that a run in it was begun with the same settings.

    Args:
        workdir: folder of the run; made if needed.
        config_dict: the whole config as nested dicts of plain values.

    Raises:
        ValueError: the workdir cannot be written, or belongs to a run with other settings.
    """
    file = pathlib.Path(workdir) / "config.json"
    now = json.loads(json.dumps(config_dict))
    try:
        if jax.process_index() == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(file).open("w"):
                _temporary(file).unlink()
        before = json.loads(file.read_text()) if file.exists() else now
        if not isinstance(before, dict):
            raise ValueError("no settings are in it")
    except OSError as error:
        raise ValueError(
            f"Cannot write in {workdir} as a folder ({error.strerror}); choose another --workdir."
        ) from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}); restore it, or choose another --workdir.") from None
    new, defaults = _flatten(now), _flatten(json.loads(json.dumps(to_dict(Config()))))
    # A run from before there was a setting is one with its default.
    old = {name: value for name, value in defaults.items() if name in new} | _flatten(before)
    lines = [
        f"  {name}: {old.get(name, 'absent')} in {workdir}, {new.get(name, 'absent')} now"
        for name in [*new, *(name for name in old if name not in new)]
        if (name not in old or name not in new or old[name] != new[name]) and name not in FREE
    ]
    if lines:
        raise ValueError(
            f"{workdir} holds a run with another config:\n" + "\n".join(lines) + "\n"
            "Choose another --workdir for a new run, restore the value to go on with the old one, or move "
            f"{file.name} away to go on from its checkpoints with what is given now."
        )


def record_config(workdir: str | os.PathLike, config_dict: dict[str, Any]) -> None:
    """Writes `config_dict` to config.json, in one piece, if it is not there: from now on the folder is this run's."""
    file = pathlib.Path(workdir) / "config.json"
    if jax.process_index() > 0 or file.exists():
        return
    with _temporary(file).open("w") as stream:
        stream.write(json.dumps(config_dict, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    _temporary(file).replace(file)


def _temporary(file: pathlib.Path) -> pathlib.Path:
    return file.with_name(f".{file.name}.{os.getpid()}.tmp")


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"train.r1_gamma": 10.0, ...} from nested dicts."""
    flat = {}
    for name, value in config.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
