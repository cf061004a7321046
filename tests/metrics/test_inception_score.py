"""The inception score against a naive float64 one, and against torch-fidelity's numbers."""

import numpy as np
import pytest
import scipy.special

from stylegan_jax.metrics import inception_score


def _logits(n: int = 53, num_classes: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (n, num_classes)).astype(np.float32)


def _naive(logits: np.ndarray) -> float:
    p = scipy.special.softmax(logits.astype(np.float64), axis=1)
    divergences = [scipy.special.rel_entr(row, p.mean(axis=0)).sum() for row in p]
    return float(np.exp(np.mean(divergences)))


def test_score_equals_a_naive_one_in_splits_of_unequal_size():
    logits = _logits()
    found = inception_score.stylegan2_ada(logits, num_splits=3)
    expected = [_naive(part) for part in (logits[:17], logits[17:35], logits[35:])]
    np.testing.assert_allclose(found.of_parts, expected, rtol=1e-12)
    np.testing.assert_allclose([found.mean, found.std], [np.mean(expected), np.std(expected)], rtol=1e-12)


def test_score_of_many_images_equals_a_naive_one():
    logits = _logits(2500)
    np.testing.assert_allclose(inception_score.stylegan2_ada(logits, 1).mean, _naive(logits), rtol=1e-12)


def test_torch_fidelity_shuffles_before_it_splits():
    logits = _logits()
    shuffled = logits[np.random.RandomState(9).permutation(53)]
    found = inception_score.torch_fidelity(logits, num_splits=4, seed=9)
    np.testing.assert_array_equal(found.of_parts, inception_score.stylegan2_ada(shuffled, num_splits=4).of_parts)


def test_score_reaches_from_one_to_the_number_of_classes():
    sure = np.tile(1000 * np.eye(5), (4, 1))
    assert inception_score.stylegan2_ada(sure, num_splits=2).mean == pytest.approx(5, rel=1e-12)
    assert inception_score.stylegan2_ada(sure[::5], num_splits=1).mean == pytest.approx(1, rel=1e-12)
    assert inception_score.stylegan2_ada(np.zeros((20, 5)), num_splits=2).mean == pytest.approx(1, rel=1e-12)


def test_score_does_not_depend_on_a_constant_added_to_an_images_logits():
    logits = _logits().astype(np.float64)
    shifted = logits + np.random.default_rng(1).normal(0, 500, (53, 1))
    np.testing.assert_allclose(
        inception_score.stylegan2_ada(shifted).of_parts, inception_score.stylegan2_ada(logits).of_parts, rtol=1e-10
    )


@pytest.mark.goldens
@pytest.mark.parametrize("num_splits", [1, 10])
def test_score_equals_that_of_torch_fidelity(num_splits, features_golden):
    golden = features_golden
    logits = golden["logits"].astype(np.float32)
    np.testing.assert_array_equal(np.random.RandomState(2020).permutation(len(logits)), golden["isc/permutation"])
    scores = {
        True: inception_score.torch_fidelity(logits, num_splits),
        False: inception_score.stylegan2_ada(logits, num_splits),
    }
    for shuffle, found in scores.items():
        golden.check(f"isc/splits={num_splits},shuffle={shuffle}/mean", found.mean, rtol=1e-12)
        if num_splits > 1:
            golden.check(f"isc/splits={num_splits},shuffle={shuffle}/std", found.std, rtol=1e-10)
        else:
            assert found.std == golden[f"isc/splits={num_splits},shuffle={shuffle}/std"] == 0


def test_wrong_logits_and_splits_are_refused():
    with pytest.raises(ValueError, match=r"logits must have shape \[n, d\].*\[6\]"):
        inception_score.torch_fidelity(np.zeros(6))
    with pytest.raises(ValueError, match="2 of 3 logits hold NaN"):
        inception_score.stylegan2_ada(np.array([[0, np.nan], [np.inf, 0], [1, 1]]))
    for splits in (0, 54):
        with pytest.raises(ValueError, match=f"num_splits is {splits}, and there are 53 images"):
            inception_score.stylegan2_ada(_logits(), splits)
