"""Files of folders, .zip and .tar are told apart alike: pictures, their labels, and others, which are counted."""

import json
import pathlib

import numpy as np
import pytest

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, sources
from stylegan_jax.data.source import Source
from tests import picture_files

GOOD = picture_files.png()
all_kinds = pytest.mark.parametrize("kind", picture_files.KINDS)


def _open(path: str, labels: str = "own") -> Source:
    return sources.open_source(Data(source=path, labels=labels), 8)


def _open_files(root: pathlib.Path, files, kind: str, **others) -> Source:
    return _open(picture_files.write(root / "set", files, kind, **others))


def _table(names_and_labels: dict[str, object]) -> bytes:
    return json.dumps({"labels": list(names_and_labels.items())}).encode()


def _notes(opened: Source) -> str:
    return "\n".join(opened.notes)


# Names.


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("top", ["./", "././"])
def test_names_are_those_without_the_current_folder(tmp_path, kind, top):
    files = {"cat/1.png": picture_files.png(1), "dog/2.png": picture_files.png(2), ".hidden/3.png": GOOD}
    opened = _open_files(tmp_path, files, kind, top=top)
    assert list(opened.names) == ["cat/1.png", "dog/2.png"]
    assert opened.read_fn(1) == picture_files.png(2)
    assert _open(opened.path, "folders").classes.names == ("cat", "dog")


@all_kinds
@pytest.mark.parametrize(
    "hidden", [".Trash-0/1.png", "lost+found/1.png", "__MACOSX/1.png", "a/.cache/1.png", "._1.png"]
)
def test_hidden_files_and_folders_are_passed_over(tmp_path, kind, hidden):
    opened = _open_files(tmp_path, {"1.png": GOOD, hidden: GOOD}, kind)
    assert list(opened.names) == ["1.png"] and opened.num_ignored == 0


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_pictures_of_one_name_the_last_is_read_and_they_are_noted(tmp_path, kind):
    files = [("a.png", picture_files.png(1)), ("b.png", GOOD), ("a.png", picture_files.png(2)), ("./b.png", GOOD)]
    opened = _open_files(tmp_path, files, kind)
    assert list(opened.names) == ["a.png", "b.png"] and opened.read_fn(0) == picture_files.png(2)
    assert "of one name twice, and the last is read: a.png, b.png" in _notes(opened)


@all_kinds
def test_other_files_are_counted_by_ending(tmp_path, kind):
    files = {f"{i}.HEIC": b"x" for i in range(5)} | {"a.txt": b"", "b/c.txt": b"", "Makefile": b"", "1.png": GOOD}
    opened = _open_files(tmp_path, files, kind)
    assert opened.others == {".heic": 5, ".txt": 2, "": 1} and opened.num_ignored == 8
    (note,) = opened.notes
    assert "other files: 8 (.heic 5, .txt 2, without ending 1)" in note
    assert ".heic cannot be decoded: convert them to PNG or JPEG" in note


def test_of_many_endings_the_most_frequent_are_said(tmp_path):
    files = {f"{i}.x{k}": b"" for k in range(9) for i in range(k + 1)} | {"1.png": GOOD}
    (note,) = _open_files(tmp_path, files, "folder").notes
    assert "45 (.x8 9, .x7 8, .x6 7, .x5 6, .x4 5, .x3 4, and 3 more endings)" in note


def test_labels_are_no_other_files(tmp_path):
    files = {"1.png": GOOD, "1.cls": b"0", "2.png": GOOD, "2.cls": b"1", "3.cls": b"1"}
    assert _open_files(tmp_path, files, "folder").others == {".cls": 1}


@all_kinds
def test_without_pictures_other_files_are_said(tmp_path, kind):
    with pytest.raises(ValueError, match=r"has no pictures \(other files: 2 \(.heic 2\); .heic cannot be decoded"):
        _open_files(tmp_path, {"1.heic": b"x", "2.heic": b"x"}, kind)


# dataset.json.


@all_kinds
@pytest.mark.parametrize("top", ["", "data/", "data/train/"])
def test_a_table_in_a_folder_that_all_pictures_share_gives_the_classes(tmp_path, kind, top):
    files = {"00/1.png": GOOD, "01/2.png": GOOD, "dataset.json": _table({"00/1.png": 1, "01/2.png": 0})}
    opened = _open_files(tmp_path, {top + name: content for name, content in files.items()}, kind)
    assert opened.classes.labels.tolist() == [1, 0] and opened.notes == () and opened.num_ignored == 0


@all_kinds
def test_a_table_above_the_folder_of_all_pictures_names_them_from_its_place(tmp_path, kind):
    files = {"data/00/1.png": GOOD, "data/00/2.png": GOOD}
    table = _table({"00/1.png": 1, "00/2.png": 0})
    assert _open_files(tmp_path, files | {"data/dataset.json": table}, kind).classes.labels.tolist() == [1, 0]


@all_kinds
def test_a_table_beside_some_pictures_is_not_used_but_named(tmp_path, kind):
    files = {"a/1.png": GOOD, "b/2.png": GOOD, "b/dataset.json": _table({"2.png": 1})}
    opened = _open_files(tmp_path, files, kind)
    assert opened.classes is None and "b/dataset.json beside some of its pictures only" in opened.unused_labels
    assert opened.unused_labels in _notes(opened)
    files["dataset.json"] = _table({"a/1.png": 0, "b/2.png": 1})
    opened = _open_files(tmp_path / "second", files, kind)
    assert opened.classes.labels.tolist() == [0, 1] and "b/dataset.json beside some pictures only" in _notes(opened)


@all_kinds
def test_two_tables_that_could_be_meant_are_named_and_not_used(tmp_path, kind):
    files = {"data/1.png": GOOD, "data/dataset.json": _table({"1.png": 0}), "dataset.json": _table({"data/1.png": 1})}
    opened = _open_files(tmp_path, files, kind)
    assert opened.classes is None
    assert "labels in data/dataset.json and dataset.json; keep those of one kind" in opened.unused_labels


@all_kinds
def test_a_table_and_labels_beside_the_pictures_are_named_and_not_used(tmp_path, kind):
    files = {"1.png": GOOD, "1.cls": b"0", "dataset.json": _table({"1.png": 0})}
    assert "labels in dataset.json and .cls files" in _open_files(tmp_path, files, kind).unused_labels


def test_a_table_with_two_classes_of_a_picture_is_not_used(tmp_path):
    table = json.dumps({"labels": [["1.png", 0], ["2.png", 1], ["1.png", 1], ["2.png", 1]]}).encode()
    opened = _open_files(tmp_path, {"1.png": GOOD, "2.png": GOOD, "dataset.json": table}, "folder")
    assert "two classes for 1 pictures: 1.png; keep one for each" in opened.unused_labels


def test_a_picture_that_cannot_be_read_does_not_stand_for_its_table(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").write_bytes(GOOD)
    (tmp_path / "set" / "dataset.json").symlink_to("nowhere")
    with pytest.raises(ValueError, match="set/dataset.json cannot be read: .*No such file"):
        _open(str(tmp_path / "set"))


def test_a_table_beside_several_archives_is_not_used_but_named(tmp_path):
    for name in "ab":
        picture_files.write(tmp_path / "in" / name, {"1.png": GOOD}, "tar")
    (tmp_path / "in" / "dataset.json").write_bytes(_table({"a.tar/1.png": 0, "b.tar/1.png": 1}))
    opened = _open(str(tmp_path / "in"))
    assert opened.classes is None and "in/dataset.json is not used, as it lies beside the .tar" in _notes(opened)
    named = _open(str(tmp_path / "in"), labels=f"{tmp_path}/in/dataset.json")
    assert named.classes.labels.tolist() == [0, 1]


# Labels beside the pictures.


@all_kinds
@pytest.mark.parametrize(
    ("ending", "form"), [("cls", "%s"), ("json", '{"label": %s, "caption": "x"}'), ("json", '{"cls": %s}')]
)
def test_files_beside_the_pictures_give_the_classes(tmp_path, kind, ending, form):
    files = {f"a/{i}.{e}": GOOD if e == "png" else (form % i).encode() for i in (2, 0, 1) for e in ("png", ending)}
    opened = _open_files(tmp_path, files, kind)
    assert opened.classes.labels.tolist() == [0, 1, 2] and opened.classes.names == ("0", "1", "2")
    assert opened.num_ignored == 0


def test_classes_of_a_name_with_dots_are_found(tmp_path):
    files = {"IMG.2020.1.png": GOOD, "IMG.2020.1.cls": b"1", "x.seg.png": GOOD, "x.cls": b"0\n"}
    assert _open_files(tmp_path, files, "folder").classes.labels.tolist() == [1, 0]


@all_kinds
def test_one_missing_label_drops_the_classes_with_a_count(tmp_path, kind):
    files = {f"{i}.{ending}": GOOD for i in range(3) for ending in ("png", "cls")}
    del files["1.cls"]
    opened = _open_files(tmp_path, files, kind)
    assert opened.classes is None and "1 of 3 pictures have no .cls beside them: 1.png" in opened.unused_labels


@all_kinds
@pytest.mark.parametrize(
    ("label", "words"),
    [
        (b"9" * 30, "a label is not the number"),
        (b"-1", "label -1 of picture 0"),
        (b"0.5", "fractions"),
        (b"x" * 2**21, "1.cls has no label"),
    ],
    ids=["vast number", "negative", "fraction", "vast file"],
)
def test_an_odd_label_refuses_a_model_of_classes_alone(tmp_path, kind, label, words):
    path = picture_files.write(tmp_path / "set", {"1.png": GOOD, "1.cls": label, "2.png": GOOD, "2.cls": b"0"}, kind)
    data = Data(source=path)
    assert images.open_images(data, Model(resolution=8)).length == 2
    with pytest.raises(ValueError, match=f"model.num_labels is 2, but .*{words}"):
        images.open_images(data, Model(resolution=8, num_labels=2))


@all_kinds
def test_metadata_without_a_label_is_noted(tmp_path, kind):
    opened = _open_files(tmp_path, {"1.png": GOOD, "1.json": b'{"caption": "a cat"}'}, kind)
    assert opened.classes is None and "1.json has no label: it has 0 of the keys label and cls" in opened.unused_labels


# Several pictures with one key.


def test_masks_of_samples_are_left_out_and_named(tmp_path):
    files = {f"{i}.{e}": GOOD for i in range(3) for e in ("jpg", "mask.png")} | {
        f"{i}.cls": b"%d" % i for i in range(3)
    }
    opened = _open_files(tmp_path, files, "tar")
    assert list(opened.names) == ["0.jpg", "1.jpg", "2.jpg"] and opened.classes.labels.tolist() == [0, 1, 2]
    assert "3 are left out: 0.mask.png, 1.mask.png, 2.mask.png" in _notes(opened)


def test_samples_of_two_pictures_are_refused(tmp_path):
    files = {f"{i}.{ending}": GOOD for i in range(3) for ending in ("jpg", "png")}
    with pytest.raises(
        ValueError, match="several pictures with one key, such as 0.jpg, 0.png, .* unpack all and name the folder"
    ):
        _open_files(tmp_path, files, "tar")
    opened = _open_files(tmp_path / "unpacked", files, "folder")
    note = "most pictures share their key, such as 0.jpg, 0.png; each is trained on"
    assert opened.length == 6 and note in _notes(opened)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_masks_among_pictures_that_are_no_samples_are_noted(tmp_path, kind):
    files = {f"{i}.{ending}": GOOD for i in range(3) for ending in ("jpg", "mask.png")} | {"3.jpg": GOOD}
    opened = _open_files(tmp_path, files, kind)
    assert opened.length == 7 and "most pictures share their key, such as 0.jpg, 0.mask.png" in _notes(opened)


def test_a_few_pictures_with_one_key_are_noted(tmp_path):
    files = {"1.jpg": GOOD, "1.png": GOOD, "2.jpg": GOOD, "3.jpg": GOOD}
    opened = _open_files(tmp_path, files, "tar")
    assert opened.length == 4 and "pictures share a key, such as 1.jpg, 1.png; each is trained on" in _notes(opened)


def test_names_with_dots_are_no_samples(tmp_path):
    opened = _open_files(tmp_path, {"IMG.2020.1.jpg": GOOD, "IMG.2020.2.jpg": GOOD}, "tar")
    assert opened.length == 2 and opened.notes == ()


# Folders as classes.


@all_kinds
def test_a_folder_around_all_is_no_class(tmp_path, kind):
    files = {"data/cat/1.png": GOOD, "data/dog/2.png": GOOD, "data/readme.txt": b""}
    opened = _open(picture_files.write(tmp_path / "set", files, kind), "folders")
    assert opened.classes.names == ("cat", "dog") and opened.classes.labels.tolist() == [0, 1]


@all_kinds
def test_a_single_folder_gives_no_classes(tmp_path, kind):
    path = picture_files.write(tmp_path / "set", {"cat/1.png": GOOD, "cat/2.png": GOOD}, kind)
    with pytest.raises(ValueError, match="all 2 pictures of .* lie in one folder, cat; use data.labels=own"):
        _open(path, "folders")


@pytest.mark.parametrize(
    ("inner", "names"), [("{}/1.png", ("cat", "dog")), ("all/{}/1.png", ("cat", "dog")), ("1.png", ("0.tar", "1.tar"))]
)
def test_classes_of_several_archives_are_their_folders_or_the_archives(tmp_path, inner, names):
    for i, name in enumerate(("cat", "dog")):
        picture_files.write(tmp_path / "in" / str(i), {inner.format(name): GOOD}, "tar", top="./")
    assert _open(str(tmp_path / "in"), "folders").classes.names == names


def test_splits_are_no_classes(tmp_path):
    path = picture_files.write(tmp_path / "set", {"train/cat/1.png": GOOD, "val/cat/2.png": GOOD}, "folder")
    with pytest.raises(ValueError, match="are splits, not classes: train, val; name the folder of one split"):
        _open(path, "folders")


def test_classes_without_pictures_are_noted(tmp_path):
    files = {"1.png": GOOD, "2.png": GOOD, "dataset.json": _table({"1.png": 1, "2.png": 3})}
    opened = _open_files(tmp_path, files, "folder")
    np.testing.assert_array_equal(opened.classes.counts, [0, 1, 0, 1])
    assert "the classes 0, 2 have no pictures, and are not learned" in _notes(opened)
