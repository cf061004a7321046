"""Which pictures a metric takes, and that images are the same whatever the batches and the devices are."""

import dataclasses
import itertools

import numpy as np
import pytest

from stylegan_jax.data.square import box_mean
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import batches, image_sets
from stylegan_jax.networks import sampling, streams
from tests.measured import devices, generator, pixels, source

PIXELS = pixels(21)


def select(how: str, count: int, **more) -> image_sets.Pictures:
    return image_sets.select(source(PIXELS), 16, how, count, **more)


def read(images: image_sets.ImageSet, num_devices: int) -> np.ndarray:
    """Returns all images of a set, of the batches' parts that count."""
    parts = [mesh.gather(batch)[:k] for batch, k in images.batches(devices(num_devices))]
    return np.concatenate(parts)


@pytest.fixture
def batch_of_four(monkeypatch):
    monkeypatch.setattr(batches, "MAX_IMAGES", 4)


# ---- which pictures


def test_all_are_taken_in_their_order_whatever_the_number_of_fakes():
    found = select("all", 5)
    np.testing.assert_array_equal(found.indices, np.arange(21))
    assert not found.is_flipped.any() and found.text == "all 21 pictures" and found.count == 21


def test_of_all_the_first_ones_are_taken_if_there_are_more_than_the_most():
    found = select("all", 5, max_reals=8)
    np.testing.assert_array_equal(found.indices, np.arange(8))
    assert found.text == "the first 8 of all 21 pictures"
    assert select("all", 5, max_reals=21).text == "all 21 pictures"


def test_the_first_ones_are_as_many_as_the_fakes():
    found = select("first", 6)
    np.testing.assert_array_equal(found.indices, np.arange(6))
    assert found.text == "the first 6 pictures of 21"


def test_the_first_ones_begin_again_where_there_are_fewer_than_fakes():
    found = select("first", 45)
    np.testing.assert_array_equal(found.indices, [*range(21), *range(21), 0, 1, 2])
    assert found.text == "21 pictures, again from the first on up to 45"


def test_each_picture_is_flipped_with_probability_one_half_and_its_copies_apart():
    found = select("first", 21_000, is_mirrored=True)
    assert 0.48 < found.is_flipped.mean() < 0.52
    assert (found.is_flipped[:21] != found.is_flipped[21:42]).any()
    assert found.text.endswith(", each flipped with probability 1/2")
    np.testing.assert_array_equal(found.is_flipped, select("first", 21_000, is_mirrored=True).is_flipped)


def test_a_sample_is_drawn_at_random_without_repeats_and_stands_in_the_sources_order():
    found = select("sample", 10)
    assert len(set(found.indices.tolist())) == 10 and (np.diff(found.indices) > 0).all()
    assert found.indices.max() >= 10  # Not the first ones.
    np.testing.assert_array_equal(found.indices, select("sample", 10).indices)
    assert found.text == "10 drawn at random from all 21 pictures"


def test_a_sample_of_more_than_there_are_is_the_same_set_as_all():
    assert select("sample", 30).which == select("all", 30).which


@pytest.mark.parametrize(("count", "text"), [(30, "all 21 pictures"), (10, "10 drawn at random from all 21 pictures")])
def test_shuffled_pictures_stand_in_random_order(count, text):
    found = select("shuffled", count)
    assert len(set(found.indices.tolist())) == found.count == min(count, 21) and found.text == text
    assert np.count_nonzero(np.diff(found.indices) < 0) > found.count // 4


def test_the_first_pictures_alone_keep_their_flips():
    whole = select("first", 30, is_mirrored=True)
    found = whole.first(9)
    np.testing.assert_array_equal(found.indices, whole.indices[:9])
    np.testing.assert_array_equal(found.is_flipped, whole.is_flipped[:9])
    assert found.text == f"the first 9 of {whole.text}" and whole.first(30) is whole


def test_pictures_of_another_order_or_other_flips_are_another_set():
    usual = select("first", 10)
    others = [
        select("first", 11),
        select("first", 10, is_mirrored=True),
        dataclasses.replace(usual, indices=usual.indices[::-1]),
    ]
    assert len({one.which for one in (usual, *others)}) == 4
    assert usual.which == select("all", 3, max_reals=10).which


def test_copies_and_flips_of_a_picture_are_dealt_to_one_half():
    found = select("first", 63, is_mirrored=True)
    half_of = found.half_of.reshape(3, 21)
    np.testing.assert_array_equal(half_of, half_of[:1].repeat(3, axis=0))
    assert set(half_of[0].tolist()) == {0, 1} and abs(int((half_of[0] * 2 - 1).sum())) == 1


# ---- reading them


@pytest.mark.parametrize("num_devices", [1, 4])
def test_pictures_come_in_their_order_and_flipped_where_they_are_to_be(batch_of_four, num_devices):
    found = select("first", 30, is_mirrored=True)
    expected = PIXELS[found.indices]
    expected[found.is_flipped] = expected[found.is_flipped][:, :, ::-1]
    np.testing.assert_array_equal(read(found, num_devices), expected)


@pytest.mark.parametrize("num_devices", [1, 4])
def test_all_batches_have_one_size_and_the_last_one_says_how_many_count(batch_of_four, num_devices):
    found = [(len(batch), k) for batch, k in select("all", 1).batches(devices(num_devices))]
    assert found == [(4, 4)] * 5 + [(4, 1)]


@pytest.mark.parametrize(("sizes", "resolution", "size"), [((16,), 4, 16), ((8, 16, 32), 16, 16), ((8, 32), 16, 32)])
def test_a_lower_resolution_is_the_box_mean_of_the_next_stored_size(sizes, resolution, size):
    read_sizes, images = [], source(pixels(21, px=sizes[-1]), sizes=sizes)

    def images_fn(indices: np.ndarray, size: int) -> np.ndarray:
        read_sizes.append(size)
        return images.images_fn(indices, size)

    watched = dataclasses.replace(images, images_fn=images_fn)
    found = read(image_sets.select(watched, resolution, "all", 1), 1)
    expected = [box_mean(image, resolution) for image in images.images_fn(np.arange(21), size)]
    np.testing.assert_array_equal(found, expected)
    assert set(read_sizes) == {size}


def test_a_batch_is_a_power_of_two_for_each_device_and_bounded_by_its_pixels():
    found = {
        (px, num): image_sets._batch(px, num) for px, num in itertools.product((16, 256, 1024), (1, 4, 6))
    }  # fmt: skip
    assert found == {
        (16, 1): 128, (16, 4): 128, (16, 6): 96, (256, 1): 64, (256, 4): 64, (256, 6): 48, (1024, 1): 4,
        (1024, 4): 4, (1024, 6): 6,
    }  # fmt: skip


# ---- images of a network


def test_fakes_are_the_samples_of_the_networks_key():
    made = generator(1)
    found = read(image_sets.Fakes(made, 5, seed=3), 1)
    key = streams.key_for(3, streams.Stream.METRICS)
    expected = sampling.sample(made.params, key, np.int32(0), None, np.float32(1), model=made.model, n=8, resolution=16)
    difference = np.abs(found.astype(int) - np.asarray(expected)[:5])
    assert difference.max() <= 1 and len(np.unique(found.reshape(5, -1), axis=0)) == 5


def test_an_image_is_the_same_whatever_the_batches_and_the_devices_are(monkeypatch):
    usual = read(image_sets.Fakes(generator(1), 9, seed=0), 1)
    monkeypatch.setattr(batches, "MAX_IMAGES", 4)
    for num_devices in (1, 4):
        found = read(image_sets.Fakes(generator(num_devices), 9, seed=0), num_devices)
        assert np.abs(found.astype(int) - usual).max() <= 1  # Convolutions of other batches are rounded otherwise.
        assert (found == usual).mean() > 0.99


def test_another_seed_gives_other_images():
    first, second = (read(image_sets.Fakes(generator(4), 4, seed), 4) for seed in (0, 1))
    assert (first != second).any(axis=(1, 2, 3)).all()


def test_images_of_a_network_in_mid_growth_are_enlarged_by_repeating_pixels():
    found = read(image_sets.Fakes(generator(4, trained_px=8), 4, seed=0), 4)
    assert found.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(found, found[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))


def test_labels_are_those_of_random_real_pictures(monkeypatch):
    drawn = []

    def sample(params, key, first, labels, alpha, *, n, **_):
        assert first == 128 * len(drawn) and labels.shape == (n, 3) and (labels.sum(axis=1) == 1).all()
        drawn.append(labels.argmax(axis=1))
        return np.zeros((n, 16, 16, 3), np.uint8)

    monkeypatch.setattr(sampling, "sample", sample)
    monkeypatch.setattr(sampling, "sample_batch", lambda *_: 128)
    classes = np.array([0] * 10 + [2] * 30)  # Class 1 has no pictures.
    made = dataclasses.replace(generator(1), classes=classes)
    made = dataclasses.replace(made, model=dataclasses.replace(made.model, num_labels=3))
    list(image_sets.Fakes(made, 4000, seed=0).batches(devices(1)))
    labels = np.concatenate(drawn)[:4000]
    assert not (labels == 1).any() and 0.72 < (labels == 2).mean() < 0.78


def test_the_label_of_an_image_is_the_same_whatever_the_batches_and_the_devices_are(monkeypatch):
    usual = read(image_sets.Fakes(generator(1, classes=np.array([0, 1, 2, 2]), num_labels=3), 9, seed=0), 1)
    monkeypatch.setattr(batches, "MAX_IMAGES", 4)
    made = generator(4, classes=np.array([0, 1, 2, 2]), num_labels=3)
    found = read(image_sets.Fakes(made, 9, seed=0), 4)
    assert np.abs(found.astype(int) - usual).max() <= 1
    labels = image_sets.Fakes(made, 9, seed=0)._labels(12)
    assert len(set(labels[:9].tolist())) > 1
    other = image_sets.Fakes(dataclasses.replace(made, classes=np.array([0])), 9, seed=0)
    differing = (np.abs(read(other, 4).astype(int) - found) > 1).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(differing, labels[:9] != 0)
