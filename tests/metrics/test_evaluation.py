"""An evaluation: features once, every metric from them, and what is refused before time is spent."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.devices import distributed, mesh
from stylegan_jax.metrics import (
    batches,
    computation,
    definitions,
    evaluation,
    frechet,
    image_sets,
    inception_score,
    kid,
    latent_metrics,
    ms_ssim,
    prdc,
    swd,
)
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.metrics.evaluation import Evaluator, Reals
from stylegan_jax.metrics.features import vgg
from tests import measured
from tests.measured import devices, drained, generator, pixels, source

REALS = pixels(30, seed=1)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    measured.add_tiny(monkeypatch)
    monkeypatch.setattr(batches, "MAX_IMAGES", 16)


def evaluator(names, folder, of=REALS, is_mirrored=False, pictures=None, **tools) -> Evaluator:
    reals = None if of is None else Reals(source(of), 16, is_mirrored)
    if pictures is not None:
        pictures = image_sets.select(source(pictures, "fakes"), 16, "shuffled", len(pictures))
    return Evaluator(definitions.parse(names), reals, measured.tools(folder, **tools), pictures)


def run(one: Evaluator, made=None, seed=0):
    """Returns the passes, as what they are of and how many images, and the results by their metrics."""
    told, pending = drained(one.run(made, seed))
    passes = [(now.what, now.total) for now in told if now.done == 0]
    return passes, {one.metric.name: one.compute_fn(lambda done, total: None) for one in pending}


def images_of(made, count: int, seed: int = 0) -> np.ndarray:
    found = image_sets.Fakes(made, count, seed).batches(devices())
    return np.concatenate([mesh.gather(batch)[:k] for batch, k in found])


def features_of(images: np.ndarray) -> np.ndarray:
    return measured.features(images).astype(np.float32)


# ---- what is computed


def test_a_distance_is_that_of_features_computed_by_hand(tmp_path):
    made = generator()
    _, found = run(evaluator(["tiny_fd"], tmp_path), made, seed=4)
    sets = features_of(images_of(made, 24, seed=4)), features_of(REALS)
    expected = frechet.frechet_distance(*map(frechet.statistics, sets))
    assert found["tiny_fd"].values["tiny_fd"] == pytest.approx(expected, rel=1e-4)
    assert found["tiny_fd"].values["tiny_fd_kid"] == pytest.approx(kid.stylegan2_ada(*sets, 4).mean, rel=1e-4)


@pytest.mark.parametrize("is_mirrored", [True, False])
def test_reals_are_flipped_as_in_training_where_the_definition_says_so(tmp_path, is_mirrored):
    made = generator()
    _, found = run(evaluator(["tiny_first", "tiny_fd"], tmp_path, is_mirrored=is_mirrored), made)
    flipped = REALS[:24].copy()
    is_flipped = (np.random.RandomState(0).rand(24) < 0.5) & is_mirrored
    flipped[is_flipped] = flipped[is_flipped][:, :, ::-1]
    fakes = frechet.statistics(features_of(images_of(made, 24)))
    for name, reals in (("tiny_first", flipped), ("tiny_fd", REALS)):
        expected = frechet.frechet_distance(fakes, frechet.statistics(features_of(reals)))
        assert found[name].values[name] == pytest.approx(expected, rel=1e-4)


def test_metrics_of_pixels_are_those_of_the_images(tmp_path):
    made = generator()
    _, found = run(evaluator(["swd16k:12", "msssim10k:12"], tmp_path), made)
    fakes, chosen = images_of(made, 12), np.sort(np.random.RandomState(0).permutation(30)[:12])
    sets = [swd.descriptors(swd.patches(x, swd.draw_corners(12, 16, 0))) for x in (fakes, REALS[chosen])]
    assert found["swd16k:12"].values["swd16k:12_16"] == pytest.approx(swd.distances(*sets, 0)[16], rel=1e-5)
    assert found["msssim10k:12"].values["msssim10k:12"] == pytest.approx(ms_ssim.mean_of_pairs(fakes), rel=1e-6)
    in_turn = REALS[np.random.RandomState(0).permutation(30)[:12]]
    assert found["msssim10k:12"].floor["msssim10k:12"] == pytest.approx(ms_ssim.mean_of_pairs(in_turn), rel=1e-6)


def test_a_number_is_the_same_whichever_metrics_are_asked_for_beside_it(tmp_path):
    made, names = generator(), ["swd16k:12", "tiny_prdc", "msssim10k:10"]
    _, together = run(evaluator([*names, "tiny_fd"], tmp_path), made)
    for name in names:
        _, alone = run(evaluator([name], tmp_path), made)
        assert together[name].values == pytest.approx(alone[name].values, rel=1e-6)


def test_results_stand_as_the_metrics_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(latent_metrics, "latents_and_logits", lambda *_: iter(()))
    one = evaluator(["ls_z:20", "tiny_is", "ls_w:30", "tiny_kd"], tmp_path)
    _, pending = drained(one.run(generator(), 0))
    assert [each.metric.name for each in pending] == ["ls_z:20", "tiny_is", "ls_w:30", "tiny_kd"]


# ---- passes


def test_metrics_that_compare_with_the_same_pictures_share_one_pass(tmp_path):
    passes, found = run(evaluator(["tiny_fd", "tiny_kd", "tiny_is"], tmp_path), generator())
    assert passes == [("real pictures", 30), ("fakes", 24)] and len(found) == 3


def test_other_real_pictures_are_another_pass(tmp_path):
    passes, _ = run(evaluator(["tiny_fd", "tiny_first", "tiny_prdc"], tmp_path), generator())
    assert passes == [("real pictures", 30), ("real pictures", 24), ("real pictures", 12), ("fakes", 24)]


def test_a_score_of_fakes_alone_takes_no_real_pictures(tmp_path):
    passes, found = run(evaluator(["tiny_is"], tmp_path, of=None), generator())
    assert passes == [("fakes", 20)] and found["tiny_is"].floor == {}


def test_a_second_seed_does_not_look_at_the_real_pictures_again(tmp_path):
    one, made = evaluator(["tiny_fd"], tmp_path), generator()
    (first, _), (second, _) = run(one, made, 0), run(one, made, 1)
    assert [what for what, _ in first] == ["real pictures", "fakes"] and [what for what, _ in second] == ["fakes"]


def test_a_second_evaluation_reads_what_the_first_one_kept(tmp_path):
    made, cache = generator(), tmp_path / "cache"
    first_passes, first = run(evaluator(["tiny_fd"], tmp_path, cache=cache), made)
    passes, second = run(evaluator(["tiny_fd", "tiny_kd"], tmp_path, cache=cache), made)
    assert len(first_passes) == 2 and passes == [("fakes", 24)]
    assert second["tiny_fd"].values == first["tiny_fd"].values and second["tiny_fd"].floor == first["tiny_fd"].floor


def test_statistics_that_were_kept_are_made_anew_where_rows_are_needed(tmp_path, monkeypatch):
    made, cache = generator(), tmp_path / "cache"
    for module in (evaluation, computation):
        monkeypatch.setattr(module, "BIASED_BELOW", 10)
    run(evaluator(["tiny_fd"], tmp_path, cache=cache), made)
    again, _ = run(evaluator(["tiny_fd"], tmp_path, cache=cache), made)
    assert again == [("fakes", 24)]
    passes, _ = run(evaluator(["tiny_fd", "tiny_kd"], tmp_path, cache=cache), made)
    assert passes == [("real pictures", 30), ("fakes", 24)]


def test_only_the_kind_that_is_missing_is_computed_of_the_reals(tmp_path):
    networks = {"tiny": measured.network()}
    made, cache = generator(), tmp_path / "cache"
    run(evaluator(["tiny_prdc"], tmp_path, cache=cache, networks=networks), made)
    passes, _ = run(evaluator(["tiny_prdc", "swd16k:12"], tmp_path, cache=cache, networks=networks), made)
    assert passes == [("real pictures", 12), ("fakes", 12)]
    assert sorted(path.suffix for path in cache.iterdir()) == [".npy", ".npy", ".npz"]


def test_nothing_is_left_in_the_folder_of_rows(tmp_path):
    run(evaluator(["tiny_fd", "swd16k:12"], tmp_path), generator())
    assert not list(tmp_path.iterdir())


def test_other_processes_than_the_first_have_nothing_to_compute(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "process_index", lambda: 1)
    passes, found = run(evaluator(["tiny_fd"], tmp_path, cache=tmp_path / "cache"), generator())
    assert len(passes) == 2 and found == {} and not list(tmp_path.iterdir())


# ---- latents


def attributes() -> Attributes:
    def logits_fn(params, images):
        return jnp.sin(9 * images.mean(axis=(1, 2))[:, :2])  # That no hyperplane tells.

    return Attributes(("red", "green"), logits_fn, (), "e" * 64, "two colours")


def test_separabilities_of_as_many_images_share_one_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(computation, "MOST_PROCESSES", 1)
    names = ["ls_z_exact:256", "ls_w_exact:256", "ls_w_exact:32"]
    passes, found = run(evaluator(names, tmp_path, of=None, attributes=attributes()), generator())
    assert passes == [("ls_z_exact:256 and ls_w_exact:256", 256), ("ls_w_exact:32", 32)]
    assert all(1 <= found[name].values[name] <= 4 for name in names)
    z, w = (next(iter(found[name].values.values())) for name in names[:2])
    assert z != w


def test_a_path_length_of_a_network_of_bfloat16_is_computed_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(vgg, "lpips", lambda params, x, y: ((x - y) ** 2).mean(axis=(1, 2, 3)))
    one = evaluator(["ppl_wend_nocrop:6", "ppl_zfull_nocrop:6"], tmp_path, of=None, distance=measured.network())
    made = generator(matmul_precision="highest")
    coarse = dataclasses.replace(made, model=dataclasses.replace(made.model, compute_dtype="bfloat16"))
    (passes, exact), (_, found) = run(one, made), run(one, coarse)
    assert passes == [("ppl_wend_nocrop:6", 6), ("ppl_zfull_nocrop:6", 6)]
    for name in exact:
        assert found[name].values == exact[name].values and found[name].about["computed_in"] == "float32"


def test_labels_of_a_conditional_network_are_those_of_its_classes(tmp_path):
    made = generator(classes=np.array([2]), num_labels=3)
    _, found = run(evaluator(["tiny_fd"], tmp_path), made)
    expected = frechet.frechet_distance(*(frechet.statistics(features_of(x)) for x in (images_of(made, 24), REALS)))
    _, other = run(evaluator(["tiny_fd"], tmp_path), dataclasses.replace(made, classes=np.array([1])))
    assert found["tiny_fd"].values["tiny_fd"] == pytest.approx(expected, rel=1e-4)
    assert abs(other["tiny_fd"].values["tiny_fd"] / expected - 1) > 1e-3


# ---- pictures in place of a network's images


def test_pictures_are_measured_in_random_order_so_that_splits_and_first_ones_are_like_the_others(tmp_path):
    pictures = np.sort(pixels(40, seed=2), axis=0)  # As of a folder for each class.
    _, found = run(evaluator(["tiny_prdc", "tiny_is", "tiny_kd:30"], tmp_path, pictures=pictures))
    fakes = features_of(pictures[np.random.RandomState(0).permutation(40)[:30]])
    reals = features_of(REALS)
    sample = reals[np.sort(np.random.RandomState(0).permutation(30)[:12])]
    assert {name.removeprefix("tiny_prdc_"): value for name, value in found["tiny_prdc"].values.items()} == prdc.prdc(
        fakes[:12], sample
    )
    score = inception_score.stylegan2_ada(9 * fakes[:20, :5])
    assert found["tiny_is"].values["tiny_is_mean"] == pytest.approx(score.mean, rel=1e-5)
    assert found["tiny_kd:30"].values["tiny_kd:30"] == pytest.approx(kid.stylegan2_ada(fakes, reals, 0).mean, rel=1e-3)


def test_pictures_without_real_ones_have_a_score(tmp_path):
    _, found = run(evaluator(["tiny_is"], tmp_path, of=None, pictures=pixels(20)))
    assert found["tiny_is"].about["num_images"] == 20 and found["tiny_is"].notes == ()


def test_few_pictures_in_place_of_many_fakes_are_biased_and_counted(tmp_path, monkeypatch):
    for module in (evaluation, computation):
        monkeypatch.setattr(module, "BIASED_BELOW", 20)
    _, found = run(evaluator(["tiny_fd"], tmp_path, pictures=pixels(12)))
    assert found["tiny_fd"].about["num_images"] == 12 and "tiny_fd_kid" in found["tiny_fd"].values
    assert len(found["tiny_fd"].notes) == 2


def test_pictures_compared_with_themselves_have_no_distance(tmp_path):
    _, found = run(evaluator(["tiny_fd", "tiny_prdc"], tmp_path, of=REALS[:12], pictures=REALS[:12]))
    assert found["tiny_fd"].values["tiny_fd"] == pytest.approx(0, abs=1e-6)
    assert found["tiny_prdc"].values["tiny_prdc_precision"] == found["tiny_prdc"].values["tiny_prdc_recall"] == 1


# ---- refused


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["tiny_fd"], {"of": None}, "tiny_fd compares with real pictures; name them with --reals=PICTURES"),
        (["tiny_prdc:5"], {}, "tiny_prdc:5 takes 6 images or more of each kind, and there are 5 fakes and 5 real"),
        (["tiny_prdc"], {"of": REALS[:4]}, "there are 12 fakes and 4 real pictures"),
        (["tiny_is:9"], {}, "tiny_is:9 takes 10 images or more of each kind, and there are 9 fakes"),
        (["tiny_is"], {"of": None, "pictures": REALS[:9]}, "and there are 9 fakes"),
        (["tiny_prdc"], {"pictures": REALS[:5]}, "there are 5 fakes and 12 real pictures"),
        (["tiny_fd", "ppl_wend"], {"pictures": REALS}, "ppl_wend measures the latents of a network, and pictures"),
        (["ls_z"], {"pictures": REALS}, "ls_z measures the latents of a network, and pictures have none"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_pass(tmp_path, names, more, message):
    with pytest.raises(ValueError, match=message):
        evaluator(names, tmp_path, **more)


@pytest.mark.parametrize(("name", "px"), [("swd16k", 16), ("msssim10k", 16), ("ppl2_wend", 16), ("ppl_wend", 32)])
def test_images_too_small_for_a_metric_are_refused_before_any_pass(tmp_path, name, px):
    def make(resolution: int) -> Evaluator:
        reals = Reals(source(REALS), resolution, False)
        return Evaluator(definitions.parse(["tiny_fd", name]), reals, measured.tools(tmp_path))

    make(px)
    message = f"{name} takes images of {px} px or more, and these have {px // 2} px; leave it out"
    with pytest.raises(ValueError, match=message):
        make(px // 2)


def test_a_generator_of_images_too_small_for_a_path_length_is_refused_before_any_pass(tmp_path):
    found = Evaluator(definitions.parse(["ppl_wend"]), None, measured.tools(tmp_path))
    with pytest.raises(ValueError, match="ppl_wend takes images of 32 px or more, and these have 16 px; leave it out"):
        next(found.run(measured.generator(), 0))
