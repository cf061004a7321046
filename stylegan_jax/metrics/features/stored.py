"""The arrays of a file of weights by their names, whatever its format; nothing in it is executed."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from stylegan_jax.metrics.features import known
from stylegan_jax.weights import trees
from stylegan_jax.weights.files import persistence, torch_files
from stylegan_jax.weights.files.pickle_machine import Record, shown
from stylegan_jax.weights.files.pickles import make_dict, records
from stylegan_jax.weights.layouts import official_pickles
from stylegan_jax.weights.load import NOT_WEIGHTS


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a file holds.

    Attributes:
        path: where it is.
        sha256: of its bytes.
        arrays: by name; parts of modules and of dicts are separated by dots.
        is_tensorflow: it is a pickle of NVIDIA's code for TensorFlow, whose arrays are in the order of creation.
    """

    path: str
    sha256: str
    arrays: dict[str, np.ndarray]
    is_tensorflow: bool = False

    @property
    def description(self) -> str:
        """What the file is: a phrase that follows its name."""
        return known.described(self.sha256, self.arrays)


def read(path: str | os.PathLike) -> Stored:
    """Returns the arrays of a file of PyTorch, TorchScript, safetensors or NVIDIA, or of a pickle of arrays.

    Raises:
        ValueError: the file is damaged, or wants to call what no network needs; a sentence.
        OSError: it cannot be opened.
    """
    with pathlib.Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        head = file.read(32)
        failed = next((what for start, what in NOT_WEIGHTS.items() if head.lower().startswith(start)), None)
        if failed or not head:
            raise ValueError(f"{path} is {failed or 'empty'}, and no file of weights; download it anew.")
        file.seek(0)
        if torch_files.is_of_torch(head):
            tree: Any = torch_files.load(path)
        elif head[8:9] == b"{":
            tree = _safetensors(path)
        else:
            classes = records(*official_pickles.NETWORKS) | dict.fromkeys(official_pickles.EASY_DICTS, make_dict)
            tree = persistence.load(file, str(path), classes)
    is_tensorflow = isinstance(tree, Record) and tree.name in official_pickles.NETWORKS
    arrays = dict(_variables(tree, path) if is_tensorflow else _flat(tree))
    if not arrays:
        raise ValueError(f"{path} holds no arrays by name, so it is no feature network.")
    return Stored(str(path), sha256, arrays, is_tensorflow)


def take(found: Stored, shapes: Mapping[str, tuple[int, ...]], unused: str = "") -> dict[str, np.ndarray]:
    """Returns the arrays of these names.

    Args:
        found: the file.
        shapes: names and shapes of the arrays to take.
        unused: pattern of whole names that are not used; "" if all are.

    Raises:
        ValueError: an array is missing, unknown, of another shape, or not finite.
    """
    for name, shape in shapes.items():
        if name not in found.arrays:
            raise ValueError(f"{found.path} {found.description}, but lacks the array {name!r}; get the file anew.")
        if found.arrays[name].shape != tuple(shape):
            raise ValueError(
                f"{found.path}: {name!r} has the shape {list(found.arrays[name].shape)} and should have {list(shape)}; "
                f"the file {found.description}."
            )
        if not np.isfinite(found.arrays[name]).all():
            raise ValueError(f"{found.path}: {name!r} has values that are not finite; get the file anew.")
    for name in found.arrays.keys() - shapes.keys():
        if not (unused and re.fullmatch(unused, name)):
            shape = list(found.arrays[name].shape)
            raise ValueError(f"{found.path} {found.description}, but has an unknown array {shown(name)!r} {shape}.")
    return {name: found.arrays[name] for name in shapes}


def weights(files: list[Stored], params: dict[str, np.ndarray], *notes: str) -> known.Weights:
    """Returns parameters as float32, with what is known of their files. A file that is not known is noted."""
    params = {name: np.asarray(value, np.float32) for name, value in params.items()}
    names = []
    for found in files:
        published = known.of_digest(found.sha256)
        names.append(published.name if published else "unknown file")
        if published is None:
            unknown = (
                f"{found.path} is no file whose SHA-256 is known here; its layout fits, its values were not checked"
            )
            notes = (*notes, f"{unknown}. Its SHA-256 is {found.sha256}.")
    sha256 = "+".join(found.sha256 for found in files)
    return known.Weights(params, sha256, trees.sha256(params), "+".join(names), notes)


def _safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    try:
        arrays = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}.") from None
    for name, value in arrays.items():
        if value.dtype.kind == "c":
            raise ValueError(f"{path}: {shown(name)!r} has complex numbers, which no feature network has.")
    return arrays


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of nested dicts, with dots between the names."""
    for name, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, np.ndarray):
            yield f"{prefix}{name}", value


def _variables(network: Record, path: str | os.PathLike) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the variables of a network of TensorFlow and of its parts, in their order."""
    state = network.state if isinstance(network.state, dict) else {}
    yield from official_pickles.variables(state, pathlib.Path(path)).items()
    for name, part in (state.get("components") or {}).items():
        if isinstance(part, Record):
            yield from ((f"{name}/{local}", value) for local, value in _variables(part, path))
