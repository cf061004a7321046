"""Linear separability against the official code's recordings, naive formulas, and a machine fitted in another way."""

import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.exceptions
from sklearn import svm

from stylegan_jax.data import faces
from stylegan_jax.metrics import labelled_latents, separability
from stylegan_jax.metrics.attributes import Attributes
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


# ---- points and logits of a generator


def _pixels(*thresholds: float) -> Attributes:
    """Returns attributes that images have whose first values are above thresholds."""
    names = tuple(f"above {threshold}" for threshold in thresholds)
    return Attributes(names, lambda params, x: x[:, 0, 0, : len(names)] - params[None], jnp.asarray(thresholds), "", "")


def _doubled(z, key):
    return 2 * z


def _as_images(w, key):
    return w[:, None, None]


def _measure(map_fn=_doubled, synthesize_fn=_as_images, attributes=None, seed=0, **settings):
    settings = {"z_size": 4, "num_images": 20, "batch": 8} | settings
    asked = attributes or _pixels(0.5, -1.0)
    return labelled_latents.measure(map_fn, synthesize_fn, asked, key=jax.random.key(seed), **settings)


def test_a_function_is_compiled_once_for_all_measurements():
    """A run that trains measures again and again."""
    attributes, compiled = _pixels(0.5, -1.0), []

    def note(event: str, seconds: float, **details) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and "_points" in details["fun_name"]:
            compiled.append(details["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        for seed in (0, 1):
            list(_measure(attributes=attributes, seed=seed))
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(compiled) == 1


def test_latents_and_logits_are_of_the_same_images():
    found = labelled_latents.collected(_measure(), 20)
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "z": ((20, 4), np.float32),
        "w": ((20, 4), np.float32),
        "logits": ((20, 2), np.float32),
    }
    np.testing.assert_array_equal(found["w"], 2 * found["z"])
    np.testing.assert_array_equal(found["logits"], found["w"][:, :2] - np.array([[0.5, -1]], np.float32))
    assert len(np.unique(found["z"])) == 80


def test_batches_depend_on_the_key_and_their_number_alone_and_the_last_is_cut():
    batches = list(_measure())
    assert [len(batch["z"]) for batch in batches] == [8, 8, 4]
    more = list(_measure(num_images=32))
    for ours, theirs in zip(batches, more, strict=False):
        np.testing.assert_array_equal(ours["logits"], theirs["logits"][: len(ours["logits"])])
    assert not np.isin(batches[0]["z"], next(_measure(seed=1))["z"]).any()


def test_w_is_that_of_the_last_layer():
    found = next(_measure(lambda z, key: jnp.stack([z, z, 4 * z], axis=1), lambda w, key: w[:, 2, None, None]))
    np.testing.assert_array_equal(found["w"], 4 * found["z"])


def test_only_the_spaces_that_are_asked_for_are_kept():
    assert next(_measure(spaces=["w"])).keys() == {"w", "logits"}


def test_labels_are_drawn_by_the_key_of_the_mapping_and_noise_by_another():
    def map_fn(z, key):
        return jax.random.normal(key, (len(z), 4))

    def synthesize_fn(w, key):
        return jnp.concatenate([w, jax.random.normal(key, (len(w), 4))], axis=1)[:, None, None]

    whole = Attributes(tuple("abcdefgh"), lambda params, x: x[:, 0, 0], None, "", "")
    first, again, other = (next(_measure(map_fn, synthesize_fn, whole, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["logits"], again["logits"])
    np.testing.assert_array_equal(first["logits"][:, :4], first["w"])
    assert len(np.unique(np.concatenate([first["z"], first["logits"], other["logits"]], axis=1))) == 8 * 20


def test_one_program_serves_all_batches():
    traced = []

    def map_fn(z, key):
        traced.append(z.shape)
        return z

    batches = _measure(map_fn, num_images=60)
    next(batches)
    num_traced = len(traced)
    assert len(list(batches)) == 7
    assert len(traced) == num_traced


def test_wrong_functions_and_numbers_are_refused_before_anything_is_computed():
    with pytest.raises(ValueError, match=r"of 1 images .* use at least 2"):
        _measure(num_images=1)
    with pytest.raises(ValueError, match=r"in the spaces \['s'\]"):
        _measure(spaces=["s"])
    with pytest.raises(ValueError, match=r"logits \[8, 1\], .* to logits \[n, 2\]"):
        _measure(attributes=Attributes(("a", "b"), lambda params, x: x[:, 0, 0, :1], None, "", ""))
    with pytest.raises(ValueError, match=r"w \[8, 4, 1\], "):
        _measure(lambda z, key: z[:, None, :, None], lambda w, key: w[:, 0, :, 0][:, None, None])


# ---- known truths


def _faces_generator(entanglement: float):
    """Returns a mapping from normal z to w, which are factors of faces, and the exact attributes of these faces.

    z is rotated, then each number is bent by two others, `entanglement` times as far as it is random itself, and then
    each takes the distribution that the factor has among the faces.
    """
    quantiles = np.sort(faces.sample_factors(np.arange(4000), 3), axis=0)
    places = scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 40)))[0].astype(np.float32)

    def map_fn(z, key):
        y = z @ rotation
        bend = jnp.sin(2.2 * jnp.roll(y, 1, axis=1)) + 0.6 * jnp.cos(1.7 * jnp.roll(y, 5, axis=1))
        y = (y + entanglement * bend) / np.sqrt(1 + 0.68 * entanglement**2)
        return jax.vmap(lambda y, xs: jnp.interp(y, places, xs), in_axes=1, out_axes=1)(y, quantiles)

    columns = {factor.name: column for column, factor in enumerate(faces.FACTORS)}
    asked, thresholds = zip(*((columns[name], value) for name, value in faces.ATTRIBUTES.values()), strict=True)

    def logits_fn(params, images):
        return images[:, 0, 0, np.array(asked)] - params[None]

    return map_fn, Attributes(tuple(faces.ATTRIBUTES), logits_fn, jnp.asarray(thresholds), "", "exact")


def test_factors_of_faces_are_separable_in_w_and_less_in_z_the_more_they_are_entangled():
    scores = {"z": [], "w": []}
    for entanglement in (0, 0.25, 0.5, 1):
        map_fn, exact = _faces_generator(entanglement)
        batches = _measure(map_fn, attributes=exact, z_size=40, num_images=4000, batch=1000)
        found = labelled_latents.collected(batches, 4000)
        np.testing.assert_array_equal(found["logits"] > 0, faces.attributes(found["w"]))
        for space, of_space in scores.items():
            of_space.append(separability.result(found[space], found["logits"], exact.names, "exact")["ls"])
    np.testing.assert_allclose(scores["w"], 1, rtol=0, atol=0.001)
    assert scores["z"][0] < 1.3  # Half of the faces count, and those with factors of two values lie near the plane too.
    for more, less in zip(scores["z"][1:], scores["z"][:-1], strict=True):
        assert more > 1.5 * less


@pytest.mark.parametrize("method", ["legacy", "exact"])
def test_an_attribute_that_does_not_depend_on_the_latent_costs_its_whole_entropy(method):
    def synthesize_fn(w, key):
        return jax.random.normal(key, (len(w), 1, 1, 2))

    found = labelled_latents.collected(_measure(synthesize_fn=synthesize_fn, num_images=8000, batch=4000), 8000)
    for space in "zw":
        result = separability.result(found[space], found["logits"], ("a", "b"), method)
        expected = 0
        for name, share in result["shares"].items():
            entropy = scipy.special.entr([share, 1 - share]).sum() / np.log(2)
            assert result["entropies"][name] == pytest.approx(entropy, abs=0.002)
            expected += entropy
        assert result["ls"] == pytest.approx(2**expected, rel=0.002)
        assert all(0.03 < share < 0.97 for share in result["shares"].values())


# ---- the score of collected arrays


def test_the_result_names_each_attributes_entropy_and_share():
    points = _points()
    logits = np.concatenate([_mixed(points), np.full((400, 1), 3.0), np.full((400, 1), -3.0)], axis=1)
    progress = []
    found = separability.result(
        points, logits, tuple("abcde"), "exact", progress_fn=lambda done, total: progress.append((done, total))
    )
    bits = separability.exact(points, separability.probabilities(logits))
    assert found["entropies"] == dict(zip("abcde", bits.tolist(), strict=True))
    assert found["ls"] == separability.score(bits)
    assert (found["shares"]["d"], found["shares"]["e"]) == (1, 0) and found["entropies"]["d"] == 0
    kept = np.argsort(-np.abs(logits[:, 0]), kind="stable")[:200]
    assert found["shares"]["a"] == np.mean(logits[kept, 0] > 0)
    assert progress == [(k, 5) for k in range(1, 6)]


def test_several_processes_find_what_one_finds_by_the_seed():
    points = 100 * _points(400, 30)  # The legacy machine does not converge, so that its seed matters.
    logits = _points(400, 3, seed=1)

    def result(**settings):
        return separability.result(points, logits, tuple("abc"), "legacy", **settings)

    one, two = (result(seed=3, num_processes=n) for n in (1, 2))
    assert one == two != result(seed=4)
    bits = separability.legacy(points, separability.probabilities(logits), seed=3)
    assert list(one["entropies"].values()) == bits.tolist()


def test_a_result_of_wrong_arrays_is_refused():
    points = _points(20)
    with pytest.raises(ValueError, match=r"logits \[20, 3\] of 2 attributes"):
        separability.result(points, _mixed(points), ("a", "b"), "exact")
    with pytest.raises(ValueError, match="the method 'fast'"):
        separability.result(points, _mixed(points), tuple("abc"), "fast")
    with pytest.raises(ValueError, match="1 of 20 logits hold NaN"):
        separability.result(points, np.where(np.arange(20) == 3, np.nan, 1)[:, None], ("a",), "exact")


# ---- recorded by the official code


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


# Ends while processes fit machines, as a run does that is stopped.
ENDING = """
import os, threading, time
import multiprocessing
import numpy as np
from stylegan_jax.metrics import separability

if __name__ == "__main__":
    draw = np.random.default_rng(0).standard_normal
    points, logits = draw((20_000, 256), np.float32), draw((20_000, 8), np.float32)
    fit = lambda: separability.result(points, logits, list("abcdefgh"), "legacy", seed=0, num_processes=2)
    threading.Thread(target=fit, daemon=True).start()
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.1)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(3)
    os._exit(0)
"""


@pytest.mark.slow
def test_processes_that_fit_machines_end_with_the_one_that_started_them(tmp_path):
    (tmp_path / "ending.py").write_text(ENDING)
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parent.parent.parent)}
    command = [sys.executable, str(tmp_path / "ending.py")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert len(children) == 2 and process.wait(60) == 0
        try:
            # The children hold the other end of this pipe until they end.
            assert select.select([process.stdout], [], [], 30)[0] and process.stdout.read() == ""
        finally:
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
