"""The kernel distance against a naive float64 one, and against torch-fidelity's numbers."""

import numpy as np
import pytest

from stylegan_jax.metrics import kid


def _sets(n: int = 60, m: int = 50, d: int = 7, shift: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(shift, 1.2, (n, d)).astype(np.float32), rng.normal(0, 1, (m, d)).astype(np.float32)


def _naive(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the unbiased estimate, pair by pair."""

    def mean(first, second, same):
        values = [
            (float(a @ b) / len(a) + 1) ** 3
            for i, a in enumerate(first.astype(np.float64))
            for j, b in enumerate(second.astype(np.float64))
            if not (same and i == j)
        ]
        return np.mean(values)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_distance_equals_a_naive_one_also_for_sets_of_two_sizes():
    fakes, reals = _sets()
    np.testing.assert_allclose(kid.squared_mmd(fakes, reals), _naive(fakes, reals), rtol=1e-12)


def test_distance_does_not_depend_on_the_blocks(monkeypatch):
    fakes, reals = _sets()
    expected = kid.squared_mmd(fakes, reals)
    monkeypatch.setattr(kid.feature_sets, "BLOCK_NUMBERS", 7 * 60)
    np.testing.assert_allclose(kid.squared_mmd(fakes, reals), expected, rtol=1e-12)


def test_distance_is_symmetric_and_knows_no_order():
    fakes, reals = _sets()
    expected = kid.squared_mmd(fakes, reals)
    np.testing.assert_allclose(kid.squared_mmd(reals, fakes), expected, rtol=1e-12)
    np.testing.assert_allclose(kid.squared_mmd(fakes[::-1], reals[::-1]), expected, rtol=1e-12)


def test_distance_is_unbiased():
    rng = np.random.default_rng(1)
    draws = [kid.squared_mmd(*rng.normal(size=(2, 10, 3))) for _ in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20
    assert min(draws) < 0 < max(draws)


def test_subsets_are_drawn_as_torch_fidelity_draws_them():
    fakes, reals = _sets()
    found = kid.torch_fidelity(fakes, reals, num_subsets=3, subset_size=20, seed=5)
    rng = np.random.RandomState(5)
    expected = []
    for _ in range(3):
        x = fakes[rng.choice(60, 20, replace=False)]
        expected.append(_naive(x, reals[rng.choice(50, 20, replace=False)]))
    np.testing.assert_allclose(found.of_parts, expected, rtol=1e-12)
    np.testing.assert_allclose([found.mean, found.std], [np.mean(expected), np.std(expected)], rtol=1e-12)


def test_the_subset_of_stylegan2_ada_shrinks_to_the_smaller_set_and_that_of_torch_fidelity_is_refused():
    fakes, reals = _sets()
    small = kid.stylegan2_ada(fakes, reals, seed=1, num_subsets=2)
    expected = kid.torch_fidelity(fakes, reals, num_subsets=2, subset_size=50, seed=1)
    np.testing.assert_array_equal(small.of_parts, expected.of_parts)
    smaller = kid.stylegan2_ada(fakes, reals, seed=1, num_subsets=2, max_subset_size=30)
    expected = kid.torch_fidelity(fakes, reals, num_subsets=2, subset_size=30, seed=1)
    np.testing.assert_array_equal(smaller.of_parts, expected.of_parts)
    with pytest.raises(ValueError, match="subset_size is 1000.*60 fakes and 50 reals.*at most 50"):
        kid.torch_fidelity(fakes, reals)


@pytest.mark.goldens
@pytest.mark.parametrize("case, size", [("", 500), ("floor/", 500), ("rankdef/", 30)])
def test_distance_equals_that_of_torch_fidelity(case, size, features_golden):
    golden = features_golden
    fakes, reals = golden.sets(case)
    num_subsets = len(golden[f"{case}kid/per_subset_float64"])
    found = kid.torch_fidelity(fakes, reals, num_subsets=num_subsets, subset_size=size)
    golden.check(f"{case}kid/per_subset_float64", found.of_parts, rtol=0, atol=1e-12)
    golden.check(f"{case}kid/mean_float64", found.mean, rtol=1e-10)
    golden.check(f"{case}kid/std_float64", found.std, rtol=1e-10)
    golden.check(f"{case}kid/mean", found.mean, rtol=1e-6, atol=1e-7)  # The package's own, in float32.
    golden.check(f"{case}kid/std", found.std, rtol=1e-6, atol=1e-7)
    smaller = min(len(fakes), len(reals))
    golden.check(f"{case}kid/all_float64", kid.squared_mmd(fakes[:smaller], reals[:smaller]), rtol=1e-10)


def test_wrong_features_and_numbers_are_refused():
    fakes, reals = _sets()
    with pytest.raises(ValueError, match=r"features of fakes must have shape \[n, d\].*\[7\]"):
        kid.squared_mmd(fakes[0], reals)
    with pytest.raises(ValueError, match="1 of 50 features of reals hold NaN"):
        kid.squared_mmd(fakes, np.where(np.arange(50)[:, None] == 3, np.inf, reals))
    with pytest.raises(ValueError, match="fakes have 7 and the reals 6 dimensions"):
        kid.squared_mmd(fakes, reals[:, :6])
    with pytest.raises(ValueError, match="at least 2 fakes and 2 reals, and there are 60 and 1"):
        kid.squared_mmd(fakes, reals[:1])
    with pytest.raises(ValueError, match="0 subsets of 20 images"):
        kid.torch_fidelity(fakes, reals, num_subsets=0, subset_size=20)
    with pytest.raises(ValueError, match="3 subsets of 1 images"):
        kid.stylegan2_ada(fakes, reals, seed=0, num_subsets=3, max_subset_size=1)
