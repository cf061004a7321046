"""Small lmdb, parquet, HDF5 and NumPy files of pictures, for tests."""

import pathlib
from concurrent import futures

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

N = 40  # Pictures.


def encoded(i: int) -> bytes:
    """What stands for an encoded picture: bytes that none else has."""
    return b"picture %d " % i * (i + 200)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write_lmdb(folder: pathlib.Path, entries: dict[bytes, bytes]) -> str:
    folder.mkdir()
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    (folder / "lock.mdb").unlink()
    return str(folder)


def write_parquet(file: pathlib.Path, columns: dict[str, list], group_size: int = 10, metadata: str = "{}") -> str:
    table = pa.table(columns).replace_schema_metadata({"huggingface": metadata})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file, row_group_size=group_size)
    return str(file)


def images(numbers: range) -> list[dict]:
    return [{"bytes": encoded(i), "path": f"{i}.png"} for i in numbers]


def write_hdf5(file: pathlib.Path, arrays: dict[str, np.ndarray], **options) -> str:
    with h5py.File(file, "w") as opened:
        for name, array in arrays.items():
            opened.create_dataset(name, data=array, **options if array.ndim else {})
    return str(file)


def write_npz(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    np.savez_compressed(file, **arrays)
    return str(file)


def write_npy(file: pathlib.Path, array: np.ndarray) -> str:
    np.save(file, array)
    return str(file)


def read_all(opened) -> list:
    return [opened.read_fn(i) for i in range(opened.length)]


def read_in_threads(opened) -> list:
    """Reads every picture four times in a mixed order, 16 at once; returns the last of each."""
    order = np.random.default_rng(0).permutation(np.tile(np.arange(opened.length), 4))
    with futures.ThreadPoolExecutor(16) as pool:
        found = dict(zip(order.tolist(), pool.map(opened.read_fn, order), strict=True))
    return [found[i] for i in range(opened.length)]


def message(open_fn, path: str) -> str:
    with pytest.raises(ValueError) as caught:
        open_fn(path)
    assert type(caught.value) is ValueError
    assert path in str(caught.value)
    return str(caught.value)


def make(kind: str, root: pathlib.Path, first: int = 0) -> str:
    """Writes N pictures, which depend on `first`, as a file of a kind; returns its path."""
    if kind == "lmdb":
        return write_lmdb(root / "lmdb", {b"%03d" % i: encoded(first + i) for i in range(N)})
    if kind == "parquet":
        return write_parquet(root / "a.parquet", {"image": images(range(first, first + N))})
    if kind == "hdf5":
        arrays = {"data8x8": pixels(N, 3, 8, 8, seed=first)}
        return write_hdf5(root / "a.h5", arrays, compression="gzip", chunks=(7, 3, 8, 8))
    if kind == "npz":
        return write_npz(root / "a.npz", {"images": pixels(N, 8, 8, 3, seed=first)})
    return write_npy(root / "a.npy", pixels(N, 8, 8, 3, seed=first))


def bytes_read() -> int:
    """Returns what this process has read from files since it began."""
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])
