"""The sliced Wasserstein distance against naive float64 references."""

import tracemalloc

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from stylegan_jax.metrics import swd


def _images(count: int, size: int = 32, channels: int = 3, seed: int = 0, blur: float = 1.5) -> np.ndarray:
    """Returns smooth random pictures. uint8"""
    noise = np.random.default_rng(seed).normal(size=(count, size, size, channels))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, blur, blur, 0), mode="wrap")
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def _naive_pyramid(images: np.ndarray, num_levels: int) -> list[np.ndarray]:
    taps = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(taps, taps)[None, :, :, None]
    pyramid = [images.astype(np.float64)]
    for _ in range(num_levels - 1):
        smaller = scipy.ndimage.convolve(pyramid[-1], kernel, mode="mirror")[:, ::2, ::2]
        spread = np.zeros_like(pyramid[-1])
        spread[:, ::2, ::2] = smaller
        pyramid[-1] = pyramid[-1] - scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")
        pyramid.append(smaller)
    return pyramid


def _descriptors(images: np.ndarray, seed: int, **how: int) -> dict[int, np.ndarray]:
    corners = swd.draw_corners(len(images), images.shape[1], seed, **how)
    return swd.descriptors(swd.patches(images, corners))


def test_pyramid_equals_a_naive_one():
    images = _images(2, size=64)
    ours = swd.laplacian_pyramid(images.astype(np.float32), 3)
    for level, expected in zip(ours, _naive_pyramid(images, 3), strict=True):
        np.testing.assert_allclose(level, expected, rtol=0, atol=1e-4)


def test_levels_end_at_16_px():
    assert swd.levels(16) == (16,)
    assert swd.levels(128) == (128, 64, 32, 16)


def test_descriptors_are_normalized_patches_of_their_own_image():
    images = _images(3)
    images[1] = 255 - images[0]
    found = _descriptors(images, seed=5, num_patches=4)
    assert list(found) == [32, 16]
    for level, pyramid in zip((32, 16), _naive_pyramid(images, 2), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(pyramid, (7, 7), axis=(1, 2))  # [n, y, x, c, 7, 7]
        windows = windows.transpose(0, 1, 2, 4, 5, 3)
        patches = found[level].reshape(3, 4, 7, 7, 3)
        np.testing.assert_allclose(patches.mean(axis=(0, 1, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(patches.std(axis=(0, 1, 2, 3)), 1, atol=1e-5)
        places = []
        for n in range(3):
            for p in range(4):  # Only the patch's own window fits up to a scale and an offset per channel.
                residual = _residual(windows[n].reshape(-1, 49, 3), patches[n, p].reshape(49, 3))
                assert residual.min() < 1e-4
                places.append(int(residual.argmin()))
        chosen = windows.reshape(3, -1, 7, 7, 3)[np.repeat(np.arange(3), 4), places]
        expected = (chosen - chosen.mean(axis=(0, 1, 2))) / chosen.std(axis=(0, 1, 2))
        np.testing.assert_allclose(found[level], expected.reshape(12, -1), rtol=0, atol=1e-4)
        assert len(set(places)) > 1


def _residual(windows: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Returns the distance of each window [k, 49, c] from the patch [49, c], up to a positive scale and an offset."""

    def unit(x):
        x = x - x.mean(axis=-2, keepdims=True)
        return x / np.linalg.norm(x, axis=-2, keepdims=True)

    return np.abs(unit(windows) - unit(patch)).max(axis=(1, 2))


def test_patches_reach_every_corner():
    images = np.zeros((1, 16, 16, 1), np.uint8)
    images[0, [0, 0, -1, -1], [0, -1, 0, -1]] = 255
    corners = _descriptors(images, seed=0, num_patches=2000)[16].reshape(-1, 7, 7)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.max(axis=0) > 0).all()


@pytest.mark.parametrize("sizes", [(12, 12), (6, 12), (12, 4)])
def test_distance_equals_a_naive_one_also_for_sets_of_two_sizes(sizes):
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(n, 5)).astype(np.float32) + n / 10 for n in sizes)
    directions = np.random.default_rng(7).standard_normal((2, 3, 5)).reshape(6, 5)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    naive = np.mean([scipy.stats.wasserstein_distance(first @ d, second @ d) for d in directions])
    ours = swd.sliced_wasserstein(first, second, 7, num_repeats=2, num_directions=3)
    np.testing.assert_allclose(ours, naive, rtol=1e-5)


def test_the_distance_does_not_depend_on_how_many_directions_are_taken_at_a_time(monkeypatch):
    first, second = (np.random.default_rng(i).normal(i / 10, size=(50, 5)).astype(np.float32) for i in (1, 2))
    whole = swd.sliced_wasserstein(first, second, 7, num_directions=10)
    monkeypatch.setattr(swd, "_MOST_NUMBERS", 3 * 50)
    assert swd.sliced_wasserstein(first, second, 7, num_directions=10) == pytest.approx(whole, rel=1e-6)


def test_projections_take_no_more_memory_for_more_patches(monkeypatch):
    monkeypatch.setattr(swd, "_MOST_NUMBERS", 40_000)
    first, second = (np.random.default_rng(i).normal(size=(20_000, 2)).astype(np.float32) for i in (1, 2))
    tracemalloc.start()
    try:
        swd.sliced_wasserstein(first, second, 7)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000, "four threads' projections on two directions of two sets; on all 128 they take 82 MB"


def test_distance_of_a_set_from_itself_is_zero_and_grows_with_noise_and_is_a_thousandfold():
    rng = np.random.default_rng(0)
    images = _images(32)
    clean = _descriptors(images, seed=0, num_patches=16)
    assert swd.distances(clean, clean, seed=1) == {32: 0.0, 16: 0.0}
    previous = 0.0
    for deviation in (2, 5, 15):
        noisy = np.clip(images + rng.normal(0, deviation, images.shape), 0, 255).astype(np.uint8)
        other = _descriptors(noisy, seed=0, num_patches=16)
        found = swd.distances(clean, other, seed=1)
        assert found[32] > 1.5 * previous
        assert found[32] == 1e3 * swd.sliced_wasserstein(clean[32], other[32], 1)
        previous = found[32]


def test_blur_is_seen_at_the_finest_level():
    images, others = _images(100, blur=0.6), _images(100, blur=0.6, seed=1)
    blurred = np.round(scipy.ndimage.uniform_filter(images.astype(float), (0, 3, 3, 0))).astype(np.uint8)
    clean, other, soft = (_descriptors(x, seed=0, num_patches=64) for x in (images, others, blurred))
    assert swd.distances(soft, clean, seed=1)[32] > 1.5 * swd.distances(other, clean, seed=1)[32]


def test_images_without_contrast_give_finite_numbers():
    flat = _descriptors(np.full((4, 32, 32, 1), 90, np.uint8), seed=0, num_patches=4)
    assert all((patches == 0).all() for patches in flat.values())
    textured = _descriptors(_images(4, channels=1), seed=0, num_patches=4)
    assert all(np.isfinite(d) and d > 0 for d in swd.distances(flat, textured, seed=0).values())


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="at least 16 px; these have 8 px"):
        _descriptors(np.zeros((2, 8, 8, 3), np.uint8), seed=0)
    with pytest.raises(ValueError, match="power of two.*24 px"):
        swd.levels(24)
    with pytest.raises(ValueError, match="uint8.*float32"):
        _descriptors(np.zeros((2, 16, 16, 3), np.float32), seed=0)
    with pytest.raises(ValueError, match=r"\[32, 64\] px and of \[32\] px"):
        swd.distances({64: np.ones((2, 3)), 32: np.ones((2, 3))}, {32: np.ones((2, 3))}, seed=0)
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 4\]"):
        swd.sliced_wasserstein(np.ones((2, 3)), np.ones((2, 4)), 0)
