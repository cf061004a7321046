"""Inspecting a source says what is in it and what training would do, and changes nothing."""

import dataclasses
import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Config, Data, Model
from stylegan_jax.data import inspection, prepare, sources

R = 8


def _folder(root: pathlib.Path) -> str:
    rng = np.random.default_rng(0)
    for i in range(12):
        size = (R, R) if i % 2 else (3 * R, 2 * R)
        place = root / "pictures" / ("cat" if i % 3 else "dog") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert("L" if i == 5 else "RGB").save(place)
    (root / "pictures" / "dog" / "bad.jpg").write_bytes(b"no picture")
    (root / "pictures" / "dog" / "notes.txt").write_text("x")
    return str(root / "pictures")


def _config(source: str, num_heldout: int = 2, **others) -> Config:
    return Config(model=Model(resolution=R), data=Data(source=source, num_heldout=num_heldout, **others))


def test_counts_sizes_modes_and_classes_are_what_is_there(tmp_path):
    calls = []
    config = _config(_folder(tmp_path), labels="folders")
    text = inspection.inspect(config, tmp_path / "out", lambda *counts: calls.append(counts))
    found = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert (found["pictures"], found["unreadable"], found["other_files"]) == (13, 1, 1)
    assert found["sizes"] == {"16x24": 6, "8x8": 6} and found["modes"] == {"RGB": 11, "L": 1}
    assert found["formats"] == {"PNG": 12} and found["classes"] == {"cat": 8, "dog": 5}
    assert found["left_out"] == [
        {
            "name": "dog/bad.jpg",
            "kind": "unreadable",
            "reason": "not a readable PNG, JPEG, WebP or other picture of a known format",
        }
    ]
    assert found["training"]["images"] == 10 and found["training"]["heldout"] == 2
    assert f"{config.data.source}/dog/bad.jpg: not a readable" in text and "it would refuse to start: mend" in text
    assert calls[-1] == (13, 13)


def test_the_contact_sheet_shows_the_squares_that_training_would_see(tmp_path):
    config = _config(_folder(tmp_path))
    inspection.inspect(config, tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))
    assert sheet.shape == (2 * R, 8 * R, 3)  # 12 pictures in rows of 8.
    first = np.asarray(Image.open(tmp_path / "pictures" / "cat" / "1.png"))
    np.testing.assert_array_equal(sheet[:R, :R], first)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"cache_gib": 0.0, "on_bad_image": "skip"}, "--mode=prepare makes a store"),
        ({"num_heldout": 100}, "data.num_heldout is 100, and the metrics need"),
        ({"mirror": True}, "with mirroring"),
    ],
)
def test_it_says_what_training_would_do(tmp_path, settings, line):
    assert line in inspection.inspect(_config(_folder(tmp_path), **settings), tmp_path / "out")


def test_other_classes_than_the_models_are_foretold(tmp_path):
    config = Config(model=Model(resolution=R, num_labels=5), data=Data(source=_folder(tmp_path), labels="folders"))
    assert "refuse to start: model.num_labels is 5, but data.source" in (
        text := inspection.inspect(config, tmp_path / "out")
    )
    assert "has 2 classes with data.labels='folders'; use model.num_labels=2" in text


@pytest.mark.parametrize("cls, reason", [(None, ""), ("-1", "label -1 of picture 0; classes are numbered from 0")])
def test_a_conditional_model_of_pictures_without_classes_is_refused_with_the_reason(tmp_path, cls, reason):
    source = _folder(tmp_path)
    for i in range(12 if cls else 0):
        (tmp_path / "pictures" / ("cat" if i % 3 else "dog") / f"{i}.cls").write_text(cls)
    (tmp_path / "pictures" / "dog" / "bad.jpg").unlink()
    config = Config(model=Model(resolution=R, num_labels=2), data=Data(source=source, num_heldout=2))
    (line,) = (row for row in inspection.inspect(config, tmp_path / "out").splitlines() if "refuse to start" in row)
    assert "has 0 classes with data.labels='own'" in line and line.endswith("use model.num_labels=0, or other labels.")
    assert reason in line


def test_where_all_pictures_are_held_out_none_are_left_to_train_on(tmp_path):
    text = inspection.inspect(_config(_folder(tmp_path), num_heldout=100), tmp_path / "out")
    assert "  no pictures are left to train on: 12 are held out" in text.splitlines() and "None" not in text


def test_nothing_readable_is_reported_too(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(b"x")
    text = inspection.inspect(_config(str(tmp_path / "pictures")), tmp_path / "out")
    assert "1 cannot be read" in text
    assert not (tmp_path / "out" / "contact_sheet.png").exists()


def test_remarks_count_what_is_unusual(tmp_path):
    (tmp_path / "pictures").mkdir()
    file = io.BytesIO()
    Image.new("CMYK", (R, R)).save(file, "JPEG")
    (tmp_path / "pictures" / "1.jpg").write_bytes(file.getvalue())
    inspection.inspect(_config(str(tmp_path / "pictures"), num_heldout=0), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert found["remarks"] == {"CMYK colours, converted to RGB": {"count": 1, "names": ["1.jpg"]}}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(ValueError, match="cannot write in .*out .*choose another --workdir"):
        inspection.inspect(_config(_folder(tmp_path)), tmp_path / "out")


def test_so_few_pictures_that_they_are_learnt_by_heart_are_told(tmp_path):
    config = _config(_folder(tmp_path), on_bad_image="skip")
    for kimg, is_told in ((9.9, False), (10.1, True)):  # Of 10 pictures to train on.
        schedule = dataclasses.replace(config.schedule, total_kimg=kimg)
        text = inspection.inspect(dataclasses.replace(config, schedule=schedule), tmp_path / "out")
        assert ("more than 1000 epochs" in text) == is_told


@pytest.fixture
def prepared(tmp_path) -> pathlib.Path:
    """A store of 12 pictures of two classes, in shards of 4."""
    data = Data(source=_folder(tmp_path), labels="folders", on_bad_image="skip", num_workers=1)
    prepare.make_store(data, Model(resolution=R), tmp_path / "store", pictures_per_shard=4)
    return tmp_path / "store"


def test_a_store_as_it_was_prepared_is_verified(prepared, tmp_path):
    text = inspection.inspect(_config(str(prepared)), tmp_path / "out")
    assert "verified: the store has the pictures, classes and levels that were prepared" in text
    assert json.loads((tmp_path / "out" / "inspect.json").read_text())["damage"] == []


def test_a_byte_of_a_level_that_was_changed_is_found(prepared, tmp_path):
    file = sorted((prepared / "levels" / "4").iterdir())[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    text = inspection.inspect(_config(str(prepared)), tmp_path / "out")
    assert f"DAMAGED: {file} differs from the pictures that it was made of" in text and "verified" not in text
    assert text.count("DAMAGED") == 1


@pytest.mark.parametrize("is_old", [False, True])
def test_a_class_or_a_shard_that_was_changed_is_found(prepared, tmp_path, is_old):
    numbers = np.load(prepared / "labels.npy")
    numbers[-1] = 1 - numbers[-1]
    np.save(prepared / "labels.npy", numbers)
    if is_old:
        record = json.loads((prepared / "prepared.json").read_text())
        del record["shard_sha256"]
        (prepared / "prepared.json").write_text(json.dumps(record))
    text = inspection.inspect(_config(str(prepared)), tmp_path / "out")
    name = f"a file of {prepared}" if is_old else f"{prepared}/pictures-train.array_record-00002-of-00004"
    assert f"DAMAGED: {name} has other pictures, or {prepared}/labels.npy other classes, than were prepared" in text


def test_a_shard_that_cannot_be_decoded_is_found(prepared, tmp_path):
    file = prepared / "pictures-train.array_record-00000-of-00004"
    content = bytearray(file.read_bytes())
    for i in range(100, len(content) // 4 * 3):
        content[i] ^= 255
    file.write_bytes(content)
    text = inspection.inspect(_config(str(prepared)), tmp_path / "out")
    assert f"DAMAGED: {file} has no readable picture" in text and text.count("DAMAGED") == 1


def test_what_describes_the_records_is_named_if_it_is_damaged(prepared, tmp_path):
    (prepared / "features.json").write_text("{")
    with pytest.raises(ValueError, match="features.json is damaged"):
        sources.open_source(Data(source=str(prepared)), R).read_fn(0)
    text = inspection.inspect(_config(str(prepared)), tmp_path / "out")
    assert f"DAMAGED: {prepared}/features.json is damaged" in text and "array_record" not in text
