"""The table of metrics has the published numbers, and names are read as they are written."""

import numpy as np
import pytest

from stylegan_jax.metrics import (
    cmmd,
    collected,
    definitions,
    frechet,
    inception_score,
    kid,
    mind,
    ms_ssim,
    prdc,
    separability,
    swd,
)
from stylegan_jax.metrics.definitions import TABLE, PathLength, Separability, SetMetric
from stylegan_jax.metrics.pixel_sets import PairCollector, Patches

# Features, fakes, which reals, whether they are flipped as in training, most reals.
# NVlabs/stylegan, metrics/metric_base.py, run_metrics.py; NVlabs/stylegan2-ada-pytorch, metrics/metric_main.py, where
# `xflip=False` stands in every metric of all reals; GaParmar/clean-fid; toshas/torch-fidelity; clovaai/generative-
# evaluation-prdc; tkarras/progressive_growing_of_gans, config.py.
OFFICIAL = {
    "fid50k": ("inception", 50_000, "first", True, None),
    "fid50k_full": ("inception", 50_000, "all", False, None),
    "kid50k_full": ("inception", 50_000, "all", False, 1_000_000),
    "pr50k3_full": ("vgg_dense", 50_000, "all", False, 200_000),
    "is50k": ("inception", 50_000, "none", False, None),
    "clean_fid50k": ("inception_clean", 50_000, "all", False, None),
    "clean_kid50k": ("inception_clean", 50_000, "all", False, 1_000_000),
    "pytorch_fid50k": ("inception_torch", 50_000, "all", False, None),
    "mind50k": ("inception", 50_000, "all", False, 1_000_000),
    "prdc10k5": ("vgg_dense", 10_000, "sample", False, None),
    "fd_dinov2_50k": ("dinov2", 50_000, "all", False, None),
    "cmmd30k": ("clip", 30_000, "sample", False, None),
    "fd_faces10k": ("faces", 10_000, "sample", False, None),
    "kd_faces10k": ("faces", 10_000, "sample", False, None),
    "pr_faces10k": ("faces", 10_000, "sample", False, None),
    "swd16k": ("patches", 16_384, "sample", False, None),
    "msssim10k": ("pairs", 20_000, "shuffled", False, None),
}
# Pairs, space, places, whether faces are cut out.
PATHS = {
    "ppl_zfull": (100_000, "z", "full", True),
    "ppl_wfull": (100_000, "w", "full", True),
    "ppl_zend": (100_000, "z", "end", True),
    "ppl_wend": (100_000, "w", "end", True),
    "ppl_zfull_nocrop": (100_000, "z", "full", False),
    "ppl_wfull_nocrop": (100_000, "w", "full", False),
    "ppl_zend_nocrop": (100_000, "z", "end", False),
    "ppl_wend_nocrop": (100_000, "w", "end", False),
    "ppl2_wend": (50_000, "w", "end", False),
}
SEPARABILITIES = {
    "ls_z": ("z", "legacy"), "ls_w": ("w", "legacy"), "ls_z_exact": ("z", "exact"), "ls_w_exact": ("w", "exact"),
}  # fmt: skip


def of(name: str, n: int, seed: int, d: int = 6) -> collected.Collected:
    rng = np.random.default_rng(seed)
    rows, logits = rng.standard_normal((2, n, d)).astype(np.float32)
    return collected.of_rows(collected.deal(n), rows + seed / 9, logits)


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_metric_of_sets_takes_the_published_images(name):
    found = TABLE[name]
    assert (found.features, found.count, found.reals, found.is_mirrored, found.max_reals) == OFFICIAL[name]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_length_takes_the_published_pairs(name):
    found = TABLE[name].definition
    assert (found.num_pairs, found.space, found.sampling, found.crop) == PATHS[name] and found.epsilon == 1e-4


@pytest.mark.parametrize("name", SEPARABILITIES)
def test_a_separability_takes_200_000_images(name):
    found = TABLE[name]
    assert (found.space, found.method) == SEPARABILITIES[name] and found.count == 200_000


def test_no_metric_is_in_the_table_without_its_numbers_being_tested():
    assert set(TABLE) == {*OFFICIAL, *PATHS, *SEPARABILITIES}


# ---- formulas


@pytest.mark.parametrize("name", ["fid50k", "fid50k_full", "clean_fid50k", "pytorch_fid50k", "fd_dinov2_50k"])
def test_a_frechet_distance_is_of_the_statistics_of_all_images(name):
    fakes, reals = of("fakes", 40, 0), of("reals", 30, 1)
    expected = frechet.frechet_distance(frechet.statistics(fakes.rows), frechet.statistics(reals.rows))
    found = TABLE[name]
    assert found.compute_fn(fakes, reals, 7)[""] == pytest.approx(expected, rel=1e-9)
    assert found.is_frechet and not found.needs_rows


@pytest.mark.parametrize("name", ["kid50k_full", "clean_kid50k", "kd_faces10k"])
def test_a_kernel_distance_is_the_mean_of_100_subsets_of_1000_images(name):
    fakes, reals = of("fakes", 1100, 0), of("reals", 1050, 1)
    expected = kid.torch_fidelity(fakes.rows, reals.rows, num_subsets=100, subset_size=1000, seed=7).mean
    assert TABLE[name].compute_fn(fakes, reals, 7) == {"": expected}
    assert not TABLE[name].is_frechet and TABLE[name].needs_rows


def test_precision_and_recall_are_of_three_neighbours_and_prdc_of_five():
    fakes, reals = of("fakes", 40, 0), of("reals", 30, 1)
    three = prdc.precision_recall(fakes.rows, reals.rows, num_neighbours=3)
    for name in ("pr50k3_full", "pr_faces10k"):
        assert TABLE[name].compute_fn(fakes, reals, 0) == three
    assert TABLE["prdc10k5"].compute_fn(fakes, reals, 0) == prdc.prdc(fakes.rows, reals.rows, num_neighbours=5)


def test_the_inception_score_is_of_10_splits_of_the_logits():
    fakes = of("fakes", 40, 0)
    splits = [inception_score.stylegan2_ada(fakes.logits[i : i + 4], 1).mean for i in range(0, 40, 4)]
    found = TABLE["is50k"].compute_fn(fakes, None, 0)
    assert found["mean"] == pytest.approx(np.mean(splits)) and found["std"] == pytest.approx(np.std(splits))


def test_mind_draws_by_the_seed_and_cmmd_does_not_draw():
    fakes, reals = of("fakes", 40, 0), of("reals", 30, 1)
    assert TABLE["mind50k"].compute_fn(fakes, reals, 5) == {"": mind.mind(fakes.rows, reals.rows, 5)}
    assert TABLE["cmmd30k"].compute_fn(fakes, reals, 5) == {"": cmmd.cmmd(fakes.rows, reals.rows)}


def test_the_sliced_distance_is_the_mean_of_its_levels_which_follow():
    rng = np.random.default_rng(0)
    sets = [
        Patches(np.zeros(6, np.int8), {r: rng.standard_normal((6, 4, 7, 7, 3), np.float32) for r in (32, 16)})
        for _ in range(2)
    ]
    by_level = swd.distances(*(swd.descriptors(one.by_level) for one in sets), 3)
    found = TABLE["swd16k"].compute_fn(*sets, 3)
    assert found == {"": pytest.approx((by_level[16] + by_level[32]) / 2), "16": by_level[16], "32": by_level[32]}
    assert list(found) == ["", "16", "32"]


def test_the_similarity_is_that_of_the_fakes_and_its_floor_that_of_the_reals():
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    collector = PairCollector()
    collector.add(images)
    assert TABLE["msssim10k"].compute_fn(collector.finish(), None, 0) == {"": ms_ssim.mean_of_pairs(images)}
    assert TABLE["msssim10k"].floor == "reals"


@pytest.mark.parametrize("name", [n for n in OFFICIAL if OFFICIAL[n][0] not in ("patches", "pairs")])
def test_a_formula_takes_as_few_images_as_the_table_says_and_no_fewer(name):
    found: SetMetric = TABLE[name]
    fewest = found.fewest
    assert all(map(np.isfinite, found.compute_fn(of("", fewest, 0), of("", fewest, 1), 0).values()))
    if name not in ("mind50k", "cmmd30k"):  # These have a value of one image, though it says nothing.
        with pytest.raises(ValueError):
            found.compute_fn(of("", fewest - 1, 0), of("", fewest - 1, 1), 0)


# ---- names


def test_names_are_read_in_their_order_with_the_published_counts():
    found = definitions.parse(["ppl_wend", "fid50k", "ls_z"])
    assert [metric.name for metric in found] == ["ppl_wend", "fid50k", "ls_z"]
    assert [metric.count for metric in found] == [100_000, 50_000, separability.NUM_IMAGES]
    assert [type(metric.definition) for metric in found] == [PathLength, SetMetric, Separability]


def test_a_number_after_the_name_is_the_number_of_images_of_the_same_definition():
    (found,) = definitions.parse(["fid50k:2000"])
    assert found == definitions.Metric("fid50k:2000", TABLE["fid50k"], 2000)


def test_one_metric_of_two_numbers_of_images_is_two_metrics():
    assert [metric.count for metric in definitions.parse(["fid50k", "fid50k:20"])] == [50_000, 20]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fid50k_ful"], "no metric 'fid50k_ful'; did you mean fid50k_full?"),
        (["ppl_w"], "did you mean ppl_w"),
        (["qwxyz"], "no metric 'qwxyz'; use one of fid50k, fid50k_full, .*, ls_w_exact"),
        (["fid50k:"], "after the colon stands a number of images, 2 or more: fid50k:2000"),
        (["fid50k:1"], "2 or more"),
        (["fid50k:-5"], "2 or more"),
        (["fid50k:1e4"], "2 or more"),
        (["fid50k:10000001"], "2 or more"),
        (["fid50k", "is50k", "fid50k"], "'fid50k' is asked for twice"),
        ([], "no metric is asked for; use one or more of fid50k"),
    ],
)
def test_a_wrong_name_or_number_is_refused_with_what_to_use(names, message):
    with pytest.raises(ValueError, match=message):
        definitions.parse(names)
