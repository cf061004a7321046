"""The metrics of the training loop."""

import functools

import numpy as np
import pytest

from stylegan_jax.data import faces
from stylegan_jax.metrics import quality

NUM_FACES = 96


@functools.cache
def _faces(first: int = 0, resolution: int = 32) -> np.ndarray:
    return faces.images(np.arange(first, first + NUM_FACES), 3, resolution)


@functools.cache
def _real_stats() -> quality.RealStatistics:
    return quality.real_statistics(_faces(), seed=0)


def test_quality_names_every_level_and_their_mean():
    found = quality.quality(_faces(NUM_FACES), _real_stats())
    assert list(found) == ["fd_faces", "swd_16", "swd_32", "swd"]
    assert found["swd"] == (found["swd_16"] + found["swd_32"]) / 2
    assert all(type(value) is float and np.isfinite(value) for value in found.values())


def test_quality_of_the_reals_themselves_is_zero():
    found = quality.quality(_faces(), _real_stats())
    assert found["swd"] == 0 and found["fd_faces"] < 1e-3


def test_quality_repeats_exactly():
    again = quality.quality(_faces(NUM_FACES), quality.real_statistics(_faces(), seed=0))
    assert again == quality.quality(_faces(NUM_FACES), _real_stats())


def test_references_bracket_a_damaged_set():
    damaged = _faces(NUM_FACES).copy()
    damaged[:, 8:16, 8:16] = 128
    found = quality.quality(damaged, _real_stats())
    references = quality.references(_faces(), _faces(NUM_FACES), _real_stats())
    assert list(references) == ["floor", "bad"]
    for name in ("fd_faces", "swd"):
        assert references["floor"][name] < found[name] < references["bad"][name]
    assert references["floor"] == quality.quality(_faces(NUM_FACES), _real_stats())


def test_flat_and_gray_images_of_any_resolution_have_finite_quality():
    gray = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 1), np.uint8)
    flat = np.full_like(gray, 7)
    found = quality.quality(flat, quality.real_statistics(gray, seed=0))
    assert list(found) == ["fd_faces", "swd_16", "swd_32", "swd_64", "swd"]
    assert all(np.isfinite(value) for value in found.values())


def test_images_below_16_px_have_no_swd():
    small = _faces(0, 8)
    assert list(quality.quality(small, quality.real_statistics(small, seed=0))) == ["fd_faces"]


def test_coarse_images_hold_sixteen_mean_colours():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found = quality.coarse(images)
    assert found.shape == images.shape and found.dtype == np.uint8
    assert (found == found[:, ::4, ::4].repeat(4, axis=1).repeat(4, axis=2)).all()
    np.testing.assert_array_equal(found[1, 15, 0], np.round(images[1, 12:, :4].mean(axis=(0, 1))))


def test_fakes_of_another_resolution_are_refused():
    with pytest.raises(ValueError, match=r"fakes are \[16, 16, 3\] and the reals \[32, 32, 3\]"):
        quality.quality(np.zeros((2, 16, 16, 3), np.uint8), _real_stats())
