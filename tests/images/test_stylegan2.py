"""What is made with a network makes pictures with one of StyleGAN2 too, whose first layer has no noise."""

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.images import directions, edit, figures, interpolate, project, project_folder, projection_files
from stylegan_jax.images.explorer import gallery, state
from stylegan_jax.images.explorer.gallery import Latent, Opened
from tests.random_networks import random_network

pytestmark = pytest.mark.usefixtures("few_styles")


@pytest.fixture(scope="module")
def network():
    return random_network(architecture="stylegan2", resolution=16, fmap_max=6, w_size=7, mapping_fmaps=6)


@pytest.fixture(scope="module")
def projection(network) -> project.Projection:
    return project.project(network, network(seeds=[3, 4]), "w+noise", steps=3)


def test_each_kind_of_noise_makes_images_of_its_own(network):
    random, const, none = (network(seeds=[1, 2], psi=0.7, cutoff=3, noise=kind) for kind in ("random", "const", "none"))
    assert random.shape == const.shape == none.shape == (2, 16, 16, 3)
    assert np.any(random != const) and np.any(const != none) and np.any(random != none)
    np.testing.assert_array_equal(network(seeds=[1, 2], psi=0.7, cutoff=3, noise=network.const_noise()), const)


@pytest.mark.parametrize("name", ["uncurated", "style_mixing", "stochastic_variation", "truncation"])
def test_every_figure_can_be_drawn(network, name):
    image = figures.FIGURES[name](network)
    assert image.dtype == np.uint8 and image.std() > 0


def test_the_figure_of_noise_has_columns_with_all_noise_and_with_none(network, monkeypatch):
    monkeypatch.setattr(figures, "NOISE_SEEDS", (5, 6))
    both = figures.noise_layers(network)
    monkeypatch.setattr(figures, "NOISE_SEEDS", (5,))
    image = figures.noise_layers(network)
    all_, none, fine, others = np.split(image, 4, axis=1)
    np.testing.assert_array_equal(all_, both[: len(image), : len(image)])
    assert len({part.tobytes() for part in (all_, none, fine, others)}) == 4


def test_frames_at_seeds_are_their_stills(network):
    frames = list(interpolate.walk(network, [1, 2], 2, "w", True))
    np.testing.assert_array_equal(network.images(frames[0][None]), network(seeds=[1]))


@pytest.mark.parametrize("space", ["w", "w+"])
def test_pictures_are_projected(network, space):
    found = project.project(network, network(seeds=[3]), space, steps=3)
    np.testing.assert_array_equal(found.images, network.images(found.ws))


def test_projection_with_noise_finds_maps_where_layers_have_noise(network, projection):
    assert projection.noise[0] is None and all(m.shape == (2, r, r, 1) for m, r in zip(
        projection.noise[1:], network.model.noise_sizes[1:], strict=True
    ))  # fmt: skip
    np.testing.assert_array_equal(projection.images, network.images(projection.ws, projection.noise))
    assert np.any(projection.images != network.images(projection.ws))


def test_projections_with_noise_are_written_read_begun_from_and_edited(network, projection, tmp_path):
    paths = [tmp_path / f"{i}.projection.safetensors" for i in range(2)]
    for i, path in enumerate(paths):
        projection_files.write(path, network, project.picked(projection, [i]), {})
        np.testing.assert_array_equal(projection_files.render(network, path), projection.images[i])
    start = project_folder._joined(paths, network)
    again = project.project(network, network(seeds=[3, 4]), "w+noise", steps=1, start=start)
    assert again.noise[0] is None and again.noise[1].shape == (2, 4, 4, 1)
    (picture,) = edit.open_pictures(network, [str(paths[1])], [])
    (direction,) = directions.pca_directions(network.map(network.latents(range(50)))[:, 0], 1)
    _, still = edit.save(network, [picture], [edit.along(direction)], [-2.0, 0.0], tmp_path, {})
    np.testing.assert_array_equal(np.asarray(Image.open(still)), projection.images[1])


def test_directions_in_closed_form_are_of_the_convolutions_and_at_last_of_the_image(network):
    synthesis = network.params["synthesis"]
    parts = [synthesis["b4"]["conv1"], synthesis["b8"]["conv0"], synthesis["to_rgb16"]]
    found = directions.style_weights(network, [0, 1, 5])
    np.testing.assert_array_equal(found, np.concatenate([part["style"]["weight"] for part in parts], axis=1))
    assert directions.style_weights(network).shape[0] == 7


def test_the_page_draws_without_noise_in_layers_and_keeps_latents_with_noise(network, projection):
    opened = Opened("random", network, *gallery.directions_of(network))
    latent = Latent(projection.ws[:1], project.picked(projection, [0]).noise, network.sha256)
    assert gallery.Latents().put(latent) != gallery.Latents().put(latent._replace(noise=None))

    def picture(latent=None, **fields):
        wanted = state.State(**fields)
        ws, noise = state.ws_of(opened, wanted, latent), state.noise_of(network, wanted, latent)
        return project.render(network, ws, noise)[0]

    np.testing.assert_array_equal(picture(latent), projection.images[0])
    ws = state.ws_of(opened, state.State(x=1, y=2))
    for layers in ((1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5)):
        np.testing.assert_array_equal(picture(x=1, y=2, noise_off=layers), network.images(ws, noise="none")[0])
    assert np.any(picture(x=1, y=2, noise_off=(5,)) != picture(x=1, y=2))
