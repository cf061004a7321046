"""Statistics of features: ours against pytorch-fid, torch-fidelity and prdc, for the same features."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
import prdc as prdc_package
import torch
from pytorch_fid import fid_score
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

from experiments.parity.table import Line, each_relative
from stylegan_jax.metrics import frechet, inception_score, kid, mind, prdc

BOUND = 1e-6
SEED = 16
FIDELITY, PRDC, PYTORCH_FID = "torch-fidelity", "prdc", "pytorch-fid"


def lines() -> Iterator[Line]:
    """Yields the comparisons."""
    rng = np.random.default_rng(SEED)
    mixing = rng.standard_normal((64, 64)) / 8
    fakes, reals = (
        np.maximum(rng.standard_normal((n, 64)) @ mixing + shift, 0) for n, shift in ((900, 0.1), (1000, 0))
    )
    ties = tuple(rng.integers(0, 12, (n, 3)) + float(shift) for n, shift in ((150, 3), (180, 0)))
    yield from _frechet("", fakes, reals)
    yield from _frechet(", fewer features than dimensions", fakes[:45], reals[:50])
    yield from _kid(fakes, reals)
    yield from _inception_score(rng.standard_normal((1003, 100)) * 3)
    for what, sets in (("", (fakes, reals)), (" of integers, with ties", ties)):
        for k in (3, 5):
            yield from _prdc(f", k = {k}{what}", *sets, k)
    ours, theirs = prdc.prdc(*ties, 3), _fidelity_prc(*ties, 3)
    error = each_relative(*([found[name] for name in ("precision", "recall")] for found in (ours, theirs)))
    yield Line("precision, recall: < instead of <=, for integers with ties", FIDELITY, error, BOUND, is_mutation=True)
    for what, sets in (("", (fakes, reals)), (" of integers, with ties", ties)):
        error = each_relative(mind.mind(*sets, seed=1, num_projections=100), naive_mind(*sets, 1, 100))
        yield Line(f"MIND{what}", "the formula in NumPy, float64", error, BOUND)


def _frechet(what: str, fakes: np.ndarray, reals: np.ndarray) -> Iterator[Line]:
    ours = frechet.frechet_distance(frechet.statistics(fakes), frechet.statistics(reals))
    moments = [moment for x in (fakes, reals) for moment in (x.mean(axis=0), np.cov(x, rowvar=False))]
    yield Line(f"FID{what}", PYTORCH_FID, each_relative(ours, fid_score.calculate_frechet_distance(*moments)), BOUND)
    found = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (fakes, reals)]
    theirs = metric_fid.fid_statistics_to_metric(*found, verbose=False)[metric_fid.KEY_METRIC_FID]
    yield Line(f"FID{what}", FIDELITY, each_relative(ours, theirs), BOUND)


def _kid(fakes: np.ndarray, reals: np.ndarray) -> Iterator[Line]:
    ours = kid.torch_fidelity(fakes, reals, num_subsets=20, subset_size=300, seed=SEED)
    theirs = metric_kid.kid_features_to_metric(
        torch.from_numpy(fakes), torch.from_numpy(reals), kid_subsets=20, kid_subset_size=300, rng_seed=SEED,
        verbose=False,
    )  # fmt: skip
    expected = [theirs[metric_kid.KEY_METRIC_KID_MEAN], theirs[metric_kid.KEY_METRIC_KID_STD]]
    yield Line("KID, mean and deviation", FIDELITY, each_relative([ours.mean, ours.std], expected), BOUND)


def _inception_score(logits: np.ndarray) -> Iterator[Line]:
    for what, ours, shuffle in (
        (", shuffled", inception_score.torch_fidelity(logits, 10, SEED), True),
        (", in order", inception_score.stylegan2_ada(logits, 10), False),
    ):
        theirs = metric_isc.isc_features_to_metric(torch.from_numpy(logits), 10, shuffle, SEED)
        expected = [theirs[metric_isc.KEY_METRIC_ISC_MEAN], theirs[metric_isc.KEY_METRIC_ISC_STD]]
        error = each_relative([ours.mean, ours.std], expected)
        yield Line(f"inception score, mean and deviation{what}", FIDELITY, error, BOUND)


def _prdc(what: str, fakes: np.ndarray, reals: np.ndarray, k: int) -> Iterator[Line]:
    ours = prdc.precision_recall(fakes, reals, k)
    theirs = _fidelity_prc(fakes, reals, k)
    ours["f_score"] = 2 * ours["precision"] * ours["recall"] / (ours["precision"] + ours["recall"])
    error = each_relative([ours[name] for name in ours], [theirs[name] for name in ours])
    yield Line(f"precision, recall, F{what}", FIDELITY, error, BOUND)
    with contextlib.redirect_stdout(io.StringIO()):  # It prints the numbers of points.
        ours, theirs = prdc.prdc(fakes, reals, k), prdc_package.compute_prdc(reals, fakes, k)
    error = each_relative([ours[name] for name in ours], [theirs[name] for name in ours])
    yield Line(f"precision, recall, density, coverage{what}", PRDC, error, BOUND)


def _fidelity_prc(fakes: np.ndarray, reals: np.ndarray, k: int) -> dict[str, float]:
    return metric_prc.prc_features_to_metric(
        torch.from_numpy(fakes), torch.from_numpy(reals), prc_neighborhood=k, prc_batch_size=10_000,
        save_cpu_ram=False, verbose=False,
    )  # fmt: skip


def naive_mind(fakes: np.ndarray, reals: np.ndarray, seed: int, num_projections: int) -> float:
    """Returns MIND with our draws, one direction at a time."""
    rng = np.random.default_rng(seed)
    n = min(len(fakes), len(reals))
    fakes, reals = (x if len(x) == n else x[rng.choice(len(x), n, replace=False)] for x in (fakes, reals))
    distances = []
    for u in rng.standard_normal((num_projections, fakes.shape[1])):
        u /= np.sqrt(np.sum(u**2))
        distances.append(np.mean((np.sort(fakes @ u) - np.sort(reals @ u)) ** 2))
    return float(3 * fakes.shape[1] * np.mean(distances))
