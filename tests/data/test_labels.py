"""Classes come from folders, tables and one-hot rows; labels that make no sense are named."""

import json
import pathlib

import numpy as np
import pytest

from stylegan_jax.data import labels

NAMES = ["a/1.png", "a/2.png", "b/3.png"]


def _file(folder: pathlib.Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def test_folders_are_classes_in_the_order_of_their_names():
    classes = labels.from_folders(["10/x.png", "9/x.png", "9/deep/y.png", "cat/z.png"], "pictures")
    assert classes.names == ("9", "10", "cat")
    np.testing.assert_array_equal(classes.labels, [1, 0, 0, 2])


def test_a_picture_in_no_folder_is_named():
    with pytest.raises(ValueError, match="1 pictures of pictures lie in no folder, the first is loose.png"):
        labels.from_folders([*NAMES, "loose.png"], "pictures")


@pytest.mark.parametrize(
    ("content", "names", "numbers"),
    [
        ("a/1.png,dog\na/2.png,cat\nb/3.png,dog\n", ("cat", "dog"), [1, 0, 1]),
        ("file,class\na/1,dog\na/2,cat\nb/3,dog\n", ("cat", "dog"), [1, 0, 1]),
        ("b/3.png,2\na/2.png,0\na/1.png,2\n", ("0", "1", "2"), [2, 0, 2]),
        ('"a/1.png","big, dog"\na/2.png,cat\nb/3.png,cat\n', ("big, dog", "cat"), [0, 1, 1]),
    ],
)
def test_a_csv_gives_names_or_numbers_in_any_order(tmp_path, content, names, numbers):
    classes = labels.from_file(_file(tmp_path, "labels.csv", content), NAMES)
    assert classes.names == names
    np.testing.assert_array_equal(classes.labels, numbers)


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [([1, 0, 1], ("0", "1"), [1, 0, 1]), ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], ("0", "1", "2"), [2, 0, 1])],
)
def test_dataset_json_gives_numbers_or_one_hot_vectors(tmp_path, values, names, numbers):
    content = json.dumps({"labels": list(zip(NAMES, values, strict=True))})
    classes = labels.from_file(_file(tmp_path, "dataset.json", content), NAMES)
    assert classes.names == names
    np.testing.assert_array_equal(classes.labels, numbers)


def test_null_labels_are_no_classes():
    assert labels.from_dataset_json(b'{"labels": null}', "dataset.json", NAMES) is None


@pytest.mark.parametrize(
    ("array", "names"),
    [(np.array([2, 0, 1]), ("0", "1", "2")), (np.eye(4, dtype=np.float32)[[2, 0, 1]], tuple("0123"))],
)
def test_an_npy_gives_numbers_or_one_hot_rows(tmp_path, array, names):
    np.save(tmp_path / "labels.npy", array)
    classes = labels.from_file(str(tmp_path / "labels.npy"), NAMES)
    assert classes.names == names
    np.testing.assert_array_equal(classes.labels, [2, 0, 1])


def test_classes_of_some_pictures_keep_all_names():
    some = labels.Classes(np.array([2, 0, 1]), ("a", "b", "c")).of(np.array([1, 1]))
    assert some.names == ("a", "b", "c")
    np.testing.assert_array_equal(some.labels, [0, 0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", "a/1.png,0\na/2.png,1\n", "has no label for 1 of 3 pictures: b/3.png"),
        ("l.csv", "a/1.png\n", "line 1 has 1 columns, not 2; use NAME,CLASS"),
        ("l.csv", "a/1.png,0\na/2.png,1\nb/3.png,99999\n", "label 99999 among 3 pictures"),
        ("l.json", "{", "is not"),
        ("l.json", '{"labels": [1, 2]}', "is not"),
        ("l.json", '{"labels": [["a/1.png", 0], ["a/2.png", -1], ["b/3.png", 0]]}', "label -1 of picture 1"),
        (
            "l.json",
            '{"labels": [["a/1.png", [0, 1]], ["a/2.png", [1, 1]], ["b/3.png", [1, 0]]]}',
            "row 1: .* one 1 among",
        ),
        ("l.json", '{"labels": [["a/1.png", [0, 1]], ["a/2.png", [1]], ["b/3.png", [1, 0]]]}', "have .1, 2. elements"),
        ("l.json", '{"labels": [["a/1.png", "x"], ["a/2.png", 1], ["b/3.png", 1]]}', "types int, str"),
        ("l.txt", "", "use 'own', 'folders', or the path of a"),
        ("l.npy", "no array", "l.npy is not a .npy of numbers"),
    ],
)
def test_labels_that_make_no_sense_are_named(tmp_path, name, content, message):
    file = _file(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as error:
        labels.from_file(file, NAMES)
    assert name in str(error.value)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match="the labels in nowhere.csv cannot be read: .*No such file"):
        labels.from_file("nowhere.csv", NAMES)


def test_pickled_labels_are_never_loaded(tmp_path):
    np.save(tmp_path / "labels.npy", np.array([{"a": 1}, 2, 3], object), allow_pickle=True)
    with pytest.raises(ValueError, match="labels.npy is not a .npy of numbers"):
        labels.from_file(str(tmp_path / "labels.npy"), NAMES)


@pytest.mark.parametrize("rows", [2, 4])
def test_arrays_of_another_length_are_refused(tmp_path, rows):
    np.save(tmp_path / "labels.npy", np.zeros(rows, np.int64))
    with pytest.raises(ValueError, match=f"has labels of {rows} pictures, but there are 3"):
        labels.from_file(str(tmp_path / "labels.npy"), NAMES)


def test_names_that_come_again_are_numbered():
    assert labels.Classes(np.arange(4), ("crane", "crane", "bird", "crane")).names == (
        "crane",
        "crane (1)",
        "bird",
        "crane (2)",
    )


def test_labels_that_are_no_classes_are_a_reason_and_broken_ones_an_error():
    content = json.dumps({"labels": [["a/1.png", [0.5, 0.5]], ["a/2.png", [0, 1]], ["b/3.png", [1, 0]]]}).encode()
    classes, reason = labels.or_reason(lambda: labels.from_dataset_json(content, "dataset.json", NAMES))
    assert classes is None and "1 of 3 label rows are not one-hot" in reason
    with pytest.raises(ValueError, match="dataset.json is not"):
        labels.or_reason(lambda: labels.from_dataset_json(b"{", "dataset.json", NAMES))


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        (["10", "9", "9"], tuple(map(str, range(11))), [10, 9, 9]),
        (["10 cats", "9 cats", "cat"], ("10 cats", "9 cats", "cat"), [0, 1, 2]),
        (["cat", "10", "9", "007"], ("007", "9", "10", "cat"), [3, 2, 1, 0]),
        (["True", "False", "True"], ("False", "True"), [1, 0, 1]),
    ],
)
def test_text_is_numbers_where_all_is_and_numbers_go_before_names(values, names, numbers):
    classes = labels.from_values(values, "x")
    assert classes.names == names
    np.testing.assert_array_equal(classes.labels, numbers)


@pytest.mark.parametrize("values", [["-1", "10", "9"], [-1, 10, 9], ["10", " -1 ", "9"]])
def test_a_negative_number_is_no_class(values):
    with pytest.raises(labels.NotClasses, match="label -1 of picture [01]; classes are numbered from 0"):
        labels.from_values(values, "x")


@pytest.mark.parametrize("text", ["0.5", "1e-3", "-.25", "3."])
def test_fractions_are_no_names(text):
    with pytest.raises(labels.NotClasses, match=f"labels are fractions, such as {text}"):
        labels.from_values(["1", text, "2"], "x")


def test_numbers_of_folders_sort_as_numbers():
    classes = labels.from_folders([f"{i}/x.png" for i in (0, 1, 10, 2)], "pictures")
    assert classes.names == ("0", "1", "2", "10")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a/1.png,dog\na/2.png, \nb/3.png,cat\n", "has no label for 1 of 3 pictures: a/2.png"),
        ("a/1.png,dog\na/2.png,cat\nb/3.png,cat\na/1.png,cat\n", "two classes for 1 pictures: a/1.png; keep one"),
        ("a/1,dog\na/2,cat\nb/3,cat\na/1,cat\n", "two classes for 1 pictures: a/1.png; keep one"),
    ],
)
def test_a_csv_without_a_class_or_with_two_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        labels.from_file(_file(tmp_path, "labels.csv", content), NAMES)


def test_a_csv_may_say_the_same_twice_and_other_things_of_other_pictures(tmp_path):
    content = "a/1.png,dog\na/2.png,cat\na/1.png,dog\nb/3.jpg,dog\nb/3.png,cat\nb/9.png,\n"
    assert labels.from_file(_file(tmp_path, "labels.csv", content), NAMES).labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize("titles", ["file,split,label", "file,label_source,class", "name,x,Class "])
def test_the_titles_of_a_wide_csv_say_which_column_has_the_classes(tmp_path, titles):
    content = f"{titles}\na/1.png,train,dog\na/2.png,test,cat\nb/3.png,train,dog\n"
    classes = labels.from_file(_file(tmp_path, "labels.csv", content), NAMES)
    assert classes.names == ("cat", "dog") and classes.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("file,smiling,glasses", "has the columns file, smiling, glasses, and no one is the label; keep NAME,CLASS"),
        ("file,label,label", "has the columns file, label, label, .* keep NAME,CLASS"),
        ("label,split,age", "has the columns label, split, age, .* keep NAME,CLASS"),
        ("a/1.png,class,0", "has the columns a/1.png, class, 0, .* keep NAME,CLASS"),
        ("file,label,class", "has several labels, label, class; keep one of them"),
        ("file,label", "line 2 has 3 columns, not 2; use NAME,CLASS"),
        ("file,split,age,label", "line 2 has 3 columns, not 4; use NAME,CLASS"),
    ],
)
def test_a_wide_csv_whose_titles_do_not_say_where_the_classes_are_is_refused(tmp_path, first, message):
    content = f"{first}\na/1.png,1,0\na/2.png,0,1\nb/3.png,1,1\n"
    with pytest.raises(ValueError, match=message):
        labels.from_file(_file(tmp_path, "labels.csv", content), NAMES)


def test_null_labels_that_are_asked_for_are_refused(tmp_path):
    with pytest.raises(ValueError, match="dataset.json are null; name another file"):
        labels.from_file(_file(tmp_path, "dataset.json", '{"labels": null}'), NAMES)


def test_classes_are_counted():
    np.testing.assert_array_equal(labels.Classes(np.array([2, 0, 2]), ("a", "b", "c", "d")).counts, [1, 0, 2, 0])


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a/b/1", "a/b/2"], "a/b"), (["a/b/1", "a/bc/2"], "a"), (["a/1", "2"], ""), (["a/1"], "a"), ([], "")],
)
def test_the_common_folder_is_one_of_whole_names(names, expected):
    assert labels.common_folder(names) == expected
