"""data.source opens as what it names, of whatever kind; what is unclear is refused with what to name instead."""

import pathlib
import shlex
import subprocess

import pytest

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, sources
from stylegan_jax.data.source import Source
from tests import picture_files, table_files

GOOD = picture_files.png()


def _open(path: object, **data) -> Source:
    return sources.open_source(Data(source=str(path), **data), 8)


def _refused(path: object, **data) -> str:
    with pytest.raises(ValueError) as error:
        _open(path, **data)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_archive_among_pictures_at_any_depth_does_not_hide_them(tmp_path):
    picture_files.write(tmp_path / "set", {"images/00000/00000/a.png": GOOD}, "folder")
    picture_files.write(tmp_path / "set" / "thumbs", {"t.png": GOOD}, "tar")
    assert "has several kinds of sources: thumbs.tar and pictures; name the file or folder of one kind" in _refused(
        tmp_path / "set"
    )
    assert list(_open(tmp_path / "set" / "images").names) == ["00000/00000/a.png"]


def test_hidden_archives_are_passed_over(tmp_path):
    picture_files.write(tmp_path / "set", {"1.png": GOOD, "._x.tar": b"x", ".cache/a.parquet": b"x"}, "folder")
    assert list(_open(tmp_path / "set").names) == ["1.png"]


def test_archives_and_tables_in_one_folder_are_refused(tmp_path):
    picture_files.write(tmp_path / "set" / "a", {"1.png": GOOD}, "tar")
    table_files.write_parquet(tmp_path / "set" / "data" / "b.parquet", {"image": table_files.images(range(2))})
    assert "has several kinds of sources: a.tar and data/b.parquet" in _refused(tmp_path / "set")
    assert _open(tmp_path / "set" / "a.tar").length == 1 and _open(tmp_path / "set" / "data").length == 2


def test_archives_below_a_folder_are_read(tmp_path):
    for name in ("train/0", "val/0"):
        picture_files.write(tmp_path / "set" / name, {"1.png": GOOD}, "tar")
    assert list(_open(tmp_path / "set").names) == ["train/0.tar/1.png", "val/0.tar/1.png"]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_what_lies_in_a_linked_folder_is_read(tmp_path, kind):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    if kind == "tar":
        picture_files.write(tmp_path / "elsewhere" / "a", {"1.png": GOOD, "2.png": GOOD}, "tar")
    else:
        table_files.write_parquet(tmp_path / "elsewhere" / "a.parquet", {"image": table_files.images(range(2))})
    assert _open(tmp_path / "in").length == 2


def test_pictures_beside_an_lmdb_are_noted(tmp_path):
    path = table_files.write_lmdb(tmp_path / "set", {b"a": GOOD})
    pathlib.Path(path, "preview.png").write_bytes(GOOD)
    opened = _open(path)
    assert (
        list(opened.names) == ["a"] and f"{path} has pictures beside data.mdb; they are passed over" in opened.notes[0]
    )


@pytest.mark.parametrize("name", ["set.h5", "set.npz", "a/b/set.zip", "set.tgz", "lsun/data.mdb", "SET.TAR"])
def test_in_a_folder_without_pictures_what_may_hold_them_is_named(tmp_path, name):
    path = picture_files.write(tmp_path / "in", {name: b"x", "readme.txt": b""}, "folder")
    message = _refused(path)
    assert "has no pictures (other files: 2" in message
    assert f"It has {name}; name one of them as data.source, such as {path}/{name}" in message


def test_of_a_folder_of_zips_the_first_are_named(tmp_path):
    for i in range(12):
        picture_files.write(tmp_path / "in" / f"{i:02}", {"1.png": GOOD}, "zip")
    assert "It has 00.zip, 01.zip, " in (message := _refused(tmp_path / "in")) and "07.zip and 4 more" in message


def test_a_single_picture_is_refused_with_its_folder(tmp_path):
    (tmp_path / "one.JPG").write_bytes(GOOD)
    assert f"one.JPG', a single picture; name its folder, {tmp_path}" in _refused(tmp_path / "one.JPG")


@pytest.mark.parametrize(
    ("packed", "pack"), [(".tgz", "gzip"), (".tar.gz", "gzip"), (".tar.bz2", "bzip2"), (".txz", "xz")]
)
def test_a_packed_tar_is_refused_with_a_command_that_unpacks_it(tmp_path, monkeypatch, packed, pack):
    plain = picture_files.write(tmp_path / "in" / "my set", {"1.png": GOOD}, "tar")
    path = tmp_path / f"my set{packed}"
    path.write_bytes(subprocess.run([pack, "-c", plain], capture_output=True, check=True).stdout)
    message = _refused(path)
    command, name = message.partition("Run ")[2].removesuffix(".").split(" and name ")
    assert shlex.split(command)[2] == str(path)
    monkeypatch.chdir(tmp_path)
    subprocess.run(command, shell=True, check=True)
    assert _open(name).read_fn(0) == GOOD


def test_a_store_that_is_being_prepared_is_said_to_be(tmp_path):
    partial = tmp_path / "store.partial"
    (partial / "store" / "levels").mkdir(parents=True)
    (partial / "lock").touch()
    words = "the same --mode=prepare command goes on"
    for path in (tmp_path / "store", f"{tmp_path}/store/", partial, f"{partial}/"):
        assert words in _refused(path)


def test_the_procedural_sets_note_what_lies_here_under_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("faces", "digits"):
        assert _open(name, num_faces=2, num_heldout=0).notes == ()
    picture_files.write(tmp_path / "faces", {"1.png": GOOD}, "folder")
    (tmp_path / "digits").touch()
    for name in ("faces", "digits"):
        (note,) = _open(name, num_faces=2, num_heldout=0).notes
        assert note == f"data.source={name} is the package's own set, not what lies here: to read that, use ./{name}"
    assert list(_open("./faces").names) == ["1.png"] and _open("./faces").notes == ()


@pytest.mark.parametrize("path", ["~nosuchuser", "~nosuchuser/pictures", "~nosuchuser/a.zip"])
def test_a_user_that_is_not_there_is_no_such_file(path):
    assert f"data.source is '{path}': no such file or folder" in _refused(path)


def test_labels_of_a_user_that_is_not_there_cannot_be_read(tmp_path):
    path = picture_files.write(tmp_path / "set", {"1.png": GOOD}, "folder")
    assert "~nosuchuser/l.csv cannot be read: " in _refused(path, labels="~nosuchuser/l.csv")


def test_labels_of_the_home_folder_are_read(tmp_path, monkeypatch):
    path = picture_files.write(tmp_path / "set", {"1.png": GOOD, "2.png": GOOD}, "folder")
    (tmp_path / "l.csv").write_text("1.png,b\n2.png,a\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _open(path, labels="~/l.csv").classes.labels.tolist() == [1, 0]


def test_labels_that_are_asked_for_stand_for_odd_ones_of_the_source(tmp_path):
    files = {"a/1.png": GOOD, "b/2.png": GOOD, "a/1.cls": b"-1", "b/2.cls": b"0"}
    opened = _open(picture_files.write(tmp_path / "set", files, "folder"), labels="folders")
    assert opened.classes.names == ("a", "b") and opened.unused_labels is None and opened.notes == ()


def test_a_model_of_other_classes_is_refused_before_pictures_are_read(tmp_path):
    path = picture_files.write(tmp_path / "set", {"a/1.png": b"no picture", "b/2.png": GOOD}, "folder")
    data = Data(source=path, labels="folders")
    with pytest.raises(ValueError, match="model.num_labels is 3, but .* has 2 classes with data.labels='folders'"):
        images.open_images(data, Model(resolution=8, num_labels=3))
    for num_labels in (0, 2):
        with pytest.raises(ValueError, match="1 of 2 pictures cannot be read"):
            images.open_images(data, Model(resolution=8, num_labels=num_labels))
