"""CMMD against a naive version, and what its published estimator promises."""

import numpy as np
import pytest

from stylegan_jax.metrics import cmmd


def _sets(n: int = 40, m: int = 30, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sets = rng.normal(0.3, 1, (n, d)).astype(np.float32), rng.normal(0, 1, (m, d)).astype(np.float32)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in sets)


def _naive(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the biased estimate, pair by pair."""

    def mean(first, second):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / 200) for a in first for b in second])

    x, y = x.astype(np.float64), y.astype(np.float64)
    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_distance_equals_a_naive_one_also_for_sets_of_two_sizes():
    fakes, reals = _sets()
    np.testing.assert_allclose(cmmd.cmmd(fakes, reals), _naive(fakes, reals), rtol=1e-9)


def test_distance_does_not_depend_on_the_blocks_or_on_the_order(monkeypatch):
    fakes, reals = _sets()
    expected = cmmd.cmmd(fakes, reals)
    monkeypatch.setattr(cmmd.feature_sets, "BLOCK_NUMBERS", 7 * 40)
    np.testing.assert_allclose(cmmd.cmmd(fakes, reals), expected, rtol=1e-9)
    np.testing.assert_allclose(cmmd.cmmd(reals[::-1], fakes[::-1]), expected, rtol=1e-9)


def test_equal_sets_are_at_distance_zero_and_opposite_points_at_the_largest_one():
    fakes, _ = _sets()
    assert abs(cmmd.cmmd(fakes, fakes)) < 1e-9
    point = np.float32([[0.6, 0.8]])
    np.testing.assert_allclose(cmmd.cmmd(point, -point), 2000 * -np.expm1(-4 / 200), rtol=1e-6)


def test_features_of_two_networks_or_with_nan_are_refused():
    fakes, reals = _sets()
    with pytest.raises(ValueError, match="The fakes have 6 and the reals 5 dimensions; use one feature network"):
        cmmd.cmmd(fakes, reals[:, :5])
    reals[3, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 30 features of reals hold NaN or infinity"):
        cmmd.cmmd(fakes, reals)
