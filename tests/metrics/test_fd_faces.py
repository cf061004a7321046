"""The attribute network, its weights, and the distance on its features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from stylegan_jax.data import faces
from stylegan_jax.metrics import fd_faces

NUM_FACES = 192


@functools.cache
def _faces(first: int = 0) -> np.ndarray:
    return faces.images(np.arange(first, first + NUM_FACES), 3, 64)


@functools.cache
def _floor() -> float:
    return fd_faces.fd_faces(_faces(NUM_FACES), _faces())


def _blurred(images: np.ndarray, deviation: float) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(images, (0, deviation, deviation, 0))


def _noisy(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def _patched(images: np.ndarray, size: int) -> np.ndarray:
    images = images.copy()
    images[:, 20 : 20 + size, 24 : 24 + size] = 128
    return images


def test_network_knows_faces_that_it_has_not_seen():
    wanted = faces.attributes(faces.sample_factors(np.arange(NUM_FACES), 3))
    logits, _ = fd_faces.apply(fd_faces.load(), fd_faces.resize(jnp.asarray(_faces())))
    accuracy = ((np.asarray(logits) > 0) == wanted).mean(axis=0)
    assert accuracy.mean() > 0.75
    for name in ("facing_right", "long_hair", "hat", "sunglasses", "dark_skin", "light_hair", "lit_from_right"):
        assert accuracy[list(faces.ATTRIBUTES).index(name)] > 0.85, name


def test_network_equals_a_naive_one():
    images = np.asarray(fd_faces.resize(jnp.asarray(_faces()[:2])), np.float64)
    params = {name: np.asarray(value, np.float64) for name, value in fd_faces.load().items()}
    x, pooled = images, []
    for k, stride in enumerate((2, 2, 1, 2, 1, 2)):
        before = 0 if stride == 2 else 1  # A stride of 2 pads at the end alone.
        padded = np.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
        x = np.einsum("nyxcij,ijco->nyxo", windows, params[f"conv{k}/kernel"]) + params[f"conv{k}/bias"]
        x = np.where(x > 0, x, 0.2 * x)
        pooled.append(x.mean(axis=(1, 2)))
    hidden = x.reshape(2, -1) @ params["hidden/kernel"] + params["hidden/bias"]
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    logits = hidden @ params["logits/kernel"] + params["logits/bias"]
    features = np.concatenate([hidden, *pooled[:3]], axis=1) * params["feature_scale"]
    np.testing.assert_allclose(fd_faces.features(_faces()[:2]), features, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        fd_faces.apply(fd_faces.load(), jnp.asarray(images, jnp.float32))[0], logits, rtol=0, atol=1e-4
    )


def test_features_of_faces_have_scale_one_and_do_not_depend_on_their_neighbours():
    images = np.concatenate([_faces(), _faces(NUM_FACES)])
    features = fd_faces.features(images)
    assert features.shape == (2 * NUM_FACES, fd_faces.NUM_FEATURES) and features.dtype == np.float32
    deviation = features.std(axis=0)
    assert 0.5 < np.median(deviation) < 1.5 and deviation.max() < 2
    np.testing.assert_allclose(fd_faces.features(images[-3:]), features[-3:], rtol=0, atol=1e-4)


def test_distance_of_a_set_from_itself_is_zero():
    assert fd_faces.fd_faces(_faces(), _faces()) < 1e-3


@pytest.mark.parametrize("damage, levels", [(_blurred, (0.5, 1, 2)), (_noisy, (8, 20, 50)), (_patched, (8, 16, 24))])
def test_distance_grows_with_damage(damage, levels):
    distances = [fd_faces.fd_faces(damage(_faces(NUM_FACES), level), _faces()) for level in levels]
    assert _floor() < distances[0] < distances[1] < distances[2]
    assert distances[2] > 2 * _floor()


def test_distance_grows_when_modes_are_dropped():
    reals = _faces(NUM_FACES)
    factors = faces.sample_factors(np.arange(NUM_FACES, 2 * NUM_FACES), 3)
    short_hair = reals[~faces.attributes(factors)[:, list(faces.ATTRIBUTES).index("long_hair")]]
    one_face = np.repeat(reals[:1], NUM_FACES, axis=0)
    few_faces = np.tile(reals[:8], (NUM_FACES // 8, 1, 1, 1))
    distances = [fd_faces.fd_faces(images, _faces()) for images in (short_hair, few_faces, one_face)]
    assert _floor() < distances[0] < distances[1] < distances[2]


def test_large_images_are_averaged_over_boxes():
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    expected = images.reshape(2, 64, 2, 64, 2, 3).mean(axis=(2, 4)) / 127.5 - 1
    np.testing.assert_allclose(fd_faces.resize(jnp.asarray(images)), expected, rtol=0, atol=1e-6)


def test_small_images_repeat_their_pixels():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    expected = images[:, np.arange(64) // 16][:, :, np.arange(64) // 16] / 127.5 - 1
    np.testing.assert_allclose(fd_faces.resize(jnp.asarray(images)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels_become_gray(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, channels), np.uint8)
    expected = np.repeat(images.mean(axis=3, keepdims=True), 3, axis=3) / 127.5 - 1
    np.testing.assert_allclose(fd_faces.resize(jnp.asarray(images)), expected, rtol=0, atol=1e-6)


def test_shipped_parameters_have_the_shapes_of_the_network():
    loaded, made = fd_faces.load(), jax.eval_shape(fd_faces.init, jax.random.key(0))
    assert {name: x.shape for name, x in loaded.items()} == {name: x.shape for name, x in made.items()}
    assert all(bool(jnp.isfinite(x).all()) for x in loaded.values())


def test_changed_weights_are_refused_with_both_checksums(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, kernel=np.arange(3.0))
    with pytest.raises(ValueError, match=f"{path}.*SHA-256 is [0-9a-f]{{64}}, expected {'0' * 64}. Reinstall"):
        fd_faces.read_weights(path, "0" * 64)


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="uint8.*float32"):
        fd_faces.features(np.zeros((2, 64, 64, 3), np.float32))
    with pytest.raises(ValueError, match=r"squares.*\[2, 64, 32, 3\]"):
        fd_faces.features(np.zeros((2, 64, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="power of two.*have 48"):
        fd_faces.features(np.zeros((2, 48, 48, 3), np.uint8))
