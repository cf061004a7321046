"""The experiments that break runs break nothing else, and see what differs."""

import random

import pytest

from experiments.chaos import places, prepare


def test_a_folder_of_somebody_else_is_refused_and_stays(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SystemExit, match="this experiment did not make it"):
        places.claim(tmp_path)
    with pytest.raises(SystemExit, match="this experiment did not make it"):
        places.claim(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_new_or_empty_folder_is_taken_and_its_own_is_emptied(tmp_path):
    for folder in (tmp_path / "new", tmp_path):
        if folder == tmp_path:
            places.shutil.rmtree(tmp_path / "new")
        for _ in range(2):
            places.claim(folder)
            assert [place.name for place in folder.iterdir()] == [places.MARK]
            (folder / "run").mkdir()


def test_a_change_of_the_source_is_undone(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "NUM_PICTURES", 3)
    pictures = tmp_path / "pictures"
    prepare.make_pictures(pictures, 0)
    before = prepare.content(pictures)
    assert len(before) == 3 and prepare.change(pictures, "nothing", random.Random(0)) is None
    for what, count in (("a picture is added", 4), ("a picture is removed", 2)):
        undo = prepare.change(pictures, what, random.Random(0))
        assert len(prepare.content(pictures)) == count
        prepare.os.replace(*undo)
        assert prepare.content(pictures) == before


def test_a_file_that_differs_is_named():
    prepare.compare({"a": b"1"}, {"a": b"1"})
    with pytest.raises(AssertionError, match="differ from the undisturbed store's: b, c"):
        prepare.compare({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"1", "c": b"1"})
