"""Checkpoints of the PyTorch ports for tests: recorded ones, and small ones that are made here.

The folder "ports" of STYLEGAN_GOLDENS holds recorded checkpoints and what the ports' own code computes from them. The
others are random official networks, whose arrays get the ports' names and layouts by plain loops.
"""

import dataclasses
import os
import pathlib
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from stylegan_jax.networks import generator
from stylegan_jax.weights import save, trees
from stylegan_jax.weights.files import torch_files
from stylegan_jax.weights.layouts import contents
from tests import official, random_networks

G_TOLERANCE, D_TOLERANCE, W_TOLERANCE = 2e-5, 5e-6, 2e-6  # Shares of the largest recorded magnitude.
ROUGH_TOLERANCE = 1e-4  # For images of which the port's own float32 is 1e-5 or more off its float64.


# ---- recorded


def recorded(port: str) -> list[Any]:
    """Returns the recordings of a port as parameters of a test; a skipped one without them."""
    found = pathlib.Path(os.environ.get("STYLEGAN_GOLDENS", "")) / "ports"
    names = sorted(path.stem for path in found.glob(f"{port}_*.npz")) if os.environ.get("STYLEGAN_GOLDENS") else []
    reason = "STYLEGAN_GOLDENS names no folder with recorded checkpoints of ports"
    return [pytest.param(f"ports/{name}", marks=pytest.mark.goldens) for name in names] or [
        pytest.param(None, marks=pytest.mark.skip(reason=reason))
    ]


def load(name: str) -> Any:
    """Returns the tree of a recorded checkpoint; its name is relative to the folder "ports"."""
    return torch_files.load(official.folder() / "ports" / name)


def g_tolerance(file: str) -> float:
    """Returns the tolerance for images of a recording."""
    own = max(value for key, value in official.meta(file)["float32_vs_float64"].items() if "scores" not in key)
    return ROUGH_TOLERANCE if own > G_TOLERANCE / 4 else G_TOLERANCE


def network_of(part: contents.Network, **switches: Any) -> official.Network:
    """Returns an official network of a checkpoint in our conventions, with zeros for lower ways to and from RGB."""
    model = contents.model_of(part, **switches)
    shapes = trees.abstract_generator(model) if part.func == "G_style" else trees.abstract_discriminator(model)
    absent = {k: np.zeros(v.shape, v.dtype) for k, v in flat(shapes).items() if "_rgb" in k}
    params = traverse_util.unflatten_dict(absent | flat(contents.params_of(part, model.resolution)), sep="/")
    noise = contents.noise_of(part, 2 * len(model.resolutions))
    return official.Network(part.func, part.kwargs, model, params, noise, part.arrays.get("dlatent_avg"))


def ws_of(network: official.Network, z: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns w [n, w_size] and ws [n, num_layers, w_size] of latents."""
    w = official.map_latents(network.params["mapping"], z, labels, model=network.model)
    return w, jnp.repeat(w[:, None, :], network.model.num_layers, axis=1)


def images(network: official.Network, ws: Any, noise: Any, resolution: int, alpha: float) -> np.ndarray:
    """Returns images of `resolution` px."""
    params, model = network.params["synthesis"], network.model
    return np.asarray(
        official.synthesize(params, ws, noise, np.float32(alpha), model=model, resolution=resolution)
    )  # fmt: skip


def truncated(network: official.Network, ws: Any, psi: float, cutoff: int | None, mean: Any = None) -> Any:
    """Returns truncated ws."""
    return generator.truncate(ws, network.w_avg if mean is None else mean, psi, cutoff)


# ---- made


def make(seed: int = 0, lod: float = 0.0, **fields: Any) -> contents.Contents:
    """Returns random official networks, no array of which is zero, with noise maps and average of w."""
    made = save.to_contents(random_networks.random_network(seed, **{"resolution": 16, "mapping_layers": 2} | fields))
    for part in (made.average, made.generator, made.discriminator):
        part.arrays["lod"] = np.asarray(lod, np.float32)
    return dataclasses.replace(made, switches={})


def flat(tree: Any) -> dict[str, Any]:
    """Returns a tree of parameters as {"mapping/dense0/weight": array, ...}."""
    return traverse_util.flatten_dict(tree, sep="/")


def equal(part: contents.Network, wanted: contents.Network, missing: str = "", **switches: Any) -> bool:
    """Asserts that two networks have the same parameters, noise maps and average, bit for bit, in our conventions.

    Args:
        part: one network.
        wanted: the other.
        missing: a regular expression of official names that `part` lacks.
        switches: fields of Model that official code lacks.
    """
    ours, others = network_of(part, **switches), network_of(lacking(wanted, missing), **switches)
    assert ours.model.resolutions == others.model.resolutions
    found, expected = flat(ours.params), flat(others.params)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == np.float32, name
    for a, b in zip((*ours.noise, ours.w_avg), (*others.noise, others.w_avg), strict=True):
        np.testing.assert_array_equal(a, b)
    return True


def lacking(part: contents.Network, pattern: str) -> contents.Network:
    """Returns a network without the arrays whose names match a pattern."""
    kept = {name: x for name, x in part.arrays.items() if not (pattern and re.search(pattern, name))}
    return dataclasses.replace(part, arrays=kept)


def torch_order(x: np.ndarray) -> np.ndarray:
    """Returns an official weight in PyTorch's order of axes, not contiguous."""
    return np.moveaxis(x, (3, 2), (0, 1)) if x.ndim == 4 else x.T


def blur(maps: int) -> np.ndarray:
    """Returns the constant filter of ports. [maps, 1, 3, 3]"""
    return np.tile(np.float32([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16, (maps, 1, 1, 1))


def every_array(tree: Any, prefix: str = "") -> set[str]:
    """Returns the full names of all arrays of a tree."""
    if isinstance(tree, dict):
        return {
            name for key, value in tree.items() for name in every_array(value, f"{prefix}/{key}" if prefix else key)
        }
    if isinstance(tree, list):
        return {
            name for i, value in enumerate(tree) for name in every_array(value, f"{prefix}/{i}" if prefix else str(i))
        }
    return {prefix}


def is_complete(found: contents.Contents, tree: Any) -> bool:
    """Asserts that every array of a tree is used exactly once or left out with a reason."""
    parts = [part for part in (found.average, found.generator, found.discriminator) if part]
    used = [name for part in parts for name in part.stored.values()]
    names, groups = every_array(tree), tuple(f"{name}/" for name in found.left_out)
    used = [name for name in used if name in names]
    assert len(used) == len(set(used))
    assert not set(used) & set(found.left_out)
    assert {name for name in names if not name.startswith(groups)} == set(used) | (set(found.left_out) & names)
    assert all(found.left_out.values())
    return True
