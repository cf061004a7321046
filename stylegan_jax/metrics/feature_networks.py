"""The feature networks that metrics use, as functions of uint8 images, each with the weights that a user has."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array

from stylegan_jax.devices import mesh
from stylegan_jax.metrics import fd_faces
from stylegan_jax.metrics.features import clip, dinov2, inception, known, shelf, vgg

# (parameters, uint8 images [n, h, w, c]) -> "features" [n, d], and "logits" [n, k] of a classifier.
ApplyFn = Callable[[Any, Array], Mapping[str, Array]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way from images to features.

    Attributes:
        network: name of its weights in features.shelf; None if they come with the package.
        resize: how images are brought to its size: results of different ways cannot be compared.
        apply_fn: the function.
        read_fn: reads a file of its weights.
    """

    network: str | None
    resize: str
    apply_fn: ApplyFn
    read_fn: Callable[[pathlib.Path], known.Weights] | None = None


@dataclasses.dataclass(frozen=True)
class Opened:
    """A feature network with its parameters.

    Attributes:
        kind: its name in KINDS.
        apply_fn: the function.
        params: on the devices, whole on each.
        weights_name: published name of the file, or "unknown file".
        sha256: of the file.
        content_sha256: of the parameters.
        notes: what a user should know.
    """

    kind: str
    apply_fn: ApplyFn
    params: Any
    weights_name: str
    sha256: str
    content_sha256: str
    notes: tuple[str, ...] = ()

    @property
    def about(self) -> dict[str, str]:
        """What is written beside a number that was computed with these weights."""
        return {"file": self.weights_name, "sha256": self.sha256, "sha256_of_arrays": self.content_sha256}


def _inception(resize_name: str, params: Any, images: Array) -> Mapping[str, Array]:
    features, logits = inception.apply(params, images, resize_name)
    return {"features": features, "logits": logits}


def _faces(params: Any, images: Array) -> Mapping[str, Array]:
    with jax.default_matmul_precision("highest"):
        logits, features = fd_faces.apply(params, fd_faces.resize(images))
    return {"features": features, "logits": logits}


def _only(features_fn: Callable[[Any, Array], Array], params: Any, images: Array) -> Mapping[str, Array]:
    return {"features": features_fn(params, images)}


def _inception_kind(resize: str, resize_name: str) -> Kind:
    return Kind("inception", resize, functools.partial(_inception, resize_name), inception.read)


KINDS: Mapping[str, Kind] = {
    "inception": _inception_kind("TensorFlow 1's bilinear filter to 299 px", "tf1_bilinear"),
    "inception_clean": _inception_kind("Pillow's bicubic filter to 299 px", "pil_bicubic"),
    "inception_torch": _inception_kind("PyTorch's bilinear filter to 299 px", "torch_bilinear"),
    "vgg_dense": Kind(
        "vgg_dense", "TensorFlow 1's bilinear filter to 224 px", functools.partial(_only, vgg.features), vgg.read
    ),
    "dinov2": Kind(
        "dinov2", "PyTorch's antialiased bicubic filter to 224 px", functools.partial(_only, dinov2.features),
        dinov2.read,
    ),
    "clip": Kind(
        "clip", "a centered square, by Pillow's bicubic filter on uint8", functools.partial(_only, clip.features),
        clip.read,
    ),
    "faces": Kind(None, "box means to 64 px", _faces),
}  # fmt: skip


def open_kinds(kinds: Mapping[str, str], folder: pathlib.Path, devices: jax.sharding.Mesh) -> dict[str, Opened]:
    """Returns feature networks by the names of their kinds, with the weights of a folder.

    Args:
        kinds: names in KINDS, and for each a metric that asks for it.
        folder: where the files of weights are; see features.shelf.
        devices: devices that hold the parameters.

    Raises:
        ValueError: a file is missing, damaged, or of another network; it says which, and where it is published.
    """
    read: dict[str, Opened] = {}  # Kinds of one network share its parameters.
    opened = {}
    for name, metric in kinds.items():
        kind = KINDS[name]
        if kind.network is None:
            params = mesh.put(fd_faces.load(), mesh.replicated(devices))
            digest = fd_faces.WEIGHTS_SHA256
            opened[name] = Opened(name, kind.apply_fn, params, fd_faces.WEIGHTS_FILE, digest, digest)
            continue
        if kind.network not in read:
            weights = kind.read_fn(shelf.find(kind.network, folder, metric))
            read[kind.network] = _opened(name, kind.apply_fn, weights, devices)
        opened[name] = dataclasses.replace(read[kind.network], kind=name, apply_fn=kind.apply_fn)
    return opened


def open_distance(metric: str, folder: pathlib.Path, devices: jax.sharding.Mesh) -> Opened:
    """Returns VGG16 with the heads of LPIPS, which path lengths are measured with; arguments as above."""
    return _opened("vgg", vgg.stages, shelf.read_vgg(folder, metric), devices)


def _opened(name: str, apply_fn: ApplyFn, weights: known.Weights, devices: jax.sharding.Mesh) -> Opened:
    params = mesh.put(dict(weights.params), mesh.replicated(devices))
    return Opened(name, apply_fn, params, weights.name, weights.sha256, weights.content_sha256, tuple(weights.notes))
