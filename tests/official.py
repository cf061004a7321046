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
        table = self.file if measure is None and tolerance <= TOLERANCE else f"{self.file}, after training"
        record(table, self.prefix + name, error)
        if not error <= tolerance:  # NaN fails too.
            self._errors.append(f"{self.prefix}{name}: error {error:.2e} of {tolerance:.0e} allowed")


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest difference over the largest recorded magnitude; an array recorded as zero must be zero."""
    difference = float(np.max(np.abs(ours.astype(np.float64) - reference.astype(np.float64))))
    scale = float(np.max(np.abs(reference.astype(np.float64))))
    return difference / scale if scale else (math.inf if difference else 0.0)


# ---- settings

MODEL_FIELDS = {
    "resolution": "resolution", "num_channels": "channels", "label_size": "num_labels", "latent_size": "z_size",
    "dlatent_size": "w_size", "mapping_layers": "mapping_layers", "mapping_fmaps": "mapping_fmaps",
    "mapping_lrmul": "mapping_lr_multiplier", "normalize_latents": "normalize_latents", "fmap_base": "fmap_base",
    "fmap_decay": "fmap_decay", "fmap_max": "fmap_max", "use_styles": "use_styles", "use_noise": "use_noise",
    "const_input_layer": "const_input", "use_pixel_norm": "use_pixel_norm", "use_instance_norm": "use_instance_norm",
    "use_wscale": "use_equalized_lr", "blur_filter": "blur_filter", "nonlinearity": "nonlinearity",
    "mapping_nonlinearity": "nonlinearity", "mbstd_group_size": "stddev_group",
    "mbstd_num_features": "stddev_features", "use_pixelnorm": "use_pixel_norm", "use_leakyrelu": "nonlinearity",
}  # fmt: skip
ELSEWHERE = {  # Settings that are arguments here, or that change nothing but speed.
    "randomize_noise", "style_mixing_prob", "dlatent_broadcast", "fused_scale", "structure", "truncation_psi",
    "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "dlatent_avg_beta",
}  # fmt: skip
OFFICIAL_DEFAULTS = {  # Those that differ from ours.
    "D_basic": {"num_channels": 1, "resolution": 32},
    "D_paper": {"num_channels": 1, "resolution": 32, "blur_filter": None, "fused_scale": True},
    "G_paper": {
        "num_channels": 1, "resolution": 32, "blur_filter": None, "fused_scale": True, "mapping_layers": 0,
        "use_styles": False, "use_noise": False, "const_input_layer": False, "use_pixelnorm": True,
        "use_instance_norm": False,
    },
}  # fmt: skip


def to_model(func: str, kwargs: dict[str, Any]) -> Model:
    """Returns the settings that official keyword arguments of a network stand for."""
    kwargs = OFFICIAL_DEFAULTS.get(func, {}) | kwargs
    fields: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in ELSEWHERE:
            continue
        value = tuple(value) if isinstance(value, list) else value
        value = {True: "lrelu", False: "relu"}[value] if name == "use_leakyrelu" else value
        field = MODEL_FIELDS[name]
        assert fields.setdefault(field, value) == value, f"{func}: {name}={value} contradicts {fields[field]}"
    if func == "G_paper":  # One network: its synthesis starts from z and the labels as they are.
        z_size = fields.setdefault("z_size", None) or min(fields["fmap_base"], fields["fmap_max"])
        fields |= {"z_size": z_size, "embed_labels": False, "w_size": z_size + fields.get("num_labels", 0)}
    if func == "D_paper":
        fields["num_labels"] = 0  # It takes labels and ignores them.
    return Model(**fields)


def joined(g: Model, d: Model) -> Model:
    """Returns the settings of a generator and a discriminator as one."""
    shared = ("resolution", "channels", "num_labels", "fmap_base", "fmap_decay", "fmap_max", "nonlinearity")
    assert all(getattr(g, field) == getattr(d, field) for field in shared), f"networks of different models: {g}, {d}"
    return dataclasses.replace(g, stddev_group=d.stddev_group, stddev_features=d.stddev_features)


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


def nhwc(x: np.ndarray) -> np.ndarray:
    """Returns official images [n, c, h, w] as ours; anything else as it is."""
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else np.asarray(x)


def flat_nhwc(weight: np.ndarray, axis: int, size: int = 4) -> np.ndarray:
    """Returns a dense weight whose `axis` lists c, h, w of size x size features with that axis in h, w, c order."""
    weight = np.moveaxis(weight, axis, 0)
    rows = weight.reshape(-1, size, size, weight.shape[-1]).transpose(1, 2, 0, 3).reshape(weight.shape)
    return np.moveaxis(rows, 0, axis)


def rotate(weight: np.ndarray) -> np.ndarray:
    """Returns a kernel [k, k, i, o] turned by 180 degrees: the official fused upscale is a transposed convolution."""
    return weight[::-1, ::-1]


def image_order(n: int, group: int) -> np.ndarray:
    """Returns the order of a batch in which strided official groups of minibatch stddev are contiguous."""
    group = min(group or 1, n)
    return np.arange(n).reshape(group, n // group).T.reshape(-1)


def converters(order: np.ndarray) -> tuple[Callable, Callable]:
    """Returns functions that turn official images, and official values [n, 1], into ours in this order of the batch."""
    return lambda images: nhwc(images)[order], lambda values: values[:, 0][order]


def level(lod: float, full: int) -> tuple[int, np.float32]:
    """Returns (resolution, alpha) at an official level of detail of networks of `full` px."""
    return full >> math.floor(lod), np.float32(1 - (lod - math.floor(lod)))


def lod_of(name: str) -> float:
    """Returns the level of detail in a key such as "images/linear/lod=1.4"; 0 for a network of fixed structure."""
    match = re.search(r"lod=([\d.]+)", name)
    return 0.0 if match is None or "fixed" in name else float(match[1])


RULES = [  # (official local name, path here); {0}: resolution, {1}: the rest.
    (r"LabelConcat/weight", "label_embedding"),
    (r"4x4/Const/const", "b4/start/const"),
    (r"4x4/Dense/weight", "b4/start/dense/weight"),
    (r"(4)x4/(?:Const|Dense)/(.+)", "b{0}/epilogue0/{1}"),
    (r"(4)x4/Conv/weight", "b{0}/conv1/weight"),
    (r"(4)x4/Conv/(.+)", "b{0}/epilogue1/{1}"),
    (r"(\d+)x\d+/Conv0(?:_up)?/weight", "b{0}/conv0/weight"),
    (r"(\d+)x\d+/Conv0(?:_up)?/(.+)", "b{0}/epilogue0/{1}"),
    (r"(\d+)x\d+/Conv1/weight", "b{0}/conv1/weight"),
    (r"(\d+)x\d+/Conv1/(.+)", "b{0}/epilogue1/{1}"),
    (r"Dense(\d+)/(.+)", "dense{0}/{1}"),
]
DISCRIMINATOR_RULES = [
    (r"(\d+)x\d+/Conv0/(.+)", "b{0}/conv0/{1}"),
    (r"(\d+)x\d+/Conv1(?:_down)?/(.+)", "b{0}/conv1/{1}"),
    (r"4x4/Conv/(.+)", "conv/{0}"),
    (r"4x4/Dense(\d)/(.+)", "dense{0}/{1}"),
]


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
        variables = {n: load(file)[f"{name}/{n}"] for n in info["names"]}
        model = to_model(info["func"], kwargs)
        is_d = info["func"].startswith("D_")
        tree: dict[str, Any] = {} if is_d else {"mapping": {}, "synthesis": {}}
        maps = {int(n.rpartition("noise")[2]): nhwc(v) for n, v in variables.items() if re.search(r"noise\d+$", n)}
        noise = tuple(maps.get(i) for i in range(2 * len(model.resolutions)))
        result = cls(info["func"], kwargs, model, tree, noise, variables.get("dlatent_avg"))
        for n, value in variables.items():
            path = result.path(n)
            if path:
                node = functools.reduce(lambda d, part: d.setdefault(part, {}), path[:-1], tree)
                node[path[-1]] = result.convert(n, value)
        return result

    def path(self, name: str) -> tuple[str, ...]:
        """Returns the path of a variable in `params`; () if it is no parameter here."""
        is_d, full = self.func.startswith("D_"), self.model.resolution
        root = {"G_mapping": "mapping", "G_synthesis": "synthesis", "G_paper": "synthesis"}.get(self.func)
        if name.startswith(("G_mapping/", "G_synthesis/")):
            top, _, name = name.partition("/")
            root = top[2:]
        if re.fullmatch(r"lod|dlatent_avg|noise\d+", name):
            return ()
        rgb = re.fullmatch(r"(To|From)RGB_lod(\d+)/(.+)", name)
        if rgb:
            path = f"{rgb[1].lower()}_rgb{full >> int(rgb[2])}/{rgb[3]}"
        else:
            rules = DISCRIMINATOR_RULES if is_d else RULES
            matches = ((re.fullmatch(pattern, name), target) for pattern, target in rules)
            path = next((target.format(*match.groups()) for match, target in matches if match), None)
            assert path is not None, f"{self.func} has no counterpart of the official variable {name!r}"
        path = path.replace("Noise/weight", "noise_strength").replace("StyleMod/", "style/")
        return tuple(path.split("/")) if is_d else (root, *path.split("/"))

    def convert(self, name: str, value: np.ndarray) -> np.ndarray:
        """Returns a variable, or its gradient, in our layout."""
        local = name.removeprefix("G_synthesis/").removeprefix("G_mapping/")
        if local == "4x4/Const/const":
            return nhwc(value)
        if local == "4x4/Dense/weight":
            return flat_nhwc(value, axis=1) if value.ndim == 2 else value
        if local == "4x4/Dense0/weight":
            return flat_nhwc(value, axis=0)
        up = re.fullmatch(r"(\d+)x\d+/Conv0_up/weight", local)  # G_paper's unfused one is called Conv0.
        return rotate(value) if up and self.is_fused(int(up[1])) else value

    def is_fused(self, resolution: int) -> bool:
        """Returns whether the official upscale to `resolution` px is one transposed convolution."""
        fused = (OFFICIAL_DEFAULTS.get(self.func, {}) | self.kwargs).get("fused_scale", "auto")
        return resolution >= 128 if fused == "auto" else fused

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
    return generator.Synthesis(model).apply({"params": params}, ws, noise, alpha, resolution=resolution)


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
    return discriminator.Discriminator(model).apply({"params": params}, images, labels, alpha, resolution=resolution)


def images_at(network: Network, ws: Any, lod: float, size: int | None = None) -> jax.Array:
    """Returns images at a level of detail, enlarged to `size` px, by default to full resolution, like official ones."""
    resolution, alpha = level(lod, network.model.resolution)
    images = synthesize(
        network.params["synthesis"], ws, network.noise, alpha, model=network.model, resolution=resolution
    )
    return ops.upscale(images, (size or network.model.resolution) // resolution)


def scores_at(network: Network, images: np.ndarray, labels: np.ndarray | None, lod: float) -> np.ndarray:
    """Returns official scores [n, 1] of full-resolution official images, in their order."""
    model = network.model
    resolution, alpha = level(lod, model.resolution)
    order = image_order(len(images), model.stddev_group)
    own = ops.downscale(jnp.asarray(nhwc(images)[order]), model.resolution // resolution)
    labels = labels[order] if model.num_labels else None
    scores = discriminate(network.params, own, labels, alpha, model=model, resolution=resolution)
    return np.asarray(scores)[np.argsort(order)][:, None]
