"""FID's Inception: its features against recorded ones, its pools against naive ones, and the files that hold it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.metrics.features import inception, resize
from stylegan_jax.weights.files import torch_files
from tests.metrics.features import files, random_weights

FLAVOURS = {"pytorch_fid": "torch_bilinear", "torch_fidelity": "tf1_bilinear"}


@pytest.fixture(scope="module")
def arrays():
    """Returns random weights in pytorch-fid's layout."""
    return random_weights.inception_arrays(seed=1)


@pytest.fixture(scope="module")
def params(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch_files.save(arrays, path)
    return inception.read(path).params


# ---- recorded features


@pytest.fixture(scope="module")
def recorded(goldens):
    """Returns pictures, features of the public packages, and our parameters, of the recorded random weights."""
    path = goldens / "metrics2" / "inception.npz"
    if not path.exists():
        pytest.skip("the recorded arrays have no metrics2")
    with np.load(path) as npz:
        found, meta = {k: npz[k] for k in npz.files if k != "meta"}, json.loads(str(npz["meta"]))
    arrays = random_weights.inception_arrays(meta["seed"])
    assert random_weights.digest(arrays) == meta["sha256_of_all_arrays_in_sorted_key_order"]
    return found, arrays


def _relative(ours: np.ndarray, reference: np.ndarray) -> float:
    return float(np.max(np.abs(ours - reference)) / np.max(np.abs(reference)))


@pytest.mark.goldens
@pytest.mark.slow
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_features_equal_those_of_the_public_packages(recorded, flavour, tmp_path):
    found, arrays = recorded
    torch_files.save(arrays, tmp_path / "inception.pth")
    params = inception.read(tmp_path / "inception.pth").params
    layers, logits = [], []
    for i in range(6):
        images = found[f"picture{i}"][None]
        layers.append(jax.jit(inception.activations, static_argnums=2)(params, images, FLAVOURS[flavour]))
        logits.append(layers[-1]["2048"] @ params["output/kernel"])
    for name in ("64", "192", "768", "2048"):
        key = f"{flavour}/{name}" if f"{flavour}/{name}" in found else f"{flavour}/{name}_mean"
        assert _relative(np.concatenate([layer[name] for layer in layers]), found[key]) < 1e-6, name
    # The logits are sums of 2048 products of both signs, so they are off by more.
    assert _relative(np.concatenate(logits), found[f"{flavour}/logits_unbiased"]) < 3e-6


@pytest.mark.goldens
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_inputs_of_the_network_equal_recorded_ones(recorded, flavour):
    resize_fn, center = inception.RESIZES[FLAVOURS[flavour]]
    for i in range(6):
        images = resize.rgb(recorded[0][f"picture{i}"][None])
        images = images if images.shape[1] == 299 else resize_fn(images, 299, 299)
        ours = np.moveaxis(np.asarray((images - center) / center)[0, ::37, ::37], -1, 0)
        np.testing.assert_allclose(ours, recorded[0][f"{flavour}/resized{i}_sample"], rtol=0, atol=1e-6)


# ---- the network


def _inputs_of_convolutions() -> dict[str, np.ndarray]:
    """Returns what each convolution of the network sees if all of them have two maps and a kernel of one pixel."""
    seen = {}

    def conv(name, x, maps, height, width, stride=1, padding="SAME"):
        seen[name] = x
        x = (
            x
            if padding == "SAME"
            else x[:, height // 2 : x.shape[1] - height // 2, width // 2 : x.shape[2] - width // 2]
        )
        weight = np.sin(len(seen) + np.arange(2, dtype=np.float32))
        return jnp.sin(3 * x[:, ::stride, ::stride, :2] + weight[None, None, None])

    x = np.random.default_rng(0).uniform(-1, 1, (1, 299, 299, 3)).astype(np.float32)
    means, at_17px = inception._to_17px(conv, x)
    _, at_8px = inception._to_8px(conv, at_17px)
    inception._last(conv, at_8px)
    assert means.keys() == {"64", "192"} and (at_17px.shape[1], at_8px.shape[1]) == (17, 8)
    return {name: np.asarray(value) for name, value in seen.items()}


def _neighbourhoods(x: np.ndarray, outside: float) -> np.ndarray:
    """Returns the 3x3 pixels around each. [9, n, h, w, c]"""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=outside)
    height, width = x.shape[1:3]
    return np.stack([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)])


def test_average_pools_leave_padding_out_and_the_last_pool_takes_the_maximum():
    seen = _inputs_of_convolutions()
    for name in ("mixed", "mixed_1", "mixed_2", "mixed_4", "mixed_7"):
        expected = np.nanmean(_neighbourhoods(seen[f"{name}.conv"], np.nan), axis=0)
        np.testing.assert_allclose(seen[f"{name}.tower_2.conv"], expected, rtol=0, atol=1e-6, err_msg=name)
    expected = np.nanmean(_neighbourhoods(seen["mixed_9.conv"], np.nan), axis=0)
    np.testing.assert_allclose(seen["mixed_9.tower_2_conv"], expected, rtol=0, atol=1e-6)
    expected = np.max(_neighbourhoods(seen["mixed_10.conv"], -np.inf), axis=0)
    np.testing.assert_array_equal(seen["mixed_10.tower_2_conv"], expected)


@pytest.mark.parametrize(
    ("name", "resize_fn", "black", "white"),
    [
        ("tf1_bilinear", resize.tf1_bilinear, -1, 127 / 128),
        ("torch_bilinear", resize.torch_bilinear, -1, 1),
        ("pil_bicubic", resize.pil_bicubic, -1, 127 / 128),
    ],
)
def test_each_resize_has_its_range(monkeypatch, name, resize_fn, black, white):
    monkeypatch.setattr(inception, "_to_17px", lambda conv, x: ({}, x))
    monkeypatch.setattr(inception, "_to_8px", lambda conv, x: (x, x))
    monkeypatch.setattr(inception, "_last", lambda conv, x: inception._mean(x))
    images = np.random.default_rng(0).integers(0, 256, (1, 40, 30, 3), np.uint8)
    params = {"conv/kernel": np.zeros(1, np.float32)}
    ours = inception.activations(params, images, name)["2048"]
    scaled = black + (white - black) * resize_fn(resize.rgb(images), 299, 299) / 255
    np.testing.assert_allclose(ours, scaled.mean(axis=(1, 2)), rtol=0, atol=1e-5)


def test_the_network_has_as_many_numbers_as_the_graph():
    assert sum(int(np.prod(shape)) for shape in random_weights.inception_shapes().values()) == 23_885_392


def test_a_resize_of_another_name_is_refused():
    with pytest.raises(ValueError, match="no resize 'bicubic'; use one of tf1_bilinear, torch_bilinear, pil_bicubic"):
        inception.activations({}, jnp.zeros((1, 8, 8, 3), jnp.uint8), "bicubic")


# ---- files


def test_nvidias_files_give_the_same_parameters(arrays, params, tmp_path):
    nvidia = random_weights.nvidia_arrays(arrays)
    for path in (
        files.write_torchscript(tmp_path / "inception-2015-12-05.pt", nvidia),
        files.write_pickle(tmp_path / "inception-2015-12-05.pkl", files.persistent(nvidia)),
    ):
        found = inception.read(path)
        assert "is no file whose SHA-256 is known here" in found.notes[0] and found.sha256 in found.notes[0]
        assert found.params.keys() == params.keys()
        for name, value in params.items():
            np.testing.assert_allclose(found.params[name], value, rtol=2e-6, atol=2e-6, err_msg=name)


def test_batch_normalization_is_part_of_the_convolutions(arrays, params):
    place, x = "Conv2d_1a_3x3", np.random.default_rng(0).standard_normal((3, 3, 3))
    plain = np.einsum("hwi,oihw->o", x, arrays[f"{place}.conv.weight"].astype(np.float64))
    deviation = np.sqrt(arrays[f"{place}.bn.running_var"] + 1e-3)
    normalized = (plain - arrays[f"{place}.bn.running_mean"]) / deviation
    expected = normalized * arrays[f"{place}.bn.weight"] + arrays[f"{place}.bn.bias"]
    ours = np.einsum("hwi,hwio->o", x, params["conv/kernel"]) + params["conv/bias"]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def _refusal(path, arrays) -> str:
    torch_files.save(arrays, path)
    with pytest.raises(ValueError) as caught:
        inception.read(path)
    return str(caught.value)


def test_a_wrong_file_is_named_as_what_it_is(tmp_path):
    small = np.zeros(1, np.float32)
    for name, what in (
        ("features.34.weight", "holds VGG19 of torchvision"),
        ("blocks.0.attn.qkv.weight", "holds a vision transformer"),
        ("some.weight", "holds 1 arrays of no network that is known here (such as 'some.weight')"),
    ):
        message = _refusal(tmp_path / f"{name}.pth", {name: small})
        assert what in message and "FID needs inception-2015-12-05.pt" in message
    torchvision = {"Mixed_5b.branch1x1.conv.weight": small, "fc.weight": np.zeros((1000, 1), np.float32)}
    assert "is torchvision's Inception of 1000 classes" in _refusal(tmp_path / "tv.pth", torchvision)


def test_nvidias_pickle_of_tensorflow_is_named_and_refused(tmp_path):
    path = files.write_pickle(
        tmp_path / "net.pkl", files.tensorflow([("conv/weight", np.zeros((3, 3, 3, 32), np.float32))])
    )
    with pytest.raises(
        ValueError, match="names of arrays are not published. inception-2015-12-05.pt is the same network"
    ):
        inception.read(path)


def test_missing_unknown_misshapen_and_infinite_arrays_are_refused(arrays, tmp_path):
    name = "Mixed_7c.branch_pool.bn.bias"
    without = {key: value for key, value in arrays.items() if key != name}
    assert f"lacks the array '{name}'" in _refusal(tmp_path / "a.pth", without)
    assert "has an unknown array 'AuxLogits.w' [1]" in _refusal(
        tmp_path / "b.pth", arrays | {"AuxLogits.w": np.ones(1, np.float32)}
    )
    wrong = _refusal(tmp_path / "c.pth", arrays | {name: np.ones(3, np.float32)})
    assert f"'{name}' has the shape [3] and should have [192]" in wrong
    infinite = np.full(192, np.inf, np.float32)
    assert f"'{name}' has values that are not finite" in _refusal(tmp_path / "d.pth", arrays | {name: infinite})
