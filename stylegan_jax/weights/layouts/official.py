"""The official code's names and layouts of arrays, and ours, both ways.

Every other layout is brought to this one first. Official arrays are float32; convolutions are [k, k, in, out], dense
layers [in, out], images and constants [n, c, h, w]. Three of them differ from ours by more than an order of axes:
features are flattened as c, h, w before and after dense layers; and where official networks enlarge by one transposed
convolution ("fused", from 128 px on by default), that equals our kernel turned by 180 degrees.
"""

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.config import Model
from stylegan_jax.weights.layouts import settings

FUSED_PX = 128  # "auto": the official code enlarges by transposed convolutions from this resolution on.


# ---- names

_RULES = [  # (official local name, path here); {0}: resolution, {1}: the rest.
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
_DISCRIMINATOR_RULES = [
    (r"(\d+)x\d+/Conv0/(.+)", "b{0}/conv0/{1}"),
    (r"(\d+)x\d+/Conv1(?:_down)?/(.+)", "b{0}/conv1/{1}"),
    (r"4x4/Conv/(.+)", "conv/{0}"),
    (r"4x4/Dense(\d)/(.+)", "dense{0}/{1}"),
]
_ROOTS = {"G_mapping": "mapping", "G_synthesis": "synthesis", "G_paper": "synthesis"}


def path(func: str, name: str, resolution: int) -> tuple[str, ...]:
    """Returns the path of an official variable in our parameters; () if it is none of them here.

    Args:
        func: official function; also G_mapping or G_synthesis, whose variables have names of their own.
        name: name of the variable.
        resolution: the network's, px.

    Raises:
        ValueError: there is no such variable in the official code.
    """
    if func.endswith("_stylegan2"):  # Its readers give our paths.
        return () if re.fullmatch(r"dlatent_avg|noise\d+", name) else tuple(name.split("/"))
    root, local = _ROOTS.get(func), name
    if name.startswith(("G_mapping/", "G_synthesis/")):
        top, _, local = name.partition("/")
        root = _ROOTS[top]
    if re.fullmatch(r"lod|dlatent_avg|noise\d+", local):
        return ()
    rgb = re.fullmatch(r"(To|From)RGB_lod(\d+)/(.+)", local)
    if rgb:
        found = f"{rgb[1].lower()}_rgb{resolution >> int(rgb[2])}/{rgb[3]}"
    else:
        rules = _DISCRIMINATOR_RULES if func.startswith("D_") else _RULES
        matches = ((re.fullmatch(pattern, local), target) for pattern, target in rules)
        found = next((target.format(*match.groups()) for match, target in matches if match), None)
        if found is None:
            raise ValueError(f"the official {func} has no {name!r}.")
    found = found.replace("Noise/weight", "noise_strength").replace("StyleMod/", "style/")
    return tuple(found.split("/")) if root is None else (root, *found.split("/"))


def names(func: str, model: Model) -> list[str]:
    """Returns the names of all variables of an official G_style, G_paper, D_basic or D_paper, but noise and lod."""
    top = model.resolution.bit_length() - 1
    if func.startswith("D_"):
        result = []
        for r in reversed(model.resolutions):
            layers = ["Conv0", "Conv1_down"] if r > 4 else ["Conv", "Dense0", "Dense1"]
            result += [f"FromRGB_lod{top - r.bit_length() + 1}", *(f"{r}x{r}/{layer}" for layer in layers)]
        return [f"{layer}/{kind}" for layer in result for kind in ("weight", "bias")]
    result, prefix = [], "" if func == "G_paper" else "G_synthesis/"
    for r in model.resolutions:
        first = "Conv0_up" if r > 4 else "Const" if model.const_input else "Dense"
        for layer in (first, "Conv1" if r > 4 else "Conv"):
            parts = ["const" if layer == "Const" else "weight"]
            parts += ["Noise/weight", "bias"] if model.use_noise else ["bias"]
            parts += ["StyleMod/weight", "StyleMod/bias"] if model.use_styles else []
            result += [f"{prefix}{r}x{r}/{layer}/{part}" for part in parts]
        result += [f"{prefix}ToRGB_lod{top - r.bit_length() + 1}/{kind}" for kind in ("weight", "bias")]
    label = ["G_mapping/LabelConcat/weight"] if model.num_labels and func == "G_style" else []
    return result + label + [
        f"G_mapping/Dense{i}/{kind}" for i in range(model.mapping_layers) for kind in ("weight", "bias")
    ]  # fmt: skip


def num_axes(name: str) -> int:
    """Returns the number of axes that an official variable has."""
    if re.search(r"noise\d+$|/const$|(Conv\w*|RGB_lod\d+)/weight$", name):
        return 4
    if re.search(r"(Dense\d*|StyleMod|LabelConcat)/weight$", name):
        return 2
    return 0 if re.search(r"(^|/)lod$", name) else 1


# ---- arrays


def nhwc(x: np.ndarray) -> np.ndarray:
    """Returns official images [n, c, h, w] as ours; anything else as it is."""
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else np.asarray(x)


def flat_nhwc(weight: np.ndarray, axis: int, size: int = 4) -> np.ndarray:
    """Returns a dense weight whose `axis` lists c, h, w of size x size features with that axis in h, w, c order."""
    weight = np.moveaxis(weight, axis, 0)
    rows = weight.reshape(-1, size, size, weight.shape[-1]).transpose(1, 2, 0, 3).reshape(weight.shape)
    return np.moveaxis(rows, 0, axis)


def flat_nchw(weight: np.ndarray, axis: int, size: int = 4) -> np.ndarray:
    """Returns the inverse of `flat_nhwc`."""
    weight = np.moveaxis(weight, axis, 0)
    rows = weight.reshape(size, size, -1, weight.shape[-1]).transpose(2, 0, 1, 3).reshape(weight.shape)
    return np.moveaxis(rows, 0, axis)


def rotate(weight: np.ndarray) -> np.ndarray:
    """Returns a kernel [k, k, i, o] turned by 180 degrees: the official fused upscale is a transposed convolution."""
    return weight[::-1, ::-1]


def to_ours(func: str, kwargs: Mapping[str, Any], name: str, value: np.ndarray) -> np.ndarray:
    """Returns an official variable, or its gradient, in our layout.

    Args:
        func: official function that the variable belongs to.
        kwargs: its keyword arguments, which say where upscaling is fused.
        name: official name of the variable.
        value: the array.
    """
    local = _local(name)
    if local == "4x4/Const/const":
        return nhwc(value)
    if local == "4x4/Dense/weight":
        return flat_nhwc(value, axis=1) if value.ndim == 2 else value
    if local == "4x4/Dense0/weight":
        return flat_nhwc(value, axis=0)
    return rotate(value) if _is_turned(func, kwargs, local) else value


def to_official(func: str, kwargs: Mapping[str, Any], name: str, value: np.ndarray) -> np.ndarray:
    """Returns the inverse of `to_ours`."""
    local = _local(name)
    if local == "4x4/Const/const":
        return np.moveaxis(value, -1, 1)
    if local == "4x4/Dense/weight":
        return flat_nchw(value, axis=1)
    if local == "4x4/Dense0/weight":
        return flat_nchw(value, axis=0)
    return rotate(value) if _is_turned(func, kwargs, local) else value


def _local(name: str) -> str:
    return name.removeprefix("G_synthesis/").removeprefix("G_mapping/")


def _is_turned(func: str, kwargs: Mapping[str, Any], local: str) -> bool:
    up = re.fullmatch(r"(\d+)x\d+/Conv0_up/weight", local)  # G_paper's unfused one is called Conv0.
    return up is not None and is_fused(func, kwargs, int(up[1]))


def leaf(func: str, name: str, tree: Any, resolution: int) -> Any:
    """Returns the counterpart of an official variable in a tree like our parameters."""
    return functools.reduce(lambda node, part: node[part], path(func, name, resolution), tree)


def is_fused(func: str, kwargs: Mapping[str, Any], resolution: int) -> bool:
    """Returns whether the official upscale to `resolution` px is one transposed convolution."""
    fused = (settings.DEFAULTS.get(func, {}) | dict(kwargs)).get("fused_scale", "auto")
    if fused not in ("auto", True, False):
        raise ValueError(f"{func} has fused_scale={fused!r:.100}; official networks have 'auto', True or False.")
    return resolution >= FUSED_PX if fused == "auto" else bool(fused)


def level(lod: float, full: int) -> tuple[int, np.float32]:
    """Returns (resolution, alpha) at an official level of detail of networks of `full` px."""
    return full >> math.floor(lod), np.float32(1 - (lod - math.floor(lod)))


def lod_of(resolution: int, alpha: float, full: int) -> float:
    """Returns the inverse of `level`."""
    return math.log2(full / resolution) + (1 - alpha)


def image_order(n: int, group: int) -> np.ndarray:
    """Returns the order of a batch in which strided official groups of minibatch stddev are contiguous."""
    group = min(group or 1, n)
    return np.arange(n).reshape(group, n // group).T.reshape(-1)
