"""Names and factors of the arrays of rosinality/style-based-gan-pytorch (model.py), both ways.

Its weights are scaled by other factors at run time than official ones. Of them, some are no powers of two: their
products are computed in float64.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from stylegan_jax.weights.layouts import places, taking

_LEVEL = "generator.progression.{level}"
_GENERATOR = {
    "mapping/weight": "style.{odd}.linear.weight_orig",
    "mapping/bias": "style.{odd}.linear.bias",
    "rgb/weight": "generator.to_rgb.{level}.conv.weight_orig",
    "rgb/bias": "generator.to_rgb.{level}.conv.bias",
    "Const/const": f"{_LEVEL}.conv1.input",
    "Conv0_up/weight": f"{_LEVEL}.conv1.1.conv.weight_orig",
    "Conv0_up/bias": f"{_LEVEL}.conv1.1.conv.bias",
    "Conv/weight": f"{_LEVEL}.conv2.conv.weight_orig",
    "Conv/bias": f"{_LEVEL}.conv2.conv.bias",
    "Conv1/weight": f"{_LEVEL}.conv2.conv.weight_orig",
    "Conv1/bias": f"{_LEVEL}.conv2.conv.bias",
    "layer/Noise/weight": f"{_LEVEL}.noise{{nth}}.weight_orig",
    "layer/StyleMod/weight": f"{_LEVEL}.adain{{nth}}.style.linear.weight_orig",
    "layer/StyleMod/bias": f"{_LEVEL}.adain{{nth}}.style.linear.bias",
}
_DISCRIMINATOR = {
    "rgb/weight": "from_rgb.{down}.0.conv.weight_orig",
    "rgb/bias": "from_rgb.{down}.0.conv.bias",
    "Dense0/weight": "progression.{down}.conv2.0.conv.weight_orig",
    "Dense0/bias": "progression.{down}.conv2.0.conv.bias",
    "Dense1/weight": "linear.linear.weight_orig",
    "Dense1/bias": "linear.linear.bias",
    "Conv1_down/weight": "progression.{down}.conv2.1.conv.weight_orig",
    "Conv1_down/bias": "progression.{down}.conv2.1.conv.bias",
    "layer/weight": "progression.{down}.conv1.0.conv.weight_orig",
    "layer/bias": "progression.{down}.conv1.0.conv.bias",
}
WIDTHS = (512, 512, 512, 512, 256, 128, 64, 32, 16)  # Feature maps of its code, from 4x4 to 1024x1024.
FULL_PX = 2 << len(WIDTHS)
FUSED_FROM = 5  # From this level on, 128 px, its layers enlarge and reduce by convolutions with a stride.


def generator_names(names: Iterable[str], resolution: int, fused: Mapping[int, bool]) -> dict[str, str]:
    """Returns the stored name of each official one; `fused` tells for each resolution how its layer enlarges."""
    stored = places.stored_names(_GENERATOR, names, resolution, len(WIDTHS))
    for name in stored:
        up = re.fullmatch(r"G_synthesis/(\d+)x\d+/Conv0_up/(weight|bias)", name)
        if up and fused[int(up[1])]:
            stored[name] = f"generator.progression.{int(up[1]).bit_length() - 3}.conv1.0.{up[2]}"
    return stored


def discriminator_names(names: Iterable[str], resolution: int, num_levels: int, fused: Iterable[int]) -> dict[str, str]:
    """Returns the stored name of each official one; `fused` lists the levels that are reduced with a stride."""
    stored = places.stored_names(_DISCRIMINATOR, names, resolution, num_levels)
    for level in fused:
        for leaf in ("weight", "bias"):
            name = f"{4 << level}x{4 << level}/Conv1_down/{leaf}"
            stored[name] = f"progression.{num_levels - 1 - level}.conv2.1.{leaf}"
    return stored


def generator_filters(level: int, is_fused: bool) -> list[str]:
    """Returns the names of the constant filters of a level above 4x4."""
    return [f"generator.progression.{level}.conv1.{1 if is_fused else 2}.{name}" for name in ("weight", "weight_flip")]


def discriminator_filters(down: int) -> list[str]:
    """Returns the names of the constant filters of a level above 4x4, which it counts down from 1024x1024."""
    return [f"progression.{down}.conv2.0.{name}" for name in ("weight", "weight_flip")]


def _factor(name: str, size: int, is_fused: bool) -> float:
    """Returns official array / stored array."""
    if name.startswith("G_mapping/"):
        return 100  # The official learning rate multiplier scales at run time.
    if name.endswith("Noise/weight"):
        return math.sqrt(2 / size)  # It scales noise strengths as weights.
    if name.endswith(("StyleMod/weight", "4x4/Dense1/weight")) or re.search(r"ToRGB_lod\d+/weight$", name):
        return math.sqrt(2)  # All of its layers have the gain of those before an activation.
    return 1 / 4 if is_fused else 1  # It averages four shifted kernels, where the official code adds them.


def _up(name: str, fused: Mapping[int, bool]) -> bool:
    match = re.fullmatch(r"G_synthesis/(\d+)x\d+/Conv0_up/weight", name)
    return match is not None and fused[int(match[1])]


def from_stored(name: str, x: np.ndarray, fused: Mapping[int, bool]) -> np.ndarray:
    """Returns a stored array as the official one, in float64 where a factor is not a power of two."""
    factor = _factor(name, x.size, _up(name, fused))
    if name.endswith("StyleMod/bias"):  # Its scales are 1 + official scale.
        return x.astype(np.float64) - np.repeat([1.0, 0.0], [x.size // 2, x.size - x.size // 2])
    if name.endswith("Noise/weight") and x.ndim == 4:
        x = x[0, :, 0, 0]
    elif name.endswith("4x4/Dense0/weight") and x.ndim == 4:
        x = x.reshape(x.shape[0], -1).T
    else:
        x = x.transpose(2, 3, 0, 1) if _up(name, fused) and x.ndim == 4 else taking.from_torch(name, x)
    return x if factor == 1 else x.astype(np.float64) * factor


def to_stored(name: str, x: np.ndarray, fused: Mapping[int, bool]) -> np.ndarray:
    """Returns the inverse of `from_stored`: float32 where it is exact, else float64."""
    factor = _factor(name, x.size, _up(name, fused))
    if name.endswith("StyleMod/bias"):
        return x.astype(np.float64) + np.repeat([1.0, 0.0], x.size // 2)
    if name.endswith("Noise/weight"):
        x = x[None, :, None, None]
    elif name.endswith("4x4/Dense0/weight"):
        x = x.T.reshape(x.shape[1], -1, 4, 4)
    else:
        x = x.transpose(2, 3, 0, 1) if _up(name, fused) else taking.to_torch(name, x)
    return x * np.float32(4) if factor == 1 / 4 else x if factor == 1 else x.astype(np.float64) / factor


# ---- levels above a network


def grown(arrays: Mapping[str, np.ndarray], resolution: int, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns official arrays of a network of 1024 px, whose levels above `resolution` are as initialized.

    Args:
        arrays: of a network of `resolution` px.
        resolution: px.
        names: official names of the arrays at 1024 px.
    """
    num_levels = resolution.bit_length() - 2
    shift = len(WIDTHS) - num_levels  # Official names count RGB layers down from the highest resolution.
    result = {re.sub(r"(?<=RGB_lod)\d+", lambda m: str(int(m[0]) + shift), name): x for name, x in arrays.items()}
    rgb = {places.place(n, FULL_PX).level: x for n, x in result.items() if re.search(r"RGB_lod\d+/weight$", n)}
    is_generator = any("ToRGB" in name for name in result)
    widths = [rgb[level].shape[2 if is_generator else 3] for level in range(num_levels)]
    for width in WIDTHS[num_levels:]:
        widths.append(min(width, widths[-1]))
    w_size = result["G_synthesis/4x4/Const/StyleMod/weight"].shape[0] if is_generator else 0
    random = np.random.RandomState(0)  # The same numbers in every version of NumPy.
    for name in names:
        if name not in result:
            shape = _shape(name, widths, w_size)
            is_drawn = name.endswith("/weight") and "Noise" not in name
            result[name] = (random.standard_normal(shape) if is_drawn else np.zeros(shape)).astype(np.float32)
    return result


def _shape(name: str, widths: Sequence[int], w_size: int) -> tuple[int, ...]:
    """Returns the shape of an official array above 4x4; its discriminator widens in the first layer of a level."""
    part, level, _, leaf = places.place(name, FULL_PX)
    own, lower = widths[level], widths[level - 1]
    if leaf.startswith("StyleMod"):
        return (w_size, 2 * own) if leaf.endswith("weight") else (2 * own,)
    if part == "rgb":
        weight, bias = ((1, 1, own, 3), (3,)) if name.startswith("G_") else ((1, 1, 3, own), (own,))
        return weight if leaf == "weight" else bias
    incoming, outgoing = {
        "Conv0_up": (lower, own), "Conv1": (own, own), "Conv0": (own, lower), "Conv1_down": (lower, lower)
    }[part]  # fmt: skip
    return (3, 3, incoming, outgoing) if leaf == "weight" else (outgoing,)
