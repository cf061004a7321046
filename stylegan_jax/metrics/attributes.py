"""Functions that tell which attributes images have: what linear separability is measured with."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.data.faces import ATTRIBUTES
from stylegan_jax.metrics import fd_faces
from stylegan_jax.metrics.features import celeba as classifiers
from stylegan_jax.weights.files import npz
from stylegan_jax.weights.files.pickle_machine import shown

ABOUT = "about"  # Array of a trained network's file: UTF-8 of the JSON object {"attributes": [...], "trained_on": ...}.
TRAINING = "experiments/attribute_network/train.py"


@dataclasses.dataclass(frozen=True)
class Attributes:
    """A function that tells which attributes images have.

    Attributes:
        names: of the attributes.
        logits_fn: pure function of (params, images) to logits, float32 [n, len(names)]. Images are float in [-1, 1],
            not rounded to levels. [n, h, w, c] An image with a logit above 0 has the attribute; the farther from 0,
            the surer.
        params: arrays for the function.
        sha256: of the weights: it says which they are.
        description: what the function is, to be written beside a score.
    """

    names: tuple[str, ...]
    logits_fn: Callable[[Any, Array], Array]
    params: Any
    sha256: str
    description: str


def named(name: str, folder: pathlib.Path) -> Attributes:
    """Returns the attributes of --attributes: "faces", "celeba" with files in a folder, or a trained network's file."""
    if name == "faces":
        return faces()
    if name != "celeba" and not os.path.exists(name):
        raise ValueError(f"--attributes={name}: there is no such file; name one, or use faces or celeba.")
    return celeba(folder) if name == "celeba" else trained(name)


def faces() -> Attributes:
    """Returns the shipped network's 34 attributes of the procedural faces; it takes images as `fd_faces.resize`."""
    what = f"the {len(ATTRIBUTES)} attributes of the procedural faces, by the network of fd_faces"
    return Attributes(tuple(ATTRIBUTES), _small_network, fd_faces.load(), fd_faces.WEIGHTS_SHA256, what)


def trained(path: str | os.PathLike) -> Attributes:
    """Returns the attributes of a network that experiments/attribute_network/train.py has trained on other pictures.

    Raises:
        ValueError: the file is damaged, or of another kind.
        OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    arrays = npz.load(path)
    try:
        about = json.loads(arrays.pop(ABOUT).tobytes())
        names, source = tuple(map(str, about["attributes"])), str(about["trained_on"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not say which attributes it knows; make it with {TRAINING}.") from error
    expected = jax.eval_shape(lambda: fd_faces.init(jax.random.key(0), len(names)))
    for name in sorted(expected.keys() | arrays.keys()):
        found, wanted = (list(group[name].shape) if name in group else "absent" for group in (arrays, expected))
        if found != wanted:
            raise ValueError(
                f"{path}: the array {shown(name)} is {found}, and that of a network of {len(names)} attributes is "
                f"{wanted}; make the file anew with {TRAINING}."
            )
        if not np.isfinite(arrays[name]).all():
            raise ValueError(
                f"{path}: {shown(name)} has values that are not finite; make the file anew with {TRAINING}."
            )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    params = {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}
    what = f"{len(names)} attributes, by the network {path.name} trained on {source}"
    return Attributes(names, _small_network, params, sha256, what)


def celeba(folder: str | os.PathLike) -> Attributes:
    """Returns the attributes of NVIDIA's classifiers, as official linear separability takes them.

    The published code does not say which sign of their logits means the attribute. Separability is the same either way.
    All 40 take 3.7 GB on the device, and twice as much on the host while they are read.

    Args:
        folder: where the files lie, each with its published name. Attributes without a file are left out; the
            description names them.

    Raises:
        ValueError: there is no file, or one is damaged, or of another network; or the classifiers have several
            architectures.
    """
    folder = pathlib.Path(folder)
    paths = {name: folder / classifiers.file_name(name) for name in classifiers.ATTRIBUTES}
    present = tuple(name for name, path in paths.items() if path.is_file())
    if not present:
        first = ", ".join(path.name for path in list(paths.values())[:3])
        more = f"{first} and {len(paths) - 3} more"
        raise ValueError(f"{folder} lacks classifiers of attributes: {more}. Put them there; some are enough.")
    read = {name: classifiers.read(paths[name]) for name in present}
    model = read[present[0]][1]
    for name, (_, other) in read.items():
        if other != model:
            raise ValueError(
                f"{paths[name]} holds a classifier of {other.resolution} px of another architecture than "
                f"{paths[present[0]].name} of {model.resolution} px; take files of one kind."
            )
    lines = "".join(f"{weights.sha256}  {weights.name}\n" for weights, _ in read.values())
    params = jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *(weights.params for weights, _ in read.values()))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return Attributes(present, functools.partial(_celeba_logits, model), params, digest, _celeba_description(present))


def _small_network(params: fd_faces.Params, images: Array) -> Array:
    """Returns the logits of a network of the form of `fd_faces.apply`."""
    with jax.default_matmul_precision("highest"):
        return fd_faces.apply(params, fd_faces.resize(images))[0]


def _celeba_logits(model: Model, params: Any, images: Array) -> Array:
    """Returns the logits of stacked classifiers; one after another runs, so that one program serves all."""
    return jax.lax.map(lambda one: classifiers.logits(one, images, model), params).T


def _celeba_description(present: tuple[str, ...]) -> str:
    """Returns what is said of some of NVIDIA's classifiers: which they are, and how that differs from the official."""
    missing = [name for name in classifiers.ATTRIBUTES if name not in present]
    if not missing:
        return "NVIDIA's 40 classifiers of CelebA's attributes"
    what = f"{len(present)} of NVIDIA's 40 classifiers of CelebA's attributes ({', '.join(present)})"
    what += f"; no files of {', '.join(missing)}"
    return f"{what}: not comparable with the official separability, which takes all 40"
