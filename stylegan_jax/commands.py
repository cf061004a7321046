"""What each mode of the command line does, by its flags."""

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags

from stylegan_jax import options
from stylegan_jax.config import Config, checks
from stylegan_jax.data import inspection, prepare, remote, sources
from stylegan_jax.devices import backend, distributed
from stylegan_jax.images import direction_files, edit, figures, film, find, generate, interpolate, labels, outputs
from stylegan_jax.images.explorer import gallery, server
from stylegan_jax.metrics import attributes, evaluate, results
from stylegan_jax.metrics.features import download, shelf
from stylegan_jax.runs import grid, progress, workdir
from stylegan_jax.training import loop, plan
from stylegan_jax.weights import load, save
from stylegan_jax.weights.network import Network

# ---- of runs: each takes the settings and the workdir


def train(config: Config, folder: pathlib.Path) -> None:
    """Trains a network, or goes on."""
    _prepare_source(config, folder)
    if backend.devices()[0].platform == "cpu":
        backend.keep_freed_memory()
    loop.train(config, folder, options.CHECKPOINT.value, options.INIT_FROM.value, _weights_folder())


def plan_training(config: Config, folder: pathlib.Path) -> None:
    """Prints what training will take."""
    _show_notes(config)
    backend.devices()  # Also with --topology: JAX computes shapes by the devices that are here.
    print(plan.write(config, folder, options.TOPOLOGY.value))


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
    network, fakes = options.NETWORK.value, options.FAKES.value
    request = evaluate.Request(
        metrics=options.METRICS.value,
        network=str(folder) if network is None and fakes is None else network,
        checkpoint=options.CHECKPOINT.value,
        fakes=fakes,
        reals=options.REALS.value,
        config=config,
        seeds=options.seeds(),
        weights=_weights_folder(),
        attributes=options.ATTRIBUTES.value,
    )
    text = evaluate.evaluate(request, folder)
    if distributed.process_index() == 0:
        print(text, f"written to {folder / results.FILE}", sep="\n")


def _show_notes(config: Config) -> None:
    """Prints which settings have no effect."""
    for note in checks.without_effect(config, config_flags.get_override_values(flags.FLAGS["config"])):
        print(f"note: {note}")


def _prepare_source(config: Config, folder: pathlib.Path) -> None:
    """Fetches remote pictures. Raises ValueError if what is written would lie among the pictures."""
    _show_notes(config)
    if remote.is_remote(config.data.source):
        with progress.counting("bytes") as progress_fn:
            sources.local_path(config.data.source, config.data, progress_fn)
    source = pathlib.Path(os.path.expanduser(config.data.source))  # An unknown user stays in the path.
    if config.data.source and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"--workdir={folder} lies in data.source, among the pictures; choose another.")


OF_RUNS: dict[str, Callable[[Any, pathlib.Path], None]] = {
    "train": train,
    "plan": plan_training,
    "inspect": inspect,
    "prepare": make_store,
    "evaluate": measure,
}


# ---- of a network


def make_images() -> None:
    """Writes the images of --seeds."""
    options.required("seeds", "numbers of images, such as 0-99")
    seeds, folder, network = options.seeds(options.MOST_IMAGES), _out_folder(), _open_network()
    with progress.counting("images") as progress_fn:
        save_fn = generate.save_grids if options.GRID.value else generate.save_images
        paths = save_fn(network, seeds, folder, options.CLASSES.value, progress_fn, **options.look())
    print(f"{folder} has {paths[0].name}" + (f" to {paths[-1].name}" if len(paths) > 1 else ""))


def draw_figures() -> None:
    """Writes --figures, each to a file of its name."""
    for name in options.FIGURES.value:
        if name not in figures.FIGURES:
            raise ValueError(f"--figures={name}: there is no such figure; use {', '.join(figures.FIGURES)}.")
    folder, network = _out_folder(), _open_network()
    labels = [] if not options.CLASSES.value else generate.numbers_of(network, options.CLASSES.value)
    names = [f"{name}.png" for name in options.FIGURES.value]
    present = outputs.begin(folder, "figures", {"network": network.sha256, "classes": labels}, names)
    for name in options.FIGURES.value:
        if f"{name}.png" not in present:
            with progress.counting(name) as progress_fn:
                picture = figures.FIGURES[name](network, labels, progress_fn)
            grid.save_png(folder / f"{name}.png", picture)
        print(folder / f"{name}.png")


def interpolate_seeds() -> None:
    """Writes a film of a walk through --seeds."""
    options.required("seeds", "numbers of images, such as 0-5")
    if options.NOISE.value == "random":
        raise ValueError("--noise=random would flicker in a film; use const or none.")
    seeds, layers, look = options.seeds(), options.layers(), options.look()
    out = pathlib.Path(os.path.expanduser(options.required("out", "a file such as walk.mp4")))
    film.check_name(out)
    network = _open_network()
    labels = None
    if options.CLASSES.value or network.model.num_labels:
        numbers = generate.numbers_of(network, options.CLASSES.value)
        labels = [numbers[i % len(numbers)] for i in range(len(seeds))]
    num_frames, is_loop, noise = options.FRAMES.value, options.LOOP.value, (look.pop("noise"), look.pop("noise_seed"))
    walk = interpolate.walk(network, seeds, num_frames, options.SPACE.value, is_loop, layers, labels, **look)
    total = interpolate.length(len(seeds), num_frames, is_loop)
    with progress.counting("frames") as progress_fn:

        def frames() -> Iterator[np.ndarray]:
            for done, ws in enumerate(walk, 1):
                yield network.images(ws[None], *noise)[0]
                progress_fn(done, total)

        film.save(out, frames(), options.FPS.value)
    print(f"{out} has {total} frames, {total / options.FPS.value:.1f} s")


def find_directions() -> None:
    """Writes directions to --out."""
    way, asked = options.required("find", ", ".join(find.WAYS)), options.ATTRIBUTES.value
    out = pathlib.Path(os.path.expanduser(options.required("out", "a file such as smile.safetensors")))
    if out.suffix != ".safetensors":
        raise ValueError(f"--out={out}: directions go to a file whose name ends with .safetensors.")
    if (asked is None) == way.startswith("svm"):
        raise ValueError(
            f"--find={way} takes {'--attributes, which are missing' if asked is None else 'no attributes'}."
        )
    layers = options.layers()
    if layers is not None and way != "sefa":
        raise ValueError(f"--layers is for --find=sefa; with --find={way}, give it to --mode=edit.")
    present: Any = None
    if asked is not None and asked.endswith(".csv"):
        if options.SEEDS.present or way != "svm":
            raise ValueError(
                f"{asked} names the seeds of its images, which have one w: use --find=svm, and no --seeds."
            )
        seeds, present = labels.read_csv(asked)
    else:
        options.required("seeds", "numbers of random latents, such as 0-9999")
        seeds = options.seeds(options.MOST_IMAGES)
        if asked is not None:
            present = attributes.named(asked, _weights_folder() or shelf.default_folder())
    network = _open_network()
    numbers = options.CLASSES.value and generate.numbers_of(network, options.CLASSES.value)
    if network.model.num_labels and not numbers:
        numbers = list(range(network.model.num_labels))
        print(f"note: the {len(numbers)} classes take turns; --classes=NAME takes one.")
    with progress.counting("images") as progress_fn:
        found, notes = find.find(network, way, seeds, numbers or (None,), present, layers, progress_fn)
    direction_files.save(out, found)
    for note in notes:
        print(f"note: {note}")
    print(*(f"{direction.name}: {direction.source}" for direction in found), f"wrote {out}", sep="\n")


def edit_images() -> None:
    """Writes pictures of --seeds or --ws, moved along --directions or toward another picture."""
    files, other, layers, strengths = (
        options.DIRECTIONS.value,
        options.TOWARD.value,
        options.layers(),
        options.strengths(),
    )
    if bool(files) == bool(other):
        raise ValueError("--mode=edit takes --directions=FILES or --toward=FILE_OR_SEED: one of the two.")
    if other and (options.APPLY.value or options.HOLD.value):
        raise ValueError("--apply and --hold name --directions; leave them out with --toward.")
    if other and not options.STRENGTHS.present:
        raise ValueError("--strengths is missing: with --toward, 1 takes the other's styles whole; such as 0,0.5,1.")
    if options.NOISE.value == "random":
        raise ValueError("--noise=random would change pictures where they are not edited; use const or none.")
    for name in ("seeds", "classes", "psi", "cutoff"):
        if options.WS.value and flags.FLAGS[name].present and (name == "seeds" or not (other or "").isdecimal()):
            raise ValueError(f"--{name} is for pictures of seeds; leave it out with --ws.")
    if not options.WS.value:
        options.required("seeds", "numbers of images, such as 0-7; or --ws=FILES")
    seeds, folder, look = options.seeds(options.MOST_IMAGES), _out_folder(), options.look()
    network = _open_network()
    pictures = edit.open_pictures(network, options.WS.value, seeds, options.CLASSES.value, **look)
    if other:
        target = ([], [int(other)]) if other.isdecimal() else ([other], [])
        moves = [edit.toward(edit.open_pictures(network, *target, options.CLASSES.value, **look)[0], layers)]
    else:
        found, notes = edit.open_directions(network, files, options.APPLY.value, options.HOLD.value, layers)
        moves = [edit.along(direction) for direction in found]
        for note in notes:
            print(f"note: {note}")
    with progress.counting("images") as progress_fn:
        about = {"layers": layers, **look}
        paths = edit.save(network, pictures, moves, strengths, folder, about, options.GRID.value, progress_fn)
    print(f"{folder} has {paths[0].name}" + (f" to {paths[-1].name}" if len(paths) > 1 else ""))
    if options.GRID.value:
        rows = [f"{picture.name} {move.name}" for picture in pictures for move in moves]
        print(f"rows: {', '.join(rows)}", f"columns: {', '.join(f'{strength:g}' for strength in strengths)}", sep="\n")


def explore() -> None:
    """Serves a page to play with --network until it is interrupted."""
    networks = gallery.Networks(gallery.sources_of(options.required("network", options.A_NETWORK)), _load)
    networks.open(0)
    if backend.devices()[0].platform == "cpu":
        backend.keep_freed_memory()  # A picture of 256 px takes half the time.
    server.serve(
        networks, options.HOST.value, options.PORT.value, lambda url: print(f"open {url} (Ctrl+C ends it)", flush=True)
    )


def export() -> None:
    """Writes the network to --out."""
    out = options.required("out", "a file such as faces.safetensors")
    save.check_name(out)
    network = load.load(options.required("network", options.A_NETWORK), options.CHECKPOINT.value)
    print(network.info, f"wrote {save.save(network, out, options.LICENSE.value, dtype=options.DTYPE.value)}", sep="\n")


def show_weights() -> None:
    """Fetches the files of --download, and prints what is in the folder of weights."""
    folder = _weights_folder() or shelf.default_folder()
    for entry in download.entries(options.DOWNLOAD.value):
        with progress.counting("bytes") as progress_fn:
            text = download.fetch(entry, folder, progress_fn)
        print(text)
    with progress.counting("files") as progress_fn:
        text = shelf.report(folder, evaluate.metrics_of_networks(), progress_fn)
    print(text)


def _open_network() -> Network:
    """Returns the network of --network, and prints what a user should know of it."""
    return _load(options.required("network", options.A_NETWORK), options.CHECKPOINT.value)


def _load(path: str, checkpoint: int | None = None) -> Network:
    network = load.load(path, checkpoint)
    for note in network.info.notes:
        print(f"note: {note}")
    return network


def _out_folder() -> pathlib.Path:
    """Returns the folder of --out, which is made if needed."""
    folder = workdir.resolve(options.required("out", "a folder such as pictures"), "--out")
    workdir.check_writable(folder, "--out")
    return folder


def _weights_folder() -> pathlib.Path | None:
    """Returns the folder of --weights; None for the usual one."""
    return None if options.WEIGHTS.value is None else workdir.resolve(options.WEIGHTS.value, "--weights")


OTHERS: dict[str, Callable[[], None]] = {
    "generate": make_images,
    "figures": draw_figures,
    "interpolate": interpolate_seeds,
    "directions": find_directions,
    "edit": edit_images,
    "explore": explore,
    "export": export,
    "weights": show_weights,
}
