"""Pickles of NVIDIA's torch_utils.persistence, which carry source text along: their arrays alone are read.

Nothing is imported or executed. Source: NVlabs/stylegan3, torch_utils/persistence.py; PyTorch's torch/storage.py.
"""

import collections
import io
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from stylegan_jax.weights.files import pickle_writer, pickles, torch_files
from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record, Refusal, sentences
from stylegan_jax.weights.files.torch_tensors import CALLS, Arrays, Storage, Tensor

CALL = "torch_utils.persistence._reconstruct_persistent_obj"
MODULES = "torch.nn.modules."
EASY_DICT = "dnnlib.util.EasyDict"
GROUPS = ("_parameters", "_buffers")  # Where a torch module keeps its arrays.


class Module(NamedTuple):
    """A module with its parts."""

    name: str  # Of its class.
    arrays: dict[str, np.ndarray]  # Also those of its parts, by their dotted names, as state_dict() has them.
    fields: dict[str, Any]  # What the module itself restores itself from.


def load(file: BinaryIO, name: str, others: dict[str, Callable[..., Any]]) -> Any:
    """Returns a pickle's tree; a pickle of one module gives its arrays by their dotted names, as state_dict() does.

    Args:
        file: seekable file.
        name: name of the file in errors.
        others: further functions that the pickle may call, as in `pickles.load`.

    Raises:
        ValueError: the file is damaged, or wants to call anything else; a sentence.
    """
    tree, arrays = _tree(file, name, others)
    is_module = isinstance(tree, Record) and (tree.name == CALL or tree.name.startswith(MODULES))
    with sentences(name):
        return dict(_arrays(tree, arrays)) if is_module else tree


def load_modules(file: BinaryIO, name: str, keys: Iterable[str]) -> dict[str, Module]:
    """Returns those modules of a pickled dict that it has at `keys`.

    Raises:
        ValueError: the file is damaged, wants to call what no module needs, or holds no dict; a sentence.
    """
    tree, arrays = _tree(file, name, {})
    with sentences(name):
        if not isinstance(tree, dict):
            raise Refusal("is a pickle of NVIDIA's PyTorch code, but no snapshot: it holds no dict of networks.")
        found = {key: tree[key] for key in keys if isinstance(tree.get(key), Record) and tree[key].name == CALL}
        return {
            key: Module(str(module.args[0]), dict(_arrays(module, arrays)), module.state or {})
            for key, module in found.items()
        }


def _tree(file: BinaryIO, name: str, others: dict[str, Callable[..., Any]]) -> tuple[Any, Arrays]:
    """Returns a pickle's tree with records of modules and tensors, and the arrays of the tensors."""
    storages: list[Storage] = []
    allowed = _Allowed(
        CALLS
        | others
        | {CALL: _module, EASY_DICT: pickles.make_dict, "builtins.set": _members, "__builtin__.set": _members}
    )
    allowed["torch.storage._load_from_bytes"] = lambda data: _storage(data, storages)
    tree = pickles.load(file, allowed, name=name)
    return tree, Arrays(storages)


class _Allowed(dict):
    """The functions a file may call, and the classes of torch's own modules, of which records are made."""

    def __missing__(self, name: str) -> Callable:
        if name.startswith(MODULES):
            return pickles.records(name)[name]
        raise KeyError(name)


def _module(description: Any) -> Record:
    if type(description) is not dict or description.get("type") != "class":
        raise Refusal("is damaged: it has a persistent object that is no instance of a class.")
    name, state = description.get("class_name"), description.get("state")
    if not isinstance(name, str | None) or not isinstance(state, dict | None):
        raise Refusal("is damaged: it has a persistent object whose class has no name, or whose state is no dict.")
    return Record(CALL, (name,), state)


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


# ---- writing


def tensor(value: np.ndarray) -> Record:
    """Returns the call that makes a tensor of a float32 array, whose storage is within the pickle as a whole file."""
    stream, size_of = io.BytesIO(), {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": torch_files.LEGACY_PROTOCOL, "little_endian": True, "type_sizes": size_of}
    storage = Persistent(("storage", Global("torch.FloatStorage"), "0", "cpu", value.size, None))
    for part in (torch_files.LEGACY_MAGIC, torch_files.LEGACY_PROTOCOL, system, storage, ["0"]):
        pickle_writer.dump(part, stream, protocol=2)
    data = stream.getvalue() + value.size.to_bytes(8, "little") + np.asarray(value, "<f4", order="C").tobytes()
    strides = tuple(math.prod(value.shape[axis + 1 :]) for axis in range(value.ndim))
    storage = Record("torch.storage._load_from_bytes", (data,))
    no_hooks: dict = collections.OrderedDict()
    return Record("torch._utils._rebuild_tensor_v2", (storage, 0, value.shape, strides, False, no_hooks))
