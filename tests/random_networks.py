"""Small networks with random weights in which every array matters."""

from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Model
from stylegan_jax.weights import trees
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network

SMALL = {"resolution": 32, "fmap_base": 128, "fmap_max": 12, "z_size": 10, "w_size": 14, "mapping_fmaps": 11}


def random_model(**changes: Any) -> Model:
    """Returns a small model; its sizes all differ, so that no two axes can be taken for each other."""
    return Model(**SMALL | {"mapping_layers": 3} | changes)


def random_network(seed: int = 0, **changes: Any) -> Network:
    """Returns a network of `random_model`; all it holds is Gaussian."""
    model, rng = random_model(**changes), np.random.default_rng(seed)

    def drawn(tree: Any) -> Any:
        tree = jax.tree.map(lambda x: rng.standard_normal(x.shape, dtype=np.float32), tree)
        if "mapping" in tree:  # Its weights are used at a hundredth of their size.
            tree["mapping"] = jax.tree.map(lambda x: 100 * x, tree["mapping"])
        return tree

    maps = [r and rng.standard_normal((1, r, r, 1), dtype=np.float32) for r in model.noise_sizes]
    return Network(
        model,
        drawn(trees.abstract_generator(model)),
        Info("random", "random", license="CC0"),
        drawn(trees.abstract_generator(model)),
        drawn(trees.abstract_discriminator(model)),
        rng.standard_normal(model.w_size, dtype=np.float32) if model.use_styles else None,
        tuple(maps) if model.use_noise else None,
        tuple(f"class {i}" for i in range(model.num_labels)),
        model.resolution,
        1.0,
    )


def assert_same_weights(
    ours: Network, other: Network, parts: tuple[str, ...] = ("params", "g_params", "d_params")
) -> None:
    """Fails unless two networks have the same model and weights, bit for bit."""
    assert ours.model == other.model
    for part in (*parts, "w_avg", "noise", "g_w_avg", "g_noise"):
        a, b = getattr(ours, part), getattr(other, part)
        assert jax.tree.structure(a) == jax.tree.structure(b), part
        jax.tree.map(np.testing.assert_array_equal, a, b)
    assert (ours.resolution, ours.alpha) == (other.resolution, other.alpha)
