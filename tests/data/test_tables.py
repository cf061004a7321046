"""lmdb, parquet, HDF5 and .npy files open as sources; what is wrong with them is one ValueError that names the file."""

import dataclasses
import fcntl
import json
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from concurrent import futures

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from stylegan_jax.data import tables

N = 40  # Pictures.


def _encoded(i: int) -> bytes:
    """What stands for an encoded picture: bytes that none else has."""
    return b"picture %d " % i * (i + 200)


def _pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _write_lmdb(folder: pathlib.Path, entries: dict[bytes, bytes]) -> str:
    folder.mkdir()
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    (folder / "lock.mdb").unlink()
    return str(folder)


def _write_parquet(file: pathlib.Path, columns: dict[str, list], group_size: int = 10, metadata: str = "{}") -> str:
    table = pa.table(columns).replace_schema_metadata({"huggingface": metadata})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file, row_group_size=group_size)
    return str(file)


def _images(numbers: range) -> list[dict]:
    return [{"bytes": _encoded(i), "path": f"{i}.png"} for i in numbers]


def _write_hdf5(file: pathlib.Path, arrays: dict[str, np.ndarray], **options) -> str:
    with h5py.File(file, "w") as opened:
        for name, array in arrays.items():
            opened.create_dataset(name, data=array, **options if array.ndim else {})
    return str(file)


def _write_npz(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    np.savez_compressed(file, **arrays)
    return str(file)


def _write_npy(file: pathlib.Path, array: np.ndarray) -> str:
    np.save(file, array)
    return str(file)


def _read_all(opened) -> list:
    return [opened.read_fn(i) for i in range(opened.length)]


def _read_in_threads(opened) -> list:
    """Reads every picture four times in a mixed order, 16 at once; returns the last of each."""
    order = np.random.default_rng(0).permutation(np.tile(np.arange(opened.length), 4))
    with futures.ThreadPoolExecutor(16) as pool:
        found = dict(zip(order.tolist(), pool.map(opened.read_fn, order), strict=True))
    return [found[i] for i in range(opened.length)]


def _message(open_fn, path: str) -> str:
    with pytest.raises(ValueError) as caught:
        open_fn(path)
    assert type(caught.value) is ValueError
    assert path in str(caught.value)
    return str(caught.value)


def _make(kind: str, root: pathlib.Path, first: int = 0) -> str:
    """Writes N pictures, which depend on `first`, as a file of a kind; returns its path."""
    if kind == "lmdb":
        return _write_lmdb(root / "lmdb", {b"%03d" % i: _encoded(first + i) for i in range(N)})
    if kind == "parquet":
        return _write_parquet(root / "a.parquet", {"image": _images(range(first, first + N))})
    if kind == "hdf5":
        arrays = {"data8x8": _pixels(N, 3, 8, 8, seed=first)}
        return _write_hdf5(root / "a.h5", arrays, compression="gzip", chunks=(7, 3, 8, 8))
    if kind == "npz":
        return _write_npz(root / "a.npz", {"images": _pixels(N, 8, 8, 3, seed=first)})
    return _write_npy(root / "a.npy", _pixels(N, 8, 8, 3, seed=first))


OPEN_FNS = {
    "lmdb": tables.open_lmdb,
    "parquet": tables.open_parquet,
    "hdf5": tables.open_hdf5,
    "npy": tables.open_npy,
    "npz": tables.open_npy,
}
every_kind = pytest.mark.parametrize("kind", OPEN_FNS)


def _data_file(path: str) -> pathlib.Path:
    return pathlib.Path(path, "data.mdb") if pathlib.Path(path).is_dir() else pathlib.Path(path)


# Every kind.


@every_kind
def test_threads_read_the_same_as_one(kind, tmp_path):
    opened = OPEN_FNS[kind](_make(kind, tmp_path))
    assert opened.length == N
    for found, expected in zip(_read_in_threads(opened), _read_all(opened), strict=True):
        np.testing.assert_array_equal(found, expected)
    opened.close_fn()


@every_kind
def test_names_are_unique_and_identities_change_with_the_file(kind, tmp_path):
    prints = []
    for first in (0, 1):
        (tmp_path / str(first)).mkdir()
        opened = OPEN_FNS[kind](_make(kind, tmp_path / str(first), first))
        assert len(set(opened.names)) == len(opened.identities) == N
        assert opened.classes is None and opened.notes == ()
        prints.append(dataclasses.replace(opened, names=["a"] * N).fingerprint())
        opened.close_fn()
    assert prints[0] != prints[1]


@every_kind
def test_opening_and_reading_leaves_no_file_behind(kind, tmp_path):
    path = _make(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    opened = OPEN_FNS[kind](path)
    opened.read_fn(0)
    assert sorted(tmp_path.rglob("*")) == before
    opened.close_fn()
    assert sorted(tmp_path.rglob("*")) == before


@every_kind
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.95, 0.999])
def test_file_cut_short_is_named(kind, part, tmp_path):
    path = _make(kind, tmp_path)
    content = _data_file(path).read_bytes()
    _data_file(path).write_bytes(content[: int(part * len(content))])
    assert "again" in _message(OPEN_FNS[kind], path)


@every_kind
def test_other_bytes_are_named(kind, tmp_path):
    path = _make(kind, tmp_path)
    _data_file(path).write_bytes(b"<html>Not found</html>" * 1000)
    assert "no readable" in _message(OPEN_FNS[kind], path)


@every_kind
@pytest.mark.parametrize("name", ["missing", "missing/data.mdb", "~nobody-has-this-name/a", "nul\0byte"])
def test_missing_file_is_named(kind, name, tmp_path):
    _message(OPEN_FNS[kind], name if name.startswith("~") else str(tmp_path / name))


@every_kind
def test_folder_without_such_files_is_named(kind, tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    _message(OPEN_FNS[kind], str(tmp_path))


@every_kind
def test_tilde_is_the_home_folder(kind, tmp_path, monkeypatch):
    path = _make(kind, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = OPEN_FNS[kind](path.replace(str(tmp_path), "~"))
    assert opened.length == N
    opened.close_fn()


@every_kind
def test_source_can_be_opened_twice_at_once(kind, tmp_path):
    path = _make(kind, tmp_path)
    first, second = OPEN_FNS[kind](path), OPEN_FNS[kind](path)
    expected = second.read_fn(3)
    first.close_fn()
    np.testing.assert_array_equal(second.read_fn(3), expected)
    second.close_fn()
    third = OPEN_FNS[kind](path)
    np.testing.assert_array_equal(third.read_fn(3), expected)
    third.close_fn()


def test_no_reader_is_imported_before_it_is_used():
    code = "import sys; from stylegan_jax.data import tables; print({'lmdb', 'pyarrow', 'h5py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# lmdb.


def test_lmdb_gives_the_bytes_of_its_sorted_keys(tmp_path):
    entries = {b"b": b"second", b"a": b"first", b"c\xff": b"third"}
    opened = tables.open_lmdb(_write_lmdb(tmp_path / "church_lmdb", entries))
    assert list(opened.names) == ["a", "b", "c\\xff"]
    assert _read_all(opened) == [b"first", b"second", b"third"]


def test_lmdb_opens_by_its_data_file_too(tmp_path):
    path = _make("lmdb", tmp_path)
    opened = tables.open_lmdb(f"{path}/data.mdb")
    assert opened.read_fn(5) == _encoded(5)
    assert opened.fingerprint() == tables.open_lmdb(path).fingerprint()


def test_lmdb_opens_in_a_folder_that_cannot_be_written(tmp_path):
    path = pathlib.Path(_make("lmdb", tmp_path))
    path.joinpath("data.mdb").chmod(0o444)
    path.chmod(0o555)
    assert tables.open_lmdb(str(path)).read_fn(5) == _encoded(5)
    path.chmod(0o755)


def test_lmdb_without_entries_is_named(tmp_path):
    assert "no pictures" in _message(tables.open_lmdb, _write_lmdb(tmp_path / "empty", {}))


def test_lmdb_whose_pages_miss_their_end_is_never_read(tmp_path):
    path = _make("lmdb", tmp_path)
    os.truncate(f"{path}/data.mdb", os.path.getsize(f"{path}/data.mdb") - 4096)  # Whole pages: lmdb itself opens it.
    assert "is cut short" in _message(tables.open_lmdb, path)


def test_closed_lmdb_cannot_be_read(tmp_path):
    opened = tables.open_lmdb(_make("lmdb", tmp_path))
    opened.close_fn()
    with pytest.raises(ValueError, match="lmdb"):
        opened.read_fn(0)


def test_lmdb_entry_lost_by_damage_is_no_picture(tmp_path):
    path = _make("lmdb", tmp_path)
    file = pathlib.Path(path, "data.mdb")
    file.write_bytes(file.read_bytes().replace(b"020", b"999"))  # Out of order, so that lmdb does not find it.
    opened = tables.open_lmdb(path)
    assert opened.read_fn(opened.names.index("999")) == b""
    assert opened.read_fn(5) == _encoded(5)


# parquet.


def test_parquet_gives_the_bytes_of_each_row_in_any_order(tmp_path):
    opened = tables.open_parquet(_make("parquet", tmp_path))
    for i in (39, 0, 10, 9, 19, 20):
        assert opened.read_fn(i) == _encoded(i)
    assert list(opened.names) == [f"{i}.png" for i in range(N)]


def test_parquet_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    _write_parquet(tmp_path / "data" / "b.parquet", {"image": _images(range(4, 7))})
    _write_parquet(tmp_path / "data" / "a.parquet", {"image": _images(range(0, 4))}, group_size=3)
    _write_parquet(tmp_path / "data" / "c.parquet" / "a.parquet", {"image": _images(range(7, 9))})
    _write_parquet(tmp_path / "data" / ".cache" / "a.parquet", {"image": _images(range(20, 22))})
    (tmp_path / "data" / "._a.parquet").write_bytes(b"of macOS")
    (tmp_path / "data" / "README.md").write_text("a card")
    opened = tables.open_parquet(str(tmp_path / "data"))
    assert _read_all(opened) == [_encoded(i) for i in range(9)]
    assert len(set(opened.identities)) == 3 and opened.notes == ()


@pytest.mark.parametrize("paths", [[None] * 4, ["a", "b", "a", "c"], ["a", None, "b", "c"], ["a", "", "b", "c"]])
def test_parquet_pictures_without_paths_of_their_own_are_named_by_file_and_row(paths, tmp_path):
    images = [{"bytes": _encoded(i), "path": path} for i, path in enumerate(paths)]
    _write_parquet(tmp_path / "b" / "1.parquet", {"image": images[:3]}, group_size=2)
    _write_parquet(tmp_path / "b" / "2.parquet", {"image": images[3:]})
    opened = tables.open_parquet(str(tmp_path))
    assert list(opened.names) == [f"b/1.parquet#{i:06d}" for i in range(3)] + ["b/2.parquet#000000"]
    assert _read_all(opened) == [_encoded(i) for i in range(4)]


def test_opening_parquet_does_not_read_the_pictures(tmp_path):
    images = [{"bytes": os.urandom(2**20), "path": f"{i}.png"} for i in range(12)]
    path = _write_parquet(tmp_path / "a.parquet", {"image": images, "label": list(range(12))})
    tables.open_parquet(path)  # Imports are done.
    before = _bytes_read()
    opened = tables.open_parquet(path)
    used = _bytes_read() - before
    assert used < 3 * 2**20  # 16 places of 64 KiB for the identity, of 12 MiB.
    assert opened.read_fn(11) == images[11]["bytes"]


def _bytes_read() -> int:
    """Returns what this process has read from files since it began."""
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_parquet_column_of_plain_bytes_is_read(kind, tmp_path):
    columns = {"key": list("abc"), "jpeg": pa.array([_encoded(i) for i in range(3)], kind), "size": [1, 2, 3]}
    opened = tables.open_parquet(_write_parquet(tmp_path / "a.parquet", columns))
    assert _read_all(opened) == [_encoded(i) for i in range(3)]
    assert opened.names[2] == "a.parquet#000002"


@pytest.mark.parametrize("name", ["image", "img", "picture", "jpg", "png", "Image"])
def test_parquet_column_with_a_known_name_goes_before_others(name, tmp_path):
    columns = {"aux": [b"mask"] * 3, name: _images(range(3)), "zip": [b"depth"] * 3}
    assert tables.open_parquet(_write_parquet(tmp_path / "a.parquet", columns)).read_fn(1) == _encoded(1)


def test_parquet_columns_that_all_may_have_the_pictures_are_listed(tmp_path):
    columns = {"left": _images(range(3)), "right": [b"x"] * 3, "text": list("abc")}
    message = _message(tables.open_parquet, _write_parquet(tmp_path / "a.parquet", columns))
    assert "left, right, of" in message and "text: string" in message and "rename" in message


def test_parquet_without_a_column_of_bytes_is_named_with_its_columns(tmp_path):
    columns = {"url": list("abc"), "width": [1, 2, 3]}
    message = _message(tables.open_parquet, _write_parquet(tmp_path / "a.parquet", columns))
    assert "none, of url: string, width: int64" in message


def test_parquet_files_that_differ_in_the_column_of_pictures_are_named(tmp_path):
    _write_parquet(tmp_path / "a.parquet", {"image": _images(range(3))})
    _write_parquet(tmp_path / "b.parquet", {"picture": _images(range(3))})
    assert "in all files" in _message(tables.open_parquet, str(tmp_path))


def test_parquet_picture_that_is_null_is_named_when_read(tmp_path):
    images = [*_images(range(2)), None, {"bytes": None, "path": "/home/a/3.png"}, *_images(range(4, 6))]
    opened = tables.open_parquet(_write_parquet(tmp_path / "a.parquet", {"image": images}))
    for i in (2, 3):
        with pytest.raises(ValueError, match=rf"a\.parquet#00000{i} has no bytes"):
            opened.read_fn(i)
    assert opened.read_fn(4) == _encoded(4)


def test_parquet_without_rows_is_named(tmp_path):
    path = _write_parquet(tmp_path / "a.parquet", {"image": pa.array([], pa.binary())})
    assert "no pictures" in _message(tables.open_parquet, path)


def test_damaged_parquet_pages_are_named_when_read(tmp_path):
    path = _write_parquet(tmp_path / "a.parquet", {"image": [os.urandom(5000) for _ in range(20)]})
    content = bytearray(pathlib.Path(path).read_bytes())
    content[4:60] = b"\xff" * 56  # The head of the first page.
    pathlib.Path(path).write_bytes(content)
    opened = tables.open_parquet(path)
    with pytest.raises(ValueError, match=r"a\.parquet is no readable parquet"):
        opened.read_fn(0)
    assert len(opened.read_fn(10)) == 5000


@pytest.mark.parametrize("damaged", ["a.parquet", "b.parquet"])
def test_damaged_file_of_a_folder_is_named(damaged, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        _write_parquet(tmp_path / name, {"image": _images(range(3))})
    (tmp_path / damaged).write_bytes(b"PAR1")
    assert damaged in _message(tables.open_parquet, str(tmp_path))


def test_parquet_paths_that_are_no_text_are_an_error_that_names_the_file(tmp_path):
    paths = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    images = pa.StructArray.from_arrays([pa.array([b"x", b"y"]), paths], ["bytes", "path"])
    _message(tables.open_parquet, _write_parquet(tmp_path / "a.parquet", {"image": images}))


@pytest.mark.parametrize("column", tables.LABEL_NAMES)
def test_parquet_classes_are_numbers_without_metadata(column, tmp_path):
    columns = {"image": _images(range(4)), column: pa.array([2, 0, 1, 2], pa.uint8())}
    classes = tables.open_parquet(_write_parquet(tmp_path / "a.parquet", columns)).classes
    np.testing.assert_array_equal(classes.labels, [2, 0, 1, 2])
    assert classes.names == ("0", "1", "2")


def test_parquet_class_names_come_from_the_metadata(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    metadata = json.dumps({"info": {"features": features}})
    columns = {"image": _images(range(4)), "label": [1, 0, 1, 0]}
    classes = tables.open_parquet(_write_parquet(tmp_path / "a.parquet", columns, metadata=metadata)).classes
    np.testing.assert_array_equal(classes.labels, [1, 0, 1, 0])
    assert classes.names == ("cat", "dog", "eel")


@pytest.mark.parametrize("label", ['{"names": ["cat"]}', '{"names": 5}', "{}", "[]", "5", "{", ""])
def test_odd_metadata_leaves_classes_with_their_numbers(label, tmp_path):
    columns = {"image": _images(range(4)), "label": [1, 0, 1, 0]}
    metadata = '{"info": {"features": {"label": ' + label + "}}}"
    classes = tables.open_parquet(_write_parquet(tmp_path / "a.parquet", columns, metadata=metadata)).classes
    assert classes.names == ("0", "1")


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_parquet_classes_may_be_text(is_dictionary, tmp_path):
    values = pa.array(["dog", "cat", "dog", "eel"])
    columns = {"image": _images(range(4)), "label": values.dictionary_encode() if is_dictionary else values}
    classes = tables.open_parquet(_write_parquet(tmp_path / "a.parquet", columns)).classes
    np.testing.assert_array_equal(classes.labels, [1, 0, 1, 2])
    assert classes.names == ("cat", "dog", "eel")


@pytest.mark.parametrize("values", [[-1, -1, -1, -1], [0, None, 1, 0], [2**62, 0, 1, 2], ["a", None, "b", "a"]])
def test_labels_that_are_no_classes_leave_the_pictures_and_a_note(values, tmp_path):
    path = _write_parquet(tmp_path / "a.parquet", {"image": _images(range(4)), "label": values})
    opened = tables.open_parquet(path)
    assert opened.classes is None and opened.length == 4
    assert len(opened.notes) == 1 and path in opened.notes[0] and "labels" in opened.notes[0]


def test_labels_that_only_some_files_have_are_not_used(tmp_path):
    _write_parquet(tmp_path / "a.parquet", {"image": _images(range(2)), "label": [0, 1]})
    _write_parquet(tmp_path / "b.parquet", {"image": _images(range(2, 4))})
    opened = tables.open_parquet(str(tmp_path))
    assert opened.classes is None and opened.length == 4


@pytest.mark.parametrize(
    "names",
    [["train-00000-of-00002.parquet", "test-00000-of-00001.parquet"], ["all/train/0.parquet", "all/test/0.parquet"]],
)
def test_splits_are_all_taken_and_noted(names, tmp_path):
    for i, name in enumerate(names):
        _write_parquet(tmp_path / name, {"image": _images(range(2 * i, 2 * i + 2))})
    opened = tables.open_parquet(str(tmp_path))
    assert opened.length == 4
    assert opened.notes == (f"{tmp_path} has the splits test, train: all are taken; name a file to take less",)


def test_row_groups_are_kept_up_to_a_number_of_bytes_and_loaded_once(monkeypatch):
    monkeypatch.setattr(tables, "RECENT_BYTES", 100)
    loaded = []

    def load(number: int) -> np.ndarray:
        loaded.append(number)
        return np.zeros(40 if number < 3 else 500, np.uint8)

    recent = tables._keep_recent(load, 4)
    for number in (0, 1, 0, 2, 0, 1):  # The third drops 1, which was used the longest ago.
        recent(number)
    assert loaded == [0, 1, 2, 1]
    recent(3), recent(3), recent(1)  # One alone may be larger.
    assert loaded == [0, 1, 2, 1, 3, 1]


def test_row_group_asked_for_by_many_threads_is_loaded_once():
    barrier, loaded = threading.Barrier(8), []

    def load(number: int) -> np.ndarray:
        time.sleep(0.05)
        loaded.append(number)
        return np.zeros(1)

    recent = tables._keep_recent(load, 1)
    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: (barrier.wait(), recent(0)), range(8)))
    assert loaded == [0]


def test_row_group_that_failed_is_tried_again():
    answers = iter([OSError("a drive's hiccup"), np.zeros(1)])

    def load(number: int) -> np.ndarray:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    recent = tables._keep_recent(load, 1)
    with pytest.raises(OSError):
        recent(0)
    assert recent(0).nbytes


# Arrays.

SHAPES = {  # Of the array, and of a picture of it.
    "gray": ((5, 8, 6), (8, 6)),
    "channels last": ((5, 8, 6, 3), (8, 6, 3)),
    "channels first": ((5, 3, 8, 6), (8, 6, 3)),
    "alpha": ((5, 4, 8, 8), (8, 8, 4)),
    "one channel": ((5, 1, 8, 8), (8, 8, 1)),
    "4 px, channels first": ((5, 3, 4, 4), (4, 4, 3)),
    "4 px, channels last": ((5, 4, 4, 3), (4, 4, 3)),
    "3 px": ((5, 3, 3, 3), (3, 3, 3)),
    "4 px, gray": ((5, 4, 4), (4, 4)),
    "one picture": ((1, 8, 8, 3), (8, 8, 3)),
}
array_kinds = pytest.mark.parametrize("kind", ["hdf5", "npy", "npz"])


def _write_arrays(kind: str, root: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    if kind == "hdf5":
        return _write_hdf5(root / "a.h5", arrays)
    if kind == "npz":
        return _write_npz(root / "a.npz", arrays)
    return _write_npy(root / "a.npy", next(iter(arrays.values())))


@array_kinds
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_of_every_layout_give_pictures(kind, shape, tmp_path):
    array = _pixels(*SHAPES[shape][0])
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, {"x": array}))
    assert opened.length == len(array)
    is_first = array.ndim == 4 and array.shape[1:] != SHAPES[shape][1]
    for found, expected in zip(_read_all(opened), array, strict=True):
        assert type(found) is np.ndarray and found.dtype == np.uint8 and found.shape == SHAPES[shape][1]
        assert found.flags.owndata and found.flags.writeable and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected.transpose(1, 2, 0) if is_first else expected)


@array_kinds
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 8, 8, 3), np.float32),
        np.zeros((5, 8, 8, 3), np.int8),
        np.zeros((5, 8, 8, 3), bool),
        np.zeros((5, 8, 8, 2), np.uint8),
        np.zeros((5, 192), np.uint8),
        np.zeros((8, 6, 3), np.uint8),
        np.zeros((2, 5, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((5, 0, 8, 3), np.uint8),
        np.uint8(3),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_arrays_that_are_no_pictures_are_named_with_type_and_shape(kind, array, tmp_path):
    message = _message(OPEN_FNS[kind], _write_arrays(kind, tmp_path, {"x": array}))
    assert "Expected uint8" in message and "convert" in message
    if array.ndim:
        assert f"{array.dtype} {list(array.shape)}" in message


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_of_several_arrays_the_highest_is_taken_then_the_longest_and_the_rest_noted(kind, tmp_path):
    arrays = {f"data{r}x{r}": _pixels(5, 3, r, r, seed=r) for r in (16, 2, 4, 8)}
    arrays |= {
        "a16": _pixels(4, 3, 16, 16),
        "wide": _pixels(9, 8, 64, 3),
        "means": np.zeros((5, 32, 32, 3)),
        "size": np.int64(3),
    }
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, arrays))
    np.testing.assert_array_equal(opened.read_fn(4), arrays["data16x16"][4].transpose(1, 2, 0))
    assert opened.notes == (
        f"{opened.path}: the pictures are those of data16x16; passed over: a16, data2x2, data4x4, data8x8, wide",
    )


def test_colour_goes_before_gray_of_the_same_size(tmp_path):
    arrays = {"depths": _pixels(5, 8, 8), "photos": _pixels(5, 8, 8, 3)}
    assert tables.open_npy(_write_npz(tmp_path / "a.npz", arrays)).read_fn(0).shape == (8, 8, 3)


LABELS = {
    "numbers": ("labels", np.array([2, 0, 1, 2, 0])),
    "small numbers": ("label", np.array([2, 0, 1, 2, 0], np.uint8)),
    "column": ("y_train", np.array([[2], [0], [1], [2], [0]])),
    "one-hot": ("train_labels", np.eye(3, dtype=np.float32)[[2, 0, 1, 2, 0]]),
    "one-hot bool": ("class", np.eye(3, dtype=bool)[[2, 0, 1, 2, 0]]),
}


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
@pytest.mark.parametrize("form", LABELS)
def test_array_of_labels_gives_the_classes(kind, form, tmp_path):
    name, values = LABELS[form]
    arrays = {"x_train": _pixels(5, 8, 8, 3), name: values, "y_test": np.arange(4), "ids": np.arange(5)}
    arrays["label_maps"] = np.zeros((5, 8, 8), np.int64)
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, arrays))
    np.testing.assert_array_equal(opened.classes.labels, [2, 0, 1, 2, 0])
    assert opened.classes.names == ("0", "1", "2") and opened.notes == ()


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
@pytest.mark.parametrize(
    "more",
    [
        {"labels": np.array([0.5, 1, 2, 3, 4])},
        {"labels": np.array([0, 1, 2, 3, -1])},
        {"labels": np.array([[1, 1], [0, 1], [1, 0], [1, 0], [1, 0]])},
        {"labels": np.full(5, 2**64 - 1, np.uint64)},
        {"labels": np.arange(5), "y": np.arange(5)},
    ],
    ids=["floats", "missing", "several ones", "too large", "two arrays"],
)
def test_arrays_of_labels_that_are_no_classes_leave_a_note(kind, more, tmp_path):
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, {"x": _pixels(5, 8, 8, 3), **more}))
    assert opened.classes is None and opened.length == 5
    assert len(opened.notes) == 1 and opened.path in opened.notes[0] and "labels" in opened.notes[0]


def test_names_of_array_rows_sort_as_the_rows_do(tmp_path):
    names = tables.open_npy(_write_npy(tmp_path / "a.npy", _pixels(101, 2, 2))).names
    assert names[:2] == ["000", "001"] and names[-1] == "100"


def test_pickled_objects_are_refused_and_never_run(tmp_path):
    mark = tmp_path / "was run"

    class Hostile:
        def __reduce__(self):
            return pathlib.Path.touch, (mark,)

    objects = np.empty(3, object)
    objects[:] = [Hostile()] * 3
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.npy", "a.npz", "b.npy"):
        assert "no readable" in _message(tables.open_npy, str(tmp_path / name))
    assert not mark.exists()


def test_opening_npy_does_not_read_the_pictures(tmp_path):
    path = _write_npy(tmp_path / "a.npy", np.zeros((12, 1024, 1024), np.uint8))
    before = _bytes_read()
    tables.open_npy(path)
    assert _bytes_read() - before < 3 * 2**20


def test_npy_in_the_order_of_fortran_is_read(tmp_path):
    array = _pixels(5, 8, 6, 3)
    opened = tables.open_npy(_write_npy(tmp_path / "a.npy", np.asfortranarray(array)))
    np.testing.assert_array_equal(np.stack(_read_all(opened)), array)


def test_npz_too_large_for_memory_is_a_value_error(tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**50, 8, 8, 3)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    assert "memory" in _message(tables.open_npy, str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["readme.txt", "a/b.png"])
def test_npz_with_other_files_in_it_is_named(name, tmp_path):
    path = _write_npz(tmp_path / "a.npz", {})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "text")
    _message(tables.open_npy, path)


def test_hdf5_locked_by_others_is_read(tmp_path):
    path = _make("hdf5", tmp_path)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert tables.open_hdf5(path).length == N


def test_hdf5_arrays_in_groups_are_found_beside_what_is_none(tmp_path):
    path = _write_hdf5(tmp_path / "a.h5", {"train/images/rgb": _pixels(5, 8, 8, 3), "scale": np.float32(2)})
    with h5py.File(path, "a") as file:
        file["empty"] = h5py.Empty("u1")
        file["elsewhere"] = h5py.ExternalLink("missing.h5", "/x")
        file["dangling"] = h5py.SoftLink("/missing")
        file["text"] = "words"
        file["type"] = np.dtype("f4")
        file[b"\xff\xfe"] = np.zeros((5, 4, 4), np.uint8)
    opened = tables.open_hdf5(path)
    assert opened.length == 5 and opened.read_fn(0).shape == (8, 8, 3)


def test_hdf5_of_many_other_arrays_has_a_short_message(tmp_path):
    path = _write_hdf5(tmp_path / "a.h5", {f"picture {i}": _pixels(8, 8, 3) for i in range(100)})
    assert len(_message(tables.open_hdf5, path)) < 1500


def test_hdf5_chunk_of_many_pictures_is_decoded_once(tmp_path):
    array = _pixels(12, 1024, 1024)
    path = _write_hdf5(tmp_path / "a.h5", {"x": array}, chunks=array.shape, compression="lzf")
    opened = tables.open_hdf5(path)
    before = _bytes_read()
    for i in range(12):
        np.testing.assert_array_equal(opened.read_fn(i), array[i])
    assert _bytes_read() - before < 2 * array.nbytes


def test_damaged_hdf5_chunks_are_named_when_read(tmp_path):
    path = _make("hdf5", tmp_path)
    with h5py.File(path) as file:
        chunk = file["data8x8"].id.get_chunk_info(0)
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * 64)
    opened = tables.open_hdf5(path)
    with pytest.raises(ValueError, match=r"a\.h5 is no readable"):
        opened.read_fn(0)
    assert opened.read_fn(N - 1).shape == (8, 8, 3)
    opened.close_fn()


def test_closed_hdf5_cannot_be_read_and_failed_one_is_closed(tmp_path):
    opened = tables.open_hdf5(_make("hdf5", tmp_path))
    opened.close_fn()
    with pytest.raises(ValueError, match="no readable"):
        opened.read_fn(0)
    path = _write_hdf5(tmp_path / "b.h5", {"x": np.zeros((5, 8, 8, 3))})
    _message(tables.open_hdf5, path)
    h5py.File(path, "w").close()  # Fails on a file that is open.
