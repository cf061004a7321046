"""CLIP: its embeddings against recorded ones of the public codes, and its files."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from stylegan_jax.metrics.features import clip, transformer
from stylegan_jax.weights.files import torch_files
from tests.metrics.features import files, random_transformers


@pytest.fixture(scope="module")
def arrays():
    """Returns a small network in Hugging Face's layout."""
    return random_transformers.clip()


@pytest.fixture(scope="module")
def weights(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "pytorch_model.bin"
    torch_files.save(arrays, path)
    return clip.read(path)


def test_embeddings_equal_those_of_the_public_codes(weights):
    features_fn = jax.jit(clip.features)
    ours = [features_fn(weights.params, picture[None])[0] for picture in random_transformers.pictures()]
    assert random_transformers.relative_error(ours, "clip/float32") < 1e-6
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-6)
    assert transformer.input_px(weights.params) == 80


def test_embeddings_in_float64_equal_those_of_the_public_codes(weights):
    with jax.enable_x64(True):
        params = {name: value.astype(np.float64) for name, value in weights.params.items()}
        ours = [clip.features(params, picture[None])[0] for picture in random_transformers.pictures()]
    assert random_transformers.relative_error(ours, "clip/float64") < 1e-12


def test_every_layout_gives_the_same_parameters(arrays, weights, tmp_path):
    texts = {"text_model.final_layer_norm.bias": np.zeros(3, np.float32), "logit_scale": np.zeros(1, np.float32)}
    safetensors.numpy.save_file(arrays | texts, tmp_path / "model.safetensors")
    openai = random_transformers.clip_of_openai(arrays)
    texts = {"transformer.resblocks.0.ln_1.bias": np.zeros(3, np.float32), "text_projection": np.ones((2, 2))}
    torch_files.save(openai | texts | {"input_resolution": np.int64(80)[None]}, tmp_path / "openai.pth")
    others = [
        clip.read(tmp_path / "model.safetensors"),
        clip.read(tmp_path / "openai.pth"),
        clip.read(files.write_torchscript(tmp_path / "ViT.pt", openai)),
    ]
    for other in others:
        assert other.content_sha256 == weights.content_sha256
    assert "is CLIP's ViT of 2 blocks of width 128 for 80 px; the published CMMD takes ViT-L/14" in weights.notes[0]


def test_half_precision_is_read_as_float32(arrays, tmp_path):
    torch_files.save({name: value.astype(np.float16) for name, value in arrays.items()}, tmp_path / "half.pth")
    params = clip.read(tmp_path / "half.pth").params
    assert {value.dtype for value in params.values()} == {np.dtype(np.float32)}
    expected = arrays["visual_projection.weight"].astype(np.float16).T
    np.testing.assert_array_equal(params["projection"], expected)


ROOT = "vision_model"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {f"{ROOT}.embeddings.class_embedding": None},
            "no network that is known here .* not CLIP's vision transformer",
        ),
        ({"visual_projection.weight": None}, "holds CLIP of Hugging Face, but lacks the array 'visual_projection.w"),
        ({f"{ROOT}.encoder.layers.1.mlp.fc1.bias": None}, "lacks the array 'vision_model.encoder.layers.1.mlp.fc1.b"),
        ({f"{ROOT}.post_layernorm.bias": np.full(128, np.inf, np.float32)}, "post_layernorm.bias' has values that are"),
        ({f"{ROOT}.embeddings.patch_embedding.weight": np.zeros((96, 3, 16, 16), np.float32)}, "CLIP of 2 blocks of w"),
        ({f"{ROOT}.embeddings.position_embedding.weight": np.zeros((27, 128), np.float32)}, r"shape \[27, 128\]"),
        ({f"{ROOT}.embeddings.position_embedding.weight": np.zeros(1, np.float32)}, r"has the shape \[1\] and should"),
        ({"visual.attnpool.k_proj.weight": np.zeros(1, np.float32)}, "holds CLIP with a ResNet, not CLIP's vision tra"),
        ({"vision_model.extra": np.zeros(1, np.float32)}, "has an unknown array 'vision_model.extra'"),
    ],
)
def test_wrong_and_damaged_files_are_named_as_what_they_are(arrays, tmp_path, change, message):
    changed = {name: value for name, value in (arrays | change).items() if value is not None}
    torch_files.save(changed, tmp_path / "clip.pth")
    with pytest.raises(ValueError, match=message):
        clip.read(tmp_path / "clip.pth")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{not json", "cannot be read as safetensors"),
        ('{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}', "cannot be read as safetensors"),
        ('{"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}', "cannot be read as safetensors"),
        ('{"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}', "'a' has complex numbers"),
    ],
)
def test_damaged_and_strange_safetensors_are_refused_in_a_sentence(tmp_path, header, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    with pytest.raises(ValueError, match=f"model.safetensors.*{message}"):
        clip.read(path)
