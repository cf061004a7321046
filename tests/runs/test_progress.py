import contextlib
import os
import pty

import pytest

from stylegan_jax.runs import progress
from tests.runs.test_report import STAGES, Clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3599.7, "1 h 00 min"),
        (3725, "1 h 02 min"), (2 * 86400 + 3 * 3600 + 59, "2 d 03 h"),
    ],
)  # fmt: skip
def test_durations_are_told_in_two_units(seconds, text):
    assert progress.format_duration(seconds) == text


def test_time_left_counts_each_resolution_at_its_own_speed():
    assert progress.time_left(500, STAGES, {8: 1.0, 16: 2.0}) == (500 + 2 * 3000, True)
    assert progress.time_left(4000, STAGES, {8: 1.0}) == (0, True)


def test_time_left_is_a_lower_bound_where_a_resolution_was_not_measured():
    assert progress.time_left(500, STAGES, {4: 3.0, 8: 1.0}) == (500 + 3 * 3000, False)
    assert progress.time_left(500, STAGES, {}) == (None, False)


def test_a_count_shows_how_far_it_is_and_the_time_left(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    with progress.counting("pictures") as show:
        for done in (500, 600, 2000):
            clock.now += 3
            show(done, 2000)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["pictures: 500 of 2000, 9 s left", "pictures: 2000 of 2000, 0 s left"]


def test_before_anything_is_done_no_time_is_foretold(capsys):
    with progress.counting("pictures") as show:
        show(0, 2000)
    assert capsys.readouterr().out == "pictures: 0 of 2000, - left\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_reader_that_goes_away_does_not_end_a_run(is_terminal):
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    stream = os.fdopen(writer, "w")
    line = progress.make_line(stream, 1000, Clock())
    line.update(1, "before", is_last=True)
    os.close(reader)
    for done in range(100):
        line.update(done, "a status " * 20, is_last=True)
        line.log("a line " * 20)
    line.close()
    with contextlib.suppress(OSError):  # Of what is still in its buffer.
        stream.close()
