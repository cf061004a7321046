"""Command line: python -m stylegan_jax.main --config=demo --workdir=DIR [--mode=...] [--config.seed=1]."""

import contextlib
import difflib
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
from ml_collections import config_dict, config_flags

from stylegan_jax.config import Config, checks, default, from_dict, named, to_dict
from stylegan_jax.data import inspection, prepare, remote, sources
from stylegan_jax.devices import backend, distributed
from stylegan_jax.images import draw
from stylegan_jax.metrics.features import download, shelf
from stylegan_jax.runs import checkpoint, progress, workdir
from stylegan_jax.training import loop, plan
from stylegan_jax.weights import load, save

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "File of settings, or the name of one that comes with stylegan_jax: demo, or ffhq:8 with what its docstring says. "
    "With --mode=sample and --mode=export it can be left out: the settings are those of the run.",
    lock_config=True,
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder to write to: checkpoints, pictures and logs of a run.")
OF_WORKDIRS = ("train", "inspect", "plan", "prepare", "sample", "export")  # Modes that need --workdir.
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    [*OF_WORKDIRS, "weights"],
    "train: train, or go on, in --workdir. inspect: say what data.source has in it and what training would do with it. "
    "plan: say how much memory and time training will take, by its compiled programs; see --topology. prepare: make a "
    "store of the pictures at --workdir, for data.source to name. sample: draw images from the newest checkpoint in "
    "--workdir, or from --checkpoint. export: write the network of --workdir, or of a file of weights, to --out. "
    "weights: say which weights metrics need, which are there, and where the others are published.",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, where processes do not find each other; on Cloud TPU, in SLURM and in JobSets they do.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes of the run, with --coordinator; or 1, without it."
)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process from 0, with --coordinator.")
TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    "Devices to plan for with --mode=plan, instead of those at hand. TPUs need libtpu: v5e:4x4 or v5p:2x2x1. GPUs need "
    "their compiler: v100, a100, h100, h200 or b200, and their number, such as h100:8.",
)
CLASSES = flags.DEFINE_list(
    "classes",
    [],
    "Classes to draw with --mode=sample, by name or number: cat,dog,7. Put a name that has a comma in double "
    "quotes: --classes='\"salt, pepper\",7'.",
)
CHECKPOINT = flags.DEFINE_integer(
    "checkpoint",
    None,
    "Images of a checkpoint in --workdir, used instead of the newest. --mode=sample draws from it. --mode=train goes "
    "back to it, once: newer checkpoints are moved to checkpoints/after-NIMG.",
)
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "File or workdir of a network whose arrays a new run begins with, as far as they fit."
)
OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder for the pictures of --mode=sample, instead of --workdir. File for the network of --mode=export: its end "
    "tells the layout, .safetensors, .npz, .pkl, .pth, .model, .stablehlo or .onnx; or hf://OWNER/NAME.",
)
LICENSE = flags.DEFINE_string(
    "license", None, "Licence of the weights, as their owner states it, for the card of --mode=export: CC BY-NC 4.0."
)
WEIGHTS = flags.DEFINE_string(
    "weights", None, "Folder of the weights that metrics need, instead of ~/.cache/stylegan_jax/weights."
)
DOWNLOAD = flags.DEFINE_list(
    "download", [], "Published files to fetch with --mode=weights, by name: vgg16.ckpt,vgg.pth."
)
MODES_OF_FLAGS = {
    "workdir": OF_WORKDIRS, "config": OF_WORKDIRS, "weights": ("weights",), "download": ("weights",),
    "topology": ("plan",), "classes": ("sample",), "out": ("sample", "export"), "license": ("export",),
    "checkpoint": ("sample", "export", "train"), "init_from": ("train",),
}  # fmt: skip

# Words in the errors of Gloo, NCCL and the coordination service where a collective operation lacks a process.
OF_LOST_PROCESSES = ("Gloo", "NCCL", "Connection", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "heartbeat")


def _field_names(values: config_dict.ConfigDict, prefix: str = "") -> list[str]:
    """Returns the dotted names of all fields in `values`."""
    names = []
    for name, value in values.items():
        names.append(prefix + name)
        if isinstance(value, config_dict.ConfigDict):
            names += _field_names(value, f"{prefix}{name}.")
    return names


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are not flags; ends the process with one line if a flag cannot be understood."""
    open_streams()
    try:
        argv = named.find(argv)
    except ValueError as error:
        sys.exit(f"error: {error}")
    known = _field_names(default())
    names = [argument.lstrip("-").partition("=")[0] for argument in argv[1:] if argument.startswith("-")]
    for name in names:
        if name.startswith("config.") and "config" not in names:
            sys.exit(f"error: --{name} changes a setting of --config, which is missing.")
        if name.startswith("config.") and name[len("config.") :] not in known:
            near = difflib.get_close_matches(name[len("config.") :], known, 1) or [", ".join(known)]
            sys.exit(f"error: --{name}: there is no such setting; did you mean --config.{near[0]}?")
    try:
        return flags.FLAGS(argv)
    except (flags.Error, OSError, ValueError, TypeError, AttributeError, KeyError, SyntaxError) as error:
        text = str(error)  # After an error in a config file it is a traceback, whose last line says what happened.
        sys.exit(f"error: {text.splitlines()[-1] if 'Traceback' in text else ' '.join(text.split())}")


def open_streams() -> None:
    """Opens standard streams that the process was started without (`>&-`): what is printed there goes nowhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)  # So that no file of the run gets this number.
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def check_flags(mode: str) -> None:
    """Raises ValueError if a flag is given that `mode` does not use."""
    for name, modes in MODES_OF_FLAGS.items():
        if flags.FLAGS[name].present and mode not in modes:
            allowed = " and ".join(f"--mode={m}" for m in modes)
            raise ValueError(f"--{name} is for {allowed} alone; leave it out with --mode={mode}.")


def export(config: Config | None, source: str) -> None:
    """Writes the network of a run, whose settings are compared with `config`, of a file or at the hub, to --out."""
    if OUT.value is None:
        raise ValueError("--out is missing, which --mode=export needs: a file such as faces.safetensors.")
    save.check_name(OUT.value)
    folder = pathlib.Path(os.path.expanduser(source))
    if config is not None and not folder.is_dir():
        raise ValueError(f"--config has no effect: {source} tells its own settings; leave it out.")
    if config is not None:
        workdir.check_config(folder, to_dict(config))
    backend.leave_accelerators_alone()
    network = load.load(source, CHECKPOINT.value)
    print(network.info, f"wrote {save.save(network, OUT.value, LICENSE.value)}", sep="\n")


def show_weights() -> None:
    """Fetches the files of --download, and prints what is in the folder of weights."""
    folder = shelf.default_folder() if WEIGHTS.value is None else workdir.resolve(WEIGHTS.value, "--weights")
    for entry in download.entries(DOWNLOAD.value):
        with progress.counting("bytes") as progress_fn:
            text = download.fetch(entry, folder, progress_fn)
        print(text)
    with progress.counting("files") as progress_fn:
        text = shelf.report(folder, progress_fn)
    print(text)


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
        loop.train(config, folder, CHECKPOINT.value, INIT_FROM.value)
    elif mode == "plan":
        backend.devices()  # Also with --topology: JAX computes shapes by the devices that are here.
        print(plan.write(config, folder, TOPOLOGY.value))
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
        values = None if CONFIG.value is None else CONFIG.value.to_dict()
    except OSError as error:  # The file could not be read; the last line of the message says why.
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    code = 0
    try:
        check_flags(MODE.value)
        if MODE.value in OF_WORKDIRS and WORKDIR.value is None:
            raise ValueError(f"--workdir is missing, which --mode={MODE.value} needs: a folder such as runs/first.")
        folder = None if MODE.value in ("export", "weights") else workdir.resolve(WORKDIR.value, "--workdir")
        if MODE.value in ("inspect", "prepare", "weights"):
            backend.leave_accelerators_alone()
        config = None if values is None else from_dict(values)
        if MODE.value == "sample":
            backend.find_devices()
            out = None if OUT.value is None else workdir.resolve(OUT.value, "--out")
            print(*draw.save_grids(config, folder, CLASSES.value, out, CHECKPOINT.value), sep="\n")
        elif MODE.value == "export":
            export(config, WORKDIR.value)
        elif MODE.value == "weights":
            show_weights()
        elif config is None:
            raise ValueError(f"--config is missing, which --mode={MODE.value} needs: a file, or a name such as demo.")
        else:
            if MODE.value == "train":
                distributed.start(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
            run(config, MODE.value, folder)
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
        return f"{error}: make room where --workdir={WORKDIR.value} lies; the same command goes on."
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
    app.run(main, flags_parser=parse_flags)
