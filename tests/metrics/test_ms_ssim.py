"""Multi-scale structural similarity against a naive float64 one."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from stylegan_jax.metrics import ms_ssim


def _pictures(count: int = 2, height: int = 48, width: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Returns smooth random pictures. uint8"""
    noise = np.random.default_rng(seed).normal(size=(count, height, width, channels))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0), mode="wrap")
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def _noisy(pictures: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, deviation, pictures.shape)
    return np.clip(pictures + noise, 0, 255).astype(np.uint8)


def _naive(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the similarity of two pictures [h, w, c], with full two-dimensional windows."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    contrasts = []
    for level in range(5):
        if level:
            x, y = (sum(z[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4 for z in (x, y))
        size = min(11, *x.shape[:2])
        places = np.arange(size) - (size - 1) / 2
        window = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * (1.5 * size / 11) ** 2))
        window /= window.sum()

        def mean(z, window=window):
            channels = [scipy.signal.convolve2d(z[..., c], window, mode="valid") for c in range(z.shape[2])]
            return np.stack(channels, axis=2)

        var_x, var_y = mean(x**2) - mean(x) ** 2, mean(y**2) - mean(y) ** 2
        contrast = (2 * (mean(x * y) - mean(x) * mean(y)) + (0.03 * 255) ** 2) / (var_x + var_y + (0.03 * 255) ** 2)
        luminance = (2 * mean(x) * mean(y) + (0.01 * 255) ** 2) / (mean(x) ** 2 + mean(y) ** 2 + (0.01 * 255) ** 2)
        contrasts.append(contrast.mean())
        similarity = (luminance * contrast).mean()
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    levels = np.maximum([*contrasts[:4], similarity], 0)
    return float(np.prod(levels**weights))


@pytest.mark.parametrize("height, width, channels", [(16, 16, 3), (48, 32, 1), (176, 192, 3)])
def test_similarity_equals_a_naive_one_also_where_the_window_shrinks(height, width, channels):
    first = _pictures(2, height, width, channels)
    for second in (_noisy(first, 20), _pictures(2, height, width, channels, seed=1)):
        expected = [_naive(a, b) for a, b in zip(first, second, strict=True)]
        np.testing.assert_allclose(ms_ssim.ms_ssim(first, second), expected, rtol=1e-9)
    assert min(expected) >= 0


def test_similarity_is_one_for_equal_pictures_and_falls_with_noise():
    pictures = _pictures(3, 64, 64)
    values = [ms_ssim.ms_ssim(pictures, _noisy(pictures, deviation)).mean() for deviation in (0, 5, 20, 60)]
    assert values[0] == pytest.approx(1, abs=1e-12)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9


def test_similarity_is_symmetric_and_each_pairs_own():
    first, second = _pictures(3), _pictures(3, seed=1)
    found = ms_ssim.ms_ssim(first, second)
    np.testing.assert_allclose(ms_ssim.ms_ssim(second, first), found, rtol=1e-10)
    np.testing.assert_allclose(ms_ssim.ms_ssim(first[::-1], second[::-1]), found[::-1], rtol=1e-10)


def test_a_negative_mean_counts_as_zero():
    pictures = _pictures()
    assert (ms_ssim.ms_ssim(pictures, 255 - pictures) == 0).all()


def test_pairs_are_of_neighbours_and_many_are_taken_in_batches(monkeypatch):
    pictures = _pictures(6)
    expected = ms_ssim.ms_ssim(pictures[[0, 2, 4]], pictures[[1, 3, 5]]).mean()
    assert ms_ssim.mean_of_pairs(pictures) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(ms_ssim.batches, "MAX_IMAGES", 2)
    assert ms_ssim.mean_of_pairs(pictures) == pytest.approx(expected, rel=1e-12)


def test_pictures_of_one_kind_are_more_alike_than_others():
    one = _pictures(1, 64, 64)
    alike = np.concatenate([_noisy(one, 10), one] * 3)
    assert ms_ssim.mean_of_pairs(alike) > 0.9 > 2 * ms_ssim.mean_of_pairs(_pictures(6, 64, 64))


def test_wrong_pictures_are_refused():
    pictures = _pictures()
    with pytest.raises(ValueError, match="uint8, and are uint8 and float32"):
        ms_ssim.ms_ssim(pictures, pictures.astype(np.float32))
    for wrong in (pictures[:, :24], pictures[:, :, :, 0], pictures[:0]):
        with pytest.raises(ValueError, match="multiples of 16"):
            ms_ssim.ms_ssim(wrong, wrong)
    with pytest.raises(ValueError, match="one shape"):
        ms_ssim.ms_ssim(pictures, pictures[:1])
    with pytest.raises(ValueError, match="3 pictures; pairs need an even number"):
        ms_ssim.mean_of_pairs(_pictures(3))
