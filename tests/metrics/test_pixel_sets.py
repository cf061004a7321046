"""Patches and pairs are those of all images, whatever the batches are."""

import numpy as np
import pytest

from stylegan_jax.metrics import collected, ms_ssim, pixel_sets, swd
from tests.measured import pixels

IMAGES = pixels(11, px=32)


def patches(folder, sizes) -> pixel_sets.Patches:
    collector, first = pixel_sets.PatchCollector(collected.deal(11), (32, 32, 3), folder), 0
    for size in sizes:
        collector.add(IMAGES[first : first + size])
        first += size
    return collector.finish()


def pairs(sizes) -> pixel_sets.Pairs:
    collector, first = pixel_sets.PairCollector(), 0
    for size in sizes:
        collector.add(IMAGES[first : first + size])
        first += size
    return collector.finish()


@pytest.mark.parametrize("sizes", [(11,), (4, 4, 3)])
def test_patches_of_any_batches_are_those_of_all_images(tmp_path, sizes):
    found = patches(tmp_path, sizes)
    expected = swd.patches(IMAGES, swd.draw_corners(11, 32, seed=0))
    assert len(found) == 11 and list(found.by_level) == [32, 16]
    for r, level in expected.items():
        np.testing.assert_array_equal(found.by_level[r], level)


def test_patches_lie_in_files_without_names(tmp_path):
    found = patches(tmp_path, (11,))
    assert all(isinstance(level, np.memmap) for level in found.by_level.values()) and not list(tmp_path.iterdir())


def test_the_first_patches_and_half_of_them_are_those_of_their_images(tmp_path):
    found = patches(tmp_path, (11,))
    for r, level in found.by_level.items():
        np.testing.assert_array_equal(found.first(4).by_level[r], level[:4])
        np.testing.assert_array_equal(found.half(1).by_level[r], level[found.half_of == 1])
    assert (len(found.first(4)), len(found.half(0)), len(found.half(1))) == (4, 6, 5)


def test_patches_of_a_half_are_copied_only_when_a_level_is_asked_for(tmp_path):
    found = patches(tmp_path, (11,))
    half = found.half(0)
    found.by_level[16][:] = 7
    assert list(half.by_level) == [32, 16] and (half.by_level[16] == 7).all()


@pytest.mark.parametrize("sizes", [(11,), (1, 1, 3, 6), (5, 6)])
def test_pairs_of_any_batches_are_the_images_in_turn_and_a_last_one_alone_does_not_count(sizes):
    found = pairs(sizes)
    expected = ms_ssim.ms_ssim(IMAGES[0:10:2], IMAGES[1:10:2])
    np.testing.assert_allclose(found.similarities, expected, rtol=1e-12)
    assert len(found) == 10


@pytest.mark.parametrize(("n", "num_pairs"), [(2, 1), (5, 2), (11, 5)])
def test_the_first_images_have_half_as_many_pairs(n, num_pairs):
    found = pairs((11,))
    np.testing.assert_array_equal(found.first(n).similarities, found.similarities[:num_pairs])
