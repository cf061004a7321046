"""Keeps a folder to one run at a time, whether others are on this machine, in a container or on another host."""

import contextlib
import json
import logging
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.experimental import multihost_utils

from stylegan_jax.devices import distributed
from stylegan_jax.runs import locks, progress, whole

BEAT_SEC = 20.0  # Time between the signs of life that a run leaves in its folder.
WATCH_SEC = 90.0  # Time to wait for a sign of life of another host; network drives show it up to 60 s late.
STALE_SEC = 600.0  # Age at which a sign of life no longer counts; the clocks of hosts differ by less.

LOCK = ".lock"  # File that a run locks as long as it lives.
RECORD = ".owner.json"  # File that says who does: host, boot, pid, time. A run removes it when it ends.


@contextlib.contextmanager
def owning(workdir: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of a folder until the block or this process ends, in whatever way.

    A lock that ends with its process keeps out the other runs on this machine, also those in containers. Network drives
    may hide locks from other hosts, and may keep the locks of hosts that are gone. So a run also renews a record in the
    folder, and a run that finds the record of another host watches whether it is renewed.

    Args:
        workdir: folder of the run, which exists.

    Raises:
        ValueError: another run is at work in it, or the processes of this run do not all see the same folder.
    """
    with contextlib.ExitStack() as stack:
        if distributed.process_index() == 0:
            is_free, record = _lock(workdir, stack), _read(workdir)
            is_of_another = record is not None and record.get("boot") != _boot()
            if not is_free and not is_of_another:
                raise ValueError(_refusal(workdir, "on this machine", record))
            if is_of_another:
                _watch(workdir, record)
            stack.enter_context(_renewing(workdir))
        _check_shared(workdir)
        yield


def _lock(workdir: pathlib.Path, stack: contextlib.ExitStack) -> bool:
    """Returns whether no other process holds the lock; it is held from now on if the drive has locks."""
    try:
        stack.enter_context(locks.exclusive(workdir / LOCK))
    except BlockingIOError:
        return False
    except OSError as error:
        logging.warning("%s: this drive has no locks (%s); it cannot keep out a second run", workdir, error.strerror)
    return True


def _watch(workdir: pathlib.Path, record: dict[str, Any]) -> None:
    """Raises ValueError if the run of another host, or of an earlier boot of this one, renews its record."""
    who, age_sec = f"on host {record.get('host')}", time.time() - float(record.get("time") or 0.0)
    if age_sec > STALE_SEC:
        logging.warning(
            f"A run {who} was cut off in {workdir} {progress.format_duration(age_sec)} ago; taking it over."
        )
        return
    logging.warning(
        f"{workdir} was just in use by a run {who}; watching for {WATCH_SEC:g} s whether it is still alive."
    )
    deadline = time.monotonic() + WATCH_SEC
    while (left_sec := deadline - time.monotonic()) > 0:
        time.sleep(min(left_sec, WATCH_SEC / 50))
        now = _read(workdir)
        if now is not None and now != record:
            raise ValueError(_refusal(workdir, f"on host {now.get('host')}", now))
    logging.warning(f"The run {who} gave no sign of life for {WATCH_SEC:g} s; taking {workdir} over.")


def _refusal(workdir: pathlib.Path, who: str, record: dict[str, Any] | None) -> str:
    number = f" (process {record['pid']})" if record and "pid" in record else ""
    return f"another run {who}{number} is at work in {workdir}; wait until it ends, or choose another --workdir."


@contextlib.contextmanager
def _renewing(workdir: pathlib.Path) -> Iterator[None]:
    """Renews the record while the block runs, and removes it at the end."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT_SEC):
            other = _read(workdir)
            if other is not None and other.get("boot") != _boot():  # This process was suspended for minutes.
                logging.error(
                    "a run on host %s took %s over from this one: end one of them", other.get("host"), workdir
                )
                return
            with contextlib.suppress(OSError):  # A full disk is reported elsewhere.
                _write(workdir)

    _write(workdir)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if (_read(workdir) or {}).get("boot") == _boot():
            with contextlib.suppress(OSError):
                (workdir / RECORD).unlink()


def _write(workdir: pathlib.Path) -> None:
    record = {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "time": time.time()}
    with whole.writing(workdir / RECORD, "w") as file:
        json.dump(record, file)


def _read(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the record; None if it is missing or not whole."""
    try:
        record = json.loads((workdir / RECORD).read_text())
        return record if isinstance(record, dict) else None
    except (OSError, ValueError):
        return None


def _boot() -> str:
    """Returns what all processes and containers of a machine have in common, until it is started again."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # Not Linux.
        return socket.gethostname()


def _check_shared(workdir: pathlib.Path) -> None:
    """Raises ValueError, in all processes, if one of them does not see what process 0 writes to the folder."""
    if distributed.process_count() == 1:
        return
    name = multihost_utils.broadcast_one_to_all(np.frombuffer(os.urandom(8), np.uint8)).tobytes().hex()
    file = workdir / f".{name}.tmp"
    if distributed.process_index() == 0:
        file.touch()
    multihost_utils.sync_global_devices("owner: a file is there")
    sees = multihost_utils.process_allgather(np.bool_(file.exists()))
    if distributed.process_index() == 0:
        file.unlink()
    if not sees.all():
        blind = ", ".join(str(i) for i in np.flatnonzero(~sees))
        raise ValueError(
            f"--workdir={workdir} of process {blind} is not that of process 0; name one folder that all hosts share."
        )
