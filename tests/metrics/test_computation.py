"""The formulas, their floors, and what is said of both."""

import dataclasses
import json

import numpy as np
import pytest

from stylegan_jax.metrics import (
    collected,
    computation,
    definitions,
    image_sets,
    kid,
    pixel_sets,
    ppl,
    real_features,
    results,
    separability,
)
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.metrics.computation import Against
from tests import measured
from tests.measured import pixels, source


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    measured.add_tiny(monkeypatch)


def of(n: int, seed: int) -> collected.Collected:
    rows = np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32) + seed
    return collected.of_rows(collected.deal(n), rows, rows[:, :3])


def against(n: int = 30, found: collected.Collected | None = None) -> Against:
    pictures = image_sets.select(source(pixels(n)), 16, "all", 1)
    return Against(pictures, of(n, 1) if found is None else found, {})


def compute(name: str, fakes, reals: Against | None, seed: int = 0) -> results.Result:
    (metric,) = definitions.parse([name])
    network = measured.network() if metric.definition.features == "tiny" else None
    return computation.of_sets(metric, fakes, reals, network, seed, lambda done, total: None)


# ---- bias


def test_a_kernel_distance_stands_beside_a_frechet_distance_of_few_images():
    fakes, reals = of(24, 0), against()
    found = compute("tiny_fd", fakes, reals, seed=3)
    assert list(found.values) == ["tiny_fd", "tiny_fd_kid"]
    assert found.values["tiny_fd_kid"] == kid.stylegan2_ada(fakes.rows, reals.found.rows, 3).mean
    assert found.notes == (
        "tiny_fd is biased upwards, since there are fewer than 10,000 images of a kind; the kernel distance beside it "
        "is not",
    )


@pytest.mark.parametrize(("bound", "is_biased"), [(24, False), (25, True)])
def test_the_kernel_distance_stands_there_below_the_bound_alone(monkeypatch, bound, is_biased):
    monkeypatch.setattr(computation, "BIASED_BELOW", bound)
    found = compute("tiny_fd", of(24, 0), against())
    assert ("tiny_fd_kid" in found.values) == is_biased == bool(found.notes)


def test_few_reals_bias_as_few_fakes_do(monkeypatch):
    monkeypatch.setattr(computation, "BIASED_BELOW", 20)
    assert "tiny_fd_kid" in compute("tiny_fd", of(24, 0), against(19)).values
    assert "tiny_fd_kid" not in compute("tiny_fd", of(24, 0), against(20)).values


def test_a_distance_of_many_images_needs_no_rows_of_the_reals(monkeypatch):
    monkeypatch.setattr(computation, "BIASED_BELOW", 20)
    rows, reals = against(), against(found=dataclasses.replace(of(30, 1), rows=None, logits=None))
    assert compute("tiny_fd", of(24, 0), reals).values == compute("tiny_fd", of(24, 0), rows).values


# ---- floors


@pytest.mark.parametrize("name", ["tiny_fd", "tiny_kd"])
def test_the_floor_is_what_the_metric_gives_for_the_two_halves_of_the_reals(name):
    reals = against()
    found = compute(name, of(24, 0), reals, seed=5)
    halves = reals.found.half(0), reals.found.half(1)
    expected = definitions.TABLE[name].compute_fn(*halves, 0)[""]
    assert found.floor[name] == expected != found.values[name]
    assert found.floor_text == "real pictures: one half against the other, 15 each"


def test_the_floor_has_the_numbers_of_the_metric_and_no_others(monkeypatch):
    assert compute("tiny_fd", of(24, 0), against()).floor.keys() == {"tiny_fd", "tiny_fd_kid"}
    monkeypatch.setattr(computation, "BIASED_BELOW", 20)  # Each half has 15.
    found = compute("tiny_fd", of(24, 0), against())
    assert found.floor.keys() == found.values.keys() == {"tiny_fd"}


def test_the_floor_is_computed_once_for_all_seeds(monkeypatch):
    reals, calls = against(), []
    definition = definitions.TABLE["tiny_kd"]

    def counted(*args):
        calls.append(args)
        return definition.compute_fn(*args)

    monkeypatch.setitem(definitions.TABLE, "tiny_kd", dataclasses.replace(definition, compute_fn=counted))
    floors = [compute("tiny_kd", of(24, 0), reals, seed).floor for seed in (0, 1, 2)]
    assert floors[0] == floors[1] == floors[2] and len(calls) == 4


def test_halves_of_too_few_pictures_are_no_floor():
    reals = against(9)  # prdc takes 6 of each kind; the smaller half has 4.
    found = compute("tiny_prdc", of(12, 0), reals)
    assert found.floor == {} and found.floor_text == ""
    assert len(found.values) == 4 and compute("tiny_prdc", of(12, 0), against(12)).floor.keys() == found.values.keys()


def test_the_floor_of_similarity_is_that_of_the_real_pictures():
    fakes, reals = (pixel_sets.PairCollector() for _ in range(2))
    fakes.add(pixels(6, seed=0))
    reals.add(pixels(8, seed=1))
    reals = reals.finish()
    found = compute("msssim10k:6", fakes.finish(), Against(against(8).pictures, reals, {}))
    assert found.floor == {"msssim10k:6": reals.similarities.mean()} and found.floor_text == "8 real pictures"


def test_a_score_of_the_fakes_alone_has_no_floor():
    found = compute("tiny_is", of(20, 0), None)
    assert list(found.values) == ["tiny_is_mean", "tiny_is_std"] and found.floor == {} and "reals" not in found.about


# ---- counts, and what is said


def test_the_first_fakes_are_taken_where_there_are_more():
    fakes = of(40, 0)
    found = compute("tiny_kd:12", fakes, against())
    assert found.about["num_images"] == 12
    assert found.values["tiny_kd:12"] == kid.stylegan2_ada(fakes.rows[:12], against().found.rows, 0).mean


def test_another_number_of_images_than_the_definitions_is_noted():
    assert compute("tiny_kd", of(24, 0), against()).notes == ()
    assert compute("tiny_kd:12", of(24, 0), against()).notes == ("tiny_kd:12: the definition's number is 24, not 12",)


def test_fewer_pictures_than_asked_for_are_counted_and_noted():
    found = compute("tiny_kd", of(10, 0), against())
    assert found.about["num_images"] == 10 and found.notes == ("tiny_kd: the definition's number is 24, not 10",)


def test_beside_the_number_stands_what_decides_about_it():
    reals = against()
    found = compute("tiny_fd", of(24, 0), reals, seed=4)
    assert (found.what, found.seed) == ("as fid50k_full", 4)
    assert found.about == {
        "num_images": 24,
        "features": "tiny",
        "resize": "means of quarters",
        "weights": {"file": "tiny file", "sha256": "f" * 64, "sha256_of_arrays": "c" * 64},
        "reals": {
            "pictures": "all 30 pictures",
            "number": 30,
            "source": "pictures",
            "fingerprint": "of pictures",
            "resolution": 16,
            "kept_as": str(real_features.key_of(reals.pictures, measured.network())),
        },
    }
    json.dumps(found.about)


# ---- latents


def test_a_path_length_is_of_all_batches_of_distances(tmp_path):
    (metric,) = definitions.parse(["ppl_wend:10"])
    batches = [np.arange(6, dtype=np.float32), np.arange(6, 10, dtype=np.float32)]
    tools = measured.tools(tmp_path, distance=measured.network())
    found = computation.of_latents(metric, batches, 6, tools, 2, lambda done, total: None)
    assert found.values == {"ppl_wend:10": ppl.path_length(np.arange(10))} == {"ppl_wend:10": 4.5}
    assert found.about == {
        "space": "w", "sampling": "end", "crop": True, "num_pairs": 10, "epsilon": 1e-4, "computed_in": "float32",
        "weights": measured.network().about, "batch": 6, "num_devices": 4, "resize": "box means to at most 256 px",
    }  # fmt: skip
    assert found.notes == ("ppl_wend:10: the definition's number is 100,000, not 10",) and found.floor == {}


@pytest.mark.parametrize("name", ["ls_z_exact", "ls_w_exact", "ls_w"])
def test_a_separability_is_of_the_latents_of_its_space_and_method(tmp_path, name, monkeypatch):
    monkeypatch.setattr(computation, "MOST_PROCESSES", 1)
    (metric,) = definitions.parse([f"{name}:80"])
    rng = np.random.default_rng(0)
    z, w, logits = (rng.standard_normal((80, d)).astype(np.float32) for d in (3, 4, 2))
    logits[:, 0] += 3 * w[:, 0]
    batches = [{"z": z[a:b], "w": w[a:b], "logits": logits[a:b]} for a, b in ((0, 50), (50, 80))]
    asked = Attributes(("hat", "smile"), lambda params, images: images, {}, "e" * 64, "two attributes")
    told, tools = [], measured.tools(tmp_path, attributes=asked)
    found = computation.of_latents(metric, batches, 50, tools, 0, lambda *done: told.append(done))
    method, points = metric.definition.method, {"z": z, "w": w}[metric.definition.space]
    expected = separability.result(points, logits, asked.names, method)
    assert found.values == {metric.name: expected["ls"]} and told == [(1, 2), (2, 2)]
    assert found.about == {
        "num_images": 80, "batch": 50, "method": method, "weights": {"sha256": "e" * 64},
        "attributes": "two attributes", "entropies": expected["entropies"], "shares": expected["shares"],
        "num_devices": 4, "resize": "box means to the network's size",
    }  # fmt: skip
    json.dumps(found.about)
