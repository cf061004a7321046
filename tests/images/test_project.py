"""Projection: the styles, and the noise, of pictures."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.images import likeness, mapped, project, projection_steps
from stylegan_jax.metrics.features import shelf, vgg
from tests.random_networks import random_network

SIZE = {"resolution": 16, "fmap_max": 6, "w_size": 7, "z_size": 5, "mapping_fmaps": 6}


pytestmark = pytest.mark.usefixtures("few_styles")


@pytest.fixture(scope="module")
def network():
    return random_network(**SIZE)


@pytest.fixture(scope="module")
def pictures(network) -> np.ndarray:
    return network(seeds=[100, 101, 102])


@pytest.fixture(scope="module")
def styles(network) -> mapped.MappedStyles:
    return mapped.styles_of(network)


# ---- what is found


def test_the_style_of_a_generated_picture_is_found_again(network, styles):
    w = styles.candidates[2] + 0.3 * (styles.candidates[3] - styles.candidates[2])
    ws = np.broadcast_to(w, (1, network.model.num_layers, 7))
    found = project.project(network, network.images(ws), "w", steps=300, styles=styles)
    assert found.psnr[0] > 40
    np.testing.assert_allclose(found.ws[0], ws[0], atol=0.05 * np.linalg.norm(styles.candidates.std(axis=0)))


def test_more_steps_and_more_freedom_come_nearer(network):
    picture = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    few, many = (project.project(network, picture, "w", steps=steps).psnr[0] for steps in (2, 60))
    freer, freest = (project.project(network, picture, space, steps=60).psnr[0] for space in ("w+", "w+noise"))
    assert few < many < freer < freest


def test_the_images_are_those_of_the_styles_and_psnr_is_theirs(network, pictures, styles):
    found = project.project(network, pictures, steps=3, styles=styles)
    np.testing.assert_array_equal(found.images, network.images(found.ws))
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(found.images, pictures, strict=True)]
    np.testing.assert_allclose(found.psnr, 10 * np.log10(255**2 / np.array(errors)))
    assert found.noise is None and found.lpips is None and found.space == "w+"


def test_a_picture_does_not_depend_on_the_others(network, pictures, styles):
    together = project.project(network, pictures, steps=5, styles=styles)
    for i in range(3):
        alone = project.project(network, pictures[i : i + 1], steps=5, styles=styles)
        np.testing.assert_array_equal(alone.ws[0], together.ws[i])


def test_a_batch_is_each_picture_alone(network, pictures, styles):
    batch = project.project(network, pictures, "w+noise", steps=4, batch=2, styles=styles)
    alone = project.project(network, pictures, "w+noise", steps=4, batch=1, styles=styles)
    np.testing.assert_allclose(batch.ws, alone.ws, rtol=1e-3, atol=1e-3)
    assert len(batch.images) == 3


def test_w_has_one_style_and_w_plus_one_for_each_layer(network, pictures, styles):
    one, each = (project.project(network, pictures[:1], space, steps=5, styles=styles).ws[0] for space in ("w", "w+"))
    assert np.ptp(one, axis=0).max() == 0
    assert np.ptp(each, axis=0).min() > 0


def test_noise_maps_are_found_with_zero_mean_and_unit_variance(network, pictures, styles):
    found = project.project(network, pictures[:2], "w+noise", steps=5, styles=styles)
    assert [m.shape for m in found.noise] == [(2, r, r, 1) for r in (4, 4, 8, 8, 16, 16)]
    for one, constant in zip(found.noise, network.noise, strict=True):
        np.testing.assert_allclose(one.mean(axis=(1, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(one.std(axis=(1, 2, 3)), 1, atol=1e-3)
        assert np.abs(one - constant).max() > 0.01
    np.testing.assert_array_equal(found.images, network.images(found.ws, found.noise))


def test_it_goes_on_from_another_projection(network, pictures, styles):
    first = project.project(network, pictures[:2], "w", steps=40, styles=styles)
    on = project.project(network, pictures[:2], "w+", steps=1, start=first, styles=styles)
    np.testing.assert_allclose(on.ws, first.ws, atol=1e-3)  # The first step has a learning rate of 0.


def test_pictures_of_another_call_need_no_other_program(network, pictures, styles):
    project.project(network, pictures[:1], steps=1, styles=styles)
    before = projection_steps._advance._cache_size()
    project.project(network, pictures[1:2], steps=2, styles=styles)
    assert projection_steps._advance._cache_size() == before


def test_progress_counts_the_steps_of_all_pictures(network, pictures, styles):
    seen = []
    project.project(network, pictures[:2], steps=7, progress_fn=lambda *now: seen.append(now), styles=styles)
    assert seen == [(5, 14), (7, 14), (12, 14), (14, 14)]


# ---- networks of all kinds


@pytest.mark.parametrize("changes", [{"channels": 1}, {"use_noise": False}, {"num_labels": 3}])
def test_networks_of_other_kinds_are_projected_into(changes):
    network = random_network(**SIZE | changes)
    picture = network(seeds=[5], labels=1 if "num_labels" in changes else None)
    few, many = (project.project(network, picture, steps=steps).psnr[0] for steps in (1, 40))
    assert few < many


def test_a_network_in_a_fade_is_compared_at_its_resolution(network):
    fading = dataclasses.replace(network, resolution=8, alpha=0.5)
    picture = fading(seeds=[5])
    few, many = (project.project(fading, picture, "w+noise", steps=steps) for steps in (1, 40))
    assert few.psnr[0] < many.psnr[0] and len(many.noise) == 4


def test_without_a_discriminator_pixels_alone_are_compared(network, pictures):
    bare = dataclasses.replace(network, d_params=None, w_avg=None)
    assert project.likeness_of(bare, None).features_fn is None
    assert project.likeness_of(network, None).weight == likeness.DISCRIMINATOR_WEIGHT
    few, many = (project.project(bare, pictures[:1], steps=steps).psnr[0] for steps in (1, 40))
    assert few < many


def test_random_styles_are_of_the_class_that_is_given():
    network = random_network(**SIZE | {"num_labels": 3})
    first, second = (mapped.styles_of(network, label) for label in ("class 0", 1))
    rng = np.random.default_rng(0)
    z = rng.standard_normal((64, 5), np.float32)
    np.testing.assert_allclose(first.candidates, network.map(z[:8], labels=0)[:, 0], rtol=1e-4, atol=1e-5)
    assert np.abs(first.candidates - second.candidates).max() > 0.01


def test_a_network_without_styles_is_refused():
    network = random_network(resolution=16, use_styles=False, z_size=14, mapping_layers=0, const_input=False)
    with pytest.raises(ValueError, match="has no styles, as Progressive GAN"):
        project.project(network, np.zeros((1, 16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": np.zeros((1, 8, 8, 3), np.uint8)}, r"images is uint8 \[1, 8, 8, 3\]; this network takes uint8 \[n"),
        ({"images": np.zeros((1, 16, 16, 3))}, "images is float64"),
        ({"images": np.zeros((0, 16, 16, 3), np.uint8)}, "images is uint8"),
        ({"space": "z"}, r"space is 'z'; use one of w, w\+, w\+noise"),
        ({"steps": 0}, "steps is 0; use a whole number from 1 to"),
        ({"labels": 1}, "this network has no classes"),
    ],
)
def test_what_cannot_be_projected_is_refused(network, pictures, arguments, message):
    with pytest.raises(ValueError, match=message):
        project.project(network, **{"images": pictures[:1], "steps": 1} | arguments)


def test_noise_is_refused_for_a_network_without():
    network = random_network(**SIZE | {"use_noise": False})
    with pytest.raises(ValueError, match=r"takes no noise, so there is no space 'w\+noise'; use 'w\+'"):
        project.project(network, network(seeds=[0]), "w+noise")


def test_a_start_of_other_pictures_is_refused(network, pictures, styles):
    start = project.project(network, pictures, steps=1, styles=styles)
    with pytest.raises(ValueError, match="start has 3 pictures, and images 1"):
        project.project(network, pictures[:1], start=start, styles=styles)


# ---- formulas


def test_the_learning_rate_rises_and_falls():
    rate = [float(projection_steps.learning_rate(jnp.float32(t))) for t in (0, 0.025, 0.05, 0.5, 0.75, 1)]
    np.testing.assert_allclose(rate, np.array([0, 0.5, 1, 1, 0.5, 0]) * projection_steps.LEARNING_RATE, atol=1e-7)


def test_the_correlation_of_noise_is_that_of_its_neighbours_at_all_scales():
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 1))
    half = 2 * x.reshape(2, 8, 2, 8, 2, 1).mean(axis=(2, 4))
    expected = sum((y * np.roll(y, 1, a)).mean(axis=(1, 2, 3)) ** 2 for y in (x, half) for a in (1, 2))
    np.testing.assert_allclose(projection_steps.noise_correlation([jnp.asarray(x)]), expected, rtol=1e-4)
    assert projection_steps.noise_correlation([jnp.ones((1, 4, 4, 1))])[0] == 2


def test_pixels_are_compared_at_four_scales():
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16, 16, 3)).astype(np.float32)

    def means(x, k):
        return x.reshape(2, 16 // k, k, 16 // k, k, 3).mean(axis=(2, 4))

    expected = sum(((means(a, k) - means(b, k)) ** 2).mean(axis=(1, 2, 3)) for k in (1, 2, 4, 8))
    np.testing.assert_allclose(likeness.pixel_error(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-5)


def test_pixels_beyond_black_and_white_are_no_error_where_the_target_is_black_or_white():
    made, targets = jnp.float32([2, 2, -3, -3, 0.5]), jnp.float32([1, 0, -1, 1, 1])
    np.testing.assert_array_equal(likeness.saturated(made, targets), [1, 2, -1, -3, 0.5])


def test_features_are_compared_by_their_direction_and_heads():
    a, b = np.random.default_rng(0).standard_normal((2, 1, 4, 4, 5))
    heads = np.arange(5.0)
    unit_a, unit_b = (x / np.linalg.norm(x, axis=3, keepdims=True) for x in (a, b))
    squares = (unit_a - unit_b) ** 2
    plain, weighted = (
        likeness.feature_error([jnp.asarray(a)], [jnp.asarray(3 * b)], h) for h in (None, [jnp.asarray(heads)])
    )
    np.testing.assert_allclose(plain, squares.sum(axis=3).mean(), rtol=1e-5)
    np.testing.assert_allclose(weighted, (squares * heads).sum(axis=3).mean(), rtol=1e-5)


def test_features_of_the_discriminator_do_not_depend_on_the_other_images(network, pictures):
    features_fn = likeness.by_discriminator(network.d_params, None, network.model, 16).features
    images = pictures / np.float32(127.5) - 1
    found, alone = features_fn(images), features_fn(images[:1])
    assert [x.shape[1] for x in found] == [8, 4]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[:1], y, rtol=1e-4, atol=1e-5), found, alone)


def test_the_error_by_lpips_is_that_of_the_metric():
    if "STYLEGAN_WEIGHTS" not in os.environ:
        pytest.skip("STYLEGAN_WEIGHTS names no folder of weights")
    params = shelf.read_vgg(os.environ["STYLEGAN_WEIGHTS"]).params
    compared = likeness.by_lpips({name: jnp.asarray(value) for name, value in params.items()})
    a, b = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 1, 32, 32, 3)), jnp.float32)
    expected = likeness.pixel_error(a, b) + likeness.LPIPS_WEIGHT * vgg.lpips(params, a, b)
    np.testing.assert_allclose(compared.error(a, b, compared.features(b)), expected, rtol=1e-4)


# ---- random styles


def test_units_have_unit_variance_and_lead_back(network, styles):
    w = network.map(np.random.default_rng(0).standard_normal((64, 5), np.float32))[:, 0]
    u = styles.to_units(w)
    np.testing.assert_allclose(styles.from_units(u), w, atol=1e-3 * np.abs(w).max())
    np.testing.assert_allclose(np.cov(u.T)[-1, -1], 1, rtol=0.1)  # Of the largest variance.


def test_the_distance_of_random_styles_from_their_mean_is_1():
    network = dataclasses.replace(random_network(**SIZE), w_avg=None)
    styles = mapped.styles_of(network)
    assert np.sqrt(np.mean(styles.distances**2)) == pytest.approx(1, abs=0.35)
    assert styles.distance(np.broadcast_to(styles.center, (1, 6, 7)))[0] == pytest.approx(0, abs=1e-3)
    assert styles.percentile(styles.distances[-1] + 1) == 100 and styles.percentile(0) == 0


def test_the_nearest_candidate_is_that_with_the_most_similar_image(network, styles):
    ws = np.broadcast_to(styles.candidates[5], (1, network.model.num_layers, 7))
    w, novelty = styles.nearest(network.images(ws)[0])
    np.testing.assert_array_equal(w, styles.candidates[5])
    assert novelty == 0


def test_a_picture_of_something_else_is_new(styles):
    grey = np.zeros((16, 16, 3), np.uint8)
    grey[::2] = 255
    assert styles.nearest(grey)[1] >= 50
