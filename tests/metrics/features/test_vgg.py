"""VGG16 and LPIPS: against a naive version, against recorded distances of the real network, and its files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.metrics.features import perceptual, vgg
from stylegan_jax.weights import trees
from stylegan_jax.weights.files import torch_files
from tests.metrics.features import files, random_weights

SIZES = list(zip((3, *vgg.MAPS), vgg.MAPS, strict=False))
HEADS = (64, 128, 256, 512, 512)
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's.


@pytest.fixture(scope="module")
def params():
    """Returns random parameters with heads."""
    rng, result = np.random.default_rng(0), {}
    for k, (inputs, maps) in enumerate(SIZES, 1):
        kernel = rng.standard_normal((3, 3, inputs, maps), np.float32) * np.float32(np.sqrt(2 / (9 * inputs)))
        result |= {f"conv{k}/kernel": kernel, f"conv{k}/bias": rng.standard_normal(maps, np.float32) / 8}
    return result | {f"head{k}": rng.random(maps, np.float32) for k, maps in enumerate(HEADS, 1)}


def _pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def _naive_stages(params, image: np.ndarray) -> list[np.ndarray]:
    """Returns the five stages of an image [h, w, 3], in float64."""
    x = (image.astype(np.float64) - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    results, number = [], 0
    for num_layers in (2, 2, 3, 3, 3):
        if results:
            height, width = (size // 2 * 2 for size in x.shape[:2])
            x = x[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).max(axis=(1, 3))
        for _ in range(num_layers):
            number += 1
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
            kernel, (height, width) = params[f"conv{number}/kernel"].astype(np.float64), x.shape[:2]
            x = sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
            x = np.maximum(x + params[f"conv{number}/bias"], 0)
        results.append(x)
    return results


def _naive_lpips(params, first: np.ndarray, second: np.ndarray) -> float:
    total = 0.0
    for k, (a, b) in enumerate(zip(_naive_stages(params, first), _naive_stages(params, second), strict=True), 1):
        a, b = (x / (np.linalg.norm(x, axis=2, keepdims=True) + 1e-10) for x in (a, b))
        total += ((a - b) ** 2 @ params[f"head{k}"].astype(np.float64)).mean()
    return total


def test_distances_equal_a_naive_version_at_even_and_odd_sizes(params):
    for shape in ((2, 32, 32, 3), (1, 35, 18, 3)):
        first, second = _pictures(*shape), _pictures(*shape, seed=1)
        expected = [_naive_lpips(params, a, b) for a, b in zip(first, second, strict=True)]
        np.testing.assert_allclose(jax.jit(vgg.lpips)(params, first, second), expected, rtol=1e-5)


def test_gray_images_are_repeated(params):
    first, second = _pictures(1, 32, 32, 1), _pictures(1, 32, 32, 1, seed=1)
    expected = vgg.lpips(params, *(np.repeat(x, 3, axis=3) for x in (first, second)))
    np.testing.assert_allclose(vgg.lpips(params, first, second), expected, rtol=1e-6)


def test_features_that_are_zero_have_a_finite_gradient():
    gradient = jax.grad(lambda x: jnp.sum(perceptual._normalized(x)))(jnp.zeros((1, 1, 1, 4)))
    assert np.isfinite(gradient).all()


def test_images_that_are_small_or_of_two_shapes_are_refused(params):
    for shapes in (((1, 15, 16, 3), (1, 15, 16, 3)), ((1, 16, 16, 3), (2, 16, 16, 3))):
        with pytest.raises(ValueError, match=r"LPIPS takes two batches of one shape, of 16 px or more, and has \["):
            vgg.lpips(params, *(jnp.zeros(shape) for shape in shapes))


def test_parameters_without_heads_or_dense_layers_are_refused(params):
    convolutions = {name: value for name, value in params.items() if name.startswith("conv")}
    with pytest.raises(ValueError, match="no heads of LPIPS; read them with heads=, a file of lpips/weights/v0.1"):
        vgg.lpips(convolutions, jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match=r"no dense layers; vgg16-397923af.pth, vgg16.pt and vgg16.pkl have them"):
        vgg.features(params, jnp.zeros((1, 16, 16, 3), jnp.uint8))


def test_dense_features_list_the_maps_before_the_places(params, monkeypatch):
    maps = np.random.default_rng(0).random((1, 14, 14, 512), np.float32)
    seen = []
    monkeypatch.setattr(vgg, "stages", lambda _, images: [seen.append(images), jnp.asarray(maps)])
    monkeypatch.setattr(vgg.convolution, "by_image", lambda fn, *images: fn(*images))
    rng = np.random.default_rng(1)
    dense = {
        "fc1/kernel": rng.standard_normal((8, 25088), np.float32), "fc1/bias": np.ones(8, np.float32),
        "fc2/kernel": rng.standard_normal((5, 8), np.float32), "fc2/bias": np.ones(5, np.float32),
    }  # fmt: skip
    flat = maps.reshape(7, 2, 7, 2, 512).max(axis=(1, 3)).transpose(2, 0, 1).reshape(-1).astype(np.float64)
    expected = np.maximum(dense["fc2/kernel"] @ np.maximum(dense["fc1/kernel"] @ flat + 1, 0) + 1, 0)
    ours = vgg.features(params | dense, jnp.full((1, 20, 20, 3), 51, jnp.uint8))
    np.testing.assert_allclose(seen[0], np.full((1, 224, 224, 3), -0.6), rtol=1e-6)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-4, atol=1e-4)


# ---- the real network


@pytest.mark.goldens
@pytest.mark.slow
def test_distances_of_the_real_network_equal_the_official_ones(goldens, real_vgg):
    with np.load(goldens / "metrics2" / "lpips.npz") as npz:
        pairs = [(npz[f"pair{i}/a"], npz[f"pair{i}/b"]) for i in range(10)]
        expected, means = npz["vgg/distance"], npz["vgg/features/mean"]
    assert real_vgg.notes == ()
    lpips = jax.jit(vgg.lpips)
    images = [[(x / np.float32(127.5) - 1)[None] for x in pair] for pair in pairs]
    ours = np.array([lpips(real_vgg.params, *pair)[0] for pair in images])
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    np.testing.assert_allclose(ours[-2:], [0.569, 0.422], rtol=0, atol=5e-4)  # The authors' own numbers.
    stages = vgg.stages(real_vgg.params, images[0][0])
    np.testing.assert_allclose([stage.mean() for stage in stages], means, rtol=1e-5)


# ---- files


def _torch(params, with_dense: bool = False) -> dict[str, np.ndarray]:
    """Returns torchvision's layout."""
    result = {}
    for k, place in enumerate(PLACES, 1):
        result[f"features.{place}.weight"] = params[f"conv{k}/kernel"].transpose(3, 2, 0, 1)
        result[f"features.{place}.bias"] = params[f"conv{k}/bias"]
    if with_dense:
        for place, shape in ((0, (4096, 25088)), (3, (4096, 4096)), (6, (1000, 4096))):
            value = np.broadcast_to(np.float32(place + 1), shape)
            result |= {f"classifier.{place}.weight": value, f"classifier.{place}.bias": value[:, 0]}
    return result


def _nvidia(params) -> dict[str, np.ndarray]:
    result = {f"lpips{k}": params[f"head{k + 1}"][:, None, None] for k in range(5)}
    for k in range(1, 14):
        result[f"layers.conv{k}.weight"] = params[f"conv{k}/kernel"].transpose(3, 2, 0, 1)
        result[f"layers.conv{k}.bias"] = params[f"conv{k}/bias"]
    return result | {"mean": np.zeros((1, 3, 1, 1), np.float32), "std": np.ones((1, 3, 1, 1), np.float32)}


def _flax(params) -> dict[str, np.ndarray]:
    result = {f"NetLinLayer_{k}.Conv_0.kernel": params[f"head{k + 1}"][None, None, :, None] for k in range(5)}
    for k in range(13):
        result |= {f"VGG16_0.Conv_{k}.{part}": params[f"conv{k + 1}/{part}"] for part in ("kernel", "bias")}
    return result


def _heads(params) -> dict[str, np.ndarray]:
    return {f"lin{k}.model.1.weight": params[f"head{k + 1}"][None, :, None, None] for k in range(5)}


def test_every_layout_gives_the_same_parameters(params, tmp_path):
    torch_files.save(_torch(params), tmp_path / "vgg16.pth")
    torch_files.save(_heads(params), tmp_path / "vgg.pth")
    found = [
        vgg.read(files.write_pickle(tmp_path / "vgg16.ckpt", random_weights.nested(_flax(params)))),
        vgg.read(files.write_torchscript(tmp_path / "vgg16.pt", _nvidia(params))),
        vgg.read(files.write_pickle(tmp_path / "vgg16.pkl", files.persistent(_nvidia(params)))),
        vgg.read(tmp_path / "vgg16.pth", heads=tmp_path / "vgg.pth"),
    ]
    for weights in found:
        assert weights.params.keys() == params.keys()
        for name, value in params.items():
            np.testing.assert_array_equal(weights.params[name], value, err_msg=name)
        assert weights.content_sha256 == trees.sha256(params)
        assert "has other convolutions than torchvision's" in weights.notes[0]
        assert "has other heads than those of LPIPS 0.1" in weights.notes[1]
    assert "+" in found[3].sha256 and found[3].name == "unknown file+unknown file"


@pytest.mark.slow
def test_dense_layers_are_read_and_the_classes_are_left_out(params, tmp_path):
    torch_files.save(_torch(params, with_dense=True), tmp_path / "vgg16.pth")
    weights = vgg.read(tmp_path / "vgg16.pth")
    assert weights.params["fc1/kernel"].shape == (4096, 25088) and weights.params["fc2/bias"][0] == 4
    assert not any(name.startswith("fc3") for name in weights.params)


def test_a_pickle_of_tensorflow_is_taken_only_if_its_values_are_the_known_ones(params, tmp_path, monkeypatch):
    variables = [(f"v{k}", value) for k, value in enumerate(params.values())]
    path = files.write_pickle(tmp_path / "vgg16_zhang_perceptual.pkl", files.tensorflow(variables))
    with pytest.raises(ValueError, match="a pickle of TensorFlow whose arrays are not those of VGG16 with the heads"):
        vgg.read(path)
    convolutions = {name: value for name, value in params.items() if name.startswith("conv")}
    monkeypatch.setattr(vgg, "CONVOLUTIONS_SHA256", trees.sha256(convolutions))
    weights = vgg.read(path)
    for name, value in params.items():
        np.testing.assert_array_equal(weights.params[name], value, err_msg=name)


def test_wrong_files_are_named_as_what_they_are(params, tmp_path):
    torch_files.save(_torch(params) | {"features.1.running_mean": np.ones(64, np.float32)}, tmp_path / "bn.pth")
    with pytest.raises(ValueError, match="holds a VGG with batch normalization, not VGG16. LPIPS needs vgg16-397923af"):
        vgg.read(tmp_path / "bn.pth")
    torch_files.save(_heads(params), tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match="holds heads of LPIPS alone, not VGG16"):
        vgg.read(tmp_path / "vgg.pth")
    torch_files.save(_torch(params), tmp_path / "vgg16.pth")
    with pytest.raises(ValueError, match=r"holds VGG16 of torchvision, but lacks .* Heads of LPIPS 0.1 for VGG16"):
        vgg.read(tmp_path / "vgg16.pth", heads=tmp_path / "vgg16.pth")
    path = files.write_pickle(tmp_path / "vgg16.ckpt", random_weights.nested(_flax(params)))
    with pytest.raises(ValueError, match="has heads of LPIPS of its own; leave heads= "):
        vgg.read(path, heads=tmp_path / "vgg.pth")
