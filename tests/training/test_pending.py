"""What finished chunks add up to, and which network is stuck."""

import numpy as np
import pytest

from stylegan_jax.config import schedule
from stylegan_jax.runs import report
from stylegan_jax.training import pending
from tests.small import settings


def finished(counts: list[tuple[int, int]], averages: report.Averages | None = None) -> pending.Pending:
    """Returns what has finished chunks with these counts of skipped updates of G and D after each."""
    config = settings()
    found = pending.Pending(config, averages or report.Averages(), np.asarray(counts[0], np.int32))
    chunk = next(schedule.chunks(config.schedule, 16))
    for i, count in enumerate(counts[1:]):
        found.add(chunk, [{"d_loss": np.float32(i), "num_skipped": np.asarray(count, np.int32)}])
    list(found.finish())
    return found


NEITHER, G, D, BOTH = (0, 0), (4, 0), (0, 4), (4, 4)  # Skipped updates of a chunk of 4 steps.


def counts(chunks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [tuple(row) for row in np.cumsum([(7, 3), *chunks], axis=0).tolist()]


@pytest.mark.parametrize(
    ("chunks", "names"),
    [
        ([G] * 25, "the generator had"),
        ([D] * 25, "the discriminator had"),
        ([NEITHER] * 5 + [(4, 1)] * 25, "the generator had"),
        ([BOTH] * 25, "the generator and the discriminator had"),
    ],
)
def test_a_network_without_updates_is_named_and_the_run_given_up(chunks, names):
    with pytest.raises(ValueError, match=rf"^{names} no update in the last 100 steps up to image 32, .*schedule\.lr"):
        finished(counts(chunks))


@pytest.mark.parametrize(
    "chunks",
    [[G] * 24, [G] * 24 + [(3, 0)], [NEITHER] * 26, [G, D] * 13, [(2, 2)] * 26],
    ids=["too few", "one update", "none skipped", "in turn", "each half of its updates"],
)
def test_a_run_in_which_each_network_has_updates_goes_on(chunks):
    finished(counts(chunks))


@pytest.mark.parametrize(("last", "is_stuck"), [(NEITHER, False), ((2, 2), False), (G, True), (D, True), (BOTH, True)])
def test_a_network_is_stuck_that_had_no_update_in_the_last_chunk(last, is_stuck):
    assert finished(counts([NEITHER, last])).is_stuck() == is_stuck
    assert not finished(counts([BOTH, NEITHER])).is_stuck()
    assert not finished(counts([])).is_stuck()


def test_means_are_those_since_the_last_tick():
    found = finished(counts([NEITHER] * 3))
    assert found.means(("d_loss", "g_loss")) == {"d_loss": 1.0}
    assert found.averages.take() == {"d_loss": 1.0}
    assert found.means(("d_loss",)) == {}
    goes_on = report.Averages({"d_loss": [5.0, 1]})
    assert finished(counts([NEITHER] * 3), goes_on).means(("d_loss",)) == {"d_loss": 2.0}


def test_the_last_chunks_are_left_to_the_devices():
    config = settings()
    found = pending.Pending(config, report.Averages(), np.zeros(2, np.int32))
    chunks = list(schedule.chunks(config.schedule, 16))[:3]
    for chunk in chunks:
        found.add(chunk, [{"num_skipped": np.zeros(2, np.int32)}])
    assert list(found.finish(1)) == chunks[:2] and list(found.finish(1)) == [] and list(found.finish()) == chunks[2:]
