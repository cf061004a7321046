"""Linear separability against the official code's recordings, naive formulas, and a machine fitted in another way."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import sklearn.exceptions
from sklearn import svm

from stylegan_jax.metrics import separability
from tests import official


def _points(n: int = 400, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return separability.probabilities(logits.reshape(len(logits), -1))


def _mixed(points: np.ndarray) -> np.ndarray:
    """Returns logits of three attributes that no hyperplane tells exactly. [n, 3]"""
    noise = np.random.default_rng(9).normal(size=(len(points), 3))
    return points @ np.random.default_rng(8).normal(size=(points.shape[1], 3)) + 1.5 * noise + np.array([[0, 1, -2]])


def _naive_conditional_entropy(joint: np.ndarray) -> float:
    """Returns the entropy of the column within each row, weighted by the rows."""
    p = joint / joint.sum()
    rows = [row for row in p if row.sum() > 0]
    return float(sum(row.sum() * scipy.special.entr(row / row.sum()).sum() for row in rows)) / np.log(2)


def test_probabilities_are_those_of_two_opposite_logits():
    logits = np.array([[0.0, 3.0], [-2.0, 500.0]])
    expected = scipy.special.expit(2 * np.stack([logits, -logits], axis=2))
    np.testing.assert_allclose(separability.probabilities(logits), expected, rtol=1e-6, atol=1e-30)


def test_the_surer_half_is_kept_in_order_and_equals_keep_theirs():
    sure = np.random.default_rng(0).choice([0.6, 0.7, 0.9, 1.0], 1001)
    one = np.where(np.arange(1001) % 2 == 0, sure, 1 - sure)  # Sure of the one value or of the other.
    expected = sorted(range(1001), key=lambda n: -sure[n])[:500]
    assert separability.most_confident(np.stack([one, 1 - one], axis=1).round(2)).tolist() == expected


@pytest.mark.parametrize(
    "joint, expected",
    [
        ([[0.5, 0], [0, 0.5]], 0),
        ([[0.25, 0.25], [0.25, 0.25]], 1),
        ([[0, 0], [0.5, 0.5]], 1),
        ([[0.3, 0], [0.7, 0]], 0),
    ],
)
def test_entropy_is_zero_for_known_and_one_bit_for_unknown_attributes(joint, expected):
    for entropy in (separability.conditional_entropy, separability.legacy_conditional_entropy):
        assert entropy(np.array(joint)) == pytest.approx(expected, abs=1e-6)


def test_entropies_equal_a_naive_one_also_for_counts():
    for joint in np.random.default_rng(0).integers(0, 50, (20, 2, 2)) + np.eye(2, dtype=int)[None]:
        expected = _naive_conditional_entropy(joint)
        np.testing.assert_allclose(separability.conditional_entropy(joint), expected, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(separability.legacy_conditional_entropy(joint), expected, rtol=0, atol=1e-6)


def test_the_legacy_entropy_has_the_roundings_of_the_official_code():
    joint = np.array([[0.4428463666821183, 0.9834071288388369], [0.9756104649451276, 0.44801743906524194]])
    assert separability.legacy_conditional_entropy(joint) == 0.8961334750056267  # Recorded from the official code.
    assert separability.conditional_entropy(joint) != 0.8961334750056267


def test_the_joint_distribution_has_decisions_as_rows():
    decisions, targets = np.array([1, 1, 1, 0]), np.array([0, 0, 1, 0])
    np.testing.assert_array_equal(separability.joint(decisions, targets), [[0.25, 0], [0.5, 0.25]])


def test_the_exact_machine_is_at_the_optimum_of_its_loss():
    points = _points()
    targets = (_mixed(points)[:, 0] > 0).astype(int)
    signs, ones = 2 * targets - 1, np.ones((len(points), 1))
    inputs = np.concatenate([points, ones], axis=1)  # The bias is one more weight, and decays like the others.

    def loss(weights):
        slack = np.maximum(0, 1 - signs * (inputs @ weights))
        return weights @ weights / 2 + (slack**2).sum(), weights - 2 * inputs.T @ (signs * slack)

    weights = scipy.optimize.minimize(loss, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-6}).x
    expected = (inputs @ weights > 0).astype(int)
    np.testing.assert_array_equal(separability.exact_decisions(points, targets), expected)
    assert 0.02 < np.mean(expected != targets) < 0.5


def test_entropies_are_those_of_the_machine_on_the_surer_half():
    points = _points()
    probabilities = _probabilities(_mixed(points))
    expected = []
    for k in range(3):
        kept = np.argsort(-np.abs(probabilities[:, k, 0] - 0.5), kind="stable")[:200]
        targets = (probabilities[kept, k, 1] > 0.5).astype(int)
        decisions = separability.exact_decisions(points[kept], targets)
        expected.append(_naive_conditional_entropy(np.histogram2d(decisions, targets, bins=2)[0]))
    found = separability.exact(points, probabilities)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert separability.score(found) == pytest.approx(2 ** sum(expected), rel=1e-9)
    assert min(found) > 0.01
    np.testing.assert_allclose(separability.legacy(points, probabilities, seed=0), expected, rtol=0, atol=0.02)


def test_factors_are_separable_in_w_and_less_in_z_the_more_they_are_entangled():
    w = _points(2000, 6)
    probabilities = _probabilities(4 * w)
    assert separability.score(separability.exact(w, probabilities)) == pytest.approx(1, abs=1e-12)
    scores = []
    for entanglement in (0, 0.5, 1, 2):
        rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
        z = (w + entanglement * np.sin(2.2 * np.roll(w, 1, axis=1))) @ rotation
        scores.append(separability.score(separability.exact(z, probabilities)))
    assert scores[0] == pytest.approx(1, abs=1e-12)
    assert scores == sorted(scores)
    assert scores[3] > scores[1] + 0.5


def test_an_attribute_that_all_images_have_is_known_and_costs_nothing():
    points = _points(20)
    always = _probabilities(np.full(20, 5.0))
    assert separability.exact(points, always).tolist() == [0]
    assert separability.legacy(points, always, seed=0).tolist() == [0]


def test_the_legacy_machine_stops_after_a_thousand_rounds_without_a_warning():
    points = 100 * _points(200, 30)
    targets = np.random.default_rng(0).integers(0, 2, 200)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        expected = svm.LinearSVC(dual=True, max_iter=1000, random_state=5).fit(points, targets).predict(points)
    np.testing.assert_array_equal(separability.legacy_decisions(points, targets, seed=5), expected)
    assert (separability.exact_decisions(points, targets) != expected).any()


def test_order_of_the_images_does_not_matter():
    points = _points()
    probabilities = _probabilities(_mixed(points))
    shuffle = np.random.default_rng(3).permutation(len(points))
    np.testing.assert_allclose(
        separability.exact(points[shuffle], probabilities[shuffle]), separability.exact(points, probabilities)
    )


@pytest.fixture(scope="module")
def golden(goldens):
    path = goldens / "metric_ls.npz"
    if not path.exists():
        pytest.skip(f"{path} does not exist: this folder of recorded arrays has no separability")
    with np.load(path) as npz:
        return {key: npz[key] for key in npz.files}


@pytest.mark.goldens
@pytest.mark.parametrize("space, result", [("latents", "result_z"), ("dlatents", "result_w")])
def test_score_equals_the_official_one_bit_for_bit(space, result, golden):
    probabilities = np.stack([golden[f"attr{k}/predictions"] for k in range(3)], axis=1)
    for k in range(3):
        kept = separability.most_confident(probabilities[:, k])
        np.testing.assert_array_equal(kept, golden[f"attr{k}/pruned_indices"])
        targets = golden[f"attr{k}/targets"]
        np.testing.assert_array_equal(probabilities[kept, k].argmax(axis=1), targets)
        decisions = separability.legacy_decisions(golden[space][kept], targets, seed=0)
        np.testing.assert_array_equal(separability.joint(decisions, targets), golden[f"attr{k}/p_{space}"])
    found = separability.legacy(golden[space], probabilities, seed=0)
    np.testing.assert_array_equal(found, [golden[f"attr{k}/H_{space}"] for k in range(3)])
    assert separability.score(found) == golden[result]
    official.record("metric_ls", result, 0.0)
    exact = separability.score(separability.exact(golden[space], probabilities))
    assert exact == pytest.approx(golden[result], rel=1e-6)


@pytest.mark.goldens
@pytest.mark.parametrize(
    "attribute, space, recorded",
    # The recording saw each machine decide twice, for its score and its output, and names the first six in a row.
    [(0, "latents", "attr0/svm_pred_latents"), (0, "latents", "attr0/svm_pred_dlatents")]
    + [(0, "dlatents", "attr1/svm_pred_latents"), (0, "dlatents", "attr1/svm_pred_dlatents")]
    + [(1, "latents", "attr2/svm_pred_latents"), (1, "latents", "attr2/svm_pred_dlatents")],
)
def test_decisions_equal_the_official_ones(attribute, space, recorded, golden):
    kept, targets = golden[f"attr{attribute}/pruned_indices"], golden[f"attr{attribute}/targets"]
    for decisions in (
        separability.legacy_decisions(golden[space][kept], targets, seed=0),
        separability.exact_decisions(golden[space][kept], targets),
    ):
        np.testing.assert_array_equal(decisions, golden[recorded])


@pytest.mark.goldens
def test_conditional_entropies_equal_the_official_ones(golden):
    for joint, expected in zip(golden["ce/p"], golden["ce/conditional_entropy"], strict=True):
        assert separability.legacy_conditional_entropy(joint) == expected
        assert separability.conditional_entropy(joint) == pytest.approx(expected, abs=1e-6)


def test_wrong_arrays_are_refused():
    points = _points(20)
    probabilities = _probabilities(_mixed(points))
    with pytest.raises(ValueError, match=r"n = 20, the number of latents, and have \[19, 3, 2\]"):
        separability.exact(points, probabilities[:19])
    with pytest.raises(ValueError, match=r"have \[20, 3\]"):
        separability.legacy(points, probabilities[:, :, 0], seed=0)
    with pytest.raises(ValueError, match=r"latents must have shape \[n, d\]"):
        separability.exact(points[0], probabilities)
    with pytest.raises(ValueError, match="there is 1"):
        separability.exact(points[:1], probabilities[:1])
