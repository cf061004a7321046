"""Reads arrays recorded from the official code of StyleGAN2, goldens/sg2, and brings them to this library's layouts."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from stylegan_jax.config import Model
from stylegan_jax.networks import sampling
from stylegan_jax.weights import trees
from stylegan_jax.weights.layouts.official_pickles import stylegan2
from tests import official

TOLERANCE = official.TOLERANCE
# Gradients of losses that sum nearly opposite terms, by TOLERANCE.txt: the same code in float64 is that far away.
GRADIENT_TOLERANCE = 2e-4
OPPOSITE_TERMS = re.compile("Dr1|Dreg|G(main|pl|reg|both).*noise_strength")  # Phases and parameters.


def load(file: str) -> dict[str, np.ndarray]:
    """Returns all arrays of a file but its meta."""
    return official.load(f"sg2/{file}")


def meta(file: str) -> dict[str, Any]:
    """Returns the settings recorded in a file."""
    return official.meta(f"sg2/{file}")


def recorded(file: str, prefix: str = "") -> official.Recorded:
    """Returns the arrays of a file under a prefix, each to be taken or checked."""
    return official.Recorded(f"sg2/{file}", prefix)


def exists(file: str) -> bool:
    """Returns whether the folder of recordings holds a file; the selection does not hold all."""
    return (official.folder() / "sg2" / f"{file}.npz").exists()


def cases(file: str) -> list[str]:
    """Returns the networks in a file that the folder of recordings holds; the selection holds some of them."""
    return list(meta(file)) if exists(file) else []


def parameters(file: str, *others: Any) -> Any:
    """Returns the parameters of a test that takes seconds; files beyond the selection mark it as slow."""
    return pytest.param(file, *others, marks=official.parameters(f"sg2/{file}").marks)


def under(file: str, prefix: str) -> dict[str, np.ndarray]:
    """Returns the arrays whose keys begin with `prefix`, by the rest of the key."""
    return {key.removeprefix(prefix): value for key, value in load(file).items() if key.startswith(prefix)}


def nhwc(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, 1, -1)


def tree(arrays: dict[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    """Returns official arrays as nested dicts of ours; noise maps and w_avg are left out."""
    ours = dict(stylegan2.from_torch(prefix + name, value) for name, value in arrays.items())
    return trees.nested({place: value for place, value in ours.items() if "/" in place}, "discriminator")


def place(name: str) -> str:
    """Returns the path here of an array that has an official name."""
    shapes = {"synthesis.b4.const": (1, 1, 1), "b4.fc.weight": (1, 16)}
    return stylegan2.from_torch(name, np.zeros(shapes.get(name, ())))[0]


def model_of(func: str, kwargs: dict[str, Any], arrays: dict[str, np.ndarray], prefix: str = "") -> Model:
    """Returns the model of G_stylegan2 or D_stylegan2 by its recorded arguments and arrays."""
    ours = dict(stylegan2.from_torch(prefix + name, value) for name, value in arrays.items())
    groups = ("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "epilogue_kwargs")
    given = [(name, value) for name, value in kwargs.items() if name not in groups]
    return stylegan2.model_of(func, given + [item for g in groups for item in kwargs.get(g, {}).items()], ours)


def mapping_model(kwargs: dict[str, Any]) -> Model:
    """Returns the model of a mapping network alone."""
    names = {"z_dim": "z_size", "c_dim": "num_labels", "w_dim": "w_size", "num_layers": "mapping_layers"}
    names |= {
        "embed_features": "embed_size",
        "layer_features": "mapping_fmaps",
        "lr_multiplier": "mapping_lr_multiplier",
    }
    fields = {names[name]: value for name, value in kwargs.items() if name in names}
    return Model(architecture="stylegan2", **{"mapping_fmaps": kwargs["w_dim"]} | fields)


def joined(g: Model, d: Model) -> Model:
    """Returns one model of both networks."""
    names = ("d_connections", "d_mapping_layers", "d_mapping_lr_multiplier", "d_mapping_size")
    return dataclasses.replace(g, **{name: getattr(d, name) for name in (*names, "stddev_group", "stddev_features")})


def noise_of(arrays: dict[str, np.ndarray], model: Model, n: int | None = None) -> tuple[np.ndarray | None, ...]:
    """Returns the noise maps of `arrays`, whose keys end with a layer's name: drawn ones, or buffers."""
    found: list[np.ndarray | None] = []
    for i, size in enumerate(model.noise_sizes):
        layer = f"b{4 << i // 2}.conv{i % 2}"
        value = next((v for k, v in arrays.items() if k.endswith((layer, f"{layer}.noise_const"))), None)
        if size is None:
            found.append(None)
        else:
            found.append(np.zeros((1, size, size, 1), np.float32) if value is None else _as_noise(value)[:n])
    return tuple(found)


def _as_noise(value: np.ndarray) -> np.ndarray:
    return value[None, :, :, None] if value.ndim == 2 else nhwc(value)


def latents(z: np.ndarray, z_mix: np.ndarray, cutoff: int | None, noise: tuple, model: Model) -> sampling.Latents:
    """Returns latents with one cutoff for the whole batch; None: no mixing."""
    return sampling.Latents(z, z_mix, np.full(len(z), model.num_layers if cutoff is None else cutoff, np.int32), noise)


def take(r: official.Recorded, prefix: str) -> dict[str, np.ndarray]:
    """Returns the inputs whose names begin with `prefix`, by the rest of the name."""
    return {name: r.take(prefix + name) for name in r.names(prefix)}


def check_gradients(r: official.Recorded, prefix: str, got: Any, network: str = "") -> None:
    """Compares the recorded gradients under `prefix`, or their norms under a prefix that ends so, with a tree of ours.

    Args:
        r: recorded arrays.
        prefix: what comes before the official names of parameters.
        got: gradients, as nested dicts.
        network: what comes before those names in a whole generator: "mapping." or "synthesis.".
    """
    leaves, is_norm = trees.flat(got), prefix.endswith("grad_l2/")
    for name in r.names(prefix):
        ours = leaves[place(network + name)]

        def convert(value: np.ndarray, name: str = name) -> np.ndarray:
            return value if is_norm else stylegan2.from_torch(network + name, value)[1]

        is_opposite = OPPOSITE_TERMS.search(f"{r.prefix}{prefix}{name}")
        tolerance = GRADIENT_TOLERANCE if is_opposite else TOLERANCE
        r.check(prefix + name, np.linalg.norm(ours) if is_norm else ours, convert, tolerance=tolerance)


def assert_near(got: Any, recorded: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Compares with the largest recorded magnitude."""
    error = np.max(np.abs(np.asarray(got) - recorded)) / max(np.max(np.abs(recorded)), 1e-30)
    assert error <= tolerance, f"{error:.1e} of the largest"
