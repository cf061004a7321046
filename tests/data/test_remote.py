"""What lies at a remote place is copied once, whole or not at all."""

import io
import pathlib

import fsspec
import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, remote


@pytest.fixture
def bucket():
    """Returns an empty file system in memory, which stands for gs:// and s3://."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def _fill(fs, num: int = 5, value: int = 0) -> None:
    for i in range(num):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (i, value, 0)).save(file, "PNG")
        fs.pipe(f"/bucket/faces/sub{i % 2}/{i}.png", file.getvalue())


def test_a_remote_folder_gives_the_pictures_that_are_in_it(bucket, tmp_path):
    _fill(bucket)
    data = Data(source="memory://bucket/faces", remote_copy=str(tmp_path / "copies"), num_heldout=2)
    found = images.open_images(data, Model(resolution=8))
    assert sorted(found.images_fn(np.arange(5), 8)[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4]
    assert found.name == "memory://bucket/faces"


def test_a_remote_file_is_copied_too(bucket, tmp_path):
    bucket.pipe("/bucket/labels.csv", b"1,2")
    copied = remote.copy("memory://bucket/labels.csv", str(tmp_path))
    assert pathlib.Path(copied).name == "labels.csv" and pathlib.Path(copied).read_bytes() == b"1,2"


def test_what_is_there_is_not_copied_again(bucket, tmp_path, monkeypatch):
    _fill(bucket)
    calls = []
    copied = remote.copy("memory://bucket/faces", str(tmp_path), lambda *counts: calls.append(counts))
    assert calls[-1][0] == calls[-1][1] > 0
    (pathlib.Path(copied) / "sub0" / "2.png").unlink()
    fetched = []
    get = type(bucket).get
    monkeypatch.setattr(
        type(bucket), "get", lambda self, names, *rest: (fetched.extend(names), get(self, names, *rest))
    )
    assert remote.copy("memory://bucket/faces", str(tmp_path)) == copied
    assert fetched == ["/bucket/faces/sub0/2.png"]
    assert (pathlib.Path(copied) / "sub0" / "2.png").exists()


def test_what_has_changed_is_copied_again(bucket, tmp_path):
    _fill(bucket)
    remote.copy("memory://bucket/faces", str(tmp_path))
    _fill(bucket, value=9)
    copied = pathlib.Path(remote.copy("memory://bucket/faces", str(tmp_path)))
    assert Image.open(copied / "sub1" / "1.png").getpixel((0, 0)) == (1, 9, 0)


def test_names_that_lead_out_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a file whose name leads out of it"):
        remote._place(tmp_path, "/bucket/faces/../../../escaped.png", "/bucket/faces", "memory://bucket/faces")


@pytest.mark.parametrize("path", ["memory://nowhere", "nosuchscheme://bucket/x"])
def test_places_that_are_not_there_are_named(bucket, tmp_path, path):
    with pytest.raises(ValueError, match=f"{path} cannot be read"):
        remote.copy(path, str(tmp_path))


def test_a_cut_copy_is_an_error_and_leaves_no_file(bucket, tmp_path, monkeypatch):
    _fill(bucket, num=1)

    def cut(self, names, places):
        pathlib.Path(places[0]).write_bytes(b"half")

    monkeypatch.setattr(type(bucket), "get", cut)
    with pytest.raises(ValueError, match="but 4 arrived"):
        remote.copy("memory://bucket/faces", str(tmp_path))
    assert not list(tmp_path.rglob("0.png"))


def test_what_was_removed_is_removed_from_the_copy(bucket, tmp_path):
    _fill(bucket)
    remote.copy("memory://bucket/faces", str(tmp_path))
    bucket.rm("/bucket/faces/sub0/2.png")
    copied = pathlib.Path(remote.copy("memory://bucket/faces", str(tmp_path)))
    assert not (copied / "sub0" / "2.png").exists() and (copied / "sub0" / "4.png").exists()


def test_copies_of_a_user_that_is_not_there_are_refused(bucket):
    _fill(bucket, num=1)
    with pytest.raises(ValueError, match="data.remote_copy is '~nosuchuser/x': "):
        remote.copy("memory://bucket/faces", "~nosuchuser/x")
