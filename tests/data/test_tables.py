"""What holds for sources of lmdb, parquet, HDF5 and .npy alike; what is wrong is one ValueError with the path."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from stylegan_jax.data import arrays, lmdb, parquet
from tests import table_files

OPEN_FNS = {
    "lmdb": lmdb.open_source,
    "parquet": parquet.open_source,
    "hdf5": arrays.open_hdf5,
    "npy": arrays.open_npy,
    "npz": arrays.open_npy,
}
every_kind = pytest.mark.parametrize("kind", OPEN_FNS)


def _data_file(path: str) -> pathlib.Path:
    return pathlib.Path(path, "data.mdb") if pathlib.Path(path).is_dir() else pathlib.Path(path)


@every_kind
def test_threads_read_the_same_as_one(kind, tmp_path):
    opened = OPEN_FNS[kind](table_files.make(kind, tmp_path))
    assert opened.length == table_files.N
    for found, expected in zip(table_files.read_in_threads(opened), table_files.read_all(opened), strict=True):
        np.testing.assert_array_equal(found, expected)
    opened.close_fn()


@every_kind
def test_names_are_unique_and_identities_change_with_the_file(kind, tmp_path):
    prints = []
    for first in (0, 1):
        (tmp_path / str(first)).mkdir()
        opened = OPEN_FNS[kind](table_files.make(kind, tmp_path / str(first), first))
        assert len(set(opened.names)) == len(opened.identities) == table_files.N
        assert opened.classes is None and opened.notes == ()
        prints.append(dataclasses.replace(opened, names=["a"] * table_files.N).fingerprint())
        opened.close_fn()
    assert prints[0] != prints[1]


@every_kind
def test_opening_and_reading_leaves_no_file_behind(kind, tmp_path):
    path = table_files.make(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    opened = OPEN_FNS[kind](path)
    opened.read_fn(0)
    assert sorted(tmp_path.rglob("*")) == before
    opened.close_fn()
    assert sorted(tmp_path.rglob("*")) == before


@every_kind
def test_a_file_that_is_written_anew_is_noticed(kind, tmp_path):
    path = table_files.make(kind, tmp_path)
    opened, again = OPEN_FNS[kind](path), _data_file(path).read_bytes()
    opened.read_fn(0)
    assert opened.unchanged_fn([0])
    copy = tmp_path / "copy"
    copy.write_bytes(again)
    copy.replace(_data_file(path))
    assert not opened.unchanged_fn([0])
    opened.close_fn()


@every_kind
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.95, 0.999])
def test_file_cut_short_is_named(kind, part, tmp_path):
    path = table_files.make(kind, tmp_path)
    content = _data_file(path).read_bytes()
    _data_file(path).write_bytes(content[: int(part * len(content))])
    assert "again" in table_files.message(OPEN_FNS[kind], path)


@every_kind
def test_other_bytes_are_named(kind, tmp_path):
    path = table_files.make(kind, tmp_path)
    _data_file(path).write_bytes(b"<html>Not found</html>" * 1000)
    assert "cannot be read as" in table_files.message(OPEN_FNS[kind], path)


@every_kind
@pytest.mark.parametrize("name", ["missing", "missing/data.mdb", "~nobody-has-this-name/a", "nul\0byte"])
def test_missing_file_is_named(kind, name, tmp_path):
    table_files.message(OPEN_FNS[kind], name if name.startswith("~") else str(tmp_path / name))


@every_kind
def test_folder_without_such_files_is_named(kind, tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    table_files.message(OPEN_FNS[kind], str(tmp_path))


@every_kind
def test_tilde_is_the_home_folder(kind, tmp_path, monkeypatch):
    path = table_files.make(kind, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = OPEN_FNS[kind](path.replace(str(tmp_path), "~"))
    assert opened.length == table_files.N
    opened.close_fn()


@every_kind
def test_source_can_be_opened_twice_at_once(kind, tmp_path):
    path = table_files.make(kind, tmp_path)
    first, second = OPEN_FNS[kind](path), OPEN_FNS[kind](path)
    expected = second.read_fn(3)
    first.close_fn()
    np.testing.assert_array_equal(second.read_fn(3), expected)
    second.close_fn()
    third = OPEN_FNS[kind](path)
    np.testing.assert_array_equal(third.read_fn(3), expected)
    third.close_fn()


def test_no_reader_is_imported_before_it_is_used():
    code = "import sys; from stylegan_jax.data import sources; print({'lmdb', 'pyarrow', 'h5py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
