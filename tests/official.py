"""Reads arrays recorded from the official code, converts them to this library's conventions, and compares.

A folder of recordings holds .csv and .npz files; an .npz file has official names and a key "meta" (settings as JSON).
STYLEGAN_GOLDENS names the complete folder; without it, tests take the selection in tests/goldens. Sizes, settings and
cases all come from the files, so recordings of other networks may replace them.
"""

import dataclasses
import functools
import json
import math
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Model, Train
from stylegan_jax.networks import discriminator, generator, ops, sampling
from stylegan_jax.training import losses
from stylegan_jax.weights.layouts import contents, settings
from stylegan_jax.weights.layouts import official as names

SELECTION = pathlib.Path(__file__).parent / "goldens"
TOLERANCE = 2e-5  # Share of the largest recorded magnitude; float32 sums in another order differ by a fifth of it.
# The same for values after an update of the weights: two builds of the official code differ by 1.7e-3 there.
LATER_TOLERANCE = 2e-3
WORST: dict[str, tuple[float, str, int]] = {}  # By file: (worst error, its key, arrays compared). For the summary.


def folder() -> pathlib.Path:
    """Returns the folder of recordings."""
    path = pathlib.Path(os.environ.get("STYLEGAN_GOLDENS") or SELECTION)
    if not any(path.glob("*.npz")):
        raise FileNotFoundError(f"{path} holds no recorded arrays; unset STYLEGAN_GOLDENS, or name a folder that does.")
    return path


def files(pattern: str) -> list[str]:
    """Returns the stems of the recordings that match `pattern`."""
    return sorted(p.stem for p in folder().glob(pattern))


def parameters(file: str, *others: Any) -> Any:
    """Returns the parameters of a test that takes seconds; files beyond the selection mark it as slow."""
    marks = () if (SELECTION / f"{file}.npz").exists() else (pytest.mark.slow,)
    return pytest.param(file, *others, marks=marks)


@functools.cache
def load(file: str) -> dict[str, np.ndarray]:
    """Returns all arrays of a file but its meta."""
    with np.load(folder() / f"{file}.npz") as npz:
        return {key: npz[key] for key in npz.files if key != "meta"}


@functools.cache
def meta(file: str) -> dict[str, Any]:
    """Returns the settings recorded in a file."""
    with np.load(folder() / f"{file}.npz") as npz:
        return json.loads(str(npz["meta"]))


def cases(file: str) -> list[str]:
    """Returns the first parts of a file's keys: every array is under one of them."""
    if not files(f"{file}.npz"):
        return []
    return list(dict.fromkeys(key.split("/")[0] for key in load(file)))


def record(file: str, key: str, error: float) -> None:
    """Notes an error for the summary at the end of the session."""
    merge(file, error, key, 1)


def merge(file: str, error: float, key: str, count: int) -> None:
    """Notes the worst error of `count` arrays."""
    worst, worst_key, so_far = WORST.get(file, (-1.0, "", 0))
    WORST[file] = (*max((worst, worst_key), (float(error), key)), so_far + count)


class Recorded:
    """Arrays of one file under a prefix, each to be taken as an input or checked as an output.

    Leaving the context fails with all arrays that differ, and with those that were neither taken nor checked.
    """

    def __init__(self, file: str, prefix: str = "") -> None:
        self.file, self.prefix = file, prefix
        self._arrays = {k[len(prefix) :]: v for k, v in load(file).items() if k.startswith(prefix)}
        self._untouched, self._errors = set(self._arrays), []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            assert not self._errors, f"{self.file}:\n" + "\n".join(self._errors)
            assert not self._untouched, f"{self.file}: never compared: {sorted(self._untouched)}"

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def names(self, prefix: str = "") -> list[str]:
        """Returns the names that begin with `prefix`, without it."""
        return [name[len(prefix) :] for name in self._arrays if name.startswith(prefix)]

    def take(self, name: str) -> np.ndarray:
        """Returns an input."""
        self._untouched.discard(name)
        return self._arrays[name]

    def take_network(self, name: str, **overrides: Any) -> "Network":
        """Returns the network whose variables are under `name`."""
        for variable in self.names(f"{name}/"):
            self.take(f"{name}/{variable}")
        return Network.read(self.file, self.prefix + name, **overrides)

    def check(
        self,
        name: str,
        ours: Any,
        convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
        measure: Callable[[np.ndarray, np.ndarray], float] | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Compares an output with a recorded array, which `convert` brings to our conventions."""
        self._untouched.discard(name)
        reference, ours = convert(self._arrays[name]), np.asarray(ours)
        if ours.shape != reference.shape:
            self._errors.append(f"{self.prefix}{name}: shape {ours.shape}, recorded {reference.shape}")
            return
        error = (measure or relative_error)(ours, reference)
        table = self.file if measure is None and tolerance <= TOLERANCE else f"{self.file}, own tolerance"
        record(table, self.prefix + name, error)
        if not error <= tolerance:  # NaN fails too.
            self._errors.append(f"{self.prefix}{name}: error {error:.2e} of {tolerance:.0e} allowed")


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest difference over the largest recorded magnitude; an array recorded as zero must be zero."""
    difference = float(np.max(np.abs(ours.astype(np.float64) - reference.astype(np.float64))))
    scale = float(np.max(np.abs(reference.astype(np.float64))))
    return difference / scale if scale else (math.inf if difference else 0.0)


# ---- settings


def to_train(func: str, kwargs: dict[str, Any], **others: Any) -> Train:
    """Returns the settings that an official loss stands for; the other network's loss keeps its defaults."""
    func = func.rpartition(".")[2]
    fields: dict[str, Any] = {"r1_gamma": 0.0, "style_mixing_prob": 0.0} | others
    if func.startswith("G_"):
        return Train(g_loss=func[2:], **fields)
    fields["d_loss"] = func.split("_")[1]
    if func.endswith("_simplegp"):
        fields |= {"r1_gamma": kwargs.get("r1_gamma", 10.0), "r2_gamma": kwargs.get("r2_gamma", 0.0)}
    elif func.endswith("_gp"):
        fields |= {"gp_lambda": kwargs.get("wgan_lambda", 10.0), "gp_target": kwargs.get("wgan_target", 1.0)}
    fields["wgan_drift"] = kwargs.get("wgan_epsilon", 0.001)
    return Train(**fields)


# ---- arrays


def converters(order: np.ndarray) -> tuple[Callable, Callable]:
    """Returns functions that turn official images, and official values [n, 1], into ours in this order of the batch."""
    return lambda images: names.nhwc(images)[order], lambda values: values[:, 0][order]


def lod_of(name: str) -> float:
    """Returns the level of detail in a key such as "images/linear/lod=1.4"; 0 for a network of fixed structure."""
    match = re.search(r"lod=([\d.]+)", name)
    return 0.0 if match is None or "fixed" in name else float(match[1])


@dataclasses.dataclass(frozen=True)
class Network:
    """An official network in our conventions."""

    func: str
    kwargs: dict[str, Any]  # Recorded static keyword arguments.
    model: Model
    params: dict[str, Any]  # Our parameters; {"mapping", "synthesis"} for a generator.
    noise: tuple[Any, ...]  # Stored maps, [1, r, r, 1]; None where the model has no noise.
    w_avg: np.ndarray | None

    @classmethod
    def read(cls, file: str, name: str, **overrides: Any) -> "Network":
        """Returns the network whose variables are under `name`, with some keyword arguments changed."""
        info = meta(file)[name]
        kwargs = info["static_kwargs"] | overrides
        arrays = {n: load(file)[f"{name}/{n}"] for n in info["names"]}
        model = settings.to_model(info["func"], kwargs)
        network = contents.Network(info["func"], kwargs, arrays, {})
        params = contents.params_of(network, model.resolution)
        noise = contents.noise_of(network, 2 * len(model.resolutions))
        return cls(info["func"], kwargs, model, params, noise, arrays.get("dlatent_avg"))

    def path(self, name: str) -> tuple[str, ...]:
        """Returns the path of a variable in `params`; () if it is no parameter here."""
        return names.path(self.func, name, self.model.resolution)

    def convert(self, name: str, value: np.ndarray) -> np.ndarray:
        """Returns a variable, or its gradient, in our layout."""
        return names.to_ours(self.func, self.kwargs, name, value)

    def leaf(self, tree: Any, name: str) -> Any:
        """Returns the counterpart of a variable in a tree like params."""
        return functools.reduce(lambda node, part: node[part], self.path(name), tree)

    def check_tree(self, recorded: Recorded, prefix: str, tree: Any, **options: Any) -> None:
        """Compares all arrays under `prefix`, named as variables, with a tree like params."""
        for name in recorded.names(prefix):
            if self.path(name):
                convert = functools.partial(self.convert, name)
                recorded.check(prefix + name, self.leaf(tree, name), convert, **options)


def d_loss(values: dict[str, Any], train: Train, shape: tuple[int, int], restore: np.ndarray) -> np.ndarray:
    """Returns a discriminator's loss in its official shape: [n, 1], or [n, n] if penalties were broadcast."""
    values = {name: np.asarray(value)[restore] for name, value in values.items() if np.ndim(value) == 1}
    loss = values["d_loss"]
    if train.d_loss == "wgan":
        loss = loss + train.wgan_drift * np.asarray(losses.drift(values["real_scores"]))
    if shape[1] == 1:
        return loss[:, None]
    penalty = train.r1_gamma / 2 * values.get("r1", 0.0) + train.r2_gamma / 2 * values.get("r2", 0.0)
    if train.gp_lambda:
        penalty = penalty + train.gp_lambda * values["gp"]
    return loss[:, None] + penalty[None, :]


# ---- networks, compiled


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def synthesize(params: Any, ws: Any, noise: Any, alpha: Any, *, model: Model, resolution: int) -> jax.Array:
    """Returns images of `resolution` px."""
    return generator.synthesis(model).apply({"params": params}, ws, noise, alpha, resolution=resolution)


@functools.partial(jax.jit, static_argnames="model")
def map_latents(params: Any, z: Any, labels: Any, *, model: Model) -> jax.Array:
    """Returns w."""
    return generator.Mapping(model).apply({"params": params}, z, labels)


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def generate(params: Any, latents: sampling.Latents, labels: Any, alpha: Any, *, model: Model, resolution: int) -> Any:
    """Returns images and the batch mean of w."""
    return sampling.generate(params, latents, labels, alpha, model, resolution)


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def discriminate(params: Any, images: Any, labels: Any, alpha: Any, *, model: Model, resolution: int) -> Any:
    """Returns scores of images of `resolution` px."""
    return discriminator.discriminator(model).apply({"params": params}, images, labels, alpha, resolution=resolution)


def images_at(network: Network, ws: Any, lod: float, size: int | None = None) -> jax.Array:
    """Returns images at a level of detail, enlarged to `size` px, by default to full resolution, like official ones."""
    resolution, alpha = names.level(lod, network.model.resolution)
    images = synthesize(
        network.params["synthesis"], ws, network.noise, alpha, model=network.model, resolution=resolution
    )
    return ops.upscale(images, (size or network.model.resolution) // resolution)


def scores_at(network: Network, images: np.ndarray, labels: np.ndarray | None, lod: float) -> np.ndarray:
    """Returns official scores [n, 1] of full-resolution official images, in their order."""
    model = network.model
    resolution, alpha = names.level(lod, model.resolution)
    order = names.image_order(len(images), model.stddev_group)
    own = ops.downscale(jnp.asarray(names.nhwc(images)[order]), model.resolution // resolution)
    labels = labels[order] if model.num_labels else None
    scores = discriminate(network.params, own, labels, alpha, model=model, resolution=resolution)
    return np.asarray(scores)[np.argsort(order)][:, None]
