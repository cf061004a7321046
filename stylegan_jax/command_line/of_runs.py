"""What the modes of runs do: each takes the settings and the workdir."""

import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags as absl_flags
from ml_collections import config_flags

from stylegan_jax.command_line import flags, options
from stylegan_jax.config import Config, checks
from stylegan_jax.data import inspection, prepare, remote, sources
from stylegan_jax.devices import backend, distributed
from stylegan_jax.metrics import evaluate, results
from stylegan_jax.runs import progress, workdir
from stylegan_jax.training import loop, plan


def train(config: Config, folder: pathlib.Path) -> None:
    """Trains a network, or goes on."""
    _prepare_source(config, folder)
    if backend.devices()[0].platform == "cpu":
        backend.keep_freed_memory()
    loop.train(config, folder, flags.CHECKPOINT.value, flags.INIT_FROM.value, options.weights_folder())


def plan_training(config: Config, folder: pathlib.Path) -> None:
    """Prints what training will take."""
    _show_notes(config)
    backend.devices()  # Also with --topology: JAX computes shapes by the devices that are here.
    print(plan.write(config, folder, flags.TOPOLOGY.value))


def inspect(config: Config, folder: pathlib.Path) -> None:
    """Prints what is in data.source."""
    _prepare_source(config, folder)
    with progress.counting("pictures") as progress_fn:
        text = inspection.inspect(config, folder, progress_fn)
    print(text)


def make_store(config: Config, folder: pathlib.Path) -> None:
    """Makes a store of the pictures of data.source."""
    _prepare_source(config, folder)
    with progress.counting("pictures") as progress_fn:
        record = prepare.make_store(config.data, config.model, folder, progress_fn)
    for note in record["notes"]:
        print(f"note: {note}")
    left_out = record["num_unreadable"] + record["num_filtered"]
    print(
        f"{folder} has {record['length']} pictures; {left_out} were left out. "
        f"Train from it with --config.data.source={folder}"
    )


def measure(config: Config | None, folder: pathlib.Path) -> None:
    """Measures --metrics of --network, of --fakes or of the run in a folder, and prints a table."""
    if backend.devices()[0].platform == "cpu":
        backend.keep_freed_memory()
    workdir.check_writable(folder)
    network, fakes = flags.NETWORK.value, flags.FAKES.value
    request = evaluate.Request(
        metrics=flags.METRICS.value,
        network=str(folder) if network is None and fakes is None else network,
        checkpoint=flags.CHECKPOINT.value,
        fakes=fakes,
        reals=flags.REALS.value,
        config=config,
        seeds=options.seeds(),
        weights=options.weights_folder(),
        attributes=flags.ATTRIBUTES.value,
    )
    text = evaluate.evaluate(request, folder)
    if distributed.process_index() == 0:
        print(text, f"written to {folder / results.FILE}", sep="\n")


def _show_notes(config: Config) -> None:
    """Prints which settings have no effect."""
    for note in checks.without_effect(config, config_flags.get_override_values(absl_flags.FLAGS["config"])):
        print(f"note: {note}")


def _prepare_source(config: Config, folder: pathlib.Path) -> None:
    """Fetches remote pictures. Raises ValueError if what is written would lie among the pictures."""
    _show_notes(config)
    if remote.is_remote(config.data.source):
        with progress.counting("bytes") as progress_fn:
            sources.local_path(config.data.source, config.data, progress_fn)
    options.check_apart(folder, "--workdir", config.data.source, "data.source")


MODES: dict[str, Callable[[Any, pathlib.Path], None]] = {
    "train": train,
    "plan": plan_training,
    "inspect": inspect,
    "prepare": make_store,
    "evaluate": measure,
}
