"""Classes are given by name or number."""

import numpy as np
import pytest

from stylegan_jax.weights import classes


def test_names_that_are_numbers_are_names():
    assert [classes.number_of(name, ["10", "5"], 2) for name in ("5", "10")] == [1, 0]
    with pytest.raises(ValueError, match="no class '0'; did you mean '10'"):
        classes.number_of("0", ["10", "5"], 2)


def test_classes_without_names_have_numbers():
    assert classes.number_of("3", [], 4) == 3
    with pytest.raises(ValueError, match="no class '4'. Give names or numbers from 0 to 3."):
        classes.number_of("4", [], 4)


def test_no_more_than_fifty_classes_are_listed_one_a_line():
    with pytest.raises(ValueError) as error:
        classes.number_of("zebra", [f"a{i}, b" for i in range(60)], 60)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("Give names or numbers from 0 to 59. Its classes:")
    assert lines[1:3] == ["  0: a0, b", "  1: a1, b"] and lines[50:] == ["  49: a49, b", "  ... and 10 more"]


@pytest.mark.parametrize("labels", ["dog", 1, np.int64(1), ["dog", "dog"], [1, "1"], np.array([[0.0, 1], [0, 1]])])
def test_labels_are_names_numbers_or_rows(labels):
    rows = (
        classes.rows(labels, 2, [], 2)
        if "dog" not in np.asarray(labels)
        else classes.rows(labels, 2, ["cat", "dog"], 2)
    )
    np.testing.assert_array_equal(rows, [[0, 1], [0, 1]])
    assert rows.dtype == np.float32


def test_rows_of_weights_stay_as_they_are():
    mixed = np.array([[0.25, 0.75]])
    np.testing.assert_array_equal(classes.rows(mixed, 1, [], 2), mixed)


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        (None, 2, "this network has 2 classes; give labels="),
        ([0, 1, 1], 2, "labels is int64 .3. for 2 images"),
        (np.zeros((2, 3)), 2, "labels is float64 .2, 3. for 2 images"),
        (True, 2, "labels is bool"),
        (0.5, 2, "labels is float64"),
        (-1, 2, "no class -1"),
        (0, 0, "this network has no classes; leave labels out"),
    ],
)
def test_other_labels_are_refused(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        classes.rows(labels, 2, [], num_classes)
