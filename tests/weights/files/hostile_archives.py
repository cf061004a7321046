"""Hostile zip files, whose directories say what is not so, and files of the format before PyTorch 1.6."""

import io
import struct
import zipfile
from typing import Any

import numpy as np

from stylegan_jax.weights.files.pickle_machine import Persistent
from tests.weights.files import small_files


def zip_file(tree: Any, **options: Any) -> bytes:
    """Returns the file of a tree of which each tensor is a view of six numbers."""
    options.pop("num_bytes", None)  # The other format needs it.
    storages = options.pop("storages", {"0": np.arange(6, dtype=np.float32).tobytes()})
    return small_files.torch_zip(small_files.torch_pickle(tree), storages, **options)


def legacy_file(tree: Any, storages: dict[str, bytes] | None = None, num_bytes: int = 4) -> bytes:
    """Returns the same in the format before PyTorch 1.6."""
    storages = {"0": np.arange(6, dtype=np.float32).tobytes()} if storages is None else storages
    return small_files.torch_legacy(small_files.torch_pickle(tree), storages, num_bytes)


def _with_directory(data: bytes, change_fn: Any) -> bytes:
    """Returns the zip file with its directory changed: `change_fn(entries)` gets a bytearray of each entry."""
    end = data.rindex(b"PK\x05\x06")
    begin = struct.unpack("<I", data[end + 16 : end + 20])[0]
    entries = [bytearray(b"PK\x01\x02" + part) for part in data[begin:end].split(b"PK\x01\x02")[1:]]
    entries = change_fn(entries)
    directory = b"".join(entries)
    counts = struct.pack("<HHII", len(entries), len(entries), len(directory), begin)
    return data[:begin] + directory + data[end : end + 8] + counts + b"\0\0"


def _changed(place: int, value: bytes, last: bool = True) -> Any:
    def change(entries: list[bytearray]) -> list[bytearray]:
        for entry in entries[-1:] if last else entries:
            entry[place : place + len(value)] = value
        return entries

    return change


def _overlapping() -> bytes:
    """Returns a file with 500 members that are all the same 64 KiB."""
    tree = [small_files.tensor(Persistent((*small_files.STORAGE.key[:2], str(k), "cpu", 2**14))) for k in range(500)]

    def repeat(entries: list[bytearray]) -> list[bytearray]:
        name = b"small/data/0"
        entry = next(entry for entry in entries if entry[46:] == name)
        fixed = entry[:28] + b"%c\0" + entry[30:46]
        names = [f"small/data/{k}".encode() for k in range(500)]
        others = [entry for entry in entries if entry[46:] != name]
        return others + [bytearray(fixed.replace(b"%c", bytes([len(name)]))) + name for name in names]

    return _with_directory(zip_file(tree, storages={"0": bytes(2**16)}), repeat)


def _two_members_of_one_name() -> bytes:
    return _with_directory(zip_file(small_files.tensor(), **{"data/1": b""}), lambda entries: [*entries, entries[-1]])


def _renamed(name: str) -> bytes:
    """Returns a file whose last member has another name of the same length."""
    old = "small/data/" + "x" * (len(name) - 11)
    data = zip_file(small_files.tensor(), **{old.removeprefix("small/"): b""})
    return data.replace(old.encode(), name.encode())


SMALL = zip_file(small_files.tensor())
COMPRESSED = zip_file(small_files.tensor(), storages={"0": bytes(24)}, compression=zipfile.ZIP_DEFLATED)
ZEROS = zip_file(small_files.tensor(), storages={"0": bytes(2**26)}, compression=zipfile.ZIP_DEFLATED)
ARCHIVES = {
    "zeros that grow beyond what the directory says": _with_directory(ZEROS, _changed(24, struct.pack("<I", 24))),
    "a member said to grow to a gigabyte": _with_directory(COMPRESSED, _changed(24, struct.pack("<I", 2**30))),
    "a member said to grow a little": _with_directory(COMPRESSED, _changed(24, struct.pack("<I", 25))),
    "a compressed member of another size": ZEROS,
    "members that overlap": _overlapping(),
    "two members of one name": _two_members_of_one_name(),
    "no data.pkl": _renamed("small/data/xx").replace(b"small/data.pkl", b"small/data.pkx"),
    "no member": _with_directory(SMALL, lambda entries: []),
    "no storage": zip_file(small_files.tensor(), storages={}),
    "a storage that is too long": zip_file(small_files.tensor(), storages={"0": bytes(28)}),
    "a storage cut short": zip_file(small_files.tensor(), storages={"0": bytes(20)}),
    "a name that leads up": _renamed("small/../../etc/passwd"),
    "a name from the root": _renamed("/small/data/0/"[:-1]),
    "a name of Windows": _renamed("small\\..\\data"),
    "a name of an empty part": _renamed("small//data/x"),
    "a name with a null": _renamed("\0mall/data/0x"),
    "names in two folders": _renamed("other/data/xx"),
    "a name in no folder": _renamed("without_folder"),
    "a folder that leads up": zip_file(small_files.tensor(), root=".."),
    "an encrypted member": _with_directory(SMALL, _changed(8, b"\1\0", last=False)),
    "a compression by bzip2": _with_directory(SMALL, _changed(10, b"\x0c\0")),
    "a compression that is none": _with_directory(SMALL, _changed(10, b"\x63\0")),
    "a stored member of two sizes": _with_directory(SMALL, _changed(24, struct.pack("<I", 23))),
    "a stored member of 4 gigabytes": _with_directory(SMALL, _changed(20, struct.pack("<II", 2**32 - 2, 2**32 - 2))),
    "a stored member somewhere else": _with_directory(SMALL, _changed(42, struct.pack("<I", 3))),
    "a stored member behind the end": _with_directory(SMALL, _changed(42, struct.pack("<I", 2**31))),
    "a directory of a gigabyte": SMALL[:-10] + struct.pack("<II", 2**30, 0) + b"\0\0",
    "a directory larger than is read": zip_file(
        small_files.tensor(), **{f"data/x{'y' * 60000}{k}": b"" for k in range(80)}
    ),
    "an array of NumPy": (lambda file: (np.savez(file, a=np.zeros(3)), file.getvalue())[1])(io.BytesIO()),
}
LEGACIES = {
    "another magic number": small_files.torch_pickle(1),
    "a pickle of a network": small_files.network_pickle(),
    "another protocol": b"".join(small_files.torch_pickle(part) for part in (small_files.LEGACY_HEAD[0], 1002, {})),
    "system information that is no dict": b"".join(
        small_files.torch_pickle(part) for part in (*small_files.LEGACY_HEAD[:2], [])
    ),
    "no storage": legacy_file(small_files.legacy_tensor(), {}),
    "a storage too many": legacy_file(small_files.legacy_tensor(), {"0": bytes(24), "1": bytes(24)}),
    "a storage of another name": legacy_file(small_files.legacy_tensor(), {"1": bytes(24)}),
    "a storage of another length": legacy_file(small_files.legacy_tensor(), {"0": bytes(28)}),
    "a storage of a length below zero": legacy_file(small_files.legacy_tensor()).replace(
        struct.pack("<q", 6) + bytes(4), struct.pack("<q", -6) + bytes(4)
    ),
    "keys that are no list": legacy_file(small_files.legacy_tensor()).replace(
        small_files.torch_pickle(["0"]), small_files.torch_pickle({"0": 1})
    ),
    "keys that are lists": legacy_file(small_files.legacy_tensor()).replace(
        small_files.torch_pickle(["0"]), small_files.torch_pickle([[]])
    ),
    "a key twice": legacy_file(small_files.legacy_tensor()).replace(
        small_files.torch_pickle(["0"]), small_files.torch_pickle(["0", "0"])
    ),
    "nothing": b"",
    "zeros": bytes(1000),
    "a text": b"This is no network.\n",
    "a tar file": b"./\0" + bytes(10000),
}
