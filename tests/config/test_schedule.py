"""The plan of a run beyond what was recorded from the official code."""

import itertools

import pytest

from stylegan_jax.config import Schedule
from stylegan_jax.config.schedule import Chunk, chunks, full_kimg, phase_at
from tests.small import settings


def test_a_run_has_as_many_images_as_its_length_says():
    for steps in range(1, 200):  # 0.008 * 9 is above 0.072.
        kimg = {"total_kimg": 0.008 * steps, "tick_kimg": 0.008, "tick_kimg_by_resolution": ()}
        schedule = Schedule(batch=8, batch_by_resolution=(), refresh_steps=1, **kimg)
        ends = [chunk.end_nimg for chunk in chunks(schedule, 16) if chunk.is_tick]
        assert ends == list(range(8, 8 * steps + 1, 8))


def _chunks(batch: int, start_nimg: int, **changes) -> list[Chunk]:
    config = settings(schedule={"batch": batch} | changes, model={"stddev_group": 4})
    return list(chunks(config.schedule, 16, start_nimg))


def test_a_run_goes_on_where_it_was_though_its_batch_was_changed():
    before = _chunks(8, 0)[2].end_nimg
    run = _chunks(12, before)
    rest = [chunk for chunk in run if chunk.start_nimg >= before]
    assert before == 96 and rest[0].start_nimg == before
    for first, second in itertools.pairwise(run):
        assert first.end_nimg == second.start_nimg
    assert {chunk.end_nimg - chunk.start_nimg for chunk in rest} == {48}


@pytest.mark.parametrize("start_nimg", [0, 32, 128, 256])
def test_a_run_that_goes_on_as_it_began_has_the_same_chunks(start_nimg):
    assert _chunks(8, start_nimg) == _chunks(8, 0)


def test_a_run_goes_on_with_the_optimizers_of_its_growth_state():
    (first, *_) = [chunk for chunk in _chunks(12, 40) if chunk.start_nimg >= 40]
    assert not first.is_reset and (first.phase.resolution, first.phase.alpha) == (8, 1)


@pytest.mark.parametrize(("initial", "begin_kimg"), [(16, 0.0), (8, 0.5), (4, 1.25)])
def test_full_resolution_begins_when_its_fade_does(initial, begin_kimg):
    schedule = Schedule(initial_resolution=initial, stable_kimg=0.5, fade_kimg=0.25)
    assert full_kimg(schedule, 16) == begin_kimg
    if begin_kimg:
        before, after = (phase_at(round(1000 * begin_kimg) + i, schedule, 16) for i in (0, 1))
        assert (before.resolution, after.resolution) == (8, 16)
