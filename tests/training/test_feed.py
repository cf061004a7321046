"""Batches come in the run's order, and the time that devices wait for them is measured."""

import contextlib

import jax
import numpy as np
import pytest

from stylegan_jax.config import schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.training import feed
from tests.small import settings


class Clock:
    """A clock that stands unless it is set."""

    def __init__(self) -> None:
        self.sec = 0.0

    def __call__(self) -> float:
        return self.sec


def open_all(config, num_steps: int) -> list[dataset.Batch]:
    data = dataset.open_dataset(config.data, config.model, config.seed)
    chunks = list(schedule.chunks(config.schedule, 16))
    with contextlib.closing(feed.Feed(chunks, config, data, mesh.make_mesh(), num_steps)) as batches:
        return [batch for _ in chunks for batch in batches.take(lambda: None)]


def test_batches_are_the_same_however_they_are_stacked():
    config = settings(model={"num_labels": 10}, data={"source": "digits"})
    single, stacked = (open_all(config, num_steps) for num_steps in (1, 4))
    assert {b.images.shape for b in stacked} == {(4, 8, 16, 16, 3)}
    assert {b.images.sharding.spec for b in stacked} == {jax.sharding.PartitionSpec(None, "data")}
    for name in ("images", "labels"):
        a, b = (np.concatenate([getattr(batch, name) for batch in batches]) for batches in (single, stacked))
        np.testing.assert_array_equal(a, b)
    data = dataset.open_dataset(config.data, config.model, config.seed)
    np.testing.assert_array_equal(np.concatenate(stacked[1].images), data.batch(32, 32, 8).images)


def opened(monkeypatch, made_first: int, read_sec: float, clock: Clock) -> feed.Feed:
    """Returns the feed of batches of which so many are ready, and each other takes read_sec of the clock."""

    def prefetch(requests, load_fn, put_fn, depth):
        for i, (_, phase) in enumerate(requests):
            clock.sec += 0.0 if i < made_first else read_sec
            yield put_fn(np.zeros((1, phase.batch), np.uint8))

    monkeypatch.setattr(feed.prefetch, "prefetch", prefetch)
    config = settings()
    found = feed.Feed(list(schedule.chunks(config.schedule, 16)), config, None, mesh.make_mesh(), 4, clock)
    found._num_made = made_first
    return found


@pytest.mark.parametrize(("compute_sec", "share"), [(0.0, 1.0), (3.0, 0.25), (9.0, 0.1)])
def test_devices_wait_from_when_they_are_done_until_a_batch_is_there(monkeypatch, compute_sec, share):
    clock = Clock()
    batches = opened(monkeypatch, 0, 1.0, clock)

    def compute() -> None:
        clock.sec += compute_sec

    for _ in range(3):
        batches.take(compute)
    assert batches.waiting_share() == pytest.approx(share)
    batches.restart_clock()
    assert batches.waiting_share() == 0.0


def test_no_one_waits_for_what_is_ready(monkeypatch):
    batches = opened(monkeypatch, 1, 1.0, Clock())
    batches.take(lambda: pytest.fail("the devices were waited for"))
    assert batches.waiting_share() == 0.0


def test_what_ends_the_reading_is_raised_before_a_chunk_has_begun(monkeypatch):
    config = settings()
    data = dataset.open_dataset(config.data, config.model, config.seed)
    chunks = list(schedule.chunks(config.schedule, 16))

    def batch(self, nimg, n, resolution, part):
        if nimg == 8:
            raise OSError("too many open files")
        return original(self, nimg, n, resolution, part)

    original = dataset.Dataset.batch
    monkeypatch.setattr(dataset.Dataset, "batch", batch)
    with (
        contextlib.closing(feed.Feed(chunks, config, data, mesh.make_mesh(), 1)) as batches,
        pytest.raises(OSError, match="too many open files"),
    ):
        batches.take(lambda: None)
