"""The paper's figures: which styles and noise come from whom, whose classes are shown, and where images lie."""

import dataclasses

import numpy as np
import pytest

from stylegan_jax.images import figures, styles
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network()


def cell(picture: np.ndarray, row: int, column: int, px: int = figures.SMALLEST_CELL_PX, shown: int = 32) -> np.ndarray:
    """Returns an image of a table, brought back to its size."""
    step = px // shown
    return picture[row * px : (row + 1) * px : step, column * px : (column + 1) * px : step]


@pytest.mark.parametrize(
    ("resolution", "bounds"), [(1024, (4, 8)), (256, (4, 8)), (128, (4, 8)), (64, (3, 7)), (16, (2, 4)), (8, (1, 3))]
)
def test_coarse_middle_and_fine_styles_have_the_layers_of_the_paper_or_thirds(network, resolution, bounds):
    model = dataclasses.replace(network.model, resolution=1024)
    assert styles.style_bounds(dataclasses.replace(network, model=model, resolution=resolution)) == bounds


def test_each_row_of_style_mixing_takes_its_layers_from_each_columns_image(network):
    picture = figures.style_mixing(network)
    assert picture.shape == (7 * 128, 6 * 128, 3) and (cell(picture, 0, 0) == 255).all()
    source, targets = (
        network.map(network.latents(701))[0],
        network.map(network.latents([888, 829, 1898, 1733, 1614, 845])),
    )
    np.testing.assert_array_equal(cell(picture, 0, 2), network(seeds=701)[0])
    # 8 layers: coarse styles are 0 and 1, middle ones 2 to 5, fine ones 6 and 7.
    for row, given in enumerate([(0, 2), (0, 2), (0, 2), (2, 6), (2, 6), (6, 8)]):
        mixed = targets[row].copy()
        mixed[slice(*given)] = source[slice(*given)]
        np.testing.assert_array_equal(cell(picture, row + 1, 0), network.images(targets[row : row + 1])[0])
        np.testing.assert_array_equal(cell(picture, row + 1, 2), network.images(mixed[None])[0])


def test_truncation_has_a_column_for_each_psi_and_the_middle_face_for_zero(network):
    picture = figures.truncation(network)
    assert picture.shape == (2 * 128, 6 * 128, 3)
    np.testing.assert_array_equal(cell(picture, 1, 0), network(seeds=388)[0])
    np.testing.assert_array_equal(cell(picture, 1, 5), network(seeds=388, psi=-1)[0])
    np.testing.assert_array_equal(cell(picture, 0, 3), cell(picture, 1, 3))
    assert (cell(picture, 0, 2) != cell(picture, 1, 2)).any()


def test_noise_is_in_all_layers_none_the_fine_ones_and_the_others(network):
    picture, maps = figures.noise_layers(network), network.const_noise()
    assert picture.shape == (2 * 128, 4 * 128, 3)
    coarse = [m if m.shape[1] <= 16 else 0 * m for m in maps]  # Layers 0 to 5 of 8.
    fine = [m if m.shape[1] > 16 else 0 * m for m in maps]
    for column, noise in enumerate(("const", "none", fine, coarse)):
        np.testing.assert_array_equal(cell(picture, 1, column), network(seeds=1555, noise=noise)[0])


def test_stochastic_variation_shows_four_other_draws_and_their_deviation(network, monkeypatch):
    monkeypatch.setattr(figures, "NUM_DRAWS", 6)
    picture = figures.stochastic_variation(network)
    assert picture.shape == (2 * 128, 3 * 128, 3)
    ws = network.map(network.latents(1012))
    draws = [network.images(ws, "random", draw)[0] for draw in range(6)]
    np.testing.assert_array_equal(cell(picture, 1, 0), draws[0])
    detail = draws[4][6:14, 20:28].repeat(8, axis=0).repeat(8, axis=1)  # 180 to 436 and 650 to 906 of 1,024 px.
    np.testing.assert_array_equal(picture[192:256, 192:256], detail)
    deviation = np.clip(4 * np.stack(draws).mean(-1).std(0) + 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(cell(picture, 1, 2)[..., 0], deviation)


def test_uncurated_images_lie_in_columns_of_ever_smaller_ones(network):
    picture = figures.uncurated(network, rows=1, levels=(0, 1, 3))
    assert picture.shape == (256, 256 + 128 + 32, 3)
    z = np.random.RandomState(5).randn(11, network.model.z_size)
    look = {"psi": 0.7, "cutoff": 8, "noise": "random"}
    np.testing.assert_array_equal(picture[::8, :256:8], network(z=z[:1], **look)[0])
    np.testing.assert_array_equal(picture[128::4, 256:384:4], network(z=z[1:3], noise_seed=1, **look)[1])
    np.testing.assert_array_equal(picture[32:64, 384:], network(z=z[3:5], noise_seed=2, **look)[1])


def test_cars_are_shown_without_the_bars_above_and_below(network):
    whole, part = (figures.uncurated(network, seed=2, rows=4, box=box) for box in ((0, 0, 1, 1), figures.CAR))
    assert part.shape == (4 * 192, whole.shape[1], 3)
    np.testing.assert_array_equal(part[:192, :256], whole[32:224, :256])


def test_classes_take_turns_and_those_that_are_not_named_are_not_shown():
    network = random_network(num_labels=3)
    picture = figures.truncation(network, [2, 0])
    for row, (seed, label) in enumerate([(91, 2), (388, 0)]):
        np.testing.assert_array_equal(cell(picture, row, 0), network(seeds=seed, labels=label)[0])
    assert (figures.truncation(network) != picture).any()


@pytest.mark.parametrize("name", ["uncurated", "style_mixing", "truncation", "noise_layers", "stochastic_variation"])
def test_a_network_of_other_kinds_has_its_figures_or_one_sentence(name):
    for changes in ({"channels": 1}, {"use_styles": False, "use_noise": False, "const_input": False}):
        network = random_network(resolution=8, fmap_base=32, **changes)
        if network.w_avg is None and name != "uncurated":
            with pytest.raises(ValueError, match="this network (has no styles|takes no noise).*, and so "):
                figures.FIGURES[name](network, [], lambda done, total: None)
        else:
            assert figures.FIGURES[name](network, [], lambda done, total: None).shape[2] == network.model.channels


def test_progress_ends_at_the_number_of_all_images(network):
    for draw, total in ((figures.style_mixing, 41), (figures.truncation, 12), (figures.noise_layers, 8)):
        seen: list[tuple[int, int]] = []
        draw(network, [], lambda done, total, seen=seen: seen.append((done, total)))
        assert seen[-1] == (total, total) and seen == sorted(seen)
