"""Folders are walked once; what may not be listed or read ends nothing that does not need it."""

import builtins
import io
import os
import pathlib

import pytest

from stylegan_jax.data import folder
from tests import picture_files

GOOD = picture_files.png()


def _deny(monkeypatch, *denied: pathlib.Path) -> None:
    """Lets nobody, not even root, list or open these."""
    scandir, opened = os.scandir, io.open
    names = {str(path) for path in denied}

    def raise_if_denied(path) -> None:
        if str(path) in names:
            raise PermissionError(13, "Permission denied", str(path))

    def listed(path):
        raise_if_denied(path)
        return scandir(path)

    def open_file(path, *arguments, **options):
        raise_if_denied(path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", listed)
    monkeypatch.setattr(io, "open", open_file)
    monkeypatch.setattr(builtins, "open", open_file)


@pytest.mark.parametrize("name", [".Trash-0", "lost+found"])
def test_a_folder_that_is_passed_over_need_not_be_listed(tmp_path, monkeypatch, name):
    path = picture_files.write(tmp_path / "set", {"1.png": GOOD, f"a/{name}/2.png": GOOD}, "folder")
    _deny(monkeypatch, tmp_path / "set" / "a" / name)
    assert list(folder.open_source(path).names) == ["1.png"] == list(folder.walk(path, []))


def test_another_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    path = picture_files.write(tmp_path / "set", {"1.png": GOOD, "a/2.png": GOOD}, "folder")
    _deny(monkeypatch, tmp_path / "set" / "a")
    with pytest.raises(ValueError, match="set' has a folder that cannot be listed: .*set/a"):
        folder.open_source(path)


def test_files_of_any_ending_that_may_not_be_read_are_listed_alike(tmp_path, monkeypatch):
    names = ["1.bmp", "2.png", "3.tif"]
    path = picture_files.write(tmp_path / "set", dict.fromkeys(names, GOOD), "folder")
    _deny(monkeypatch, *(tmp_path / "set" / name for name in names))
    opened = folder.open_source(path)
    assert list(opened.names) == names
    for i in range(3):
        with pytest.raises(PermissionError):
            opened.read_fn(i)


@pytest.mark.parametrize(("target", "words"), [("nowhere", "No such file"), ("1.png", "symbolic links")])
def test_a_link_that_leads_nowhere_is_a_bad_picture(tmp_path, target, words):
    (tmp_path / "1.png").symlink_to(target)
    opened = folder.open_source(str(tmp_path))
    with pytest.raises(ValueError, match=f"a link that leads nowhere .*{words}"):
        opened.read_fn(0)


def test_files_are_found_down_to_a_depth(tmp_path):
    names = ["1.tar", "a/2.tar", "a/b/3.tar", "a/b/c/4.tar"]
    path = picture_files.write(
        tmp_path / "set", dict.fromkeys([*names, "._5.tar", ".d/6.tar", "7.tart"], b""), "folder"
    )
    assert [folder.find(path, (".tar",), depth) for depth in (1, 3, None)] == [names[:1], names[:3], names]


@pytest.mark.parametrize("ending", ["bmp", "ppm", "tga", "png"])
def test_another_content_is_another_identity(tmp_path, ending):
    contents = [b"one", b"two"] if ending != "png" else [b"one", b"three"]
    prints = set()
    for i, content in enumerate(contents):
        path = picture_files.write(tmp_path / str(i), {f"a.{ending}": content}, "folder")
        prints.add(folder.open_source(path).fingerprint())
    assert len(prints) == 2


@pytest.mark.parametrize(("name", "expected"), [("a/b/c/d/1.png", True), (".a/1.png", False)])
def test_files_are_found_at_any_depth(tmp_path, name, expected):
    assert list(folder.walk(picture_files.write(tmp_path / "set", {name: GOOD}, "folder"), [])) == [name] * expected
