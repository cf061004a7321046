"""Directions in w: by a support vector machine, by principal components, by the style weights; and what is held."""

import dataclasses

import numpy as np
import pytest

from stylegan_jax.images import directions, styles
from stylegan_jax.images.directions import Direction
from tests.random_networks import random_network

SIZE = 14


@pytest.fixture(scope="module")
def w():
    """Normal numbers of very different spreads along axes that are not those of the array."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    return (rng.standard_normal((4000, SIZE)) * np.geomspace(2, 0.05, SIZE)) @ axes.T + rng.standard_normal(SIZE)


def normal_of(seed):
    return np.random.default_rng(seed).standard_normal(SIZE)


def labels(w, normal):
    scores = w @ normal
    return scores > np.median(scores)


def plain(name, vector):
    vector = np.asarray(vector, np.float32)
    return Direction(name, vector, vector, "given")


def test_the_normal_of_the_machine_is_that_of_the_plane_that_parts_the_images(w):
    normal = normal_of(1)
    found = directions.svm_direction(w, labels(w, normal)).normal
    assert np.corrcoef(w @ found, w @ normal)[0, 1] > 0.995


def test_the_vector_of_the_machine_is_the_covariance_times_its_normal(w):
    found = directions.svm_direction(w, labels(w, normal_of(1)))
    np.testing.assert_allclose(np.cov(w, rowvar=False) @ found.normal, found.vector, rtol=0.02, atol=0.01)


def test_strength_one_of_the_machine_is_one_standard_deviation(w):
    found = directions.svm_direction(w, labels(w, normal_of(1)))
    assert found.vector @ np.linalg.solve(np.cov(w, rowvar=False), found.vector) == pytest.approx(1, rel=0.02)
    assert found.normal @ found.vector == pytest.approx(1, rel=1e-5)


def test_the_direction_points_to_the_images_with_the_attribute(w):
    is_present = labels(w, normal_of(1))
    found, opposite = (directions.svm_direction(w, x) for x in (is_present, ~is_present))
    np.testing.assert_allclose(found.vector, -opposite.vector, atol=1e-4)
    assert (w[is_present] @ found.normal).mean() > (w[~is_present] @ found.normal).mean()


def test_a_machine_of_several_layers_tells_in_which_an_attribute_is(w):
    ws = np.stack([w[:2000], w[2000:]], axis=1)
    normal = np.stack([0 * normal_of(1), normal_of(1)])
    scores = np.einsum("nld,ld->n", ws, normal)
    found = directions.svm_direction(ws, scores > 0)
    assert found.vector.shape == (2, SIZE)
    in_layers = np.sum(found.vector * found.normal, axis=1)
    np.testing.assert_allclose(in_layers, [0, 1], atol=0.01)
    assert found.normal[1] @ normal[1] > 0


def test_a_rare_attribute_has_nearly_the_direction_of_a_frequent_one(w):
    scores = w @ normal_of(1)
    rare, frequent = (directions.svm_direction(w, scores > np.quantile(scores, share)) for share in (0.95, 0.5))
    assert rare.normal @ frequent.vector > 0.9


def test_an_attribute_of_nearly_no_images_is_refused(w):
    is_present = np.arange(len(w)) < 9
    with pytest.raises(ValueError, match="hat: 9 of 4000 images have it; a direction takes at least 10 with it"):
        directions.svm_direction(w, is_present, "hat")
    with pytest.raises(ValueError, match="3991 of 4000 images have it"):
        directions.svm_direction(w, ~is_present)


@pytest.mark.parametrize("is_present", [np.ones(4000), np.ones(3999, bool), np.ones((4000, 1), bool)])
def test_labels_of_another_kind_or_number_are_refused(w, is_present):
    with pytest.raises(ValueError, match=r"is_present is .*; give bool \[4000\]"):
        directions.svm_direction(w, is_present)


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((1, 3)), np.ones((5, 3), int), np.full((5, 3), np.nan)])
def test_w_that_is_no_table_of_finite_floats_is_refused(bad):
    with pytest.raises(ValueError, match=r"give finite floats \[n, w_size\] of at least 2 images"):
        directions.pca_directions(bad, 1)


def test_components_are_at_right_angles_and_one_standard_deviation_long(w):
    found = directions.pca_directions(w, 5)
    vectors = np.stack([d.vector for d in found])
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(vectors @ vectors.T, np.diag(lengths**2), atol=1e-5)
    np.testing.assert_allclose(lengths, (w @ (vectors.T / lengths)).std(axis=0), rtol=1e-5)
    assert list(lengths) == sorted(lengths, reverse=True)
    assert [d.name for d in found] == ["pca0", "pca1", "pca2", "pca3", "pca4"]


def test_components_hold_the_most_variance(w):
    (first,) = directions.pca_directions(w, 1)
    values = np.linalg.svd(w - w.mean(axis=0), compute_uv=False)
    assert np.linalg.norm(first.vector) == pytest.approx(values[0] / np.sqrt(len(w)), rel=1e-5)


def test_the_largest_number_of_a_component_is_positive(w):
    for d in (*directions.pca_directions(w), *directions.pca_directions(-w)):
        assert d.vector[np.abs(d.vector).argmax()] > 0


def test_there_are_no_more_components_than_w_has_numbers(w):
    assert len(directions.pca_directions(w)) == SIZE


def test_style_weights_are_those_of_the_layers_side_by_side():
    network = random_network()
    synthesis = network.params["synthesis"]
    found = directions.style_weights(network, [1, 4])
    first, second = synthesis["b4"]["epilogue1"]["style"]["weight"], synthesis["b16"]["epilogue0"]["style"]["weight"]
    np.testing.assert_array_equal(found, np.concatenate([first, second], axis=1))


def test_layers_that_are_not_trained_yet_do_not_count():
    network = dataclasses.replace(random_network(), resolution=8)
    expected = directions.style_weights(random_network(), range(4))
    np.testing.assert_array_equal(directions.style_weights(network), expected)
    with pytest.raises(ValueError, match="there is no layer 4; this network has 4, from 0"):
        directions.style_weights(network, [4])


def test_the_first_direction_in_closed_form_changes_scaled_styles_most(w):
    network = random_network()
    weights = directions.style_weights(network, [0, 1])
    weights = weights / np.linalg.norm(weights, axis=0)
    found = directions.sefa_directions(network, w, SIZE, [0, 1])
    changes = [np.linalg.norm(d.vector @ weights) / np.linalg.norm(d.vector) for d in found]
    np.testing.assert_allclose(changes, np.linalg.svd(weights, compute_uv=False), rtol=1e-5)


def test_strength_one_in_closed_form_is_one_standard_deviation_along_it(w):
    (found,) = directions.sefa_directions(random_network(), w, 1)
    length = np.linalg.norm(found.vector)
    assert length == pytest.approx((w @ found.vector / length).std(), rel=1e-5)


def test_a_network_without_styles_is_refused(w):
    network = random_network(use_styles=False, const_input=False)
    with pytest.raises(ValueError, match="random has no styles, as Progressive GAN; this needs a StyleGAN's network"):
        directions.sefa_directions(network, w, 1)


def test_held_directions_of_other_people_are_at_right_angles_to_the_result():
    given = plain("smile", [3, 4, 1])
    found = directions.held(given, [plain("age", [1, 0, 0]), plain("glasses", [1, 1, 0])])
    np.testing.assert_allclose(found.vector, [0, 0, np.sqrt(26)], atol=1e-5)


def test_machines_of_held_directions_do_not_change_their_answers(w):
    smile, age, hat = (directions.svm_direction(w, labels(w, normal_of(i)), str(i)) for i in range(3))
    found = directions.held(smile, [age, hat])
    assert abs(smile.vector @ age.normal) > 0.01
    np.testing.assert_allclose([found.vector @ age.normal, found.vector @ hat.normal], 0, atol=1e-5)
    assert found.vector @ np.linalg.solve(np.cov(w, rowvar=False), found.vector) == pytest.approx(1, rel=0.03)


def test_the_order_of_held_directions_and_a_direction_itself_do_not_matter(w):
    smile, age, hat = (directions.svm_direction(w, labels(w, normal_of(i)), str(i)) for i in range(3))
    first, second = directions.held(smile, [age, hat]), directions.held(smile, [hat, smile, age])
    np.testing.assert_allclose(first.vector, second.vector, atol=1e-5)


def test_layers_that_a_direction_does_not_move_stay_so():
    layered = plain("smile", [[1, 1], [0, 0], [2, 0]])
    found = directions.held(layered, [plain("age", [1, 0])])
    length = np.sqrt(6 / (6 - 9 / 2))  # age has parts 1 and 2 in two layers of the direction.
    np.testing.assert_allclose(found.vector, length * np.array([[-0.5, 1], [0, 0], [0.5, 0]]), atol=1e-5)


def test_a_direction_of_which_nothing_is_left_is_refused():
    with pytest.raises(ValueError, match="nothing of smile is left without age, hat; hold fewer"):
        directions.held(plain("smile", [1, 1, 0]), [plain("age", [1, 0, 0]), plain("hat", [0, 1, 0])])


def test_labels_that_say_nothing_of_w_have_no_direction():
    w = np.repeat(np.random.default_rng(0).standard_normal((20, SIZE)), 2, axis=0)
    with pytest.raises(directions.TooFew, match="old: the images that have it are those that lack it"):
        directions.svm_direction(w, np.arange(40) % 2 == 0, "old")


def test_few_w_have_no_more_components_than_they_vary_along(w):
    found = directions.pca_directions(w[:4])
    assert len(found) == 3 and all(np.isfinite(one.normal).all() for one in found)


def test_layers_that_are_not_trained_yet_are_refused():
    network = dataclasses.replace(random_network(resolution=16), resolution=8)
    with pytest.raises(ValueError, match="layers 4, 5 have no part in the images yet: .* 8 px, .* layers 0 to 3"):
        styles.check_trained(network, [4, 5])
    styles.check_trained(network, [3, 4])
