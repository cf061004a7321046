"""A prepared store holds the squares that training would have made, byte for byte, whatever happens meanwhile."""

import dataclasses
import fcntl
import hashlib
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import decode, images, labels, prepare, shards, sources, store, workers
from stylegan_jax.networks import ops

R = 16
MODEL = Model(resolution=R)
NUM = 23
PER_SHARD = 5
ROOT = pathlib.Path(__file__).parent.parent.parent
RUN = """
import json, sys
from stylegan_jax.config import Data, Model
from stylegan_jax.data import prepare
if __name__ == "__main__":
    prepare.make_store(Data(**json.loads(sys.argv[1])), Model(resolution=16), sys.argv[2], None, 5)
"""


def _noise(i: int, size: tuple[int, int] = (R, R)) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)


def _folder(root: pathlib.Path, bad: dict[int, bytes] | None = None) -> str:
    """Writes pictures of two classes, some of other sizes and formats; returns their folder."""
    for i in range(NUM):
        place = root / "pictures" / f"class{i % 2}" / f"{i:02}{'.jpg' if i % 5 == 1 else '.png'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_noise(i, (R, R) if i % 3 else (R + 5, 2 * R))).save(place)
        if i in (bad or {}):
            place.write_bytes(bad[i])
    return str(root / "pictures")


def _data(source: str, **others) -> Data:
    return Data(source=source, labels="folders", num_workers=1, **others)


def _prepare(data: Data, folder: pathlib.Path, **others) -> dict:
    return prepare.make_store(data, MODEL, folder, pictures_per_shard=PER_SHARD, **others)


def _hashes(folder: pathlib.Path) -> dict[str, str]:
    """Returns a hash of each file below a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[Data, pathlib.Path, dict]:
    """Returns the settings, the store's folder, and its record."""
    root = tmp_path_factory.mktemp("prepared")
    data = _data(_folder(root))
    return data, root / "store", _prepare(data, root / "store")


def test_a_store_gives_the_images_and_classes_that_its_source_gives(prepared):
    data, folder, _ = prepared
    decoded = images.open_images(data, MODEL)
    stored = images.open_images(Data(source=str(folder)), MODEL)
    assert stored.sizes == (4, 8, 16) and stored.length == NUM
    everything = np.arange(NUM)
    np.testing.assert_array_equal(stored.images_fn(everything, R), decoded.images_fn(everything, R))
    np.testing.assert_array_equal(stored.classes.labels, decoded.classes.labels)
    assert stored.classes.names == decoded.classes.names == ("class0", "class1")


def test_the_levels_are_the_box_means_that_the_device_makes(prepared):
    _, folder, _ = prepared
    stored = images.open_images(Data(source=str(folder)), MODEL)
    order = np.random.default_rng(0).permutation(NUM)
    full = stored.images_fn(order, R)
    for size in (4, 8):
        np.testing.assert_array_equal(stored.images_fn(order, size), ops.box_downscale_uint8(full, size))


def test_a_store_is_a_data_set_to_tfds(prepared):
    data, folder, _ = prepared
    records = tfds.builder_from_directory(folder).as_data_source(
        "train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    assert len(records) == NUM
    names = sources.open_source(data, R).names
    assert [records[i]["name"].decode() for i in (0, 7, 22)] == [names[i] for i in (0, 7, 22)]
    full = images.open_images(Data(source=str(folder)), MODEL).images_fn(np.arange(NUM), R)
    for i in (0, 7, 22):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(records[i]["image"]))), full[i])
        assert records[i]["label"] == names[i].startswith("class1")


def test_pictures_that_fit_already_are_kept_as_they_are(prepared):
    data, folder, _ = prepared
    original, stored = sources.open_source(data, R), sources.open_source(Data(source=str(folder)), R)
    sizes = [decode.load(original.read_fn(i)).size for i in range(NUM)]
    assert {size == (R, R) for size in sizes} == {True, False}
    for i, size in enumerate(sizes):
        assert (stored.read_fn(i) == original.read_fn(i)) == (size == (R, R))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_encoding_loses_nothing(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (R, R, channels), np.uint8)
    decoded = decode.load(shards.encode(pixels)).convert(decode.MODES[channels])
    np.testing.assert_array_equal(np.asarray(decoded).reshape(R, R, channels), pixels)


def test_a_resolution_above_the_levels_is_decoded_when_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAX_LEVEL_PX", 8)
    shape = store.level_sizes(R)
    assert shape == (4, 8)
    source = sources.open_source(_data(_folder(tmp_path)), R)
    plan = shards.Plan(_data(source.path), MODEL, tmp_path / "x.partial", source.length, PER_SHARD)
    plan.store.mkdir(parents=True)
    settings = workers.square_settings(plan, source) | workers.content_settings(source)
    for shard in range(plan.num_shards):
        workers.write_shard(plan, source, shard, lambda: None)
    prepare._finish(plan, source, settings)
    stored = images.open_images(Data(source=str(plan.store)), MODEL)
    assert stored.sizes == (4, 8, 16)
    decoded = images.open_images(_data(source.path), MODEL)
    np.testing.assert_array_equal(stored.images_fn(np.arange(NUM), R), decoded.images_fn(np.arange(NUM), R))


def test_preparing_again_is_done_at_once_and_changes_nothing(prepared):
    data, folder, record = prepared
    before, calls = _hashes(folder), []
    assert _prepare(data, folder, progress_fn=lambda *counts: calls.append(counts)) == record
    assert _hashes(folder) == before and not calls


def test_nothing_is_left_beside_a_whole_store(prepared):
    _, folder, _ = prepared
    assert sorted(file.name for file in folder.parent.iterdir()) == ["pictures", "store"]
    assert not list(folder.rglob(".*"))


def test_unreadable_pictures_are_all_listed_and_the_rest_goes_on_when_they_are_mended(tmp_path):
    bad = {3: b"", 11: b"no picture", 12: b"\x89PNG\r\n\x1a\n"}
    data = _data(_folder(tmp_path, bad))
    with pytest.raises(ValueError, match="3 of 23 pictures cannot be read:") as error:
        _prepare(data, tmp_path / "store")
    names = ["class1/03.png", "class1/11.jpg", "class0/12.png"]
    assert all(f"{data.source}/{name}: " in str(error.value) for name in names)
    assert all(name in (tmp_path / "store.partial" / prepare.UNREADABLE).read_text() for name in names)
    assert not (tmp_path / "store").exists()
    _folder(tmp_path)
    calls = []
    _prepare(data, tmp_path / "store", progress_fn=lambda *counts: calls.append(counts))
    assert calls[-1] == (15, 15)  # Only the three shards that had bad pictures are made again.
    (tmp_path / "again").mkdir()
    again = _data(_folder(tmp_path / "again"))
    _prepare(again, tmp_path / "again" / "store")
    ours, theirs = _hashes(tmp_path / "store"), _hashes(tmp_path / "again" / "store")
    assert {k: v for k, v in ours.items() if k != store.RECORD} == {
        k: v for k, v in theirs.items() if k != store.RECORD
    }


def test_skipped_and_small_pictures_are_recorded_with_their_reasons(tmp_path):
    data = _data(_folder(tmp_path, {3: b"", 4: b"x"}), on_bad_image="skip", min_side_px=R + 1)
    record = _prepare(data, tmp_path / "store")
    rows = [json.loads(line) for line in (tmp_path / "store" / store.LEFT_OUT).read_text().splitlines()]
    assert {row["name"] for row in rows if row["kind"] == "unreadable"} == {"class1/03.png", "class0/04.png"}
    assert (record["num_unreadable"], record["num_filtered"]) == (2, len(rows) - 2)
    assert all("16x16 px" in row["reason"] for row in rows if row["kind"] == "filtered")
    assert record["length"] == NUM - len(rows) == images.open_images(Data(source=str(tmp_path / "store")), MODEL).length
    assert 0 in record["shard_lengths"] or min(record["shard_lengths"]) < PER_SHARD


def test_no_picture_left_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="all 23 pictures .* are too small for"):
        _prepare(_data(_folder(tmp_path), min_side_px=1000), tmp_path / "store")


def test_a_folder_of_something_else_is_refused(prepared, tmp_path):
    data, folder, _ = prepared
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match="is not a store, and is not empty"):
        _prepare(data, tmp_path)
    with pytest.raises(ValueError, match=r"other pictures or settings:\n  fit: crop there, pad now"):
        _prepare(dataclasses.replace(data, fit="pad"), folder)


@pytest.mark.parametrize("name", ["thesis.txt", "lock/thesis.txt", "store/thesis.txt"])
def test_a_foreign_folder_where_the_store_is_to_grow_is_refused_and_kept(prepared, tmp_path, name):
    data, _, _ = prepared
    mine = tmp_path / "store.partial" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(ValueError, match="store.partial, where the store is to grow, is not what an unfinished"):
        _prepare(data, tmp_path / "store")
    assert mine.read_text() == "precious"


def test_a_foreign_folder_beside_a_whole_store_is_kept_and_ours_is_removed(tmp_path):
    data = _data(_folder(tmp_path))
    _prepare(data, tmp_path / "store")
    mine = tmp_path / "store.partial" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    _prepare(data, tmp_path / "store")
    assert mine.read_text() == "precious"
    mine.rename(mine.with_name("lock"))
    _prepare(data, tmp_path / "store")
    assert not mine.parent.exists()


def test_a_store_without_its_unreadable_pictures_is_not_done_for_one_who_wants_all(tmp_path):
    data = _data(_folder(tmp_path, {3: b""}), on_bad_image="skip")
    record = _prepare(data, tmp_path / "store")
    assert _prepare(data, tmp_path / "store") == record
    with pytest.raises(ValueError, match="without 1 pictures that could not be read, listed in left_out.jsonl"):
        _prepare(dataclasses.replace(data, on_bad_image="fail"), tmp_path / "store")


def test_two_processes_cannot_prepare_one_store(prepared, tmp_path):
    data, _, _ = prepared
    (tmp_path / "store.partial").mkdir()
    with (tmp_path / "store.partial" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is preparing"):
            _prepare(data, tmp_path / "store")


def test_a_disk_without_room_is_refused_before_anything_is_decoded(prepared, tmp_path, monkeypatch):
    data, _, _ = prepared
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"GiB free, and the raw levels of 23 pictures need"):
        _prepare(data, tmp_path / "store")


def test_a_kill_while_a_shard_is_made_again_does_not_leave_it_for_whole(tmp_path, monkeypatch):
    data = _data(_folder(tmp_path))
    plan = shards.Plan(data, MODEL, tmp_path / "store.partial", NUM, PER_SHARD)
    source = sources.open_source(data, R)
    workers.write_json(plan.summary_path(0), {"key": workers.key(plan, source, 0), "left_out": []})
    assert workers.is_whole(plan, source, 0)

    def be_killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "write", be_killed)
    with pytest.raises(KeyboardInterrupt):
        workers.write_shard(plan, source, 0, lambda: None)
    assert not workers.is_whole(plan, source, 0)


def test_what_an_interrupted_run_of_other_pictures_left_is_removed(tmp_path):
    data = _data(_folder(tmp_path))
    stray = tmp_path / "store.partial" / "store" / "levels" / "8" / "00000-of-00099.npy"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    (tmp_path / "store.partial" / "lock").touch()
    _prepare(data, tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*of-00099*"))


def test_other_classes_of_the_same_pictures_are_another_shard(tmp_path):
    data = _data(_folder(tmp_path))
    source = sources.open_source(data, R)
    plan = shards.Plan(data, MODEL, tmp_path, NUM, PER_SHARD)
    swapped = dataclasses.replace(source, classes=labels.Classes(1 - source.classes.labels, source.classes.names))
    assert workers.key(plan, source, 0) != workers.key(plan, swapped, 0)


def test_the_squares_of_a_store_are_not_shaped_again(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(1, 256, (3 * R, 4 * R, 3), np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    data = Data(source=str(tmp_path / "pictures"), fit="wide", num_workers=1)
    _prepare(data, tmp_path / "store")
    gray = Model(resolution=R, channels=1)
    stored = images.open_images(dataclasses.replace(data, source=str(tmp_path / "store")), gray)
    np.testing.assert_array_equal(
        stored.images_fn(np.arange(3), R)[:, :, 0, 0] > 0, [[2 <= y < 14 for y in range(R)]] * 3
    )


def test_classes_that_the_model_lacks_are_refused_before_anything_is_decoded(tmp_path):
    data = dataclasses.replace(_data(_folder(tmp_path)), labels="own")
    with pytest.raises(ValueError, match="model.num_labels is 2, but .* has 0 classes with data.labels='own'"):
        prepare.make_store(data, Model(resolution=R, num_labels=2), tmp_path / "store")


def test_a_store_has_its_classes_already(prepared):
    data, folder, _ = prepared
    with pytest.raises(ValueError, match="is a store, which has its classes already"):
        images.open_images(dataclasses.replace(data, source=str(folder)), MODEL)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / store.RECORD).write_text("{"), "is not a store that can be read"),
        (lambda folder: next((folder / "levels/8").iterdir()).unlink(), "levels/8/.* is missing or cut short"),
        (
            lambda folder: os.truncate(sorted((folder / "levels/8").iterdir())[0], 300),
            "levels/8/.* is missing or cut short",
        ),
    ],
)
def test_a_damaged_store_is_named(tmp_path, damage, message):
    _prepare(_data(_folder(tmp_path)), tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(ValueError, match=message):
        stored = images.open_images(Data(source=str(tmp_path / "store")), MODEL)
        stored.images_fn(np.arange(NUM), 8)


@pytest.mark.slow
def test_killed_a_dozen_times_it_ends_byte_identical(tmp_path):
    source = _folder(tmp_path, {7: b"bad"})
    settings = {"source": source, "labels": "folders", "on_bad_image": "skip", "num_workers": 2}
    command = [sys.executable, "-c", RUN, json.dumps(settings)]
    (tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, str(tmp_path / "run.py"), json.dumps(settings)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "undisturbed")], env=environment, check=True, timeout=120)
    duration = time.monotonic() - start
    chance, kills = random.Random(0), 0
    while kills < 12:
        process = subprocess.Popen([*command, str(tmp_path / "store")], env=environment)
        try:
            process.wait(chance.uniform(0.3, 1.0) * duration)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        if (tmp_path / "store").exists():  # It was whole before the kill: begin again.
            assert _hashes(tmp_path / "store") == _hashes(tmp_path / "undisturbed")
            os.rename(tmp_path / "store", tmp_path / f"store{kills}-{time.monotonic_ns()}")
    subprocess.run([*command, str(tmp_path / "store")], env=environment, check=True, timeout=120)
    assert _hashes(tmp_path / "store") == _hashes(tmp_path / "undisturbed")
    assert not (tmp_path / "store.partial").exists()
