"""The processes of a run: how they find each other, and what they agree on."""

import contextlib
import hashlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

HEARTBEAT_SEC = 30  # Silence of a process after which it counts as dead, and the others end.
WAIT_SEC = 300.0  # Patience with processes that have not started yet.
NOTICE_SEC = 3.0  # Time of waiting after which a line says so.
POLL_SEC = 0.1  # Time between two looks whether the first process has done what the others wait for.
_FOREVER_SEC = 10**6  # JAX itself must not give up: it would abort the process.

_was_given_up = False  # Whether others were waited for in vain: JAX then still waits, in a thread.


def process_index() -> int:
    """Returns the number of this process in its run; 0 if alone. It needs no devices, unlike jax.process_index."""
    return _identity()[0]


def process_count() -> int:
    """Returns the number of processes of this run; 1 if alone. It needs no devices, unlike jax.process_count."""
    return _identity()[1]


def _identity() -> tuple[int, int]:
    """Returns (number of this process, number of processes)."""
    if jax.distributed.is_initialized() and not _was_given_up:
        # Where the devices cannot be used, that is told elsewhere, by each process.
        with contextlib.suppress(RuntimeError, AssertionError):
            return jax.process_index(), jax.process_count()
    return 0, 1


def start(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    wait_sec: float = WAIT_SEC,
) -> None:
    """Joins the processes of a run into one; call it before anything else of JAX.

    On the hosts of a Cloud TPU slice, in a step of SLURM or Open MPI and in a Kubernetes JobSet (on GPUs with the
    package `kubernetes`) it finds the others by itself, as jax.distributed does. Elsewhere, without arguments, this
    process is the only one. After NOTICE_SEC a line on standard error says who is waited for.

    Args:
        coordinator: HOST:PORT of process 0, which the others can reach; give the other two with it.
        num_processes: number of the run's processes; 1, without the other two, keeps to this one wherever it runs.
        process_id: 0 to num_processes - 1.
        wait_sec: patience with the other processes, in seconds.

    Raises:
        ValueError: some arguments but not all, others that make no sense, or processes that cannot be reached.
    """
    given = coordinator, num_processes, process_id
    if given == (None, 1, None):
        return
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ValueError(
            f"--coordinator={coordinator}, --num_processes={num_processes}, --process_id={process_id}: give all three, "
            "or none where the processes find each other."
        )
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"--num_processes is {num_processes}; use 1 or more.")
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(f"--coordinator is {coordinator!r}; use HOST:PORT of process 0, such as 10.0.0.2:8482.")
    if process_id is not None and not 0 <= process_id < num_processes:
        raise ValueError(f"--process_id is {process_id}; of {num_processes} processes use 0 to {num_processes - 1}.")
    if coordinator is None:
        whom = "the other processes of this run"
    elif process_id == 0:
        whom = f"{num_processes - 1} other process{'es' if num_processes > 2 else ''} at {coordinator}"
    else:
        whom = f"process 0 and all others at {coordinator}"
    _join(given, whom, wait_sec)


def _join(given: tuple[str | None, int | None, int | None], whom: str, wait_sec: float) -> None:
    """Calls jax.distributed.initialize in a thread, since it cannot be interrupted and aborts where it gives up."""
    global _was_given_up
    errors: list[Exception] = []

    def join() -> None:
        try:
            jax.distributed.initialize(
                *given, heartbeat_timeout_seconds=HEARTBEAT_SEC, initialization_timeout=_FOREVER_SEC
            )
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(min(NOTICE_SEC, wait_sec))
    if thread.is_alive():
        print(f"waiting for {whom}, for {wait_sec:g} s at most", file=sys.stderr, flush=True)
        thread.join(max(0.0, wait_sec - NOTICE_SEC))
    remedy = "Start the same command on all hosts, or --num_processes=1 for this one alone."
    _was_given_up = thread.is_alive()
    if _was_given_up:
        raise ValueError(f"{whom} did not come within {wait_sec:g} s. {remedy}")
    for error in errors:
        if isinstance(error, ValueError) and given[0] is None and "coordinator_address" in str(error):
            return  # Nothing here says that there are others.
        if isinstance(error, ValueError):
            raise ValueError(f"the processes of this run cannot be found: {error}") from error
        raise ValueError(f"{whom} cannot be reached ({str(error).splitlines()[0]}). {remedy}") from error


def check_same(name: str, value: str) -> None:
    """Raises ValueError in all processes, naming those where `value` differs from that of process 0."""
    if process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)
    all_digests = multihost_utils.process_allgather(digest)
    differing = [i for i, other in enumerate(all_digests) if not np.array_equal(other, all_digests[0])]
    if differing:
        raise ValueError(
            f"{name} of process {', '.join(map(str, differing))} differ from those of process 0; "
            "give all hosts the same."
        )


def of_first(value: bool) -> bool:
    """Returns what the first process gives; all processes call it together."""
    if process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def alone(work_fn: Callable[[], Any]) -> Any:
    """Returns what work_fn returns in the first process; the others wait, however long it takes, and return None.

    All processes call it together. What work_fn raises is raised as by `together`.
    """
    if process_count() == 1:
        return work_fn()
    working = None
    if process_index() == 0:
        thread = futures.ThreadPoolExecutor(1)
        working = thread.submit(work_fn)
        thread.shutdown(wait=False)
    while of_first(working is not None and not working.done()):  # JAX gives up a process that is silent for minutes.
        time.sleep(POLL_SEC)
    with together():
        return None if working is None else working.result()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raises in all processes what one of them raises in the block; all enter it together.

    The others raise ValueError. Nothing in the block may wait for other processes.
    """
    error = None
    try:
        yield
    except Exception as reason:
        error = reason
    if process_count() > 1:
        failed = multihost_utils.process_allgather(np.asarray(error is not None)).reshape(-1).tolist()
        if error is None and any(failed):
            raise ValueError(f"process {failed.index(True)} failed; its own message says why.")
    if error is not None:
        raise error


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], str | None]]:
    """Yields a function that returns why to stop now, after a signal or preemption notice to any process, or None.

    Signals are SIGTERM, SIGINT (Ctrl-C), SIGHUP (a terminal that was closed) and SIGUSR1 (SLURM's warning), but for
    those that the process was started to ignore. All processes must call the function equally often: it answers all of
    them alike. The first signal is answered at once with a line on standard error; a second Ctrl-C ends this process.
    """
    is_alone = process_count() == 1
    received: list[str] = []
    counter = itertools.count()

    def note(number: int, frame: Any) -> None:
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        if not received:
            with contextlib.suppress(OSError):  # Not print: the signal may have come within another print.
                os.write(2, f"\n{name}: saving ... (Ctrl-C once more ends at once, without saving)\n".encode())
        received.append(name)
        if not is_alone:
            os.kill(os.getpid(), signal.SIGTERM)  # JAX's own handler of this one tells the other processes.

    def reason() -> str | None:
        if is_alone:
            return received[0] if received else None
        is_agreed = multihost_utils.reached_preemption_sync_point(next(counter))
        return "a signal or preemption notice" if is_agreed else None

    numbers = [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, *([signal.SIGTERM] if is_alone else [])]
    old = {n: signal.signal(n, note) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield reason
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
