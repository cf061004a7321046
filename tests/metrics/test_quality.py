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


def _statistics(images: np.ndarray, batch: int = 40) -> quality.Statistics:
    batches = (images[first : first + batch] for first in range(0, len(images), batch))
    return quality.statistics(batches, len(images), seed=0)


@functools.cache
def _real_stats() -> quality.Statistics:
    return _statistics(_faces())


def _distances(fakes: np.ndarray) -> dict[str, float]:
    return quality.distances(_statistics(fakes), _real_stats())


def _coarse(images: np.ndarray) -> np.ndarray:
    size = images.shape[1] // 4
    return quality.colours(images).repeat(size, axis=1).repeat(size, axis=2)


def test_distances_name_every_level_and_their_mean():
    found = _distances(_faces(NUM_FACES))
    assert list(found) == ["fd_faces", "swd_16", "swd_32", "swd"]
    assert found["swd"] == (found["swd_16"] + found["swd_32"]) / 2
    assert all(type(value) is float and np.isfinite(value) for value in found.values())


def test_distance_of_the_reals_themselves_is_zero():
    found = _distances(_faces())
    assert found["swd"] == 0 and found["fd_faces"] < 1e-3


def test_distances_repeat_exactly():
    again = quality.distances(_statistics(_faces(NUM_FACES)), _statistics(_faces()))
    assert again == _distances(_faces(NUM_FACES))


@pytest.mark.parametrize("batch", [1, 7, NUM_FACES])
def test_statistics_are_the_same_in_whatever_batches_images_come(batch):
    ours = _statistics(_faces(), batch)
    np.testing.assert_allclose(ours.features.mean, _real_stats().features.mean, rtol=1e-5)
    np.testing.assert_allclose(ours.features.scatter, _real_stats().features.scatter, rtol=1e-4, atol=1e-4)
    for resolution, patches in _real_stats().descriptors.items():
        np.testing.assert_allclose(ours.descriptors[resolution], patches, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_images", [NUM_FACES - 1, NUM_FACES + 1])
def test_other_than_the_announced_number_of_images_is_refused(num_images):
    with pytest.raises(ValueError, match=f"(more|fewer)( images)? than the {num_images} that were announced"):
        quality.statistics(iter([_faces()]), num_images, seed=0)


def test_heldout_images_are_better_than_damaged_ones_and_those_than_colours():
    damaged = _faces(NUM_FACES).copy()
    damaged[:, 8:16, 8:16] = 128
    floor, found, bad = _distances(_faces(NUM_FACES)), _distances(damaged), _distances(_coarse(_faces()))
    for name in ("fd_faces", "swd"):
        assert floor[name] < found[name] < bad[name]


def test_flat_and_gray_images_of_any_resolution_have_finite_distances():
    gray = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 1), np.uint8)
    found = quality.distances(_statistics(np.full_like(gray, 7)), _statistics(gray))
    assert list(found) == ["fd_faces", "swd_16", "swd_32", "swd_64", "swd"]
    assert all(np.isfinite(value) for value in found.values())


def test_images_below_16_px_have_no_swd():
    small = _statistics(_faces(0, 8))
    assert list(quality.distances(small, small)) == ["fd_faces"]


def test_colours_are_the_means_of_sixteen_squares():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found = quality.colours(images)
    assert found.shape == (2, 4, 4, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[1, 3, 0], np.round(images[1, 12:, :4].mean(axis=(0, 1))))


def test_fakes_of_another_resolution_are_refused():
    with pytest.raises(ValueError, match=r"fakes are \[16, 16, 3\] and the reals \[32, 32, 3\]"):
        _distances(np.zeros((2, 16, 16, 3), np.uint8))
