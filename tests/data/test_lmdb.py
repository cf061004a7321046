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


def _sized(*sizes: int, count: int = 12) -> dict[bytes, bytes]:
    """Returns the entries of pictures at several sizes, as rosinality's ports of StyleGAN prepare them."""
    return {b"%d-%05d" % (size, i): b"%d px %d" % (size, i) for size in sizes for i in range(count)}


def test_of_pictures_at_several_sizes_the_largest_are_read_and_the_rest_noted(tmp_path):
    entries = _sized(8, 16, 128, 64) | {b"length": b"12"}
    opened = lmdb.open_source(table_files.write_lmdb(tmp_path / "set", entries))
    assert list(opened.names) == [f"128-{i:05d}" for i in range(12)]
    assert table_files.read_all(opened) == [b"128 px %d" % i for i in range(12)]
    assert "those of 128 px; passed over: those of 8, 16, 64 px" in opened.notes[0]


def test_pictures_of_one_size_are_read_in_the_order_of_their_numbers(tmp_path):
    entries = {b"64-99999": b"first", b"64-100000": b"second", b"length": b"2"}
    opened = lmdb.open_source(table_files.write_lmdb(tmp_path / "set", entries))
    assert table_files.read_all(opened) == [b"first", b"second"] and opened.notes == ()


def test_sizes_without_a_length_are_told_apart_too(tmp_path):
    opened = lmdb.open_source(table_files.write_lmdb(tmp_path / "set", _sized(8, 64)))
    assert opened.length == 12 and opened.names[0] == "64-00000"


def test_fewer_pictures_than_the_length_are_refused(tmp_path):
    path = table_files.write_lmdb(tmp_path / "set", _sized(8) | _sized(64, count=10) | {b"length": b"12"})
    assert "says that it has 12 pictures, but has 10 of 64 px" in table_files.message(lmdb.open_source, path)


@pytest.mark.parametrize("key", [b"2020-00001", b"8-00001-a", b"x"])
def test_other_keys_with_a_length_are_all_read(tmp_path, key):
    entries = _sized(8, 64) | {key: b"x", b"length": b"25"}
    assert lmdb.open_source(table_files.write_lmdb(tmp_path / "set", entries)).length == 25


def test_a_picture_called_length_is_read(tmp_path):
    opened = lmdb.open_source(table_files.write_lmdb(tmp_path / "set", {b"length": b"\x89PNG", b"x": b"y"}))
    assert table_files.read_all(opened) == [b"\x89PNG", b"y"]
