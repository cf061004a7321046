"""Builders of small valid files, without PyTorch and the classes of the official code."""

import collections
import io
import struct
import zipfile
from typing import Any

import numpy as np

from stylegan_jax.weights.files import pickle_writer
from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record

STORAGE = Persistent(("storage", Global("torch.FloatStorage"), "0", "cpu", 6))
LEGACY_STORAGE = Persistent((*STORAGE.key, None))  # Before PyTorch 1.6: a sixth field.
LEGACY_HEAD = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})


def network_pickle() -> bytes:
    """Returns a small valid pickle of three networks as the official code wrote them."""
    variables = [("lod", np.float32(0)), ("Dense/weight", np.arange(4, dtype=np.float32).reshape(2, 2))]
    state = {"version": 3, "name": "G", "static_kwargs": {}, "components": {}, "variables": variables}
    networks = tuple(Record("dnnlib.tflib.network.Network", (), dict(state, name=name)) for name in ("G", "D", "Gs"))
    file = io.BytesIO()
    pickle_writer.dump(networks, file)
    return file.getvalue()


def tensor(storage: Any = STORAGE, offset: Any = 0, shape: Any = (2, 3), strides: Any = (3, 1)) -> Record:
    """Returns a tensor as it is pickled."""
    return Record(
        "torch._utils._rebuild_tensor_v2", (storage, offset, shape, strides, False, collections.OrderedDict())
    )


def torch_pickle(tree: Any) -> bytes:
    file = io.BytesIO()
    pickle_writer.dump(tree, file, protocol=2)
    return file.getvalue()


def torch_zip(
    pickled: bytes,
    storages: dict[str, bytes] | None = None,
    root: str = "small",
    compression: int = zipfile.ZIP_STORED,
    **other: bytes,
) -> bytes:
    """Returns a zip file with the members data.pkl, data/KEY and others."""
    members = {"data.pkl": pickled, "byteorder": b"little"}
    members |= {f"data/{key}": data for key, data in (storages or {}).items()} | other
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"{root}/{name}"), data, compression)
    return file.getvalue()


def torch_legacy(pickled: bytes, storages: dict[str, bytes] | None = None, num_bytes: int = 4) -> bytes:
    """Returns a file of the format before PyTorch 1.6."""
    storages = storages or {}
    begin = b"".join(torch_pickle(part) for part in LEGACY_HEAD)
    data = b"".join(struct.pack("<q", len(data) // num_bytes) + data for data in storages.values())
    return begin + pickled + torch_pickle(list(storages)) + data


def legacy_tensor(storage: Any = LEGACY_STORAGE, **changes: Any) -> Record:
    """Returns a tensor as it was pickled before PyTorch 1.6."""
    return tensor(storage, **changes)
