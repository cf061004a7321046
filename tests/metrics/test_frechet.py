"""The Frechet distance and its statistics."""

import numpy as np
import pytest
import scipy.linalg

from stylegan_jax.metrics import frechet


def _features(count: int, size: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + shift


def _naive_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the distance by the official formula, with the general matrix square root."""
    s1, s2 = (np.cov(x, rowvar=False) for x in (first, second))
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(np.real(((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)))


@pytest.mark.goldens
@pytest.mark.parametrize("case", ["a", "b", "rankdef"])
def test_distance_equals_the_official_one(case, goldens):
    golden = np.load(goldens / "metric_fid.npz")
    real, fake = (frechet.statistics(golden[f"{case}/act_{kind}"]) for kind in ("real", "fake"))
    np.testing.assert_allclose(real.mean, golden[f"{case}/mu_real"], rtol=0, atol=3e-6)  # Recorded in float32.
    np.testing.assert_allclose(real.covariance, golden[f"{case}/sigma_real"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(frechet.frechet_distance(fake, real), golden[f"{case}/fid"], rtol=1e-6)


@pytest.mark.goldens
@pytest.mark.parametrize("case", ["", "floor/", "rankdef/"])
def test_distance_equals_those_of_torch_fidelity_and_pytorch_fid(case, features_golden):
    golden = features_golden
    fake, real = (frechet.statistics(x) for x in golden.sets(case))
    distance = frechet.frechet_distance(fake, real)
    for package in ("torch_fidelity_float64", "pytorch_fid_float64"):
        golden.check(f"{case}fid/{package}", distance, rtol=1e-7 if case == "rankdef/" else 1e-10)
    golden.check(f"{case}fid/torch_fidelity", distance, rtol=1e-6)  # The package's own: the mean in float32.
    golden.check(f"{case}fid/mean_term", ((fake.mean - real.mean) ** 2).sum(), rtol=1e-10)
    traces = np.array([np.trace(fake.covariance), np.trace(real.covariance)])
    golden.check(f"{case}fid/trace_terms", traces, rtol=1e-7)


def test_distance_equals_the_formula_with_a_general_square_root():
    first, second = _features(50, 5, seed=0), _features(40, 5, seed=1, shift=0.5)
    ours = frechet.frechet_distance(frechet.statistics(first), frechet.statistics(second))
    np.testing.assert_allclose(ours, _naive_distance(first, second), rtol=1e-10)


def test_distance_of_sets_within_a_plane_is_that_within_the_plane():
    first, second = _features(8, 4), _features(9, 4, seed=1)
    plane = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0][:4]  # Covariances are singular in 6-d.
    distance = frechet.frechet_distance(frechet.statistics(first @ plane), frechet.statistics(second @ plane))
    np.testing.assert_allclose(distance, _naive_distance(first, second), rtol=1e-6)


def test_distance_of_shifted_sets_is_the_squared_shift():
    features = _features(30, 6)
    shifted = frechet.statistics(features + 2.0)
    np.testing.assert_allclose(frechet.frechet_distance(frechet.statistics(features), shifted), 6 * 2.0**2, rtol=1e-9)


@pytest.mark.parametrize("count", [200, 5])
def test_distance_of_a_set_from_itself_is_zero_even_with_fewer_samples_than_dimensions(count):
    stats = frechet.statistics(_features(count, 20))
    assert frechet.frechet_distance(stats, stats) < 1e-5 * np.trace(stats.covariance)


def test_distance_is_symmetric():
    first, second = frechet.statistics(_features(30, 6)), frechet.statistics(_features(9, 6, seed=1))
    np.testing.assert_allclose(
        frechet.frechet_distance(first, second), frechet.frechet_distance(second, first), rtol=1e-6
    )


def test_merged_statistics_equal_those_of_all_features_also_far_from_zero():
    features = _features(37, 4, shift=1e6)  # Sums of squares would lose ten digits here.
    merged = frechet.statistics(features[:1])
    for part in (features[1:20], features[20:]):
        merged = frechet.merge(merged, frechet.statistics(part))
    assert merged.count == 37
    np.testing.assert_allclose(merged.mean, features.mean(0), rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, np.cov(features, rowvar=False), rtol=0, atol=1e-7)


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match=r"shape \[n, d\].*\[3\]"):
        frechet.statistics(np.zeros(3))
    with pytest.raises(ValueError, match="1 of 4 features hold NaN"):
        frechet.statistics(np.where(np.arange(4)[:, None] == 2, np.nan, np.zeros((4, 3))))
    with pytest.raises(ValueError, match="at least 2 features, and there are 1"):
        frechet.frechet_distance(frechet.statistics(np.ones((1, 3))), frechet.statistics(np.ones((4, 3))))
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        frechet.frechet_distance(frechet.statistics(np.ones((2, 3))), frechet.statistics(np.ones((2, 4))))
