"""The paper's figures: which styles come from whom, and whose classes are shown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.images import figures
from stylegan_jax.networks import sampling
from stylegan_jax.training import state
from tests.small import settings


@pytest.mark.parametrize(
    ("num_layers", "bounds"), [(18, (4, 8)), (14, (4, 8)), (12, (4, 8)), (10, (3, 7)), (6, (2, 4)), (4, (1, 3))]
)
def test_coarse_middle_and_fine_styles_have_the_layers_of_the_paper_or_thirds(num_layers, bounds):
    assert figures.style_bounds(num_layers) == bounds


def test_each_row_of_style_mixing_takes_its_third_of_the_layers(monkeypatch):
    config = settings()
    params = jax.jit(state.create, static_argnums=1)(jax.random.key(0), config).g_params
    taken = []

    def images_of(params, ws, noise, alpha, *, model, resolution):
        taken.append(np.asarray(ws))
        return np.zeros((len(ws), resolution, resolution, 3), np.uint8)

    monkeypatch.setattr(sampling, "images_of", images_of)
    figures.style_mixing(params, jax.random.key(1), jnp.float32(1), config.model, 16)
    givers, *rows = taken
    for row in range(figures.MIXING_ROWS):
        source, mixed = rows[2 * row : 2 * row + 2]
        is_given = (mixed == givers).all(axis=(0, 2))
        assert is_given.tolist() == [[True] * 2 + [False] * 4, [False] * 2 + [True] * 2 + [False] * 2,
                                     [False] * 4 + [True] * 2][row // 2]  # fmt: skip
        np.testing.assert_array_equal(mixed[:, ~is_given], np.broadcast_to(source[:, ~is_given], (6, 6 - 2, 16)))


def test_classes_without_pictures_are_not_shown(monkeypatch):
    config = settings(model={"num_labels": 3})
    seen = []
    monkeypatch.setattr(sampling, "draw_ws", lambda params, z, labels, *, model: seen.append(labels.argmax(1)))
    figures._random_ws({}, jax.random.key(0), 4, config.model, np.asarray([0, 2]))
    figures._random_ws({}, jax.random.key(0), 4, config.model, None)
    assert [found.tolist() for found in seen] == [[0, 2, 0, 2], [0, 1, 2, 0]]
