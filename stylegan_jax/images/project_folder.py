"""`--mode=project`: the pictures of a source, projected into a network, each with a file of its own."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Data
from stylegan_jax.data import images
from stylegan_jax.data.images import Images
from stylegan_jax.devices import mesh
from stylegan_jax.images import mapped, outputs, project, projection_files
from stylegan_jax.images.mapped import MappedStyles
from stylegan_jax.images.project import Projection
from stylegan_jax.metrics import feature_networks
from stylegan_jax.metrics.feature_networks import Opened
from stylegan_jax.metrics.features import shelf
from stylegan_jax.runs import grid, whole
from stylegan_jax.runs.text import printable
from stylegan_jax.weights.network import Network

ENDING = ".projection.safetensors"
SUMMARY = "projections.json"
SEED = 0  # Of the random styles.
MOST_NAME_BYTES = 255  # Of a file's name in a folder, on the file systems of Linux, macOS and Windows.
FAR = 100.0  # Novelty from which a picture is told to be far from what the network makes, percent.


def save_projections(
    network: Network,
    pictures: Images,
    folder: pathlib.Path,
    space: str = "w+",
    *,
    steps: int = project.STEPS,
    label: str | None = None,
    vgg: Opened | None = None,
    start: pathlib.Path | None = None,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Projects each picture that has no file yet, and returns a summary of all, which is written too.

    Of a picture face.jpg are written: face.projection.safetensors (see projection_files), and face.png, the picture
    beside its projection. projections.json has the summary.

    Args:
        network: network to project into.
        pictures: squares of the network's resolution and channels.
        folder: folder to write to; it must exist.
        space: of project.SPACES.
        steps: as of project.project.
        label: class that random styles are drawn of, in a conditional network; None: of all.
        vgg: VGG16 with the heads of LPIPS; None: see project.project.
        start: folder of projections of the same pictures, to go on from.
        progress_fn: called with (steps done, steps of all pictures).

    Returns:
        Means of psnr, lpips (or None), distance and novelty of project.Projection, and "pictures", a row for each.

    Raises:
        ValueError: an argument is of another kind, the folder has other pictures, or projections of others or damaged
            ones, or `start` lacks one of a picture.
    """
    names = file_names(pictures.names)
    styles = mapped.styles_of(network, label, SEED)
    how = {"network": network.sha256, "space": space, "steps": steps, "seed": SEED, "class": label}
    how |= {"likeness": likeness_of(network, vgg), "start": None if start is None else str(start.resolve())}
    if start is not None:
        for i, name in enumerate(names):
            remedy = "choose as --start a folder that has these pictures' projections, whole"
            _check_same(start / (name + ENDING), _square(pictures, i, network), network, remedy)
    present = outputs.begin(folder, "project", how, [name + end for name in names for end in (ENDING, ".png")])
    missing = []
    for i, name in enumerate(names):
        if name + ENDING in present:
            remedy = "remove it to project the picture again, or choose another --out"
            _check_same(folder / (name + ENDING), _square(pictures, i, network), network, remedy)
        else:
            missing.append(i)
    size = project.batch_of(network)
    for first in range(0, len(missing), size):
        places = missing[first : first + size]
        squares = np.stack([_square(pictures, i, network) for i in places])
        begun = None if start is None else _joined([start / (names[i] + ENDING) for i in places], network)

        def report(done: int, total: int, first: int = first) -> None:
            progress_fn(first * steps + done, len(missing) * steps)

        found = project.project(
            network,
            squares,
            space,
            steps=steps,
            vgg_params=None if vgg is None else vgg.params,
            start=begun,
            styles=styles,
            progress_fn=report,
        )
        for k, i in enumerate(places):
            grid.save_png(folder / f"{names[i]}.png", np.concatenate([squares[k], found.images[k]], axis=1))
            about = {"picture": pictures.names[i], "picture_sha256": _digest(squares[k]), **how}
            projection_files.write(folder / (names[i] + ENDING), network, project.picked(found, [k]), about)
    summary = _summary(folder, names, styles)
    with whole.writing(folder / SUMMARY, "w") as file:
        # JSON has no infinity, which is the psnr of an equal picture: it is a text there.
        json.dump(json.loads(json.dumps(summary), parse_constant=str), file, indent=2)
    return summary


def file_names(names: Sequence[str]) -> list[str]:
    """Returns what the files of each picture are called: as the picture, without its ending where that is clear.

    Args:
        names: names of the pictures, with / between folders; unique.

    Raises:
        ValueError: two pictures would have the same, or the name of a file would be too long.
    """
    flat = [name.replace("/", "-") for name in names]
    stems = Counter(os.path.splitext(name)[0] for name in flat)
    found = [name if stems[os.path.splitext(name)[0]] > 1 else os.path.splitext(name)[0] for name in flat]
    for name, count in Counter(found).items():
        if count > 1:
            same = [names[i] for i, other in enumerate(found) if other == name][:2]
            raise ValueError(f"{same[0]} and {same[1]} would both be written to {name}.png; rename one.")
    for name, picture in zip(found, names, strict=True):
        num_bytes = len(os.fsencode(whole.partial_path(pathlib.Path(name + ENDING)).name))
        if num_bytes > MOST_NAME_BYTES:
            raise ValueError(
                f"{picture}: while its projection is written, the file's name has {num_bytes} bytes, and a folder "
                f"takes {MOST_NAME_BYTES}; give the picture, or the folders that it lies in, a shorter name."
            )
    return found


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each picture that the network cannot be expected to make."""
    return [
        f"{printable(row['picture'])} is far from what this network makes: none of its random images is as unlike the "
        f"others as this picture is. Its projection ({row['psnr']:.1f} dB) may be another picture."
        for row in summary["pictures"]
        if row["novelty"] >= FAR
    ]


def likeness_of(network: Network, vgg: Opened | None) -> str:
    """Returns what pictures are compared by."""
    if vgg is not None:
        return f"pixels at several scales and LPIPS of VGG16 (sha256 {vgg.content_sha256[:12]})"
    if network.d_params is not None:
        return "pixels at several scales and the features of the network's discriminator"
    return "pixels at several scales alone: there are neither weights of VGG16 nor a discriminator"


def _square(pictures: Images, i: int, network: Network) -> np.ndarray:
    """Returns a picture. uint8 [model.resolution, model.resolution, channels]"""
    return pictures.squares(np.asarray([i]), network.model.resolution)[0]


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image)).hexdigest()


def _check_same(path: pathlib.Path, image: np.ndarray, network: Network, remedy: str) -> None:
    """Raises ValueError, which ends with what to do, unless a file has a whole projection of a picture."""
    try:
        _, _, text = projection_files.decoded(path.read_bytes(), network, str(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is not there; {remedy}.") from None
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}; {remedy}.") from None
    if text["about"].get("picture_sha256") != _digest(image):
        raise ValueError(f"{path} is of another picture of that name, or of one that has changed; {remedy}.")


def _joined(paths: Iterable[pathlib.Path], network: Network) -> Projection:
    """Returns the projections of some files as one."""
    found = [projection_files.read(path, network) for path in paths]
    noise = None
    if all(one.noise is not None for one in found):
        noise = jax.tree.map(lambda *maps: np.concatenate(maps), *(one.noise for one in found))
    return Projection(np.concatenate([one.ws for one in found]), noise, *(None,) * 5, space=found[0].space)


def _summary(folder: pathlib.Path, names: Sequence[str], styles: MappedStyles) -> dict[str, Any]:
    """Returns the numbers of all pictures, from their files."""
    rows = []
    for name in names:
        about = projection_files.about(folder / (name + ENDING))
        row = {"picture": about["about"]["picture"], "file": name + ENDING}
        row |= {number: about[number] for number in projection_files.NUMBERS}
        rows.append(row | {"distance_percentile": styles.percentile(about["distance"])})
    means: Mapping[str, float | None] = {
        number: None if any(row[number] is None for row in rows) else float(np.mean([row[number] for row in rows]))
        for number in projection_files.NUMBERS
    }
    return {**means, "pictures": rows}


def as_text(summary: Mapping[str, Any]) -> str:
    """Returns the means of a summary as a sentence without its stop."""
    perceptual = "" if summary["lpips"] is None else f", LPIPS {summary['lpips']:.3f}"
    return f"{len(summary['pictures'])} pictures are projected: PSNR {summary['psnr']:.1f} dB{perceptual} on average"


# ---- what it takes


def open_pictures(source: str, data: Data, network: Network, progress_fn: Callable[[int, int], None]) -> Images:
    """Returns the pictures of a source as squares of a network's resolution and channels, as training makes them.

    Raises:
        ValueError: see images.open_images.
    """
    model = dataclasses.replace(network.model, num_labels=0)  # Whatever classes pictures have, they do not matter here.
    return images.open_images(dataclasses.replace(data, source=source), model, progress_fn)


def open_vgg(folder: pathlib.Path | None) -> Opened | None:
    """Returns VGG16 with the heads of LPIPS from a folder of weights; from the usual one (None), if it is there.

    Raises:
        ValueError: a folder is named and has no such weights, or they are damaged.
    """
    one_device = mesh.make_mesh(jax.local_devices()[:1])
    try:
        return feature_networks.open_distance("LPIPS", folder or shelf.default_folder(), one_device)
    except shelf.MissingWeights:
        if folder is not None:
            raise
        return None
