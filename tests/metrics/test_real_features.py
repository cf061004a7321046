"""Features of real pictures are read the second time, unless something that decides about them has changed."""

import dataclasses
import errno
import os
import pathlib

import numpy as np
import pytest

from stylegan_jax.metrics import collected, image_sets, real_features
from stylegan_jax.metrics.collected import Collected
from stylegan_jax.metrics.feature_networks import KINDS
from tests import measured
from tests.measured import pixels, source

IMAGES = source(pixels(20))
PICTURES = image_sets.select(IMAGES, 16, "all", 1)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    measured.add_tiny(monkeypatch)


@pytest.fixture
def key() -> real_features.Key:
    return real_features.key_of(PICTURES, measured.network())


def features(has_rows: bool = True) -> Collected:
    rng, half_of = np.random.default_rng(0), PICTURES.half_of
    rows, logits = (rng.standard_normal((20, d)).astype(np.float32) for d in (12, 5))
    found = collected.of_rows(half_of, rows, logits)
    return found if has_rows else dataclasses.replace(found, rows=None, logits=None)


def assert_same(ours: Collected, other: Collected) -> None:
    np.testing.assert_array_equal(ours.half_of, other.half_of)
    for i in (0, 1):
        assert ours.halves[i].count == other.halves[i].count
        np.testing.assert_array_equal(ours.halves[i].mean, other.halves[i].mean)
        np.testing.assert_array_equal(ours.halves[i].scatter, other.halves[i].scatter)


def read(folder: pathlib.Path, key: real_features.Key, needs_rows: bool = True) -> Collected | None:
    return real_features.read(folder, key, PICTURES.half_of, needs_rows)


def test_what_is_kept_is_read_with_its_rows_in_a_file(tmp_path, key):
    assert read(tmp_path, key) is None
    real_features.write(tmp_path, key, features())
    found = read(tmp_path, key)
    assert_same(found, features())
    np.testing.assert_array_equal(found.rows, features().rows)
    np.testing.assert_array_equal(found.logits, features().logits)
    assert isinstance(found.rows, np.memmap)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{key}.features.npy", f"{key}.logits.npy", f"{key}.npz",
    ]  # fmt: skip


def test_statistics_alone_are_not_enough_where_rows_are_needed(tmp_path, key):
    real_features.write(tmp_path, key, features(has_rows=False))
    assert read(tmp_path, key) is None
    assert_same(read(tmp_path, key, needs_rows=False), features())
    real_features.write(tmp_path, key, features())
    assert read(tmp_path, key).rows is not None


def test_rows_that_are_gone_are_missed_only_where_they_are_needed(tmp_path, key):
    real_features.write(tmp_path, key, features())
    (tmp_path / f"{key}.features.npy").unlink()
    assert read(tmp_path, key) is None
    assert_same(read(tmp_path, key, needs_rows=False), features())


# ---- the key


def changed(name: str) -> real_features.Key:
    pictures, network = PICTURES, measured.network()
    if name == "fingerprint":
        pictures = dataclasses.replace(pictures, images=dataclasses.replace(IMAGES, fingerprint="other"))
    elif name == "resolution":
        pictures = dataclasses.replace(pictures, resolution=8)
    elif name == "flips":
        pictures = image_sets.select(IMAGES, 16, "first", 20, is_mirrored=True)
    elif name == "pictures":
        pictures = image_sets.select(IMAGES, 16, "all", 1, max_reals=19)
    elif name == "fit":
        pictures = dataclasses.replace(pictures, images=dataclasses.replace(IMAGES, made_with={"fit": "pad"}))
    elif name == "weights":
        network = measured.network(content="d" * 64)
    elif name == "features":
        network = measured.network(kind="faces")
    return real_features.key_of(pictures, network)


def test_what_decides_about_features_decides_about_the_key(key):
    names = ("fingerprint", "resolution", "flips", "pictures", "fit", "weights", "features")
    keys = [str(key), *(str(changed(name)) for name in names)]
    assert len(set(keys)) == len(keys)
    assert str(changed("nothing")) == str(key) and len(str(key)) == 16


def test_another_resize_or_version_is_another_key(key, monkeypatch):
    monkeypatch.setitem(KINDS, "tiny", dataclasses.replace(KINDS["tiny"], resize="another filter"))
    other = str(changed("nothing"))
    monkeypatch.setattr(real_features, "VERSION", real_features.VERSION + 1)
    assert len({str(key), other, str(changed("nothing"))}) == 3


def test_features_under_the_same_digits_of_another_key_are_not_taken(tmp_path, key):
    real_features.write(tmp_path, key, features())
    other = changed("weights")
    (tmp_path / f"{key}.npz").rename(tmp_path / f"{other}.npz")
    assert read(tmp_path, other, needs_rows=False) is None


# ---- damage


def damage(path: pathlib.Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "other": b"x" * len(content)}[how])


@pytest.mark.parametrize("how", ["empty", "cut", "other"])
@pytest.mark.parametrize("ending", ["npz", "features.npy", "logits.npy"])
def test_a_damaged_file_is_told_and_made_anew(tmp_path, key, caplog, ending, how):
    real_features.write(tmp_path, key, features())
    damage(tmp_path / f"{key}.{ending}", how)
    assert read(tmp_path, key) is None
    (record,) = caplog.records
    assert f"{key}.npz is damaged (" in record.getMessage() and "is made anew" in record.getMessage()
    real_features.write(tmp_path, key, features())
    np.testing.assert_array_equal(read(tmp_path, key).rows, features().rows)


@pytest.mark.parametrize(
    "change_fn",
    [
        lambda rows: rows[::-1],
        lambda rows: rows[:, :5],
        lambda rows: rows + np.float32(1e-3),
        lambda rows: np.full_like(rows, np.nan),
        lambda rows: np.float32(1),
    ],
    ids=["swapped", "narrow", "other", "nan", "number"],
)
def test_rows_that_were_not_kept_with_the_statistics_are_made_anew(tmp_path, key, caplog, change_fn):
    real_features.write(tmp_path, key, features())
    np.save(tmp_path / f"{key}.features.npy", change_fn(features().rows))
    assert read(tmp_path, key) is None
    assert "is damaged (rows of features beside it are others), and is made anew" in caplog.text


def test_features_of_another_number_of_pictures_are_made_anew(tmp_path, key):
    real_features.write(tmp_path, key, features())
    np.save(tmp_path / f"{key}.features.npy", features().rows[:19])
    assert read(tmp_path, key) is None
    assert real_features.read(tmp_path, key, PICTURES.half_of[:19], needs_rows=False) is None


def test_nothing_in_a_kept_file_is_executed(tmp_path, key, caplog):
    real_features.write(tmp_path, key, features())
    np.save(tmp_path / f"{key}.features.npy", np.array([{}], object))
    assert read(tmp_path, key) is None and "damaged" in caplog.text


# ---- folders


def test_a_disk_that_is_full_is_told_and_hinders_nothing(tmp_path, key, caplog, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", fail)
    real_features.write(tmp_path, key, features())
    assert "are not kept for the next time: [Errno 28] No space left on device" in caplog.text
    assert not list(tmp_path.iterdir()) and read(tmp_path, key) is None


def test_a_folder_that_cannot_be_written_is_told_and_hinders_nothing(tmp_path, key, caplog):
    (tmp_path / "file").touch()
    real_features.write(tmp_path / "file", key, features())
    assert "are not kept for the next time" in caplog.text


def test_the_folder_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert real_features.open_folder() == tmp_path / "stylegan_jax/features"
    assert (tmp_path / "stylegan_jax/features").is_dir()


def test_without_a_cache_nothing_is_kept_anywhere(tmp_path, monkeypatch, caplog, key):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert real_features.open_folder() is None
    assert "the features of real pictures are not kept for the next time" in caplog.text
    real_features.write(None, key, features())
    assert real_features.read(None, key, PICTURES.half_of, needs_rows=False) is None
