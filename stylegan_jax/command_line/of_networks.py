"""What the modes of a network do, which take no settings and no workdir."""

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags as absl_flags

from stylegan_jax.command_line import flags, options
from stylegan_jax.devices import backend
from stylegan_jax.images import (
    direction_files,
    edit,
    figures,
    film,
    find,
    generate,
    interpolate,
    labels,
    outputs,
    project,
    project_folder,
    styles,
)
from stylegan_jax.images.explorer import gallery, server
from stylegan_jax.metrics import attributes, evaluate
from stylegan_jax.metrics.features import download, shelf
from stylegan_jax.runs import grid, progress, workdir
from stylegan_jax.weights import load, save
from stylegan_jax.weights.network import Network


def make_images() -> None:
    """Writes the images of --seeds."""
    options.required("seeds", "numbers of images, such as 0-99")
    seeds, network, folder = options.seeds(flags.MOST_IMAGES), *_network_and_out_folder()
    with progress.counting("images") as progress_fn:
        save_fn = generate.save_grids if flags.GRID.value else generate.save_images
        paths = save_fn(network, seeds, folder, flags.CLASSES.value, progress_fn, **options.look())
    print(f"{folder} has {paths[0].name}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))


def draw_figures() -> None:
    """Writes --figures, each to a file of its name."""
    wanted = flags.FIGURES.value
    for name in wanted:
        if name not in figures.FIGURES:
            raise ValueError(f"--figures={name}: there is no such figure; use {', '.join(figures.FIGURES)}.")
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"--figures={','.join(wanted)}: use different figures, at least one.")
    network, folder = _network_and_out_folder()
    for name in wanted:
        if why := figures.lacking(network, name):
            text = f"this network {why}, and so cannot draw {name}"
            if absl_flags.FLAGS["figures"].present:
                raise ValueError(f"--figures={','.join(wanted)}: {text}; leave it out.")
            print(f"note: {text}")
    wanted = [name for name in wanted if not figures.lacking(network, name)]
    labels = [] if not flags.CLASSES.value else generate.numbers_of(network, flags.CLASSES.value)
    names = [f"{name}.png" for name in wanted]
    present = outputs.begin(folder, "figures", {"network": network.sha256, "classes": labels}, names)
    for name in wanted:
        if f"{name}.png" not in present:
            with progress.counting(name) as progress_fn:
                picture = figures.FIGURES[name](network, labels, progress_fn)
            grid.save_png(folder / f"{name}.png", picture)
        print(folder / f"{name}.png")


def interpolate_seeds() -> None:
    """Writes a film of a walk through --seeds."""
    options.required("seeds", "numbers of images, such as 0-5")
    if flags.NOISE.value == "random":
        raise ValueError("--noise=random would flicker in a film; use const or none.")
    space = flags.SPACE.value or "w"
    if space not in ("w", "z"):
        raise ValueError(f"--space={space} is for --mode=project; a film walks in w or z.")
    seeds, layers, look = options.seeds(), options.layers(), options.look()
    out = _out_file("walk.mp4")
    film.check(out, flags.FPS.value)
    network = _open_network()
    numbers = generate.numbers_of(network, flags.CLASSES.value)
    if len(numbers) > len(seeds):
        raise ValueError(f"--classes names {len(numbers)} classes for {len(seeds)} seeds, which take them in turns.")
    turns = labels.in_turns(numbers, len(seeds))
    num_frames, is_loop, noise = flags.FRAMES.value, flags.LOOP.value, (look.pop("noise"), look.pop("noise_seed"))
    walk = interpolate.walk(network, seeds, num_frames, space, is_loop, layers, turns, **look)
    total = interpolate.length(len(seeds), num_frames, is_loop)
    with progress.counting("frames") as progress_fn:

        def frames() -> Iterator[np.ndarray]:
            for done, ws in enumerate(walk, 1):
                yield network.images(ws[None], *noise)[0]
                progress_fn(done, total)

        film.save(out, frames(), flags.FPS.value)
    print(f"{out} has {total} frames, {total / flags.FPS.value:.1f} s")


def find_directions() -> None:
    """Writes directions to --out."""
    way, asked = options.required("find", ", ".join(find.WAYS)), flags.ATTRIBUTES.value
    asked = asked and os.path.expanduser(asked)
    out = _out_file("smile.safetensors")
    outputs.check_new_file(out, [".safetensors"])
    if (asked is None) == way.startswith("svm"):
        raise ValueError(
            f"--find={way} takes {'--attributes, which are missing' if asked is None else 'no attributes'}."
        )
    if flags.WEIGHTS.present and asked != "celeba":
        raise ValueError("--weights is for --attributes=celeba, whose files lie there; leave it out.")
    layers = options.layers()
    if layers is not None and way != "sefa":
        raise ValueError(f"--layers is for --find=sefa; with --find={way}, give it to --mode=edit.")
    present: Any = None
    if asked is not None and asked.endswith(".csv"):
        if flags.SEEDS.present or way != "svm":
            raise ValueError(
                f"{asked} names the seeds of its images, which have one w: use --find=svm, and no --seeds."
            )
        seeds, present = labels.read_csv(asked)
    else:
        options.required("seeds", "numbers of random latents, such as 0-9999")
        seeds = options.seeds(flags.MOST_IMAGES)
        if asked is not None:
            present = attributes.named(asked, options.weights_folder() or shelf.default_folder())
    network = _open_network()
    numbers = flags.CLASSES.value and generate.numbers_of(network, flags.CLASSES.value)
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
    layers, strengths = options.layers(), options.strengths()
    files, ws_files = ([*map(os.path.expanduser, flag.value)] for flag in (flags.DIRECTIONS, flags.WS))
    other = os.path.expanduser(flags.TOWARD.value or "")
    if bool(files) == bool(other):
        raise ValueError("--mode=edit takes --directions=FILES or --toward=FILE_OR_SEED: one of the two.")
    if other and (flags.APPLY.value or flags.HOLD.value):
        raise ValueError("--apply and --hold name --directions; leave them out with --toward.")
    if other and not flags.STRENGTHS.present:
        raise ValueError("--strengths is missing: with --toward, 1 takes the other's styles whole; such as 0,0.5,1.")
    if flags.NOISE.value == "random":
        raise ValueError("--noise=random would change pictures where they are not edited; use const or none.")
    for name in ("seeds", "classes", "psi", "cutoff"):
        if ws_files and absl_flags.FLAGS[name].present and (name == "seeds" or not other.isdecimal()):
            raise ValueError(f"--{name} is for pictures of seeds; leave it out with --ws.")
    if ws_files and len(flags.CLASSES.value) > 1:
        raise ValueError(f"--classes names several classes; with --ws, --toward={other} is of one.")
    if not ws_files:
        options.required("seeds", "numbers of images, such as 0-7; or --ws=FILES")
    seeds, look = options.seeds(flags.MOST_IMAGES), options.look()
    network, folder = _network_and_out_folder()
    styles.check_trained(network, layers)
    pictures = edit.open_pictures(network, ws_files, seeds, flags.CLASSES.value, **look)
    if other:
        target = ([], [int(other)]) if other.isdecimal() else ([other], [])
        moves = [edit.toward(edit.open_pictures(network, *target, flags.CLASSES.value, **look)[0], layers)]
    else:
        found, notes = edit.open_directions(network, files, flags.APPLY.value, flags.HOLD.value, layers)
        moves = [edit.along(direction) for direction in found]
        for note in notes:
            print(f"note: {note}")
    with progress.counting("images") as progress_fn:
        about = {"layers": layers, **look}
        paths = edit.save(network, pictures, moves, strengths, folder, about, flags.GRID.value, progress_fn)
    print(f"{folder} has {paths[0].name}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""))
    if flags.GRID.value:
        rows = [f"{picture.name} {move.name}" for picture in pictures for move in moves]
        print(f"rows: {', '.join(rows)}", f"columns: {', '.join(f'{strength:g}' for strength in strengths)}", sep="\n")


def explore() -> None:
    """Serves a page to play with --network until it is interrupted."""
    files = [*map(os.path.expanduser, flags.DIRECTIONS.value)]
    networks = gallery.Networks(gallery.sources_of(options.required("network", flags.A_NETWORK)), _load, files)
    for note in edit.open_directions(networks.open(0).network, files, (), (), None)[1]:
        print(f"note: {note}")
    if backend.devices()[0].platform == "cpu":
        backend.keep_freed_memory()  # A picture of 256 px takes half the time.
    server.serve(
        networks, flags.HOST.value, flags.PORT.value, lambda url: print(f"open {url} (Ctrl+C ends it)", flush=True)
    )


def project_pictures() -> None:
    """Writes the projection of each of --pictures."""
    source = options.required("pictures", "a folder of pictures, or whatever else data.source can name")
    space = flags.SPACE.value or "w+"
    if space == "z":
        raise ValueError("--space=z is for --mode=interpolate; pictures are projected into w, w+ or w+noise.")
    if len(flags.CLASSES.value) > 1:
        raise ValueError("--classes names several classes; with --mode=project, random styles are of one, or of all.")
    config = options.data_config()
    options.check_apart(_out_folder(), "--out", source, "--pictures")
    network, folder = _network_and_out_folder()
    project.check_settings(network, space, flags.STEPS.value)
    label = generate.numbers_of(network, flags.CLASSES.value)[0] if flags.CLASSES.value else None
    start = None if flags.START.value is None else workdir.resolve(flags.START.value, "--start")
    vgg = project_folder.open_vgg(options.weights_folder())
    print(f"note: pictures are compared by {project_folder.likeness_of(network, vgg)}")
    settings = evaluate.settings_for(config, flags.NETWORK.value)
    with progress.counting("pictures") as progress_fn:
        pictures = project_folder.open_pictures(source, settings.data, network, progress_fn)
    with progress.counting("steps of all pictures") as progress_fn:
        summary = project_folder.save_projections(
            network,
            pictures,
            folder,
            space,
            steps=flags.STEPS.value,
            label=label,
            vgg=vgg,
            start=start,
            progress_fn=progress_fn,
        )
    for remark in project_folder.remarks(summary):
        print(f"note: {remark}")
    print(f"{project_folder.as_text(summary)}; {folder / project_folder.SUMMARY} has each picture's numbers")


def export() -> None:
    """Writes the network to --out."""
    out = options.required("out", "a file such as faces.safetensors")
    save.check_name(out)
    network = load.load(options.required("network", flags.A_NETWORK), flags.CHECKPOINT.value)
    print(network.info, f"wrote {save.save(network, out, flags.LICENSE.value, dtype=flags.DTYPE.value)}", sep="\n")


def show_weights() -> None:
    """Fetches the files of --download, and prints what is in the folder of weights."""
    folder = options.weights_folder() or shelf.default_folder()
    for entry in download.entries(flags.DOWNLOAD.value):
        with progress.counting("bytes") as progress_fn:
            text = download.fetch(entry, folder, progress_fn)
        print(text)
    with progress.counting("files") as progress_fn:
        text = shelf.report(folder, evaluate.metrics_of_networks(), progress_fn)
    print(text)


def _open_network() -> Network:
    """Returns the network of --network, and prints what a user should know of it."""
    return _load(options.required("network", flags.A_NETWORK), flags.CHECKPOINT.value)


def _load(path: str, checkpoint: int | None = None) -> Network:
    network = load.load(path, checkpoint)
    for note in network.info.notes:
        print(f"note: {note}")
    return network


def _network_and_out_folder() -> tuple[Network, pathlib.Path]:
    """Returns the network and the folder of --out, which is made if there is such a network."""
    folder = _out_folder()
    network = _open_network()
    workdir.check_writable(folder, "--out")
    return network, folder


def _out_folder() -> pathlib.Path:
    """Returns the path of the folder --out."""
    return workdir.resolve(options.required("out", "a folder such as pictures"), "--out")


def _out_file(example: str) -> pathlib.Path:
    """Returns the path of the file --out."""
    return pathlib.Path(os.path.expanduser(options.required("out", f"a file such as {example}")))


MODES: dict[str, Callable[[], None]] = {
    "generate": make_images,
    "figures": draw_figures,
    "interpolate": interpolate_seeds,
    "directions": find_directions,
    "edit": edit_images,
    "explore": explore,
    "project": project_pictures,
    "export": export,
    "weights": show_weights,
}
