"""The ladder's faults do what their names say, and its criterion tells a fault from the floor's spread."""

import gzip
import io
import math
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments.metrics_ladder import faults, picture, scores, sets, table
from experiments.metrics_ladder.scores import Verdict

# Gray pictures have no tint.
CHANGES = [(name, channels) for name in faults.CHANGES for channels in (1, 3) if (name, channels) != ("tint of 4", 1)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _images(rng, shape=(6, 16, 16, 3)):
    return rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(("name", "channels"), CHANGES)
def test_changes_keep_shape_and_type_and_change_something(rng, name, channels):
    images = _images(rng, (6, 16, 16, channels))
    changed = faults.CHANGES[name](images, rng)
    assert changed.shape == images.shape and changed.dtype == np.uint8
    assert (changed != images).any()


def test_noise_has_the_deviation_that_is_asked_for(rng):
    gray = np.full((8, 32, 32, 3), 128, np.uint8)
    noise = faults.noise(gray, rng, deviation=16).astype(float) - 128
    assert noise.std() == pytest.approx(16, rel=0.02) and abs(noise.mean()) < 0.5


def test_noise_and_tint_end_at_black_and_white(rng):
    extremes = np.zeros((1, 16, 16, 3), np.uint8)
    extremes[:, :8] = 255
    noisy = faults.noise(extremes, rng, deviation=16).astype(int)
    assert noisy[:, :8].min() > 128 > noisy[:, 8:].max()
    assert (faults.tint(extremes, rng, shift=8)[0, :, 0] == [255, 255, 247]).all(axis=1)[:8].all()


def test_blur_of_a_point_is_a_gaussian(rng):
    point = np.zeros((1, 15, 15, 1), np.uint8)
    point[0, 7, 7] = 255
    blurred = faults.blur(point, rng, deviation_px=1)[0, :, :, 0].astype(float)
    assert blurred[7, 7] == pytest.approx(255 / (2 * math.pi), abs=1)
    assert blurred[7, 8] / blurred[7, 7] == pytest.approx(math.exp(-0.5), abs=0.02)
    np.testing.assert_array_equal(blurred, blurred.T)


def test_blur_keeps_flat_pictures(rng):
    flat = np.full((1, 16, 16, 3), 200, np.uint8)
    np.testing.assert_array_equal(faults.blur(flat, rng, deviation_px=1), flat)


def test_contrast_keeps_the_mean_of_each_picture(rng):
    images = np.stack([np.full((16, 16, 3), 60, np.uint8), np.full((16, 16, 3), 200, np.uint8)])
    images[:, ::2] += 40
    changed = faults.contrast(images, rng, factor=0.5)
    assert set(np.unique(changed[0])) == {70, 90} and set(np.unique(changed[1])) == {210, 230}


def test_mirrored_twice_is_the_picture(rng):
    images = _images(rng)
    mirrored = faults.flip(images, rng)
    np.testing.assert_array_equal(mirrored[:, :, 0], images[:, :, -1])
    np.testing.assert_array_equal(faults.flip(mirrored, rng), images)


def test_squares_have_sixteen_colours(rng):
    squares = faults.squares(_images(rng, (1, 16, 16, 3)), rng)[0]
    np.testing.assert_array_equal(squares[:4, :4], np.broadcast_to(squares[0, 0], (4, 4, 3)))
    assert len(np.unique(squares.reshape(-1, 3), axis=0)) == 16


def _pool(rng, count=100):
    has = np.arange(5 * count) % 2 == 0
    return sets.Pool("set", _images(rng, (5 * count, 16, 16, 1)), {"no odd ones": has})


def test_rungs_compare_equally_many_pictures_that_are_not_among_the_reals(rng):
    rungs = {rung.name: rung for rung in faults.rungs(_pool(rng), 100, rng)}
    assert "tint of 4" not in rungs
    for name, rung in rungs.items():
        assert len(rung.fakes) == len(rung.reals) == 100
        assert set(rung.fakes).isdisjoint(rung.reals) == (name != "copies, against their originals")
    assert (rungs["no odd ones"].fakes % 2 == 0).all()
    assert len(set(rungs["64 pictures, repeated"].fakes)) <= 64
    assert set(rungs["copies, against their originals"].fakes) == set(rungs["copies, against other reals"].fakes)


def test_a_fault_that_leaves_too_few_pictures_is_refused(rng):
    pool = _pool(rng)
    pool.kept["only one"] = np.arange(500) == 499
    with pytest.raises(ValueError, match="set, 'only one' leaves 1 pictures, and 100 are compared"):
        faults.rungs(pool, 100, rng)


def test_the_floor_compares_disjoint_halves(rng):
    rung = faults.floor(50, 20, rng)
    assert len(set(rung.fakes)) == len(set(rung.reals)) == 20 and set(rung.fakes).isdisjoint(rung.reals)


def test_z_scores_count_deviations_of_the_floor_for_the_worse():
    floors = [{"FD": 1.0, "recall": 0.5}, {"FD": 3.0, "recall": 0.7}]
    found = scores.z_scores({"FD": 2 + 5 * math.sqrt(2), "recall": 0.6 + 0.1 * math.sqrt(2)}, floors)
    assert found == pytest.approx({"FD": 5, "recall": -1})


def test_a_floor_without_spread_makes_any_difference_infinite():
    floors = [{"coverage": 1.0}] * 3
    assert scores.z_scores({"coverage": 0.9}, floors) == {"coverage": math.inf}
    assert scores.z_scores({"coverage": 1.0}, floors) == {"coverage": 0}


@pytest.mark.parametrize(
    ("z", "expected"),
    [(4.1, Verdict.SEEN), (4, Verdict.BLIND), (-4, Verdict.BLIND), (-4.1, Verdict.PRAISED), (math.inf, Verdict.SEEN)],
)
def test_verdicts_need_more_than_four_deviations(z, expected):
    assert scores.verdict(z) is expected


def test_attribute_score_is_one_for_equal_answers_and_two_for_sure_and_balanced_ones():
    sure = np.tile(np.float32([[40, -40], [-40, 40]]), (8, 1))
    assert scores.attribute_score(sure) == pytest.approx(2)
    assert scores.attribute_score(np.full((16, 3), 1.5, np.float32)) == pytest.approx(1)


def test_copies_get_perfect_scores_and_squares_bad_ones(rng):
    images = rng.integers(0, 256, (64, 16, 16, 3), np.uint8)
    features = images.reshape(64, -1)[:, :8].astype(np.float32)
    reals = scores.Measured(images, features)
    copied = scores.scores(reals[np.arange(64)[::-1]], reals)
    assert copied["FD"] == pytest.approx(0, abs=0.01) and copied["precision"] == copied["recall"] == 1
    far = scores.scores(scores.Measured(faults.squares(images, rng), features + 1000), reals)
    assert far["precision"] == far["recall"] == far["coverage"] == 0
    assert all(far[name] > copied[name] for name in ("FD", "KID", "MIND", "SWD"))
    assert set(copied) == scores.WORSE.keys() - {"fd_faces", "attribute IS"}


def _png(value):
    file = io.BytesIO()
    Image.new("RGBA", (128, 128), (value, 0, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_emoji_lie_on_white_and_are_grouped_by_their_names(tmp_path, rng):
    path = tmp_path / "emoji.zip"
    names = ["emoji_u1f600.png", "emoji_u1f44b_1f3ff.png", "emoji_u1f44b_1f3fb.png", "emoji_u1f4a1.png"]
    with zipfile.ZipFile(path, "w") as file:
        for name in [*names, "SOURCE.txt"]:
            file.writestr(f"folder/{name}", _png(10))
    pool = sets.emoji(path, 1, rng)
    assert pool.images.shape == (4, 64, 64, 3) and (pool.images == 255).all()
    assert [int(kept.sum()) for kept in pool.kept.values()] == [3, 3, 2]
    with pytest.raises(ValueError, match="has 4 files .* enough to compare 1, and 2 are asked for"):
        sets.emoji(path, 2, rng)


def _write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_photographs_are_padded_and_keep_their_classes(tmp_path, rng):
    labels = np.array([8, 5, 0, 1], np.uint8)
    images = np.broadcast_to(labels[:, None, None] + np.uint8(10), (4, 28, 28))
    for part in ("train", "t10k"):
        _write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        _write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels)
    pool = sets.fashion(tmp_path, 2, rng)
    assert pool.images.shape == (8, 32, 32, 1) and not pool.images[:, :2].any()
    found = pool.images[:, 16, 16, 0] - 10
    np.testing.assert_array_equal(pool.kept["no bags"], found != 8)
    np.testing.assert_array_equal(pool.kept["no shoes"], found != 5)
    np.testing.assert_array_equal(pool.kept["only 3 of 10 classes"], (found == 8) | (found == 0))
    damaged = tmp_path / "train-labels-idx1-ubyte.gz"
    damaged.write_bytes(gzip.compress(gzip.decompress(damaged.read_bytes())[:-1]))
    with pytest.raises(ValueError, match="no whole idx file"):
        sets.fashion(tmp_path, 2, rng)


def _ladder(rng):
    floors = [{"FD": 1.0, "recall": 0.5}, {"FD": 1.1, "recall": 0.6}]
    found = {"noise": {"FD": 1234.5, "recall": 0.55}, "copies": {"FD": 0.0, "recall": 0.0}}
    return table.Ladder("set", 7, floors, found, dict.fromkeys(found, _images(rng, (3, 16, 16, 1))))


def test_the_table_marks_what_is_seen(rng):
    lines = table.markdown(_ladder(rng)).splitlines()
    assert lines[0] == "| set, 7 against 7 | FD | recall |"
    assert lines[-2:] == ["| noise | 1234 + | 0.550 . |", "| copies | 0 ! | 0 + |"]


def test_the_picture_has_a_cell_for_each_score(rng):
    ladder = _ladder(rng)
    one, two = picture.draw([ladder]), picture.draw([ladder, ladder])
    assert two.size == (one.width, 2 * one.height)
    colors = {color for _, color in one.convert("RGB").getcolors(2**16)}
    near = [min(max(abs(a - b) for a, b in zip(c, picture.color(z), strict=True)) for c in colors) for z in (9999, 0)]
    assert max(near) <= 8


def test_short_numbers_have_three_digits():
    values = (0, -7e-13, 0.000012, 0.00123, 0.5, 12.345, 4567.8, -0.00123)
    expected = ["0", "0", "1e-05", "0.00123", "0.500", "12.3", "4568", "-0.00123"]
    assert [table.short(value) for value in values] == expected
