"""Data sets of TFDS are prepared and read without TensorFlow; what stands in the way is named, with a remedy."""

import io
import json
import logging
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterable
from concurrent import futures
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from stylegan_jax.data import builders

features = tfds.features


class Given(tfds.core.BuilderConfig):
    """Features and records; an exception in their place is raised."""

    def __init__(self, name: str, of: Any, **splits: Iterable[Any]) -> None:
        super().__init__(name=name)
        self.features, self.splits = of, splits


def encoded(i: int, kind: str = "JPEG") -> bytes:
    """Returns picture `i` as a file."""
    file = io.BytesIO()
    Image.new("RGB", (9 + i, 8), (20 * i, 0, 99)).save(file, kind)
    return file.getvalue()


def labelled(count: int) -> list[dict[str, Any]]:
    return [{"image": io.BytesIO(encoded(i)), "label": i % 3, "number": i} for i in range(count)]


LABELLED = {
    "image": features.Image(),
    "label": features.ClassLabel(names=["dog", "cat", "bird"]),
    "number": features.Scalar(np.int64),
}


class GivenRecords(tfds.core.GeneratorBasedBuilder):
    """Records as given, in their order."""

    VERSION = tfds.core.Version("1.2.3")
    BUILDER_CONFIGS = [
        Given("labelled", LABELLED, train=labelled(10), test=labelled(3)),
        Given("needs_tensorflow", LABELLED, train=[ModuleNotFoundError("No module named 'tensorflow'")]),
        Given("needs_network", LABELLED, train=[ConnectionError("Failed to resolve\nstorage.googleapis.com")]),
        Given("by_hand", LABELLED, train=[AssertionError("Download a.tar from b.org.")]),
        Given("video", ModuleNotFoundError("No module named 'tensorflow'")),
    ]

    def _info(self):
        of = self.builder_config.features
        if isinstance(of, Exception):
            raise of
        return tfds.core.DatasetInfo(builder=self, features=features.FeaturesDict(of), disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(records) for name, records in self.builder_config.splits.items()}

    def _generate_examples(self, records):
        for i, record in enumerate(records):
            if isinstance(record, Exception):
                raise record
            yield i, record


def prepare(folder: pathlib.Path, of: dict[str, Any], records: Iterable[Any]) -> str:
    """Returns what data.source is for a data set of these records."""
    builder = GivenRecords(config=Given("new", of, train=records), data_dir=folder)
    builder.download_and_prepare(file_format="array_record")
    return f"tfds:{builder.data_dir}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """Where given_records/labelled is prepared."""
    path = str(tmp_path_factory.mktemp("tfds"))
    builders.open_tfds("tfds:given_records/labelled", "train", path)
    return path


def refused(spec: str, split: str = "train", folder: str | None = None) -> str:
    """Returns the message with which a data set is refused: one line."""
    with pytest.raises(ValueError) as error:
        builders.open_tfds(spec, split, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_pictures_are_the_files_that_they_were(folder):
    source = builders.open_tfds("tfds:given_records/labelled", "train", folder)
    assert [source.read_fn(i) for i in range(source.length)] == [encoded(i) for i in range(10)]
    assert source.full_name(9) == "tfds:given_records/labelled/train#000009"
    assert "tensorflow" not in sys.modules


def test_classes_are_those_of_the_records(folder):
    classes = builders.open_tfds("tfds:given_records/labelled", "train", folder).classes
    np.testing.assert_array_equal(classes.labels, np.arange(10) % 3)
    assert classes.names == ("dog", "cat", "bird")


def test_classes_of_many_records_are_read_a_few_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(builders, "RECORDS_AT_ONCE", 4)
    classes = builders.open_tfds("tfds:given_records/labelled", "train", folder).classes
    np.testing.assert_array_equal(classes.labels, np.arange(10) % 3)


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("test", [0, 1, 2]), ("train[80%:]", [8, 9]), ("train[:2]+test[1:]", [0, 1, 1, 2])],
)
def test_splits_can_be_cut_and_added(folder, split, numbers):
    source = builders.open_tfds("tfds:given_records/labelled", split, folder)
    assert [source.read_fn(i) for i in range(source.length)] == [encoded(i) for i in numbers]
    np.testing.assert_array_equal(source.classes.labels, np.mod(numbers, 3))


def test_a_prepared_folder_is_the_same_data_set_wherever_it_lies(folder, tmp_path, monkeypatch):
    by_name = builders.open_tfds("tfds:given_records/labelled:1.2.3", "train", folder)
    shutil.copytree(f"{folder}/given_records/labelled/1.2.3", tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "copy", "./copy", "~/copy"):
        by_folder = builders.open_tfds(f"tfds:{path}", "train")
        assert by_folder.fingerprint() == by_name.fingerprint() and by_folder.read_fn(3) == encoded(3)
    assert builders.open_tfds(f"tfds:{path}", "test").fingerprint() != by_name.fingerprint()


def test_another_number_of_records_is_another_data_set(tmp_path):
    sources = [builders.open_tfds(prepare(tmp_path / str(n), LABELLED, labelled(n)), "train") for n in (3, 4)]
    assert sources[0].identities[0] != sources[1].identities[0]


def test_no_picture_is_decoded(tmp_path):
    spec = prepare(tmp_path, LABELLED, [{"image": io.BytesIO(b"no picture"), "label": 2, "number": 0}])
    source = builders.open_tfds(spec, "train")
    assert source.read_fn(0) == b"no picture" and source.classes.labels.tolist() == [2]


@pytest.mark.parametrize(
    "feature",
    [
        features.Tensor(shape=(4, 6, 3), dtype=np.uint8),
        features.Tensor(shape=(None, None, 3), dtype=np.uint8, encoding="bytes"),
        features.Tensor(shape=(None, 6, None), dtype=np.uint8, encoding="zlib"),
    ],
    ids=["fixed", "bytes", "zlib"],
)
def test_pictures_may_be_arrays(tmp_path, feature):
    arrays = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    of = {"pixels": feature, "number": features.Scalar(np.int32)}
    spec = prepare(tmp_path, of, [{"pixels": pixels, "number": 0} for pixels in arrays])
    source = builders.open_tfds(spec, "train")
    assert source.classes is None and source.read_fn(0).dtype == np.uint8
    np.testing.assert_array_equal([source.read_fn(i) for i in range(5)], arrays)


def test_of_several_images_that_called_image_is_the_picture(tmp_path):
    array = features.Tensor(shape=(1, 1, 3), dtype=np.uint8)
    of = {"before": features.Image(), "image": features.Image(), "pixels": array}
    files = {key: io.BytesIO(encoded(i)) for i, key in enumerate(("before", "image"))}
    record = files | {"pixels": np.zeros((1, 1, 3), np.uint8)}
    assert builders.open_tfds(prepare(tmp_path, of, [record]), "train").read_fn(0) == encoded(1)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"a": features.Image(), "b": features.Image()}, r"has 2 features .* a \(Image\), b \(Image\)"),
        ({"video": features.Sequence(features.Image())}, r"has 0 features .* video \(Sequence\)"),
        ({"depth": features.Image(shape=(4, 4, 1), dtype=np.float32)}, r"has 0 features .* depth \(Image\)"),
        ({"image": features.Tensor(shape=(4, 4, 3), dtype=np.float32)}, r"has 0 features .* image \(Tensor\)"),
        ({"image": features.Tensor(shape=(4, 4, 7), dtype=np.uint8)}, r"has 0 features .* image \(Tensor\)"),
        ({"text": features.Text()}, r"has 0 features .* text \(Text\)"),
    ],
    ids=["two", "video", "depth", "float", "channels", "text"],
)
def test_records_without_one_picture_are_refused_with_their_features(of, message):
    with pytest.raises(ValueError, match=message):
        builders._picture_key(features.FeaturesDict(of), "tfds:set")


@pytest.mark.parametrize(
    ("keys", "chosen"), [(["kind"], "kind"), (["kind", "label"], "label"), (["kind", "style"], None), ([], None)]
)
def test_the_class_is_the_feature_called_label_or_the_only_one(tmp_path, keys, chosen):
    of = {"image": features.Image()} | {key: features.ClassLabel(num_classes=1 + len(key)) for key in keys}
    record = {"image": io.BytesIO(encoded(0))} | {key: len(key) for key in keys}
    classes = builders.open_tfds(prepare(tmp_path, of, [record]), "train").classes
    assert (classes.labels.tolist() if classes else None) == ([len(chosen)] if chosen else None)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (
            {"kind": features.ClassLabel(num_classes=2), "style": features.ClassLabel(num_classes=2)},
            "kind (ClassLabel), st",
        ),
        ({"label": features.Scalar(np.float32)}, "label (Scalar)"),
        ({"labels": features.Sequence(features.ClassLabel(num_classes=2))}, "labels (Sequence)"),
    ],
    ids=["two", "number", "several"],
)
def test_labels_that_give_no_class_are_named(tmp_path, of, words):
    values = {"kind": 1, "style": 0, "label": 0.5, "labels": [0, 1]}
    record = {"image": io.BytesIO(encoded(0))} | {key: values[key] for key in of}
    source = builders.open_tfds(prepare(tmp_path, {"image": features.Image()} | of, [record]), "train")
    assert source.classes is None and f"has the labels {words}" in source.unused_labels


def test_without_the_class_of_some_records_there_are_none_and_a_reason(tmp_path):
    records = [record | {"label": label} for record, label in zip(labelled(3), (0, -1, -1), strict=True)]
    source = builders.open_tfds(prepare(tmp_path, LABELLED, records), "train")
    assert source.classes is None and source.length == 3
    assert "2 of 3 records have no class" in source.unused_labels


@pytest.mark.parametrize("split", ["validation", "train[", "train[:0]", "train[9:2]", ""])
def test_a_split_that_is_not_there_is_refused_with_those_that_are(folder, split):
    message = refused("tfds:given_records/labelled", split, folder)
    assert f"data.split is {split!r}" in message and "train (10 records), test (3 records)" in message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tfds:given_record/labelled", "no data set 'given_record'; did you mean given_records?"),
        ("tfds:procedural_face", "did you mean procedural_faces?"),
        ("tfds:mnits:3.0.1", "did you mean mnist"),
        ("tfds:qqqqqq", "https://www.tensorflow.org/datasets lists them"),
        ("tfds:given_records/other", "its configurations are labelled, needs_tensorflow, needs_network"),
        ("tfds:given_records/video", "No module named 'tensorflow'"),
        ("tfds:given_records/labelled:9.9.9", "cannot be loaded at version 9.9.9, only: 1.2.3"),
        ("tfds:", "Use tfds:NAME, tfds:NAME/CONFIG"),
        ("tfds:given records", "Use tfds:NAME, tfds:NAME/CONFIG"),
        ("tfds:/nowhere", "name the folder of a dataset_info.json"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_would_be_one(tmp_path, spec, message):
    found = refused(spec, folder=str(tmp_path))
    assert repr(spec) in found and message in found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("needs_tensorflow", "ModuleNotFoundError: .*No module named 'tensorflow'"),
        ("needs_network", "ConnectionError: .*Failed to resolve storage.googleapis.com"),
        ("by_hand", "AssertionError: .*Download a.tar from b.org"),
    ],
)
def test_what_cannot_be_prepared_is_refused_with_a_way_to_do_so_elsewhere(tmp_path, name, message):
    found = refused(f"tfds:given_records/{name}", folder=str(tmp_path))
    assert re.search(message, found)
    assert f'tfds.builder("given_records/{name}").download_and_prepare(file_format="array_record")' in found


def test_other_file_formats_are_refused(folder, tmp_path):
    shutil.copytree(f"{folder}/given_records/labelled/1.2.3", tmp_path / "copy")
    file = tmp_path / "copy" / "dataset_info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fileFormat": "tfrecord"}))
    message = refused(f"tfds:{tmp_path}/copy")
    assert f"prepared as tfrecord in {tmp_path}/copy" in message and "TFDS_DATA_DIR" in message


@pytest.mark.parametrize("content", [b"", b"cut"], ids=["empty", "cut"])
def test_a_damaged_file_is_refused(folder, tmp_path, content):
    shutil.copytree(f"{folder}/given_records/labelled/1.2.3", tmp_path / "copy")
    (file,) = (tmp_path / "copy").glob("*train.array_record*")
    file.write_bytes(content or file.read_bytes()[:-3000])
    assert "cannot be read" in refused(f"tfds:{tmp_path}/copy")


def test_a_missing_file_is_refused(folder, tmp_path):
    shutil.copytree(f"{folder}/given_records/labelled/1.2.3", tmp_path / "copy")
    (file,) = (tmp_path / "copy").glob("*train.array_record*")
    file.unlink()
    assert "cannot be read" in refused(f"tfds:{tmp_path}/copy")


def test_many_threads_may_read(folder):
    source = builders.open_tfds("tfds:given_records/labelled", "train+test", folder)
    numbers = np.random.default_rng(0).integers(0, 13, 500)
    with futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(source.read_fn, numbers)) == [encoded(i if i < 10 else i - 10) for i in numbers]


def test_a_closed_source_holds_no_file(folder):
    def open_files() -> list[str]:
        return [link for file in pathlib.Path("/proc/self/fd").iterdir() if folder in (link := os.path.realpath(file))]

    source = builders.open_tfds("tfds:given_records/labelled", "train", folder)
    source.read_fn(0)
    assert open_files()
    source.close_fn()
    assert not open_files()
    with pytest.raises(ValueError, match="cannot be read"):
        source.read_fn(0)


def test_warnings_of_tfds_are_kept_back_for_the_time_of_opening(tmp_path, caplog):
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    levels = [logger.level for logger in loggers]
    with caplog.at_level(logging.WARNING):
        refused("tfds:given_records/needs_network", folder=str(tmp_path))
    assert not caplog.records and [logger.level for logger in loggers] == levels
