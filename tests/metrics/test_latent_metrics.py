"""Path lengths and latents of a generator: precision, labels, noise and size of the images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from stylegan_jax.metrics import latent_metrics, ppl
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.networks import sampling
from tests.measured import devices, generator

DEFINITION = dataclasses.replace(ppl.DEFINITIONS["ppl_wend_nocrop"], num_pairs=6)


def squares(params: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns a distance of images. [n]"""
    return params * jnp.square(x - y).mean(axis=(1, 2, 3))


def distances(made, num_devices: int = 4, seed: int = 0) -> np.ndarray:
    distance_fn = Partial(squares, jnp.float32(1))
    found = latent_metrics.path_distances(made, distance_fn, DEFINITION, seed, devices(num_devices))
    return np.concatenate(list(found))


def asked() -> Attributes:
    def logits_fn(params, images):
        return params * images.mean(axis=(1, 2))[:, :2]

    return Attributes(("red", "green"), logits_fn, jnp.float32(2), "e" * 64, "two colours")


def latents(made, spaces, n: int = 6, num_devices: int = 4) -> dict[str, np.ndarray]:
    found = list(latent_metrics.latents_and_logits(made, asked(), spaces, n, 0, devices(num_devices)))
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def with_model(made, **changes):
    return dataclasses.replace(made, model=dataclasses.replace(made.model, **changes))


def test_a_network_of_bfloat16_is_measured_in_float32():
    exact = distances(generator(matmul_precision="highest"))
    coarse = distances(with_model(generator(), compute_dtype="bfloat16"))
    np.testing.assert_array_equal(coarse, exact)
    assert exact.dtype == np.float32 and (exact > 0).all()


def test_path_lengths_are_the_same_on_one_device_and_on_four(monkeypatch):
    monkeypatch.setattr(latent_metrics, "batch_size", lambda *_: 4)
    # Noise, where there is any, is drawn by each device.
    found = [distances(generator(num, use_noise=False), num) for num in (1, 4)]
    assert found[0].shape == (6,)
    np.testing.assert_allclose(found[0], found[1], rtol=0.02)  # Differences for steps of 1e-4, in float32.


def test_another_seed_draws_other_pairs():
    assert (distances(generator(), seed=0) != distances(generator(), seed=1)).all()


def test_latents_are_mapped_and_their_images_asked():
    made = with_model(generator(use_noise=False), compute_dtype="float32")
    found = latents(made, ("w", "z"))
    w = jax.jit(lambda params, z: sampling.map_latents(params, z, None, made.model))(made.params, found["z"])
    np.testing.assert_allclose(found["w"], w, rtol=1e-4, atol=1e-4)
    ws = jnp.broadcast_to(w[:, None], (6, made.model.num_layers, w.shape[1]))
    images = sampling.synthesize(made.params, ws, [None] * 6, None, made.model, 16)
    np.testing.assert_allclose(found["logits"], 2 * images.mean(axis=(1, 2))[:, :2], rtol=1e-3, atol=1e-3)


def test_the_key_decides_about_the_noise():
    synthesize = jax.jit(latent_metrics.functions(generator(1))[1])
    w = jnp.ones((2, 14))
    first, again, other = (synthesize(w, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).mean() > 0.9


def test_images_of_a_network_in_mid_growth_are_measured_at_the_models_size():
    synthesize = jax.jit(latent_metrics.functions(generator(1, trained_px=8))[1])
    images = np.asarray(synthesize(jnp.ones((2, 14)), jax.random.key(0)))
    assert images.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(images, images[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))


def test_labels_are_those_of_random_real_pictures():
    classes = np.array([0] * 10 + [2] * 30)
    made, z = generator(1, num_labels=3), np.ones((400, 10), np.float32)
    map_fn, _ = latent_metrics.functions(dataclasses.replace(made, classes=classes))
    found = np.asarray(jax.jit(map_fn)(z, jax.random.key(0)))
    labels = np.eye(3, dtype=np.float32)
    each = [np.asarray(sampling.map_latents(made.params, z[:1], labels[i : i + 1], made.model)) for i in range(3)]
    is_class = [np.isclose(found, one, rtol=1e-4, atol=1e-5).all(axis=1) for one in each]
    assert (is_class[0] | is_class[2]).all() and not is_class[1].any() and 0.68 < is_class[2].mean() < 0.82


def test_one_key_gives_the_same_labels_each_time():
    made = generator(1, classes=np.arange(3), num_labels=3)
    map_fn, _ = latent_metrics.functions(made)
    z = np.ones((9, 10), np.float32)
    np.testing.assert_array_equal(map_fn(z, jax.random.key(5)), map_fn(z, jax.random.key(5)))


@pytest.mark.parametrize(
    ("resolution", "num_devices", "size"), [(16, 1, 16), (16, 4, 64), (256, 1, 16), (512, 1, 4), (1024, 4, 4)]
)
def test_a_batch_is_a_power_of_two_for_each_device_and_bounded_by_its_pixels(
    resolution, num_devices, size, monkeypatch
):
    monkeypatch.setattr(sampling, "sample_batch", lambda *_: 64)
    made = generator(1)
    made = dataclasses.replace(made, model=dataclasses.replace(made.model, resolution=resolution))
    assert latent_metrics.batch_size(made, devices(num_devices)) == size


def test_a_batch_fits_where_samples_fit(monkeypatch):
    monkeypatch.setattr(sampling, "sample_batch", lambda *_: 8)
    assert latent_metrics.batch_size(generator(1), devices(4)) == 8
