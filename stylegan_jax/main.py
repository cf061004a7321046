"""Command line: python -m stylegan_jax.main --config=demo --workdir=DIR [--mode=...] [--config.seed=1]."""

import contextlib
import errno
import os
import signal
import sys
import traceback
from logging import Formatter
from typing import Any

import jax
from absl import app, logging

from stylegan_jax.command_line import flags, of_networks, of_runs, options
from stylegan_jax.config import from_dict
from stylegan_jax.devices import backend, distributed
from stylegan_jax.runs import checkpoint, workdir

# Words in the errors of Gloo, NCCL and the coordination service where a collective operation lacks a process.
OF_LOST_PROCESSES = ("Gloo", "NCCL", "Connection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "heartbeat")


def main(argv: list[str]) -> None:
    """Does what the flags say, and ends the process with its exit code, whatever other threads wait for."""
    if len(argv) > 1:
        sys.exit(f"error: {' '.join(argv[1:])}: not understood; settings are changed with --config.name=value.")
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().setFormatter(Formatter("warning: %(message)s"))
    sys.unraisablehook = show_unraisable
    backend.keep_programs()
    try:
        values = None if flags.CONFIG.value is None else flags.CONFIG.value.to_dict()
    except OSError as error:  # The file could not be read; the last line of the message says why.
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    code, mode = 0, flags.MODE.value
    try:
        options.check_flags(mode)
        if mode in flags.OF_WORKDIRS and flags.WORKDIR.value is None:
            raise ValueError(f"--workdir is missing, which --mode={mode} needs: a folder such as runs/first.")
        folder = workdir.resolve(flags.WORKDIR.value, "--workdir") if mode in flags.OF_WORKDIRS else None
        if mode in ("inspect", "prepare", "weights", "export") or flags.TOPOLOGY.present:
            backend.leave_accelerators_alone()
        config = None if values is None else from_dict(values)
        if config is None and mode in flags.OF_WORKDIRS and mode != "evaluate":
            raise ValueError(f"--config is missing, which --mode={mode} needs: a file, or a name such as demo.")
        if mode == "evaluate":
            backend.use_all_cores()
        if mode in ("train", "evaluate"):
            distributed.start(flags.COORDINATOR.value, flags.NUM_PROCESSES.value, flags.PROCESS_ID.value)
        if mode == "evaluate" or mode in (*flags.OF_PICTURES, "explore"):
            backend.find_devices()
        if mode in of_runs.MODES:
            of_runs.MODES[mode](config, folder)
        else:
            of_networks.MODES[mode]()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Exception as error:
        code = fail(explain(error))
    if code == 0 and distributed.process_count() > 1:
        jax.distributed.shutdown()  # All processes come to it together.
    # Python would wait for threads that are stuck in a read, or compile a program that is no longer needed.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # The reader went away.
            stream.flush()
    os._exit(code)


def explain(error: Exception) -> str:
    """Returns what to tell the user about `error`, which is being handled; a traceback, if the fault is ours."""
    is_of_jax, text = isinstance(error, jax.errors.JaxRuntimeError), f"{error} {error.__cause__}"
    first_line, has_others = (str(error).splitlines() or [""])[0], distributed.process_count() > 1
    can_be_theirs = has_others and (is_of_jax or isinstance(error, checkpoint.CheckpointNotWritten))
    is_full = any(os.strerror(number) in text for number in (errno.ENOSPC, errno.EDQUOT))
    if can_be_theirs and not is_full and any(word in text for word in OF_LOST_PROCESSES):
        return (
            f"another process of this run has ended, or cannot be reached ({first_line}). Give the same command on all "
            "hosts again: it goes on from the newest checkpoint."
        )
    if is_full and isinstance(error, OSError) and error.filename is None:
        where = f"--out={flags.OUT.value}" if flags.WORKDIR.value is None else f"--workdir={flags.WORKDIR.value}"
        return f"{error}: make room where {where} lies; the same command goes on."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, (ValueError, OSError, ModuleNotFoundError)):
        return str(error)
    if is_of_jax and "RESOURCE_EXHAUSTED" in text:
        return f"{first_line}. It does not fit: --mode=plan says what does, and with what accumulation."
    return traceback.format_exc().rstrip()


def show_unraisable(unraisable: Any) -> None:
    """Shows an error that could not be raised, but not those of files that no one waits for after a write failed."""
    if str(unraisable.exc_value) != "Event loop is closed":  # TensorStore raises it hundreds of times.
        sys.__unraisablehook__(unraisable)


def fail(message: str) -> int:
    """Prints an error, with the number of the process where there are several, and returns the exit code."""
    where = f" in process {distributed.process_index()}" if distributed.process_count() > 1 else ""
    print(f"error{where}: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
