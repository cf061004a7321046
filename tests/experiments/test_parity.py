"""The table of `make parity`."""

import pytest

from experiments.parity import table


@pytest.mark.parametrize(
    ("error", "is_mutation", "is_good"),
    [
        (1e-6, False, True), (2e-6, False, False), (float("nan"), False, False), (None, False, True),
        (1e-6, True, False), (2e-6, True, True), (float("nan"), True, False),
    ],
)  # fmt: skip
def test_errors_are_within_bounds_and_those_of_mutations_are_beyond(error, is_mutation, is_good):
    assert table.Line("a", "b", error, 1e-6, is_mutation).is_good is is_good


def test_the_table_shows_what_fails_and_what_is_not_seen():
    lines = [table.Line("a", "b", 1.0, 0.5), table.Line("c", "d", None, 0.5), table.Line("e", "f", 0.1, 0.5, True)]
    shown = table.text(lines)
    assert "| a | b | 1.0e+00 | 5e-01 | **FAILS** |" in shown and "| c | d | not at hand | 5e-01 |  |" in shown
    assert "| e | f | 1.0e-01 | 5e-01 | **NOT SEEN** |" in shown.partition("## Mutations")[2]


def test_differences_are_shares_of_the_largest_value_or_of_each():
    assert table.relative([1.0, 9.0], [2.0, 10.0]) == pytest.approx(0.1)
    assert table.each_relative([1.0, 9.0], [2.0, 10.0]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"ours has the shape \[1\], the reference \[2\]"):
        table.relative([1.0], [1.0, 2.0])
