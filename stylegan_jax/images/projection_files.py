"""Files of projections: one for each picture, from which the network renders the same bytes again."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from stylegan_jax.images import project
from stylegan_jax.images.project import Projection
from stylegan_jax.images.styles import trained_sizes
from stylegan_jax.runs import whole
from stylegan_jax.weights.network import Network, NoiseMaps

KEY = "stylegan_jax_projection"  # Of the JSON in the metadata.
VERSION = 1
NUMBERS = ("psnr", "lpips", "distance", "novelty")


def write(path: str | os.PathLike, network: Network, projection: Projection, about: Mapping[str, Any]) -> None:
    """Writes the projection of one picture as safetensors, whole or not at all.

    Args:
        path: path of the file; its folder must exist.
        network: network that the styles are of.
        projection: of one picture.
        about: what else to note, as JSON has it.
    """
    numbers = {name: getattr(projection, name) for name in NUMBERS}
    known: dict[str, Any] = {name: None if value is None else float(value[0]) for name, value in numbers.items()}
    known |= {"space": projection.space, "about": dict(about)}
    with whole.writing(path) as file:
        file.write(encoded(network, projection.ws, projection.noise, known))


def encoded(network: Network, ws: np.ndarray, noise: NoiseMaps | None, known: Mapping[str, Any] | None = None) -> bytes:
    """Returns the content of a file.

    Args:
        network: network that the styles are of.
        ws: styles of one picture. [1, num_layers, w_size]
        noise: its noise maps, two for each resolution r, at least up to the trained one, None where a layer has none;
            None: the network's constant noise. [1, r, r, 1]
        known: NUMBERS, "space" and "about" of a projection; None: the styles are of no projection.
    """
    text = {"version": VERSION, "network": network.sha256, "space": "w+noise" if noise else "w+"}
    text |= dict.fromkeys(NUMBERS) | {"about": {}} | dict(known or {})
    arrays = {"ws": np.ascontiguousarray(ws[0], np.float32)}
    maps = (noise or ())[: len(trained_sizes(network))]
    arrays |= {f"noise/{i}": np.ascontiguousarray(m[0], np.float32) for i, m in enumerate(maps) if m is not None}
    return safetensors.numpy.save(arrays, metadata={KEY: json.dumps(text)})  # One entry: their order is random.


def read(path: str | os.PathLike, network: Network) -> Projection:
    """Returns the projection of one picture, with the image that the network makes of it.

    Args:
        path: a file of `write`.
        network: the network that it was made with.

    Raises:
        ValueError: it is damaged, of another code, or of another network.
        OSError: it cannot be opened.
    """
    ws, noise, text = decoded(pathlib.Path(path).read_bytes(), network, str(path))
    numbers = {name: None if text[name] is None else np.asarray([text[name]]) for name in NUMBERS}
    return Projection(ws=ws, noise=noise, images=project.render(network, ws, noise), space=text["space"], **numbers)


def decoded(data: bytes, network: Network, name: str) -> tuple[np.ndarray, NoiseMaps | None, dict[str, Any]]:
    """Returns ws and noise of the content of a file, as `encoded` takes them, and what it says of them.

    Args:
        data: content.
        network: the network that it was made with.
        name: what errors call it.

    Raises: the ValueError of `read`.
    """
    text = _text(data, name)
    if text["network"] != network.sha256:
        raise ValueError(
            f"{name} was made with another network: its digest is {text['network'][:12]}, and that of "
            f"{network.info.source} {network.sha256[:12]}. Load that network, or project the picture again."
        )
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{name} cannot be read as a projection: {error}.") from None
    model = network.model
    wanted: dict[str, tuple[int, ...]] = {"ws": (model.num_layers, model.w_size)}
    sizes = model.noise_sizes[: len(trained_sizes(network))] if text["space"] == "w+noise" else ()
    wanted |= {f"noise/{i}": (r, r, 1) for i, r in enumerate(sizes) if r}
    found = {name: value.shape for name, value in arrays.items()}
    if found != wanted or not all(v.dtype == np.float32 and np.isfinite(v).all() for v in arrays.values()):
        raise ValueError(f"{name} is damaged: it has arrays {found}, where finite ones of {wanted} belong.")
    noise = tuple(arrays[f"noise/{i}"][None] if r else None for i, r in enumerate(sizes))
    return arrays["ws"][None], noise or None, text


def render(network: Network, path: str | os.PathLike) -> np.ndarray:
    """Returns the image of a projection's file, with the bytes that it had when it was projected.

    That holds on one kind of device; others round otherwise. Args and Raises: those of `read`.

    Returns:
        uint8 [model.resolution, model.resolution, channels]
    """
    return read(path, network).images[0]


def about(path: str | os.PathLike) -> dict[str, Any]:
    """Returns what a file says of its projection: network, space, psnr, lpips, distance, novelty and "about".

    Raises:
        ValueError: it is damaged or of another code.
        OSError: it cannot be opened.
    """
    return _text(pathlib.Path(path).read_bytes(), str(path))


def _text(data: bytes, name: str) -> dict[str, Any]:
    """Returns what the content of a file says of its projection."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        text = json.loads(header.get("__metadata__", {}).get(KEY, "null"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{name} cannot be read as a projection: its first bytes are no safetensors.") from None
    if text is None:
        raise ValueError(f"{name} is no projection: its metadata has no {KEY!r}. --mode=project writes them.")
    kinds = {"version": int, "network": str, "space": str, "about": dict} | dict.fromkeys(NUMBERS, float | int | None)
    wrong = next((n for n, k in kinds.items() if not isinstance(text, dict) or not isinstance(text.get(n, k), k)), None)
    if wrong or text["space"] not in project.SPACES or text["version"] > VERSION:
        raise ValueError(
            f"{name} is of another version than {VERSION}, or damaged: its metadata has no {wrong or 'space'!r} as "
            "this stylegan_jax writes it."
        )
    return text
