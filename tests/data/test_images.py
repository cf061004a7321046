"""Faces, digits and pictures become images; what is wrong with pictures is named."""

import io
import logging
import os
import pathlib
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images as images_room
from stylegan_jax.data import sources, survey, waiting

R = 8


def _colour(i: int) -> tuple[int, int, int]:
    return (i, 2 * i, 255 - i)


def _png(colour: tuple[int, ...], size: int = R) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(file, "PNG")
    return file.getvalue()


def _write(root: pathlib.Path, files: dict[str, bytes], kind: str) -> str:
    """Writes the files as a folder, a .zip or a .tar; returns its path."""
    if kind == "tar":
        path = root / "pictures.tar"
        with tarfile.open(path, "w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return str(path)
    if kind == "zip":
        path = root / "pictures.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return str(path)
    path = root / "pictures"
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return str(path)


def _open(source: str, *, channels: int = 3, progress_fn=None, **data) -> images_room.Images:
    return images_room.open_images(Data(source=source, **data), Model(resolution=R, channels=channels), progress_fn)


def _all(found: images_room.Images) -> np.ndarray:
    return found.images_fn(np.arange(found.length), R)


all_kinds = pytest.mark.parametrize("kind", ["folder", "zip", "tar"])


@all_kinds
def test_pictures_come_in_sorted_order_of_their_paths(tmp_path, kind):
    names = ["b.png", "a/z.png", "a/b/c.PNG", "c.png", "B.png"]
    path = _write(tmp_path, {name: _png(_colour(i)) for i, name in enumerate(names)}, kind)
    images = _all(_open(path))
    assert images.shape == (5, R, R, 3) and images.dtype == np.uint8
    order = [names.index(name) for name in sorted(names)]
    np.testing.assert_array_equal(images[:, 0, 0], [_colour(i) for i in order])


@all_kinds
def test_other_files_are_counted_and_hidden_ones_passed_over(tmp_path, kind):
    ignored = {"readme.txt": b"x", "a/labels.json": b"{}"}
    hidden = {".DS_Store": b"x", "__MACOSX/a/1.png": b"x", "a/._1.png": b"x", ".thumbnails/1.png": b"x"}
    source = _open(_write(tmp_path, {"a/1.png": _png(_colour(1)), **ignored, **hidden}, kind))
    assert (source.length, source.num_ignored, source.num_skipped) == (1, 2, 0)


def test_zip_folder_entries_are_no_pictures(tmp_path):
    path = _write(tmp_path, {"folder.png/": b"", "folder.png/1.png": _png(_colour(1))}, "zip")
    assert _open(path).length == 1


def test_linked_folders_are_entered_once(tmp_path):
    path = pathlib.Path(_write(tmp_path, {"a/1.png": _png(_colour(1)), "b/2.png": _png(_colour(2))}, "folder"))
    (path / "a" / "loop").symlink_to(path)
    (path / "z_again").symlink_to(path / "b")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "3.png").write_bytes(_png(_colour(3)))
    (path / "c").symlink_to(tmp_path / "elsewhere")
    np.testing.assert_array_equal(_all(_open(str(path)))[:, 0, 0], [_colour(i) for i in (1, 2, 3)])


def test_of_links_to_one_folder_the_first_by_name_counts(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(_png(_colour(1)))
    (tmp_path / "pictures").mkdir()
    for name in "dgbheacf":
        (tmp_path / "pictures" / name).symlink_to(tmp_path / "elsewhere")
    assert sources.open_source(Data(source=str(tmp_path / "pictures")), R).names == ["a/1.png"]


@all_kinds
def test_decoding_again_gives_what_memory_gives(tmp_path, kind):
    files = {f"{i}.png": _png(_colour(i), size=16) for i in range(40)}
    files["7.png"] = b"bad"
    path = _write(tmp_path, files, kind)
    indices = np.array([38, 0, 7, 7, 20])
    kept, again = (_open(path, on_bad_image="skip", cache_gib=gib) for gib in (1.0, 0.0))
    np.testing.assert_array_equal(kept.images_fn(indices, R), again.images_fn(indices, R))
    assert kept.fingerprint == again.fingerprint


def test_cache_holds_images_only_if_all_fit(tmp_path):
    path = pathlib.Path(_write(tmp_path, {f"{i}.png": _png(_colour(i)) for i in range(4)}, "folder"))
    need_gib = 4 * R * R * 3 / images_room.GIB
    kept, again = _open(str(path), cache_gib=need_gib), _open(str(path), cache_gib=need_gib * 0.99)
    (path / "2.png").unlink()
    assert _all(kept).shape[0] == 4
    with pytest.raises(ValueError, match=r"pictures/2\.png could be read when the run began, but no longer"):
        again.images_fn(np.array([2]), R)


@all_kinds
def test_many_threads_read_the_right_pictures(tmp_path, kind):
    path = _write(tmp_path, {f"{i:03}.png": _png(_colour(i)) for i in range(120)}, kind)
    for cache_gib in (1.0, 0.0):
        images = _all(_open(path, num_workers=8, cache_gib=cache_gib))
        np.testing.assert_array_equal(images[:, 0, 0], [_colour(i) for i in range(120)])


@all_kinds
def test_one_bad_picture_is_named_with_reason_and_remedy(tmp_path, kind):
    path = _write(tmp_path, {"a/good.png": _png(_colour(1)), "a/bad.png": _png(_colour(2))[:40]}, kind)
    with pytest.raises(ValueError) as error:
        _open(path)
    message = str(error.value)
    assert message.startswith("1 of 2 pictures cannot be read:")
    assert f"{path}/a/bad.png: " in message and "data.on_bad_image=skip" in message and "good" not in message


@all_kinds
def test_many_bad_pictures_are_listed_once_up_to_twenty(tmp_path, kind):
    files = {f"{i:02}.png": b"bad" for i in range(25)} | {"good.png": _png(_colour(1))}
    with pytest.raises(ValueError) as error:
        _open(_write(tmp_path, files, kind))
    message = str(error.value)
    assert message.startswith("25 of 26 pictures") and "and 5 more" in message
    assert [f"/{i:02}.png: not a readable PNG" in message for i in range(25)] == [i < 20 for i in range(25)]


@all_kinds
def test_bad_pictures_can_be_skipped_and_are_logged_in_one_line(tmp_path, kind, caplog):
    files = {f"{i}.png": _png(_colour(i)) for i in range(6)} | {"1.png": b"bad", "4.png": b""}
    path = _write(tmp_path, files, kind)
    with caplog.at_level(logging.WARNING):
        source = _open(path, on_bad_image="skip")
    assert (source.length, source.num_skipped) == (4, 2)
    np.testing.assert_array_equal(_all(source)[:, 0, 0], [_colour(i) for i in (0, 2, 3, 5)])
    (record,) = caplog.records
    assert "Skipping 2 of 6" in record.getMessage() and f"{path}/4.png" in record.getMessage()


def test_nothing_left_after_skipping_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="1 of 1 pictures cannot be read"):
        _open(_write(tmp_path, {"1.png": b"bad"}, "folder"), on_bad_image="skip")


def test_dangling_links_are_bad_pictures(tmp_path):
    path = pathlib.Path(_write(tmp_path, {"1.png": _png(_colour(1))}, "folder"))
    (path / "2.png").symlink_to(path / "nowhere.png")
    with pytest.raises(ValueError, match=r"pictures/2\.png: .*No such file"):
        _open(str(path))


def test_damaged_zip_entries_are_bad_pictures(tmp_path):
    path = pathlib.Path(_write(tmp_path, {f"{i}.png": _png(_colour(i)) for i in range(2)}, "zip"))
    content = bytearray(path.read_bytes())
    content[50] ^= 255  # Inside the first entry's data: its header and name take 35 bytes.
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pictures\.zip/0\.png: damaged, encrypted or unknown zip entry"):
        _open(str(path))


def test_encrypted_zip_entries_are_bad_pictures(tmp_path):
    path = pathlib.Path(_write(tmp_path, {"0.png": _png(_colour(0))}, "zip"))
    content = bytearray(path.read_bytes())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags_at] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"0\.png: damaged, encrypted .*password"):
        _open(str(path))


def test_smaller_pictures_are_counted(tmp_path, caplog):
    files = {"small.png": _png(_colour(1), R - 1), "right.png": _png(_colour(2)), "large.png": _png(_colour(3), R + 1)}
    assert _open(_write(tmp_path, files, "folder")).num_enlarged == 1
    assert "Enlarging 1 of 3 pictures below 8 px" in caplog.text


@pytest.mark.parametrize("cache_gib", [1.0, 0.0])
def test_no_indices_give_no_images(tmp_path, cache_gib):
    path = _write(tmp_path, {"1.png": _png(_colour(1))}, "zip")
    for source in (_open(path, cache_gib=cache_gib), _open("faces", num_faces=1, num_heldout=0, cache_gib=cache_gib)):
        assert source.images_fn(np.arange(0), R).shape == (0, R, R, 3)


def test_settings_reach_the_pictures(tmp_path):
    half = Image.new("RGBA", (R, R // 2), (9, 9, 9, 0))
    file = io.BytesIO()
    half.save(file, "PNG")
    path = _write(tmp_path, {"1.png": file.getvalue()}, "folder")
    for cache_gib in (1.0, 0.0):
        image = _all(_open(path, fit="pad", background=(1, 2, 3), cache_gib=cache_gib))[0]
        np.testing.assert_array_equal(image, np.broadcast_to((1, 2, 3), (R, R, 3)))
    assert _all(_open(path, fit="stretch", channels=4)).shape == (1, R, R, 4)


def test_progress_runs_from_the_first_pictures_to_all_of_them(tmp_path):
    calls = []
    path = _write(tmp_path, {f"{i}.png": _png(_colour(i)) for i in range(40)}, "zip")
    _open(path, progress_fn=lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [40] * len(calls) and len(calls) > 1
    assert calls == sorted(set(calls)) and calls[-1] == (40, 40)


def test_an_interrupt_leaves_the_rest_undone():
    ran = []

    def work(chunk: range) -> None:
        ran.append(chunk)
        time.sleep(0.001)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey.in_threads(work, 1000, 1, 2, interrupt)
    assert 0 < len(ran) < 1000


def test_pictures_that_do_not_come_are_not_waited_for(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(waiting, "PATIENCE_SEC", 0.2)
    with pytest.raises(ValueError, match=r"no picture came for 0.2 s: the disk or network"):
        survey.in_threads(lambda chunk: release.wait(100), 10, 1, 2)
    release.set()


def test_a_time_out_of_the_network_is_not_taken_for_ours():
    def read(chunk: range) -> None:
        raise TimeoutError(110, "Connection timed out", "a/picture.png")

    with pytest.raises(TimeoutError, match="a/picture.png"):
        survey.in_threads(read, 10, 1, 2)


def test_a_zip_stays_open_only_while_it_is_needed(tmp_path, monkeypatch):
    opened = []

    class Recorded(zipfile.ZipFile):
        def __init__(self, path: str):
            super().__init__(path)
            opened.append(self)

    paths = {}
    for name, files in {"good": {"1.png": _png(_colour(1))}, "bad": {"1.png": b"bad"}, "empty": {}}.items():
        (tmp_path / name).mkdir()
        paths[name] = _write(tmp_path / name, files, "zip")
    monkeypatch.setattr(zipfile, "ZipFile", Recorded)
    kept, again = _open(paths["good"]), _open(paths["good"], cache_gib=0.0)
    for name in ("bad", "empty"):
        with pytest.raises(ValueError):
            _open(paths[name])
    assert [archive.fp is None for archive in opened] == [True, False, True, True]
    np.testing.assert_array_equal(_all(kept), _all(again))


@all_kinds
def test_fingerprint_names_the_pictures_and_not_the_place(tmp_path, kind):
    def fingerprint(place: str, files: dict[str, bytes]) -> str:
        (tmp_path / place).mkdir()
        return _open(_write(tmp_path / place, files, kind)).fingerprint

    one, two = _png(_colour(1)), _png(_colour(2), 4 * R)
    assert len(one) != len(two)
    original = fingerprint("original", {"1.png": one, "2.png": two})
    assert fingerprint("moved", {"2.png": two, "1.png": one}) == original
    assert fingerprint("renamed", {"1.png": one, "3.png": two}) != original
    assert fingerprint("swapped", {"1.png": two, "2.png": one}) != original
    assert fingerprint("fewer", {"1.png": one}) != original


def test_fingerprint_of_a_zip_sees_changed_bytes_of_the_same_size(tmp_path):
    prints = set()
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        image = np.random.default_rng(i).integers(0, 256, (R, R, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "BMP")
        prints.add(_open(_write(tmp_path / str(i), {"1.bmp": file.getvalue()}, "zip")).fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize("name", ["", "face", "no/such/folder"])
def test_unknown_sources_are_named_with_the_choices(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        _open(name)
    assert f"data.source is {name!r}" in str(error.value)
    assert 'Use "faces", "digits", "tfds:NAME", or the path of' in str(error.value)


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "one.png").write_bytes(_png(_colour(1)))
    with pytest.raises(ValueError, match="one.png', a single picture; name its folder"):
        _open(str(tmp_path / "one.png"))


def test_a_damaged_zip_is_refused(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match="bad.zip' is not a readable .zip"):
        _open(str(tmp_path / "bad.zip"))


@all_kinds
def test_no_pictures_is_an_error_that_counts_the_other_files(tmp_path, kind):
    with pytest.raises(ValueError, match=r"has no pictures \(other files: 1 \(.txt 1\)\).*\.png"):
        _open(_write(tmp_path, {"notes.txt": b"x"}, kind))


def test_folders_that_cannot_be_listed_are_an_error(tmp_path, monkeypatch):
    path = pathlib.Path(_write(tmp_path, {"1.png": _png(_colour(1)), "a/2.png": _png(_colour(2))}, "folder"))
    scandir = os.scandir

    def deny(folder: str):
        if folder == str(path / "a"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(ValueError, match="has a folder that cannot be listed: .*Permission denied"):
        _open(str(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [({"num_workers": 0}, "data.num_workers is 0"), ({"num_faces": 0}, "data.num_faces is 0")],
)
def test_wrong_numbers_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        _open("faces", **data)


@pytest.mark.parametrize("channels", [1, 3])
def test_digits_have_ten_labelled_classes(channels):
    source = _open("digits", channels=channels)
    images = _all(source)
    assert images.shape == (1797, R, R, channels) and images.dtype == np.uint8
    assert source.classes.names == tuple("0123456789") and set(source.classes.labels) == set(range(10))
    assert images.min() == 0 and images.max() == 255
    zero, one = (images[source.classes.labels == k, :, :, 0].mean(0) for k in (0, 1))
    assert zero[3:5, 3:5].mean() < 60 < 150 < one[3:5, 3:5].mean()  # A nought is hollow, a one is not.


def test_digits_are_enlarged_to_the_model():
    source = images_room.open_images(Data(source="digits"), Model(resolution=16, channels=1))
    assert source.images_fn(np.arange(3), 16).shape == (3, 16, 16, 1)
    assert source.num_enlarged == 1797 and _open("digits").num_enlarged == 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_faces_are_the_same_from_memory_and_drawn_again(channels):
    kept, again = (_open("faces", num_faces=5, num_heldout=2, channels=channels, cache_gib=gib) for gib in (1.0, 0.0))
    assert kept.length == again.length == 7
    indices = np.array([6, 0, 3])
    images = kept.images_fn(indices, R)
    assert images.shape == (3, R, R, channels) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, again.images_fn(indices, R))


def test_faces_are_drawn_in_chunks_with_progress(monkeypatch):
    whole = _all(_open("faces", num_faces=7, num_heldout=0))
    monkeypatch.setattr(images_room, "CHUNK_PX", 3 * R * R)
    calls = []
    source = _open("faces", num_faces=7, num_heldout=0, progress_fn=lambda *counts: calls.append(counts))
    assert calls == [(3, 7), (6, 7), (7, 7)]
    np.testing.assert_array_equal(_all(source), whole)
    np.testing.assert_array_equal(_all(_open("faces", num_faces=7, num_heldout=0, cache_gib=0.0)), whole)


def test_number_of_faces_is_in_the_fingerprint():
    assert len({_open("faces", num_faces=n, num_heldout=0).fingerprint for n in (2, 3)}) == 2


def test_arrays_of_the_same_size_are_told_apart(tmp_path):
    prints = set()
    for value in range(2):
        np.save(tmp_path / "1.npy", np.full((R, R, 3), value, np.uint8))
        prints.add(_open(str(tmp_path)).fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize("name", ["meta/one.parquet", "more.tar"])
def test_pictures_beside_an_archive_are_not_passed_over(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "1.png").write_bytes(_png(_colour(1)))
    with pytest.raises(ValueError, match="has several kinds of sources: .* and pictures; name the file or folder"):
        _open(str(tmp_path))


@pytest.mark.parametrize("source", ["./faces", "faces/", "faces"])
def test_a_folder_called_faces_is_the_users_unless_it_is_named_as_the_packages_own(tmp_path, monkeypatch, source):
    (tmp_path / "faces").mkdir()
    for i in range(4):
        (tmp_path / "faces" / f"{i}.png").write_bytes(_png((255, 0, 0)))
    monkeypatch.chdir(tmp_path)
    found = _open(source, num_faces=4, num_heldout=0)
    num_colours = len(np.unique(_all(found).reshape(-1, 3), axis=0))
    assert (num_colours == 1) == (source != "faces") and found.length == 4


def test_the_fingerprint_of_the_faces_never_changes():
    assert _open("faces", num_faces=2, num_heldout=0).fingerprint == "efc8023397a77c90"
