"""Files of weights as others write them: TorchScript, NVIDIA's pickles, and a pickle of NumPy's arrays."""

import collections
import io
import pathlib
from typing import Any

import numpy as np

from stylegan_jax.weights.files import pickle_writer
from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record
from tests.metrics.features.random_weights import nested
from tests.weights.files import small_files

CALL = "torch_utils.persistence._reconstruct_persistent_obj"


def write_pickle(path: pathlib.Path, tree: Any) -> pathlib.Path:
    """Writes a pickle of plain values, arrays and records."""
    with path.open("wb") as file:
        pickle_writer.dump(tree, file)
    return path


def write_torchscript(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> pathlib.Path:
    """Writes a TorchScript archive of modules within modules."""
    storages: dict[str, bytes] = {}

    def module(tree: Any) -> Any:
        if isinstance(tree, dict):
            state = {name: module(part) for name, part in tree.items()}
            return Record("__torch__.Module", (), state | {"training": False})
        key = str(len(storages))
        storages[key] = np.ascontiguousarray(tree).tobytes()
        return _tensor(Persistent(("storage", Global("torch.FloatStorage"), key, "cpu", tree.size)), tree)

    pickled = small_files.torch_pickle(module(nested(arrays)))
    path.write_bytes(small_files.torch_zip(pickled, storages, **{"constants.pkl": small_files.torch_pickle(())}))
    return path


def persistent(arrays: dict[str, np.ndarray]) -> Record:
    """Returns modules within modules as torch_utils.persistence pickles them, each tensor a file of its own."""

    def module(tree: dict[str, Any], is_root: bool) -> Record:
        parts = {name: part for name, part in tree.items() if isinstance(part, dict)}
        own = {name: _own_file(part) for name, part in tree.items() if not isinstance(part, dict)}
        state = {
            "training": False,
            "_parameters": collections.OrderedDict(own),
            "_buffers": collections.OrderedDict(nothing=None),
            "_non_persistent_buffers_set": Record("builtins.set", ([],)),
            "_modules": collections.OrderedDict((name, module(part, False)) for name, part in parts.items()),
        }
        if not is_root:
            return Record("torch.nn.modules.container.Sequential", (), state)
        source = "raise SystemExit('this text was run')\n"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Network", "state": state}
        return Record(CALL, (meta,))

    return module(nested(arrays), True)


def _own_file(value: np.ndarray) -> Record:
    storage = Persistent(("storage", Global("torch.FloatStorage"), "0", "cpu", value.size, None))
    data = small_files.torch_legacy(small_files.torch_pickle(storage), {"0": np.ascontiguousarray(value).tobytes()})
    tensor = _tensor(Record("torch.storage._load_from_bytes", (data,)), value)
    return Record("torch._utils._rebuild_parameter", (tensor, False, collections.OrderedDict()))


def _tensor(storage: Any, value: np.ndarray) -> Record:
    strides = tuple(size // 4 for size in np.copy(value, order="C").strides)
    return small_files.tensor(storage, 0, value.shape, strides)


def tensorflow(variables: list[tuple[str, np.ndarray]], **state: Any) -> Record:
    """Returns a network as NVIDIA's code for TensorFlow pickles it."""
    fields = {"version": 3, "name": "net", "static_kwargs": {}, "components": {}, "build_func_name": "net"}
    return Record("dnnlib.tflib.network.Network", (), fields | {"variables": variables} | state)


def as_bytes(tree: Any) -> bytes:
    """Returns a pickle."""
    file = io.BytesIO()
    pickle_writer.dump(tree, file)
    return file.getvalue()
