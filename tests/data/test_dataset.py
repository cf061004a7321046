"""The order of the images is a function of (seed, nimg), whatever the batch and the processes."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from stylegan_jax.config import Data, Model
from stylegan_jax.data import dataset, images, labels

NUM_IMAGES, NUM_HELDOUT = 23, 5
NUM_TRAIN = NUM_IMAGES - NUM_HELDOUT


def _images(data: Data, model: Model, progress_fn=None) -> images.Images:
    """Returns images at 8 and 4 px, of which number i is filled with i and of class i mod 3."""
    numbers = np.arange(NUM_IMAGES, dtype=np.uint8)[:, None, None, None]
    return images.Images(
        name="numbers",
        length=NUM_IMAGES,
        sizes=(4, 8),
        images_fn=lambda indices, size: np.broadcast_to(numbers[indices], (len(indices), size, size, 3)),
        fingerprint="0123456789abcdef",
        classes=labels.Classes(np.arange(NUM_IMAGES) % 3, ("a", "b", "c")),
        num_skipped=4,
        num_filtered=3,
        num_enlarged=2,
        num_ignored=1,
    )


@pytest.fixture(autouse=True)
def _numbers(monkeypatch):
    monkeypatch.setattr(images, "open_images", _images)


def _open(seed: int = 0, num_labels: int = 0, num_heldout: int = NUM_HELDOUT) -> dataset.Dataset:
    return dataset.open_dataset(
        Data(source="numbers", num_heldout=num_heldout), Model(resolution=8, num_labels=num_labels), seed
    )


def _numbers_of(shown: np.ndarray) -> list[int]:
    return shown[:, 0, 0, 0].tolist()


def _shown(data: dataset.Dataset, nimg: int, n: int, part: tuple[int, int] = (0, 1)) -> list[int]:
    return _numbers_of(data.batch(nimg, n, 8, part).images)


def test_a_batch_is_uint8_images_without_labels():
    batch = _open().batch(0, 6, 8)
    assert batch.images.shape == (6, 8, 8, 3) and batch.images.dtype == np.uint8
    assert batch.labels is None


def test_each_epoch_shows_every_training_image_once():
    data = _open()
    train = sorted(set(range(NUM_IMAGES)) - set(_numbers_of(data.heldout(NUM_HELDOUT))))
    epochs = [_shown(data, epoch * NUM_TRAIN, NUM_TRAIN) for epoch in range(4)]
    assert [sorted(epoch) for epoch in epochs] == [train] * 4
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_concatenate_to_the_global_batch(count):
    data = _open(num_labels=3)
    for nimg in (0, 8, 16, 200):  # The second crosses into the next epoch.
        whole = data.batch(nimg, 16, 8)
        parts = [data.batch(nimg, 16, 8, (index, count)) for index in range(count)]
        np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
        np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), whole.labels)


@pytest.mark.parametrize("nimg", [0, 1, 17, 18, 19, 50])
def test_the_order_resumes_from_any_number_of_images(nimg):
    assert _shown(_open(), nimg, 20) == _shown(_open(), 0, 100)[nimg : nimg + 20]


def test_the_order_does_not_depend_on_the_batch():
    data = _open()
    by_four = sum((_shown(data, nimg, 4) for nimg in range(0, 60, 4)), [])
    assert by_four == sum((_shown(data, nimg, 12) for nimg in range(0, 60, 12)), [])


def test_a_batch_may_be_larger_than_the_data():
    data = _open()
    assert _shown(data, 3, 3 * NUM_TRAIN) == _shown(data, 0, 4 * NUM_TRAIN)[3 : 3 + 3 * NUM_TRAIN]


def test_the_order_of_a_seed_never_changes():
    assert dataset._permutation(0, dataset.ORDER, 0, 8).tolist() == [7, 4, 2, 6, 5, 0, 1, 3]
    assert dataset._permutation(7, dataset.SPLIT, 3, 8).tolist() == [2, 5, 7, 3, 0, 6, 4, 1]


def test_seeds_differ_in_order_and_split():
    orders = {tuple(_shown(_open(seed, num_heldout=0), 0, NUM_IMAGES)) for seed in range(5)}
    splits = {tuple(_numbers_of(_open(seed).heldout(NUM_HELDOUT))) for seed in range(5)}
    assert len(orders) == len(splits) == 5


def test_heldout_images_are_never_trained_on():
    data = _open()
    heldout = _numbers_of(data.heldout(NUM_HELDOUT))
    assert len(set(heldout)) == NUM_HELDOUT
    assert set(heldout).isdisjoint(_shown(data, 0, 3 * NUM_TRAIN))
    assert set(heldout).isdisjoint(_numbers_of(data.sample_reals(NUM_TRAIN)))


def test_holding_out_more_keeps_those_held_out_before():
    assert _numbers_of(_open(num_heldout=9).heldout(5)) == _numbers_of(_open(num_heldout=5).heldout(5))


def test_sampled_reals_are_fixed_training_images_without_repetition():
    data = _open()
    sample = _numbers_of(data.sample_reals(6))
    assert len(set(sample)) == 6 and set(sample) <= set(_shown(data, 0, NUM_TRAIN))
    assert sample == _numbers_of(_open().sample_reals(10))[:6]
    assert sample != sorted(sample) and sample != _shown(data, 0, 6)


def test_no_more_is_returned_than_there_is():
    data = _open()
    assert len(data.sample_reals(1000)) == NUM_TRAIN
    assert len(data.heldout(1000)) == NUM_HELDOUT
    assert _open(num_heldout=0).heldout(4).shape == (0, 8, 8, 3)


def test_a_dataset_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        _open().train_indices[0] = 0


def test_a_batch_has_the_smallest_stored_size_that_is_not_below_the_resolution():
    data = _open()
    assert [data.batch(0, 2, resolution).images.shape[1] for resolution in (4, 8)] == [4, 8]
    assert [data.stored.size(resolution) for resolution in (2, 4, 8)] == [4, 4, 8]


def test_metrics_see_the_resolution_of_the_model_where_only_larger_images_are_stored():
    small = dataclasses.replace(_open(), model=Model(resolution=2))
    assert small.sample_reals(3).shape == small.heldout(3).shape == (3, 2, 2, 3)
    np.testing.assert_array_equal(_numbers_of(small.sample_reals(3)), _numbers_of(_open().sample_reals(3)))


def test_labels_are_one_hot_and_belong_to_their_images():
    batch = _open(num_labels=3).batch(5, 30, 8)
    assert batch.labels.shape == (30, 3) and batch.labels.dtype == np.float32
    np.testing.assert_array_equal(batch.labels.sum(1), 1)
    np.testing.assert_array_equal(batch.labels.argmax(1), batch.images[:, 0, 0, 0] % 3)


def test_describe_counts():
    assert _open().describe() == {
        "images": NUM_TRAIN,
        "heldout": NUM_HELDOUT,
        "skipped": 4,
        "filtered": 3,
        "enlarged": 2,
        "ignored": 1,
        "classes": 3,
    }


def test_as_many_images_are_left_to_train_on_as_are_held_out():
    assert len(_open(num_heldout=NUM_IMAGES // 2).train_indices) == 12
    with pytest.raises(
        ValueError,
        match=r"'numbers' has 23 images, but data.num_heldout is 12.*; use data.num_heldout=11 or less, or",
    ):
        _open(num_heldout=NUM_IMAGES // 2 + 1)


@pytest.mark.parametrize(
    ("settings", "message"), [({"seed": -1}, "seed is -1"), ({"num_heldout": -1}, "data.num_heldout is -1")]
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        _open(**settings)


@pytest.mark.parametrize(("nimg", "n", "part"), [(0, 6, (0, 4)), (-1, 4, (0, 1)), (0, 0, (0, 1)), (0, 4, (2, 2))])
def test_batches_that_do_not_divide_are_refused(nimg, n, part):
    with pytest.raises(ValueError, match=f"batch {n} after {nimg} images has no part {part[0]} of {part[1]}"):
        _open().batch(nimg, n, 8, part)


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_one_to_three_images_are_trained_on_without_held_out_ones_and_the_error_says_so(monkeypatch, num_images):
    monkeypatch.setattr(images, "open_images", lambda *args: dataclasses.replace(_images(*args[:2]), length=num_images))
    data = _open(num_heldout=0)
    assert len(data.train_indices) == num_images and sorted(_shown(data, 0, num_images)) == list(range(num_images))
    with pytest.raises(ValueError, match="; use data.num_heldout=0 with report.metric_ticks=0.$"):
        _open(num_heldout=2)


def test_a_batch_of_many_classes_has_no_square_matrix_in_it():
    many = dataclasses.replace(_open(num_labels=3), model=Model(resolution=8, num_labels=50_000))
    tracemalloc.start()
    batch = many.batch(0, 4, 8)
    assert tracemalloc.get_traced_memory()[1] < 2**22  # Such a matrix is of 10 GB.
    tracemalloc.stop()
    assert batch.labels.shape == (4, 50_000) and batch.labels.sum() == 4
