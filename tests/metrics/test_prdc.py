"""Precision, recall, density and coverage against naive float64 ones, and against the public packages' numbers."""

import numpy as np
import pytest
import scipy.spatial

from stylegan_jax.metrics import prdc


def _sets(n: int = 40, m: int = 55, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0.5, 0.8, (n, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)


def _with_ties() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(0, 5, (40, 3)).astype(np.float32), rng.integers(0, 4, (55, 3)).astype(np.float32)


def _naive(fakes: np.ndarray, reals: np.ndarray, k: int, strict: bool) -> dict[str, float]:
    """Returns all four numbers from the full table of squared distances."""

    def squared(x, y):
        return scipy.spatial.distance.cdist(x.astype(np.float64), y.astype(np.float64), "sqeuclidean")

    inside = np.less if strict else np.less_equal
    real_radii, fake_radii = (np.sort(squared(x, x), axis=1)[:, k] for x in (reals, fakes))
    between = squared(reals, fakes)
    in_real, in_fake = inside(between, real_radii[:, None]), inside(between, fake_radii[None])
    return {
        "precision": in_real.any(axis=0).mean(),
        "recall": in_fake.any(axis=1).mean(),
        "density": in_real.sum() / (k * len(fakes)),
        "coverage": in_real.any(axis=1).mean(),
    }


@pytest.mark.parametrize("sets", [_sets, _with_ties])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_numbers_equal_naive_ones_also_where_distances_are_equal(sets, k):
    fakes, reals = sets()
    naive = _naive(fakes, reals, k, strict=False)
    assert prdc.precision_recall(fakes, reals, k) == pytest.approx({x: naive[x] for x in ("precision", "recall")})
    assert prdc.prdc(fakes, reals, k) == pytest.approx(_naive(fakes, reals, k, strict=True))


def test_a_point_on_a_ball_is_inside_by_one_definition_and_outside_by_the_other():
    reals = np.array([[0.0, 0.0], [2.0, 0.0]])
    fakes = np.array([[0.0, 2.0], [0.0, 9.0]])  # The first lies on the ball of the first real; the second nowhere.
    assert prdc.precision_recall(fakes, reals, 1)["precision"] == 0.5
    assert prdc.prdc(fakes, reals, 1)["precision"] == 0.0


@pytest.mark.parametrize("number_of_precision", [prdc.precision_recall, prdc.prdc])
def test_numbers_do_not_depend_on_the_blocks_nor_on_the_order(number_of_precision, monkeypatch):
    fakes, reals = _with_ties()
    expected = number_of_precision(fakes, reals, 3)
    assert number_of_precision(fakes[::-1], reals[::-1], 3) == expected
    monkeypatch.setattr(prdc.feature_sets, "BLOCK_NUMBERS", 7 * 55)
    assert number_of_precision(fakes, reals, 3) == expected


def test_numbers_do_not_depend_on_scale_and_place():
    fakes, reals = _sets()
    expected = prdc.prdc(fakes, reals, 3)
    assert prdc.prdc(100 * fakes.astype(np.float64) + 7, 100 * reals.astype(np.float64) + 7, 3) == expected


def test_swapping_the_sets_swaps_precision_and_recall():
    fakes, reals = _sets()
    forth, back = prdc.precision_recall(fakes, reals), prdc.precision_recall(reals, fakes)
    assert (forth["precision"], forth["recall"]) == (back["recall"], back["precision"])
    assert forth["precision"] != forth["recall"]


def test_a_thousand_copies_of_one_real_are_precise_and_recall_nothing_else():
    reals = np.random.default_rng(0).normal(3, 1, (1000, 64)).astype(np.float32)
    copies = np.repeat(reals[17:18], 1000, axis=0)
    found = prdc.precision_recall(copies, reals)
    assert found == {"precision": 1.0, "recall": 0.001}  # The copied one lies on balls of radius 0.
    strict = prdc.prdc(copies, reals, 3)
    assert (strict["precision"], strict["recall"]) == (1.0, 0.0)  # Nothing lies within a ball of radius 0.
    assert strict["coverage"] < 0.1


def test_halves_of_one_set_are_precise_and_recalled():
    both = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    found = prdc.precision_recall(both[:1000], both[1000:])
    assert min(found.values()) > 0.9
    found = prdc.prdc(both[:1000], both[1000:])
    assert min(found.values()) > 0.9
    assert found["density"] == pytest.approx(1, abs=0.1)


def test_equal_sets_lie_in_each_other_whatever_the_order_and_the_place_far_from_zero():
    points = np.random.default_rng(0).normal(1000, 1, (300, 16)).astype(np.float32)
    assert prdc.prdc(points[::-1], points, 5) == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}


@pytest.mark.parametrize("rows_at_a_time", ["all", "one for the reals, two between the sets"])
def test_equal_distances_stay_equal_whatever_the_order_of_the_sums(rows_at_a_time, monkeypatch):
    if rows_at_a_time != "all":
        monkeypatch.setattr(prdc.feature_sets, "BLOCK_NUMBERS", 100)
    reals = np.random.default_rng(1).normal(3, 1, (53, 2049)).astype(np.float32)
    memorised = reals[np.random.default_rng(2).permutation(53)[:37]]  # Many are other reals' third neighbours.
    assert prdc.prdc(memorised, reals, 3) == pytest.approx(_naive(memorised, reals, 3, strict=True))
    copies, others = np.repeat(reals[3:4], 37, axis=0), np.repeat(reals[3:4], 53, axis=0)
    assert set(prdc.prdc(copies, others, 3).values()) == {0.0}
    assert set(prdc.precision_recall(copies, others, 3).values()) == {1.0}


@pytest.mark.goldens
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("case", ["", "floor/", "rankdef/", "ties/"])
def test_numbers_equal_those_of_torch_fidelity_and_of_prdc(case, k, features_golden):
    golden = features_golden
    fakes, reals = golden.sets(case)
    of_package = {"torch_fidelity": prdc.precision_recall(fakes, reals, k), "prdc": prdc.prdc(fakes, reals, k)}
    precision, recall = of_package["torch_fidelity"].values()
    of_package["torch_fidelity"]["f_score"] = 2 * precision * recall / (precision + recall)
    for package, found in of_package.items():
        for name, value in found.items():
            for suffix in ("", "_float64"):
                golden.check(f"{case}{package}/k={k}/{name}{suffix}", value, rtol=1e-7)


def test_wrong_features_and_numbers_are_refused():
    fakes, reals = _sets()
    with pytest.raises(ValueError, match="num_neighbours is 40, and there are 40 fakes and 55 reals"):
        prdc.precision_recall(fakes, reals, 40)
    with pytest.raises(ValueError, match="num_neighbours is 0"):
        prdc.prdc(fakes, reals, 0)
    with pytest.raises(ValueError, match="fakes have 4 and the reals 3 dimensions"):
        prdc.prdc(fakes, reals[:, :3])
