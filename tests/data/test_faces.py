"""Procedural faces: reproducible, continuous in every factor, the same in NumPy and JAX."""

import functools
from concurrent import futures

import numpy as np
import pytest

from stylegan_jax.data import faces
from stylegan_jax.data.faces import factors as factors_lib
from stylegan_jax.data.faces import scene as scene_lib
from stylegan_jax.data.faces import shapes

NAMES = [factor.name for factor in faces.FACTORS]
SEEDS = np.arange(100, dtype=np.uint32)
CHUNK = 3  # Faces drawn at once: one size for all tests, so that XLA compiles once.
RECORDED_FACTORS = [0.1768187, -0.2966731, 0.2825678, 0.4398724, -0.3238119, 0.0737232, 0.1388133, 0.1824616]
RECORDED_SEED = 3715212941


def _with(face: np.ndarray, name: str, values: np.ndarray) -> np.ndarray:
    """Returns copies of one face [40] that differ in one factor: [len(values), 40]."""
    changed = np.repeat(face[None], len(values), axis=0)
    changed[:, NAMES.index(name)] = values
    return changed


def _sweep(face: np.ndarray, name: str, values: np.ndarray, resolution: int = 24) -> np.ndarray:
    """Returns the pictures of one face as one factor takes each of `values`."""
    same = np.full(len(values), 7, np.uint32)
    return faces.render(_with(face, name, values).astype(np.float32), same, resolution)


def _steps(pictures: np.ndarray) -> np.ndarray:
    """Returns the largest change of any pixel between consecutive pictures."""
    return np.abs(np.diff(pictures, axis=0)).max(axis=(1, 2, 3))


@functools.cache
def _busy_face() -> np.ndarray:
    """Returns a face on which every part can be seen: all that is worn and grown is half there."""
    face = np.array([0.7 * factor.low + 0.3 * factor.high for factor in faces.FACTORS], np.float32)
    half = ("beard", "mustache", "glasses", "shades", "earrings", "freckles", "mouth_open", "lipstick", "curl", "light")
    for name in (*half, "bangs", "hair_volume", "hair_length", "eye_open"):
        face[NAMES.index(name)] = 0.5
    for name in ("hat", "bald"):
        face[NAMES.index(name)] = 0.2
    return face


def test_there_are_40_factors_and_34_attributes_of_unique_names():
    assert len(set(NAMES)) == len(faces.FACTORS) == 40
    assert len(faces.ATTRIBUTES) == 34
    assert {name for name, _ in faces.ATTRIBUTES.values()} <= set(NAMES)
    assert len({name for name, _ in faces.ATTRIBUTES.values()}) == 34


def test_factors_of_a_face_depend_on_seed_and_index_alone():
    indices = np.array([5, 100_000, 0, 5, 19_999])
    together = faces.sample_factors(indices, seed=3)
    alone = np.concatenate([faces.sample_factors(np.array([i]), seed=3) for i in indices])
    np.testing.assert_array_equal(together, alone)
    assert together.dtype == np.float32 and together.shape == (5, 40)
    assert not (together[1] == together[2]).all()
    assert not (faces.sample_factors(indices, seed=4) == together).all(axis=1).any()


def test_factors_stay_the_same_from_release_to_release():
    face = faces.sample_factors(np.array([12]), seed=0)[0]
    np.testing.assert_allclose(face[:8], RECORDED_FACTORS, rtol=1e-6)
    assert factors_lib.face_seeds(np.array([12]), seed=0)[0] == RECORDED_SEED


def test_sampled_factors_fill_their_ranges_and_stay_within():
    sampled = faces.sample_factors(np.arange(4000), seed=0)
    low, high = (np.array([getattr(factor, end) for factor in faces.FACTORS]) for end in ("low", "high"))
    assert (sampled >= low).all() and (sampled <= high).all()
    spread = (sampled.max(axis=0) - sampled.min(axis=0)) / (high - low)
    assert (spread > 0.7).all(), dict(zip(NAMES, spread, strict=True))


def test_uniform_factors_are_uniform_and_independent():
    names = ["yaw", "zoom", "hair_volume", "skin", "hair_color", "eye_color", "shirt_hue", "background_hue", "light"]
    sampled = faces.sample_factors(np.arange(20_000), seed=1)[:, [NAMES.index(name) for name in names]]
    correlation = np.corrcoef(sampled, rowvar=False) - np.eye(len(names))
    assert np.abs(correlation).max() < 0.04  # 5 standard deviations.
    for column, name in enumerate(names):
        low = faces.FACTORS[NAMES.index(name)].low
        counts, _ = np.histogram(sampled[:, column], bins=10, range=(low, 1))
        np.testing.assert_allclose(counts, 2000, atol=220, err_msg=name)


def test_no_face_is_both_bald_and_hairy_or_bearded_with_long_hair():
    f = dict(zip(NAMES, faces.sample_factors(np.arange(4000), seed=2).T, strict=True))
    assert not f["bangs"][f["bald"] > 0].any()
    assert not f["beard"][f["hair_length"] > 0.4].any()
    assert not f["shades"][f["glasses"] == 0].any()


@pytest.mark.parametrize("attribute", faces.ATTRIBUTES)
def test_an_attribute_is_its_factor_above_its_threshold(attribute):
    name, threshold = faces.ATTRIBUTES[attribute]
    labels = faces.attributes(_with(_busy_face(), name, np.array([threshold - 1e-3, threshold, threshold + 1e-3])))
    assert labels.shape == (3, 34) and labels.dtype == bool
    column = list(faces.ATTRIBUTES).index(attribute)
    assert labels[:, column].tolist() == [False, False, True]
    assert (np.delete(labels, column, axis=1) == np.delete(labels, column, axis=1)[0]).all()


def test_every_attribute_is_found_on_some_faces_and_missing_on_others():
    share = faces.attributes(faces.sample_factors(np.arange(4000), seed=0)).mean(axis=0)
    assert (share > 0.03).all() and (share < 0.97).all(), dict(zip(faces.ATTRIBUTES, share, strict=True))


def test_threads_that_start_together_compile_once(monkeypatch):
    monkeypatch.setattr(faces, "CHUNK_PX", CHUNK * 32**2)
    faces._compiled.cache_clear()
    with futures.ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: faces.images(np.arange(5), 0, 32), range(4)))
    assert faces._compiled.cache_info().misses == 1
    for images in drawn:
        np.testing.assert_array_equal(images, drawn[0])


@pytest.mark.parametrize("resolution", [16, 32])  # Drawn by NumPy, and by XLA.
def test_images_of_a_face_depend_on_seed_and_index_alone(resolution, monkeypatch):
    monkeypatch.setattr(faces, "CHUNK_PX", CHUNK * resolution**2)
    indices = np.array([9, 2, 700, 2])
    together = faces.images(indices, 0, resolution)
    assert together.dtype == np.uint8 and together.shape == (4, resolution, resolution, 3)
    alone = [faces.images(indices[i : i + 1], 0, resolution) for i in range(4)]
    np.testing.assert_array_equal(np.concatenate(alone), together)
    assert (np.abs(faces.images(indices, 1, resolution).astype(int) - together).mean(axis=(1, 2, 3)) > 5).all()


def test_images_are_the_same_from_many_threads():
    wanted = [np.arange(start, start + 3) for start in range(8)]
    with futures.ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda indices: faces.images(indices, 0, 16), wanted))
    for indices, images in zip(wanted, drawn, strict=True):
        np.testing.assert_array_equal(images, faces.images(indices, 0, 16))


def test_no_faces_are_an_empty_array():
    assert faces.images(np.arange(0), 0, 8).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("resolution", [4, 8, 16, 32, 64, 128])
def test_faces_can_be_drawn_at_every_resolution(resolution):
    drawn = faces.render(faces.sample_factors(np.arange(4), 0), SEEDS[:4], resolution)
    assert drawn.shape == (4, resolution, resolution, 3) and drawn.dtype == np.float32
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.std(axis=(1, 2)).min() > 0.02


def test_a_face_looks_alike_at_two_resolutions():
    sampled = faces.sample_factors(np.arange(16), 0)
    fine, coarse = (faces.render(sampled, SEEDS[:16], resolution) for resolution in (128, 32))
    shrunk = fine.reshape(16, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - coarse).mean() < 0.02


def test_numpy_and_jax_agree(monkeypatch):
    monkeypatch.setattr(faces, "CHUNK_PX", CHUNK * 32**2)
    indices = np.arange(64)
    drawn = faces.render(faces.sample_factors(indices, 5), factors_lib.face_seeds(indices, 5), 32)
    np.testing.assert_allclose(faces.images(indices, 5, 32), 255 * drawn, atol=2)


def test_signed_and_unsigned_seeds_draw_the_same():
    sampled = faces.sample_factors(np.arange(2), 0)
    unsigned = np.array([1, 2**32 - 5], np.uint32)
    np.testing.assert_array_equal(
        faces.render(sampled, unsigned, 16), faces.render(sampled, unsigned.astype(np.int32), 16)
    )


@pytest.mark.parametrize("factor", faces.FACTORS, ids=NAMES)
def test_each_factor_changes_the_picture_without_jumps(factor):
    face = _busy_face()
    values = np.linspace(factor.low, factor.high, 65)
    swept = _sweep(face, factor.name, values)
    assert np.abs(swept - swept[0]).max() > 0.05  # The factor does something ...
    coarse = _steps(swept)
    worst = coarse.argmax()
    fine = _steps(_sweep(face, factor.name, np.linspace(values[worst], values[worst + 1], 65)))
    assert fine.max() < 0.02  # ... but where it does most, 1/4096 of its range does little.


@pytest.mark.parametrize(
    ("name", "gate"),
    [("hair_length", 0.4), ("bangs", 0.3), ("square_rim", 0.5), ("freckles", 0.05), ("mouth_open", 0.3)],
)
def test_pictures_do_not_jump_at_the_threshold_of_an_attribute(name, gate):
    faces_sampled = faces.sample_factors(np.arange(12), 6)
    faces_sampled[:, NAMES.index("glasses")] = 1
    for face in faces_sampled:
        assert _steps(_sweep(face, name, gate + np.array([-1e-4, 0, 1e-4]))).max() < 0.01


@pytest.mark.parametrize("name", [factor.name for factor in faces.FACTORS if factor.circular])
def test_hues_are_circular(name):
    ends = _sweep(_busy_face(), name, np.array([0.0, 1.0, 0.5]))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)
    assert np.abs(ends[0] - ends[2]).max() > 0.1


@pytest.mark.parametrize("yaw", [-1, 1])
def test_both_eyes_stay_within_the_head_at_extreme_yaw(yaw):
    face = faces.sample_factors(np.arange(1), 0)[0]
    for gap in (-1, 1):
        for size in (-1, 1):
            for name, value in {"yaw": yaw, "eye_gap": gap, "eye_size": size}.items():
                face[NAMES.index(name)] = value
            scene = scene_lib.make_scene(face[None], SEEDS[:1], 8, np)
            for side in (-1, 1):
                x, narrow = scene.project(side * (0.200 + 0.022 * gap))
                assert abs(x) + narrow * (0.112 + 0.026 * size) < scene_lib.HEAD_X


def test_seeds_move_freckles_but_not_the_face():
    face = _with(_busy_face(), "freckles", np.array([0.0, 1.0, 1.0])).astype(np.float32)
    face[:, NAMES.index("bald")] = 1
    drawn = faces.render(face, np.array([1, 1, 2], np.uint32), 64)
    plain, first, second = drawn[:, 24:44, 16:48]  # Eyes to mouth: no hair, no background.
    assert np.abs(first - plain).max() > 0.1
    assert np.abs(first - second).max() > 0.1
    assert np.abs(first - second).mean() < 0.03


def test_lattices_lie_elsewhere_in_every_image():
    origin = np.zeros((1, 1, 1), np.float32)
    _, _, *places = shapes.lattice(np, origin, origin, SEEDS[:, None, None], stream=41)
    for place in places:
        counts, _ = np.histogram(place, bins=4, range=(0, 1))
        assert counts.sum() == 100 and counts.min() > 10
