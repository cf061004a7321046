"""An lmdb gives the pictures of its keys; what is damaged is named."""

import os
import pathlib

import pytest

from stylegan_jax.data import lmdb
from tests import table_files


def test_lmdb_gives_the_bytes_of_its_sorted_keys(tmp_path):
    entries = {b"b": b"second", b"a": b"first", b"c\xff": b"third"}
    opened = lmdb.open_source(table_files.write_lmdb(tmp_path / "church_lmdb", entries))
    assert list(opened.names) == ["a", "b", "c\\xff"]
    assert table_files.read_all(opened) == [b"first", b"second", b"third"]


def test_lmdb_opens_by_its_data_file_too(tmp_path):
    path = table_files.make("lmdb", tmp_path)
    opened = lmdb.open_source(f"{path}/data.mdb")
    assert opened.read_fn(5) == table_files.encoded(5)
    assert opened.fingerprint() == lmdb.open_source(path).fingerprint()


def test_lmdb_opens_in_a_folder_that_cannot_be_written(tmp_path):
    path = pathlib.Path(table_files.make("lmdb", tmp_path))
    path.joinpath("data.mdb").chmod(0o444)
    path.chmod(0o555)
    assert lmdb.open_source(str(path)).read_fn(5) == table_files.encoded(5)
    path.chmod(0o755)


def test_lmdb_without_entries_is_named(tmp_path):
    assert "no pictures" in table_files.message(lmdb.open_source, table_files.write_lmdb(tmp_path / "empty", {}))


def test_lmdb_whose_pages_miss_their_end_is_never_read(tmp_path):
    path = table_files.make("lmdb", tmp_path)
    os.truncate(f"{path}/data.mdb", os.path.getsize(f"{path}/data.mdb") - 4096)  # Whole pages: lmdb itself opens it.
    assert "is cut short" in table_files.message(lmdb.open_source, path)


def test_closed_lmdb_cannot_be_read(tmp_path):
    opened = lmdb.open_source(table_files.make("lmdb", tmp_path))
    opened.close_fn()
    with pytest.raises(ValueError, match="lmdb"):
        opened.read_fn(0)


def test_lmdb_entry_lost_by_damage_is_no_picture(tmp_path):
    path = table_files.make("lmdb", tmp_path)
    file = pathlib.Path(path, "data.mdb")
    file.write_bytes(file.read_bytes().replace(b"020", b"999"))  # Out of order, so that lmdb does not find it.
    opened = lmdb.open_source(path)
    assert opened.read_fn(opened.names.index("999")) == b""
    assert opened.read_fn(5) == table_files.encoded(5)
