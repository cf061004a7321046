"""Sets of features, and the blocks of matrices of all their pairs."""

import numpy as np
import pytest

from stylegan_jax.metrics import feature_sets


def test_features_are_returned_as_they_are():
    features = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert feature_sets.checked(features) is features
    assert feature_sets.checked([[1.0, 2.0]]).shape == (1, 2)


def test_one_bad_number_spoils_a_feature_and_the_message_counts_features():
    features = np.zeros((4, 3))
    features[1, 2], features[3] = np.nan, -np.inf
    with pytest.raises(ValueError, match="2 of 4 logits hold NaN or infinity"):
        feature_sets.checked(features, "logits")


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"features of reals must have shape \[n, d\]"):
        feature_sets.checked_pair(np.zeros((2, 3)), np.zeros(shape))


def test_sets_of_two_networks_are_refused():
    with pytest.raises(ValueError, match="fakes have 3 and the reals 4 dimensions"):
        feature_sets.checked_pair(np.zeros((2, 3)), np.zeros((2, 4)))


@pytest.mark.parametrize("row_size, sizes", [(10, [3, 3, 1]), (30, [1] * 7), (31, [1] * 7), (4, [7])])
def test_blocks_cover_all_rows_and_hold_no_more_than_allowed(row_size, sizes, monkeypatch):
    monkeypatch.setattr(feature_sets, "BLOCK_NUMBERS", 30)
    blocks = feature_sets.blocks(7, row_size)
    rows = np.arange(7)
    assert [len(rows[block]) for block in blocks] == sizes
    np.testing.assert_array_equal(np.concatenate([rows[block] for block in blocks]), rows)
