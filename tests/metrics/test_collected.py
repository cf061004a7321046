"""What is collected of features is the same whatever the batches are, and needs no memory."""

import errno
import os
import tracemalloc

import numpy as np
import pytest

from stylegan_jax.metrics import collected, frechet

N, D = 2500, 5  # More than two blocks of each half.
ROWS = (np.random.default_rng(0).standard_normal((N, D)) * np.arange(1, 6)[None] + 3).astype(np.float32)
LOGITS = np.random.default_rng(1).standard_normal((N, 2)).astype(np.float32)


def collect(folder, sizes=(1, 700, 3, 1500, 296), half_of=None, keeps_rows=True) -> collected.Collected:
    half_of = collected.deal(N) if half_of is None else half_of
    collector, first = collected.Collector(half_of, {"features": D, "logits": 2}, folder, keeps_rows), 0
    for size in sizes:
        collector.add({"features": ROWS[first : first + size], "logits": LOGITS[first : first + size]})
        first += size
    return collector.finish()


def assert_same(ours: frechet.Statistics, other: frechet.Statistics) -> None:
    assert ours.count == other.count
    np.testing.assert_allclose(ours.mean, other.mean, rtol=1e-12)
    np.testing.assert_allclose(ours.scatter, other.scatter, rtol=1e-10)


@pytest.mark.parametrize("sizes", [(N,), (1, 700, 3, 1500, 296), (100,) * 25])
def test_statistics_of_any_batches_are_those_of_all_rows(tmp_path, sizes):
    found = collect(tmp_path, sizes)
    assert_same(found.statistics, frechet.statistics(ROWS))
    for number in (0, 1):
        assert_same(found.halves[number], frechet.statistics(ROWS[found.half_of == number]))


def test_rows_are_kept_in_their_order(tmp_path):
    found = collect(tmp_path)
    np.testing.assert_array_equal(found.rows, ROWS)
    np.testing.assert_array_equal(found.logits, LOGITS)
    assert len(found) == N


def test_statistics_alone_keep_no_rows(tmp_path):
    found = collect(tmp_path, keeps_rows=False)
    assert found.rows is None and found.logits is None
    assert_same(found.statistics, frechet.statistics(ROWS))
    assert found.half(1).rows is None and found.first(N) is found


def test_the_first_images_alone_are_those_of_their_rows(tmp_path):
    found = collect(tmp_path).first(33)
    assert len(found) == 33
    assert_same(found.statistics, frechet.statistics(ROWS[:33]))
    np.testing.assert_array_equal(found.logits, LOGITS[:33])
    np.testing.assert_array_equal(found.half_of, collected.deal(N)[:33])


@pytest.mark.parametrize("number", [0, 1])
def test_a_half_is_that_of_its_rows(tmp_path, number):
    found = collect(tmp_path)
    half, chosen = found.half(number), found.half_of == number
    assert len(half) == chosen.sum() == half.statistics.count
    assert_same(half.statistics, frechet.statistics(ROWS[chosen]))
    np.testing.assert_array_equal(half.rows, ROWS[chosen])
    np.testing.assert_array_equal(half.logits, LOGITS[chosen])


@pytest.mark.parametrize("n", [2, 7, 1000])
def test_pictures_are_dealt_to_halves_that_differ_by_one_at_most(n):
    half_of = collected.deal(n)
    assert half_of.dtype == np.int8 and set(half_of.tolist()) == {0, 1}
    assert abs(int((half_of == 0).sum()) - int((half_of == 1).sum())) == n % 2
    np.testing.assert_array_equal(half_of, collected.deal(n))


def test_pictures_are_dealt_at_random():
    changes = np.count_nonzero(np.diff(collected.deal(1000)))
    assert 430 < changes < 570  # Of 999: not in turns, and not in two blocks.
    assert (collected.deal(1000) != collected.deal(1000, seed=1)).any()


# ---- files


def test_the_file_of_rows_has_no_name_from_the_first(tmp_path):
    collector = collected.Collector(collected.deal(8), {"features": D}, tmp_path)
    assert not list(tmp_path.iterdir())
    collector.add({"features": ROWS[:8]})
    found = collector.finish()
    assert not list(tmp_path.iterdir()) and isinstance(found.rows, np.memmap)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    peaks = []
    for num_batches in (40, 160):
        collector = collected.Collector(collected.deal(256 * num_batches), {"features": 64}, tmp_path)
        batch = np.ones((256, 64), np.float32)
        tracemalloc.start()
        for _ in range(num_batches):
            collector.add({"features": batch})
        collector.finish()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_the_disk_gives_room_for_all_rows_before_they_come(tmp_path, monkeypatch):
    asked, fallocate = [], os.posix_fallocate

    def watched(file: int, first: int, num_bytes: int) -> None:
        fallocate(file, first, num_bytes)
        asked.append((first, num_bytes, 512 * os.fstat(file).st_blocks >= num_bytes))

    monkeypatch.setattr(os, "posix_fallocate", watched)
    rows = collected.room((1000, 1000), tmp_path)
    assert asked == [(0, 4_000_000, True)] and rows.shape == (1000, 1000)


def test_a_full_disk_is_told_with_its_folder_before_rows_come(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match=r"No space left on device: 0.004 GB of features have no room in") as caught:
        collected.room((1000, 1000), tmp_path)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path)


# ---- refused


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_with_the_images_numbers(tmp_path, bad):
    collector = collected.Collector(collected.deal(8), {"features": D}, tmp_path)
    collector.add({"features": ROWS[:4]})
    rows = ROWS[4:8].copy()
    rows[1, 2] = bad
    with pytest.raises(ValueError, match="features of images 4 to 7 hold NaN or infinity"):
        collector.add({"features": rows})
