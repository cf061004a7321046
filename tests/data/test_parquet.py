"""Parquet files give the pictures and classes of their rows; what is damaged or unclear is named."""

import json
import os
import pathlib
import threading
import time
from concurrent import futures

import numpy as np
import pyarrow as pa
import pytest

from stylegan_jax.data import labels, parquet
from tests import table_files


def test_parquet_gives_the_bytes_of_each_row_in_any_order(tmp_path):
    opened = parquet.open_source(table_files.make("parquet", tmp_path))
    for i in (39, 0, 10, 9, 19, 20):
        assert opened.read_fn(i) == table_files.encoded(i)
    assert list(opened.names) == [f"{i}.png" for i in range(table_files.N)]


def test_parquet_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    table_files.write_parquet(tmp_path / "data" / "b.parquet", {"image": table_files.images(range(4, 7))})
    table_files.write_parquet(tmp_path / "data" / "a.parquet", {"image": table_files.images(range(0, 4))}, group_size=3)
    table_files.write_parquet(tmp_path / "data" / "c.parquet" / "a.parquet", {"image": table_files.images(range(7, 9))})
    table_files.write_parquet(tmp_path / "data" / ".cache" / "a.parquet", {"image": table_files.images(range(20, 22))})
    (tmp_path / "data" / "._a.parquet").write_bytes(b"of macOS")
    (tmp_path / "data" / "README.md").write_text("a card")
    opened = parquet.open_source(str(tmp_path / "data"))
    assert table_files.read_all(opened) == [table_files.encoded(i) for i in range(9)]
    assert len(set(opened.identities)) == 3 and opened.notes == ()


@pytest.mark.parametrize("paths", [[None] * 4, ["a", "b", "a", "c"], ["a", None, "b", "c"], ["a", "", "b", "c"]])
def test_parquet_pictures_without_paths_of_their_own_are_named_by_file_and_row(paths, tmp_path):
    images = [{"bytes": table_files.encoded(i), "path": path} for i, path in enumerate(paths)]
    table_files.write_parquet(tmp_path / "b" / "1.parquet", {"image": images[:3]}, group_size=2)
    table_files.write_parquet(tmp_path / "b" / "2.parquet", {"image": images[3:]})
    opened = parquet.open_source(str(tmp_path))
    assert list(opened.names) == [f"b/1.parquet#{i:06d}" for i in range(3)] + ["b/2.parquet#000000"]
    assert table_files.read_all(opened) == [table_files.encoded(i) for i in range(4)]


def test_opening_parquet_does_not_read_the_pictures(tmp_path):
    images = [{"bytes": os.urandom(2**20), "path": f"{i}.png"} for i in range(12)]
    path = table_files.write_parquet(tmp_path / "a.parquet", {"image": images, "label": list(range(12))})
    parquet.open_source(path)  # Imports are done.
    before = table_files.bytes_read()
    opened = parquet.open_source(path)
    used = table_files.bytes_read() - before
    assert used < 3 * 2**20  # 16 places of 64 KiB for the identity, of 12 MiB.
    assert opened.read_fn(11) == images[11]["bytes"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_parquet_column_of_plain_bytes_is_read(kind, tmp_path):
    columns = {
        "key": list("abc"),
        "jpeg": pa.array([table_files.encoded(i) for i in range(3)], kind),
        "size": [1, 2, 3],
    }
    opened = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert table_files.read_all(opened) == [table_files.encoded(i) for i in range(3)]
    assert opened.names[2] == "a.parquet#000002"


@pytest.mark.parametrize("name", ["image", "Image"])
def test_parquet_column_called_image_goes_before_others_which_are_noted(name, tmp_path):
    columns = {"aux": [b"mask"] * 3, name: table_files.images(range(3)), "image2": table_files.images(range(3, 6))}
    path = table_files.write_parquet(tmp_path / "a.parquet", columns | {"text": list("abc")})
    opened = parquet.open_source(path)
    assert opened.read_fn(1) == table_files.encoded(1)
    taken = f"{path}: the pictures of the column {name} are taken"
    assert opened.notes == (f"{taken}; aux, image2, which may hold others, are passed over",)


@pytest.mark.parametrize("name", ["img", "picture", "jpg"])
def test_parquet_column_that_alone_has_bytes_may_have_any_name(name, tmp_path):
    columns = {name: table_files.images(range(3)), "image": list("abc")}
    opened = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert opened.read_fn(1) == table_files.encoded(1) and opened.notes == ()


@pytest.mark.parametrize("names", [["left", "right"], ["img", "picture", "png"], ["img", "image2"], ["image", "Image"]])
def test_parquet_columns_that_all_may_have_the_pictures_are_listed(names, tmp_path):
    columns = {name: table_files.images(range(3)) for name in names} | {"text": list("abc")}
    message = table_files.message(parquet.open_source, table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert f"are {', '.join(names)}, of " in message and "text: string" in message
    assert message.endswith("of several, call the one to take image.")


def test_parquet_without_a_column_of_bytes_is_named_with_its_columns(tmp_path):
    columns = {"url": list("abc"), "width": [1, 2, 3]}
    message = table_files.message(parquet.open_source, table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert "none, of url: string, width: int64" in message


def test_parquet_files_that_differ_in_the_column_of_pictures_are_named(tmp_path):
    table_files.write_parquet(tmp_path / "a.parquet", {"image": table_files.images(range(3))})
    table_files.write_parquet(tmp_path / "b.parquet", {"picture": table_files.images(range(3))})
    assert "All files need one of struct" in table_files.message(parquet.open_source, str(tmp_path))


def test_parquet_picture_that_is_null_is_named_when_read(tmp_path):
    images = [
        *table_files.images(range(2)),
        None,
        {"bytes": None, "path": "/home/a/3.png"},
        *table_files.images(range(4, 6)),
    ]
    opened = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", {"image": images}))
    for i in (2, 3):
        with pytest.raises(ValueError, match=rf"a\.parquet#00000{i} has no bytes"):
            opened.read_fn(i)
    assert opened.read_fn(4) == table_files.encoded(4)


def test_parquet_without_rows_is_named(tmp_path):
    path = table_files.write_parquet(tmp_path / "a.parquet", {"image": pa.array([], pa.binary())})
    assert "no pictures" in table_files.message(parquet.open_source, path)


def test_damaged_parquet_pages_are_named_when_read(tmp_path):
    path = table_files.write_parquet(tmp_path / "a.parquet", {"image": [os.urandom(5000) for _ in range(20)]})
    content = bytearray(pathlib.Path(path).read_bytes())
    content[4:60] = b"\xff" * 56  # The head of the first page.
    pathlib.Path(path).write_bytes(content)
    opened = parquet.open_source(path)
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet"):
        opened.read_fn(0)
    assert len(opened.read_fn(10)) == 5000


@pytest.mark.parametrize("damaged", ["a.parquet", "b.parquet"])
def test_damaged_file_of_a_folder_is_named(damaged, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        table_files.write_parquet(tmp_path / name, {"image": table_files.images(range(3))})
    (tmp_path / damaged).write_bytes(b"PAR1")
    assert damaged in table_files.message(parquet.open_source, str(tmp_path))


def test_parquet_paths_that_are_no_text_are_an_error_that_names_the_file(tmp_path):
    paths = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    images = pa.StructArray.from_arrays([pa.array([b"x", b"y"]), paths], ["bytes", "path"])
    table_files.message(parquet.open_source, table_files.write_parquet(tmp_path / "a.parquet", {"image": images}))


@pytest.mark.parametrize("column", labels.LABEL_NAMES)
def test_parquet_classes_are_numbers_without_metadata(column, tmp_path):
    columns = {"image": table_files.images(range(4)), column: pa.array([2, 0, 1, 2], pa.uint8())}
    classes = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns)).classes
    np.testing.assert_array_equal(classes.labels, [2, 0, 1, 2])
    assert classes.names == ("0", "1", "2")


def test_parquet_class_names_come_from_the_metadata(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    metadata = json.dumps({"info": {"features": features}})
    columns = {"image": table_files.images(range(4)), "label": [1, 0, 1, 0]}
    classes = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns, metadata=metadata)).classes
    np.testing.assert_array_equal(classes.labels, [1, 0, 1, 0])
    assert classes.names == ("cat", "dog", "eel")


@pytest.mark.parametrize("label", ['{"names": ["cat"]}', '{"names": 5}', "{}", "[]", "5", "{", ""])
def test_odd_metadata_leaves_classes_with_their_numbers(label, tmp_path):
    columns = {"image": table_files.images(range(4)), "label": [1, 0, 1, 0]}
    metadata = '{"info": {"features": {"label": ' + label + "}}}"
    classes = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns, metadata=metadata)).classes
    assert classes.names == ("0", "1")


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_parquet_classes_may_be_text(is_dictionary, tmp_path):
    values = pa.array(["dog", "cat", "dog", "eel"])
    columns = {"image": table_files.images(range(4)), "label": values.dictionary_encode() if is_dictionary else values}
    classes = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns)).classes
    np.testing.assert_array_equal(classes.labels, [1, 0, 1, 2])
    assert classes.names == ("cat", "dog", "eel")


@pytest.mark.parametrize("values", [[-1, -1, -1, -1], [0, None, 1, 0], [2**62, 0, 1, 2], ["a", None, "b", "a"]])
def test_labels_that_are_no_classes_leave_the_pictures_and_a_reason(values, tmp_path):
    path = table_files.write_parquet(tmp_path / "a.parquet", {"image": table_files.images(range(4)), "label": values})
    opened = parquet.open_source(path)
    assert opened.classes is None and opened.length == 4
    assert path in opened.unused_labels and "label" in opened.unused_labels and opened.notes == ()


def test_labels_that_only_some_files_have_are_not_used(tmp_path):
    table_files.write_parquet(tmp_path / "a.parquet", {"image": table_files.images(range(2)), "label": [0, 1]})
    table_files.write_parquet(tmp_path / "b.parquet", {"image": table_files.images(range(2, 4))})
    opened = parquet.open_source(str(tmp_path))
    assert opened.classes is None and opened.length == 4
    assert "the column label differs among the files" in opened.unused_labels


@pytest.mark.parametrize(
    "names",
    [["train-00000-of-00002.parquet", "test-00000-of-00001.parquet"], ["all/train/0.parquet", "all/test/0.parquet"]],
)
def test_splits_are_all_taken_and_noted(names, tmp_path):
    for i, name in enumerate(names):
        table_files.write_parquet(tmp_path / name, {"image": table_files.images(range(2 * i, 2 * i + 2))})
    opened = parquet.open_source(str(tmp_path))
    assert opened.length == 4
    assert opened.notes == (f"{tmp_path} has the splits test, train: all are taken; name a file to take fewer",)


def test_row_groups_are_kept_up_to_a_number_of_bytes_and_loaded_once(monkeypatch):
    monkeypatch.setattr(parquet, "RECENT_BYTES", 100)
    loaded = []

    def load(number: int) -> np.ndarray:
        loaded.append(number)
        return np.zeros(40 if number < 3 else 500, np.uint8)

    recent = parquet._keep_recent(load, 4)
    for number in (0, 1, 0, 2, 0, 1):  # The third drops 1, which was used the longest ago.
        recent(number)
    assert loaded == [0, 1, 2, 1]
    recent(3), recent(3), recent(1)  # One alone may be larger.
    assert loaded == [0, 1, 2, 1, 3, 1]


def test_row_group_asked_for_by_many_threads_is_loaded_once():
    barrier, loaded = threading.Barrier(8), []

    def load(number: int) -> np.ndarray:
        time.sleep(0.05)
        loaded.append(number)
        return np.zeros(1)

    recent = parquet._keep_recent(load, 1)
    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: (barrier.wait(), recent(0)), range(8)))
    assert loaded == [0]


def test_row_group_that_failed_is_tried_again():
    answers = iter([OSError("a drive's hiccup"), np.zeros(1)])

    def load(number: int) -> np.ndarray:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    recent = parquet._keep_recent(load, 1)
    with pytest.raises(OSError):
        recent(0)
    assert recent(0).nbytes


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([0.5, 1.5, 0.0, 2.0]), "double"),
        (pa.array([True, False, True, True]), "bool"),
        (pa.array([b"m"] * 4), "binary"),
        (pa.array([{"bytes": b"mask"}] * 4), "struct<bytes: binary>"),
    ],
    ids=["float", "bool", "bytes", "picture"],
)
def test_a_column_of_labels_that_are_no_classes_is_said(tmp_path, column, kind):
    path = table_files.write_parquet(tmp_path / "a.parquet", {"image": table_files.images(range(4)), "label": column})
    opened = parquet.open_source(path)
    assert opened.classes is None and opened.length == 4
    assert f"the type of the column label is {kind}; use whole numbers" in opened.unused_labels


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.list_(pa.float32(), 3)])
def test_parquet_classes_may_be_one_hot(tmp_path, kind):
    rows = pa.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]], kind)
    path = table_files.write_parquet(tmp_path / "a.parquet", {"image": table_files.images(range(4)), "label": rows})
    np.testing.assert_array_equal(parquet.open_source(path).classes.labels, [1, 0, 2, 1])


def test_vectors_of_several_ones_are_no_classes(tmp_path):
    columns = {"image": table_files.images(range(2)), "labels": [[1, 1], [0, 1]]}
    opened = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert "column labels: 1 of 2 label rows are not one-hot" in opened.unused_labels


@pytest.mark.parametrize(("first", "second"), [("label", "y"), ("fine_label", "coarse_label")])
def test_of_several_columns_of_labels_none_is_used(tmp_path, first, second):
    columns = {"image": table_files.images(range(2)), first: [0, 1], second: [1, 1]}
    opened = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert opened.classes is None and f"several labels, {first}, {second}; keep one" in opened.unused_labels


@pytest.mark.parametrize("other", ["coarse_label", "text"])
def test_a_column_called_label_goes_before_others(tmp_path, other):
    columns = {"image": table_files.images(range(2)), other: [5, 5], "Label": [1, 0]}
    opened = parquet.open_source(table_files.write_parquet(tmp_path / "a.parquet", columns))
    assert opened.classes.labels.tolist() == [1, 0]


def test_files_of_lost_and_found_are_no_part_of_the_set(tmp_path):
    table_files.write_parquet(tmp_path / "a.parquet", {"image": table_files.images(range(2))})
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "b.parquet").write_bytes(b"x")
    assert parquet.open_source(str(tmp_path)).length == 2


def test_files_that_name_the_classes_differently_give_none(tmp_path):
    for file, names in (("a", ["cat", "dog"]), ("b", ["dog", "cat"])):
        metadata = json.dumps({"info": {"features": {"label": {"names": names}}}})
        columns = {"image": table_files.images(range(2)), "label": [0, 1]}
        table_files.write_parquet(tmp_path / f"{file}.parquet", columns, metadata=metadata)
    opened = parquet.open_source(str(tmp_path))
    assert opened.classes is None and "the files name the classes of label differently" in opened.unused_labels
