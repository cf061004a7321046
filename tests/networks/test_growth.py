"""Parameters that train at a resolution are told by the names of their modules."""

import jax

from stylegan_jax.networks import growth
from stylegan_jax.training import state
from tests.small import settings


def test_at_a_resolution_the_modules_of_higher_ones_are_left_out():
    shapes = state.abstract(settings())
    assert set(growth.grown(shapes.g_params, 8)["synthesis"]) == {"b4", "b8", "to_rgb4", "to_rgb8"}
    assert growth.grown(shapes.g_params, 8)["mapping"] == shapes.g_params["mapping"]
    assert set(growth.grown(shapes.d_params, 8)) == {"b8", "from_rgb4", "from_rgb8", "conv", "dense0", "dense1"}


def test_at_full_resolution_all_parameters_train():
    shapes = state.abstract(settings())
    for params in (shapes.g_params, shapes.d_params):
        assert jax.tree.structure(growth.grown(params, 16)) == jax.tree.structure(params)
