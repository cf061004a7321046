"""Files of directions: our own safetensors, and people's arrays in .npy, .npz or .safetensors; nothing is unpickled."""

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import safetensors
import safetensors.numpy

from stylegan_jax.images import styles
from stylegan_jax.images.directions import Direction
from stylegan_jax.runs import whole
from stylegan_jax.weights.files import npz
from stylegan_jax.weights.network import Network

KEY = "stylegan_jax_directions"  # In the metadata: JSON {"network": sha256, "sources": {name: text}}.


def save(path: str | os.PathLike, found: Sequence[Direction]) -> None:
    """Writes directions of one network as safetensors, whole or not at all: NAME/vector and NAME/normal of each.

    Raises:
        ValueError: there are none, two have one name, or they are of several networks.
    """
    names, networks = [d.name for d in found], {d.network for d in found}
    if len(set(names)) != len(names) or len(networks) != 1:
        raise ValueError(f"directions {', '.join(names)}, of {len(networks)} networks: give different names, and one.")
    arrays = {
        f"{d.name}/{part}": np.ascontiguousarray(getattr(d, part)) for d in found for part in ("vector", "normal")
    }
    about = {"network": networks.pop(), "sources": {d.name: d.source for d in found}}
    with whole.writing(path) as file:
        file.write(safetensors.numpy.save(arrays, metadata={"format": "np", KEY: json.dumps(about)}))


def load(path: str | os.PathLike, network: Network) -> list[Direction]:
    """Returns the directions of a file, for the layers and w of a network.

    A .npy holds one direction [w_size], [1, w_size], [num_layers, w_size] or [1, num_layers, w_size], whose name is the
    file's. A .npz, or a .safetensors that was not written here, holds one in each array, with its name.

    Raises:
        ValueError: the file is damaged, of another kind, or of another size of w or number of layers.
        OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    styles.check_styles(network)
    about = None
    if path.suffix == ".npy":
        arrays = {path.stem: read_npy(path)}
    elif path.suffix == ".npz":
        arrays = npz.load(path)
    elif path.suffix == ".safetensors":
        arrays, about = _read_safetensors(path)
    else:
        raise ValueError(f"{path}: directions come in files that end in .safetensors, .npz, .npy.")
    parts = {name: _vector(name, value, path, network) for name, value in arrays.items()}
    if about is None:
        return [Direction(name, v, v / max(np.sum(v * v), 1e-30), f"of {path.name}") for name, v in parts.items()]
    try:
        return [
            Direction(name, parts[f"{name}/vector"], parts[f"{name}/normal"], str(source), about["network"])
            for name, source in about["sources"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: what it says of its directions does not fit its arrays.") from error


def read_npy(path: pathlib.Path) -> np.ndarray:
    """Returns the array of a .npy; one of objects is refused."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an array of numbers: {error}") from None


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict | None]:
    """Returns the arrays of a file and, if it was written here, what it says of them."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            return {name: file.get_tensor(name) for name in file.keys()}, text and json.loads(text)  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as safetensors of directions: {error}.") from None


def _vector(name: str, value: np.ndarray, path: pathlib.Path, network: Network) -> np.ndarray:
    """Returns an array as float32 [w_size] or [num_layers, w_size]."""
    model, shape = network.model, value.shape
    value = value[0] if value.ndim > 1 and len(value) == 1 else value
    if value.shape not in ((model.w_size,), (model.num_layers, model.w_size)) or value.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: {name} is {value.dtype} {list(shape)}; a direction of this network has numbers "
            f"[{model.w_size}], or [{model.num_layers}, {model.w_size}] for its layers."
        )
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    if not np.isfinite(value).all() or not value.any():
        raise ValueError(f"{path}: {name} has values that are not finite, or none but 0.")
    return value


def chosen(paths: Sequence[str], names: Sequence[str], network: Network) -> tuple[list[Direction], list[Direction]]:
    """Returns the directions of files that have `names`, in their order, or all; and all that the files have.

    Raises:
        ValueError: a name is missing, or two directions have it; or `load` refuses a file.
    """
    found = [direction for path in paths for direction in load(path, network)]
    by_name = {direction.name: direction for direction in found}
    if len(by_name) < len(found):
        twice = next(d.name for d in found if by_name[d.name] is not d)
        raise ValueError(f"--directions={','.join(paths)} have two directions named {twice!r}; give one file of them.")
    for name in names:
        if name not in by_name:
            raise ValueError(f"--directions={','.join(paths)} have no {name!r}; they have {', '.join(by_name)}.")
    return [by_name[name] for name in names] if names else found, found
