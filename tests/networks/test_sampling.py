import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Model
from stylegan_jax.devices import mesh
from stylegan_jax.networks import sampling
from stylegan_jax.training import state
from tests.small import settings


def test_cutoffs_in_mid_growth_lie_within_the_layers_that_are_grown():
    model = Model(resolution=64, z_size=4, w_size=4)
    cutoffs = np.asarray(sampling.draw_latents(jax.random.key(0), 4096, model, 16, 0.9).cutoff)
    assert set(cutoffs) == {1, 2, 3, 4, 5, model.num_layers}
    assert abs(np.mean(cutoffs < model.num_layers) - 0.9) < 0.02


def test_fade_with_alpha_one_is_the_new_resolution_alone():
    config = settings()
    params = jax.jit(state.create, static_argnums=1)(jax.random.key(0), config).g_params
    latents = sampling.draw_latents(jax.random.key(1), 2, config.model, 16, 0.0)
    generate = jax.jit(sampling.generate, static_argnums=(4, 5))
    made = {a: generate(params, latents, None, jnp.float32(a), config.model, 16)[0] for a in (0.0, 0.5, 1.0)}
    np.testing.assert_allclose(made[0.5], (made[0.0] + made[1.0]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made[0.0][:, ::2, ::2], made[0.0][:, 1::2, 1::2])
    assert np.max(np.abs(made[1.0][:, ::2, ::2] - made[1.0][:, 1::2, 1::2])) > 1e-3


def test_samples_are_the_same_whatever_the_size_of_the_batch():
    config = settings()
    params = jax.jit(state.create, static_argnums=1)(jax.random.key(0), config).ema_params
    key, how = jax.random.key(1), {"model": config.model, "resolution": 8}
    six = np.asarray(sampling.sample(params, key, jnp.int32(0), None, jnp.float32(1), n=6, **how))
    parts = [sampling.sample(params, key, jnp.int32(i), None, jnp.float32(1), n=2, **how) for i in (0, 2, 4)]
    # A batch of another size may sum in another order.
    assert np.max(np.abs(six.astype(int) - np.concatenate(parts))) <= 1
    assert len(np.unique(six.reshape(6, -1), axis=0)) == 6


def test_fewer_images_are_sampled_at_once_where_memory_is_short(monkeypatch):
    model, devices = Model(), mesh.make_mesh()
    pages = {"SC_PAGE_SIZE": 4096}
    sizes = []
    for gib in (1024, 16, 1):
        pages["SC_PHYS_PAGES"] = gib * 2**30 // 4096
        monkeypatch.setattr(sampling.os, "sysconf", pages.get)
        sizes.append([sampling.sample_batch(model, resolution, devices) for resolution in (8, 1024)])
    assert sizes == [[64, 64], [64, 8], [64, 4]]  # 1 GiB holds no image, so each of the four devices makes one.
