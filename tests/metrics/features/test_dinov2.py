"""DINOv2: its features against recorded ones of the public codes, and its files."""

import jax
import numpy as np
import pytest

from stylegan_jax.metrics.features import dinov2
from stylegan_jax.weights.files import torch_files
from tests.metrics.features import random_transformers


@pytest.fixture(scope="module")
def arrays():
    """Returns a small network in Meta's layout."""
    return random_transformers.dinov2()


@pytest.fixture(scope="module")
def weights(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dinov2") / "dinov2.pth"
    torch_files.save(arrays, path)
    return dinov2.read(path)


def test_features_equal_those_of_the_public_codes(weights):
    features_fn = jax.jit(dinov2.features)
    ours = [features_fn(weights.params, picture[None])[0] for picture in random_transformers.pictures()]
    assert random_transformers.relative_error(ours, "dinov2/float32") < 1e-6


def test_gray_pictures_are_repeated(weights):
    gray = random_transformers.pictures()[0][None, ..., :1]
    expected = dinov2.features(weights.params, np.repeat(gray, 3, axis=3))
    np.testing.assert_array_equal(dinov2.features(weights.params, gray), expected)


def test_positions_for_the_networks_own_size_stay_as_they_are():
    table = np.random.default_rng(0).standard_normal((1 + 16**2, 4)).astype(np.float32)
    assert dinov2._positions(table, 16) is table


def test_another_network_of_dinov2_is_read_and_noted(arrays, weights):
    assert weights.params["blocks/qkv/kernel"].shape == (2, 128, 384)
    assert "is DINOv2 of 2 blocks of width 128; the published FD_DINOv2 takes ViT-L/14" in weights.notes[0]
    assert "no file whose SHA-256 is known here" in weights.notes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"register_tokens": np.zeros((1, 4, 128), np.float32)}, "holds DINOv2 with registers, .* others, not DINOv2"),
        ({"blocks.0.ls1.gamma": None}, "holds a vision transformer, not DINOv2. FD_DINOv2 needs dinov2_vitl14_pre"),
        ({"blocks.1.attn.qkv.bias": None}, "holds DINOv2, but lacks the array 'blocks.1.attn.qkv.bias'"),
        ({"pos_embed": None}, "holds DINOv2, but lacks the array 'pos_embed'"),
        ({"norm.bias": np.full(128, np.nan, np.float32)}, "'norm.bias' has values that are not finite"),
        ({"norm.bias": np.zeros(64, np.float32)}, r"'norm.bias' has the shape \[64\] and should have \[128\]"),
        ({"pos_embed": np.zeros((1, 1000, 128), np.float32)}, r"'pos_embed' has the shape \[1, 1000, 128\]"),
        ({"patch_embed.proj.weight": np.zeros((100, 3, 14, 14), np.float32)}, "DINOv2 of width 100 with patches of 14"),
        ({"patch_embed.proj.weight": np.zeros(3, np.float32)}, "DINOv2 of width 3 with patches of 0 px"),
        ({"blocks.77.extra": np.zeros(1, np.float32)}, "holds DINOv2, but lacks the array 'blocks.2.norm1.weight'"),
        ({"head.weight": np.zeros(1, np.float32)}, "has an unknown array 'head.weight'"),
    ],
)
def test_wrong_and_damaged_files_are_named_as_what_they_are(arrays, tmp_path, change, message):
    changed = {name: value for name, value in (arrays | change).items() if value is not None}
    torch_files.save(changed, tmp_path / "dinov2.pth")
    with pytest.raises(ValueError, match=message):
        dinov2.read(tmp_path / "dinov2.pth")
