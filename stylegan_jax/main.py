"""Command line: python -m stylegan_jax.main --config=demo --workdir=DIR [--mode=...] [--config.seed=1]."""

import contextlib
import errno
import os
import pathlib
import signal
import sys
import traceback
from logging import Formatter
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from stylegan_jax import options
from stylegan_jax.config import Config, checks, from_dict, to_dict
from stylegan_jax.data import inspection, prepare, remote, sources
from stylegan_jax.devices import backend, distributed
from stylegan_jax.images import draw
from stylegan_jax.metrics import evaluate, results
from stylegan_jax.metrics.features import download, shelf
from stylegan_jax.runs import checkpoint, progress, workdir
from stylegan_jax.training import loop, plan
from stylegan_jax.weights import load, save

# Words in the errors of Gloo, NCCL and the coordination service where a collective operation lacks a process.
OF_LOST_PROCESSES = ("Gloo", "NCCL", "Connection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "heartbeat")


def export(config: Config | None, source: str) -> None:
    """Writes the network of a run, whose settings are compared with `config`, of a file or at the hub, to --out."""
    if options.OUT.value is None:
        raise ValueError("--out is missing, which --mode=export needs: a file such as faces.safetensors.")
    save.check_name(options.OUT.value)
    folder = pathlib.Path(os.path.expanduser(source))
    if config is not None and not folder.is_dir():
        raise ValueError(f"--config has no effect: {source} tells its own settings; leave it out.")
    if config is not None:
        workdir.check_config(folder, to_dict(config))
    backend.leave_accelerators_alone()
    network = load.load(source, options.CHECKPOINT.value)
    print(network.info, f"wrote {save.save(network, options.OUT.value, options.LICENSE.value)}", sep="\n")


def show_weights() -> None:
    """Fetches the files of --download, and prints what is in the folder of weights."""
    folder = weights_folder() or shelf.default_folder()
    for entry in download.entries(options.DOWNLOAD.value):
        with progress.counting("bytes") as progress_fn:
            text = download.fetch(entry, folder, progress_fn)
        print(text)
    with progress.counting("files") as progress_fn:
        text = shelf.report(folder, evaluate.metrics_of_networks(), progress_fn)
    print(text)


def weights_folder() -> pathlib.Path | None:
    """Returns the folder of --weights; None for the usual one."""
    return None if options.WEIGHTS.value is None else workdir.resolve(options.WEIGHTS.value, "--weights")


def measure(config: Config | None, folder: pathlib.Path) -> None:
    """Measures --metrics of --network, of --fakes or of the run in a folder, and prints a table."""
    workdir.check_writable(folder)
    network, fakes = options.NETWORK.value, options.FAKES.value
    request = evaluate.Request(
        metrics=options.METRICS.value,
        network=str(folder) if network is None and fakes is None else network,
        checkpoint=options.CHECKPOINT.value,
        fakes=fakes,
        reals=options.REALS.value,
        config=config,
        seeds=options.seeds(),
        weights=weights_folder(),
        attributes=options.ATTRIBUTES.value,
    )
    text = evaluate.evaluate(request, folder)
    if distributed.process_index() == 0:
        print(text, f"written to {folder / results.FILE}", sep="\n")


def run(config: Config, mode: str, folder: pathlib.Path) -> None:
    """Does what `mode`, which is not "sample" or "export", says. Raises ValueError if it cannot."""
    for note in checks.without_effect(config, config_flags.get_override_values(flags.FLAGS["config"])):
        print(f"note: {note}")
    if mode != "plan" and remote.is_remote(config.data.source):
        with progress.counting("bytes") as progress_fn:
            sources.local_path(config.data.source, config.data, progress_fn)
    source = pathlib.Path(os.path.expanduser(config.data.source))  # An unknown user stays in the path.
    is_written_to = config.data.source and source.is_dir() and folder.resolve().is_relative_to(source.resolve())
    if is_written_to and mode in ("train", "inspect", "prepare"):
        raise ValueError(f"--workdir={folder} lies in data.source, among the pictures; choose another.")
    if mode == "train":
        if backend.devices()[0].platform == "cpu":
            backend.keep_freed_memory()
        loop.train(config, folder, options.CHECKPOINT.value, options.INIT_FROM.value, weights_folder())
    elif mode == "plan":
        backend.devices()  # Also with --topology: JAX computes shapes by the devices that are here.
        print(plan.write(config, folder, options.TOPOLOGY.value))
    elif mode == "inspect":
        with progress.counting("pictures") as progress_fn:
            text = inspection.inspect(config, folder, progress_fn)
        print(text)
    else:
        with progress.counting("pictures") as progress_fn:
            record = prepare.make_store(config.data, config.model, folder, progress_fn)
        for note in record["notes"]:
            print(f"note: {note}")
        left_out = record["num_unreadable"] + record["num_filtered"]
        print(
            f"{folder} has {record['length']} pictures; {left_out} were left out. "
            f"Train from it with --config.data.source={folder}"
        )


def main(argv: list[str]) -> None:
    """Does what the flags say, and ends the process with its exit code, whatever other threads wait for."""
    if len(argv) > 1:
        sys.exit(f"error: {' '.join(argv[1:])}: not understood; settings are changed with --config.name=value.")
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().setFormatter(Formatter("warning: %(message)s"))
    sys.unraisablehook = show_unraisable
    backend.keep_programs()
    try:
        values = None if options.CONFIG.value is None else options.CONFIG.value.to_dict()
    except OSError as error:  # The file could not be read; the last line of the message says why.
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    code, mode = 0, options.MODE.value
    try:
        options.check_flags(mode)
        if mode in options.OF_WORKDIRS and options.WORKDIR.value is None:
            raise ValueError(f"--workdir is missing, which --mode={mode} needs: a folder such as runs/first.")
        folder = None if mode in ("export", "weights") else workdir.resolve(options.WORKDIR.value, "--workdir")
        if mode in ("inspect", "prepare", "weights"):
            backend.leave_accelerators_alone()
        config = None if values is None else from_dict(values)
        if mode == "sample":
            backend.find_devices()
            out = None if options.OUT.value is None else workdir.resolve(options.OUT.value, "--out")
            print(*draw.save_grids(config, folder, options.CLASSES.value, out, options.CHECKPOINT.value), sep="\n")
        elif mode == "evaluate":
            backend.use_all_cores()
            distributed.start(options.COORDINATOR.value, options.NUM_PROCESSES.value, options.PROCESS_ID.value)
            backend.find_devices()
            if backend.devices()[0].platform == "cpu":
                backend.keep_freed_memory()
            measure(config, folder)
        elif mode == "export":
            export(config, options.WORKDIR.value)
        elif mode == "weights":
            show_weights()
        elif config is None:
            raise ValueError(f"--config is missing, which --mode={mode} needs: a file, or a name such as demo.")
        else:
            if mode == "train":
                distributed.start(options.COORDINATOR.value, options.NUM_PROCESSES.value, options.PROCESS_ID.value)
            run(config, mode, folder)
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
        return f"{error}: make room where --workdir={options.WORKDIR.value} lies; the same command goes on."
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
