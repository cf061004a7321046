"""Random weights of the feature networks, in the layouts of the files that people have."""

import hashlib
import math
from typing import Any

import numpy as np

from stylegan_jax.metrics.features import inception


def inception_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of pytorch-fid's arrays, by name."""
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, (height, width, inputs, maps) in inception.shapes().items():
        place = inception.torch_name(name)
        shapes[f"{place}.conv.weight"] = (maps, inputs, height, width)
        shapes |= {f"{place}.bn.{part}": (maps,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes


def inception_arrays(seed: int) -> dict[str, np.ndarray]:
    """Returns random float32 weights in pytorch-fid's layout: the recipe of the recorded features."""
    rng, arrays = np.random.default_rng(seed), {}

    def normal(shape: tuple[int, ...], scale: float) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    def uniform(shape: tuple[int, ...]) -> np.ndarray:
        return rng.random(shape, dtype=np.float32)

    for name, shape in sorted(inception_shapes().items()):
        if name.endswith("conv.weight"):
            arrays[name] = normal(shape, math.sqrt(2 / math.prod(shape[1:])))
        elif name.endswith("bn.weight"):
            arrays[name] = np.float32(0.75) + np.float32(0.5) * uniform(shape)
        elif name.endswith("running_var"):
            arrays[name] = np.float32(0.5) + uniform(shape)
        elif name.startswith("fc."):
            arrays[name] = normal(shape, math.sqrt(1 / 2048) if name == "fc.weight" else 0.1)
        else:
            arrays[name] = normal(shape, 0.0625)
    return arrays


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Returns the SHA-256 of all bytes, in the order of the names."""
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def nvidia_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns pytorch-fid's arrays in NVIDIA's layout, which has no gain: the kernels take it."""
    result = {"output.weight": arrays["fc.weight"], "output.bias": arrays["fc.bias"]}
    for name in inception.shapes():
        place = inception.torch_name(name)
        gain = arrays[f"{place}.bn.weight"].astype(np.float64)
        result[f"layers.{name}.weight"] = (arrays[f"{place}.conv.weight"] * gain[:, None, None, None]).astype(
            np.float32
        )
        result[f"layers.{name}.beta"] = arrays[f"{place}.bn.bias"]
        result[f"layers.{name}.mean"] = (arrays[f"{place}.bn.running_mean"] * gain).astype(np.float32)
        result[f"layers.{name}.var"] = arrays[f"{place}.bn.running_var"]
    return result


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns dicts within dicts for names with dots."""
    result: dict[str, Any] = {}
    for name, value in arrays.items():
        *places, last = name.split(".")
        node = result
        for place in places:
            node = node.setdefault(place, {})
        node[last] = value
    return result
