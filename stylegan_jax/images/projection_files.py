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
from stylegan_jax.runs import whole
from stylegan_jax.weights.network import Network

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
    text = {
        "version": VERSION,
        "network": network.sha256,
        "space": projection.space,
        **{name: None if value is None else float(value[0]) for name, value in numbers.items()},
        "about": dict(about),
    }
    arrays = {"ws": np.ascontiguousarray(projection.ws[0], np.float32)}
    arrays |= {f"noise/{i}": np.ascontiguousarray(m[0], np.float32) for i, m in enumerate(projection.noise or ())}
    data = safetensors.numpy.save(arrays, metadata={KEY: json.dumps(text)})  # One entry: their order is random.
    with whole.writing(path) as file:
        file.write(data)


def read(path: str | os.PathLike, network: Network) -> Projection:
    """Returns the projection of one picture, with the image that the network makes of it.

    Args:
        path: a file of `write`.
        network: the network that it was made with.

    Raises:
        ValueError: it is damaged, of another code, or of another network.
        OSError: it cannot be opened.
    """
    arrays, text = _arrays(path), about(path)
    if text["network"] != network.sha256:
        raise ValueError(
            f"{path} was projected into another network: its digest is {text['network'][:12]}, and that of "
            f"{network.info.source} {network.sha256[:12]}. Load that network, or project the picture again."
        )
    model = network.model
    sizes = [r for r in model.resolutions if r <= network.resolution for _ in range(2)]
    wanted: dict[str, tuple[int, ...]] = {"ws": (model.num_layers, model.w_size)}
    if text["space"] == "w+noise":
        wanted |= {f"noise/{i}": (r, r, 1) for i, r in enumerate(sizes)}
    found = {name: value.shape for name, value in arrays.items()}
    if found != wanted or not all(np.isfinite(value).all() for value in arrays.values()):
        raise ValueError(f"{path} is damaged: it has arrays {found}, where finite ones of {wanted} belong.")
    ws, noise = arrays["ws"][None], tuple(arrays[f"noise/{i}"][None] for i in range(len(arrays) - 1)) or None
    numbers = {name: None if text[name] is None else np.asarray([text[name]]) for name in NUMBERS}
    return Projection(ws=ws, noise=noise, images=project.render(network, ws, noise), space=text["space"], **numbers)


def render(network: Network, path: str | os.PathLike) -> np.ndarray:
    """Returns the image of a projection's file, with the bytes that it had when it was projected.

    That holds on one kind of device; others round otherwise.

    Args:
        network: the network that it was made with.
        path: a file of `write`.

    Returns:
        uint8 [model.resolution, model.resolution, channels]

    Raises:
        ValueError: the file is damaged, of another code, or of another network.
    """
    return read(path, network).images[0]


def about(path: str | os.PathLike) -> dict[str, Any]:
    """Returns what a file says of its projection: network, space, psnr, lpips, distance, novelty and "about".

    Raises:
        ValueError: it is damaged or of another code.
        OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = json.loads((file.metadata() or {}).get(KEY, "null"))
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a projection: {error}.") from None
    if text is None:
        raise ValueError(f"{path} is no projection: its metadata has no {KEY!r}. --mode=project writes them.")
    kinds = {"version": int, "network": str, "space": str, "about": dict} | dict.fromkeys(NUMBERS, float | int | None)
    wrong = next((n for n, k in kinds.items() if not isinstance(text, dict) or not isinstance(text.get(n, k), k)), None)
    if wrong or text["space"] not in project.SPACES or text["version"] > VERSION:
        raise ValueError(
            f"{path} is of another version than {VERSION}, or damaged: its metadata has no {wrong or 'space'!r} as "
            "this stylegan_jax writes it."
        )
    return text


def _arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as a projection: {error}.") from None
    return {name: np.asarray(value, np.float32) for name, value in found.items()}
