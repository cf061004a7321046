"""The Monge Inception distance against a naive float64 one."""

import numpy as np
import pytest
import scipy.stats

from stylegan_jax.metrics import mind


def _sets(n: int = 40, m: int = 40, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0.5, 0.8, (n, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)


def _naive(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, num_projections: int) -> float:
    """Returns the distance of two sets of one size, direction by direction, value by value."""
    d = x.shape[1]
    squares = []
    for direction in rng.standard_normal((num_projections, d)):
        unit = direction / np.sqrt((direction**2).sum())
        first, second = (sorted(float(np.dot(point.astype(np.float64), unit)) for point in points) for points in (x, y))
        squares += [(a - b) ** 2 for a, b in zip(first, second, strict=True)]
    return 3 * d * float(np.mean(squares))


def test_distance_equals_a_naive_one():
    fakes, reals = _sets()
    expected = _naive(fakes, reals, np.random.default_rng(7), 20)
    np.testing.assert_allclose(mind.mind(fakes, reals, seed=7, num_projections=20), expected, rtol=1e-12)


@pytest.mark.parametrize("n, m", [(40, 25), (25, 40)])
def test_the_larger_set_is_reduced_to_a_random_subset(n, m):
    fakes, reals = _sets(n, m)
    rng = np.random.default_rng(7)
    chosen = rng.choice(40, 25, replace=False)
    x, y = (fakes[chosen], reals) if n > m else (fakes, reals[chosen])
    np.testing.assert_allclose(mind.mind(fakes, reals, 7, 20), _naive(x, y, rng, 20), rtol=1e-12)


def test_distance_does_not_depend_on_the_blocks_nor_on_the_order(monkeypatch):
    fakes, reals = _sets()
    expected = mind.mind(fakes, reals, 7, 20)
    np.testing.assert_allclose(mind.mind(fakes[::-1], reals[::-1], 7, 20), expected, rtol=1e-12)
    np.testing.assert_allclose(mind.mind(reals, fakes, 7, 20), expected, rtol=1e-12)
    monkeypatch.setattr(mind.feature_sets, "BLOCK_NUMBERS", 3 * 40)
    np.testing.assert_allclose(mind.mind(fakes, reals, 7, 20), expected, rtol=1e-12)


def test_distance_of_equal_sets_is_zero_and_that_of_shifted_ones_three_times_the_squared_shift():
    points = np.random.default_rng(0).normal(size=(200, 8))
    assert mind.mind(points[::-1], points, seed=0, num_projections=10) < 1e-25
    shift = np.arange(8) / 4
    found = mind.mind(points + shift, points, seed=0, num_projections=20_000)
    assert found == pytest.approx(3 * (shift**2).sum(), rel=0.03)  # E (u . s)^2 = |s|^2 / d.


def test_distance_grows_with_the_square_of_the_scale():
    fakes, reals = _sets()
    found = mind.mind(10 * fakes.astype(np.float64), 10 * reals.astype(np.float64), 3, 20)
    np.testing.assert_allclose(found, 100 * mind.mind(fakes, reals, 3, 20), rtol=1e-12)


def test_distance_sees_a_difference_that_mean_and_covariance_do_not():
    rng = np.random.default_rng(0)
    normal, corners = rng.normal(size=(2000, 2)), rng.choice([-1.0, 1.0], (2000, 2))
    halves = mind.mind(normal[:1000], normal[1000:], 0, 100)
    assert mind.mind(corners[:1000], normal[1000:], 0, 100) > 10 * halves
    assert scipy.stats.kurtosis(corners[:, 0]) < -1  # Only the shape differs.


def test_wrong_features_and_numbers_are_refused():
    fakes, reals = _sets()
    with pytest.raises(ValueError, match="num_projections is 0"):
        mind.mind(fakes, reals, 0, 0)
    with pytest.raises(ValueError, match="fakes have 6 and the reals 5 dimensions"):
        mind.mind(fakes, reals[:, :5], 0)
