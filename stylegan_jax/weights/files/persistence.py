"""Pickles of NVIDIA's torch_utils.persistence, which carry source text along: their arrays alone are read.

Nothing is imported or executed. Source: NVlabs/stylegan3, torch_utils/persistence.py; PyTorch's torch/storage.py.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from stylegan_jax.weights.files import pickles, torch_files
from stylegan_jax.weights.files.pickle_machine import Record, Refusal, sentences
from stylegan_jax.weights.files.torch_tensors import CALLS, Arrays, Storage, Tensor

CALL = "torch_utils.persistence._reconstruct_persistent_obj"
MODULES = "torch.nn.modules."
EASY_DICT = "dnnlib.util.EasyDict"
GROUPS = ("_parameters", "_buffers")  # Where a torch module keeps its arrays.


def load(file: BinaryIO, name: str, others: dict[str, Callable[..., Any]]) -> Any:
    """Returns a pickle's tree; a pickle of one module gives its arrays by their dotted names, as state_dict() does.

    Args:
        file: seekable file.
        name: name of the file in errors.
        others: further functions that the pickle may call, as in `pickles.load`.

    Raises:
        ValueError: the file is damaged, or wants to call anything else; a sentence.
    """
    storages: list[Storage] = []
    allowed = _Allowed(
        CALLS
        | others
        | {CALL: _module, EASY_DICT: pickles.make_dict, "builtins.set": _members, "__builtin__.set": _members}
    )
    allowed["torch.storage._load_from_bytes"] = lambda data: _storage(data, storages)
    tree = pickles.load(file, allowed, name=name)
    with sentences(name):
        if isinstance(tree, Record) and (tree.name == CALL or tree.name.startswith(MODULES)):
            return dict(_arrays(tree, Arrays(storages)))
        return tree


class _Allowed(dict):
    """The functions a file may call, and the classes of torch's own modules, of which records are made."""

    def __missing__(self, name: str) -> Callable:
        if name.startswith(MODULES):
            return pickles.records(name)[name]
        raise KeyError(name)


def _module(description: Any) -> Record:
    if type(description) is not dict or description.get("type") != "class":
        raise Refusal("is damaged: it has a persistent object that is no instance of a class.")
    return Record(CALL, (), description.get("state"))


def _members(items: Any = ()) -> list:
    if type(items) not in (list, tuple):
        raise Refusal("is damaged: it makes a set of what is no list.")
    return list(items)


def _storage(data: Any, storages: list[Storage]) -> Storage:
    """Returns the storage that is within a pickle as a whole file of its own."""
    if type(data) is not bytes:
        raise Refusal("is damaged: it has tensors whose data are no bytes.")
    storage, _ = torch_files.read_legacy(io.BytesIO(data), data)
    if not isinstance(storage, Storage):
        raise Refusal("is damaged: it has tensors whose data are no storage.")
    storages.append(storage)
    return storage


def _arrays(module: Record, arrays: Arrays, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of a module and its parts. Attributes that are no parameters and buffers are left."""
    if len(prefix) > torch_files.MAX_NAME_LENGTH:  # Of a few long names, sharing could make a million that are longer.
        raise Refusal(f"has names of arrays with more than {torch_files.MAX_NAME_LENGTH} characters.")
    state = module.state if isinstance(module.state, dict) else {}
    for group in GROUPS:
        for name, value in (state.get(group) or {}).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", arrays.plain(value)
            elif value is not None:
                raise Refusal("is damaged: it has a parameter that is no tensor.")
    for name, part in (state.get("_modules") or {}).items():
        if isinstance(part, Record):
            yield from _arrays(part, arrays, f"{prefix}{name}.")
