"""Losses and the gradients of every parameter agree with the arrays recorded from the official code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Config
from stylegan_jax.networks import ops, sampling
from stylegan_jax.training import losses
from stylegan_jax.weights.layouts import official as names
from stylegan_jax.weights.layouts.official import nhwc
from stylegan_jax.weights.layouts.settings import joined
from tests import official
from tests.official import Recorded

pytestmark = pytest.mark.goldens


@functools.partial(jax.jit, static_argnames=("config", "resolution"))
def discriminator_values(params, reals, fakes, labels, alpha, t, *, config, resolution):
    loss_fn = jax.value_and_grad(losses.discriminator_loss, has_aux=True)
    return loss_fn(params, config, resolution, reals, fakes, labels, alpha, t)


@functools.partial(jax.jit, static_argnames=("config", "resolution"))
def generator_values(params, d_params, latents, labels, alpha, *, config, resolution):
    loss_fn = jax.value_and_grad(losses.generator_loss, has_aux=True)
    return loss_fn(params, d_params, config, resolution, latents, labels, alpha)


def take_inputs(common, order):
    """Returns (reals, labels of reals, labels of the G step, t, z), images in our order."""

    def take(name):
        return common.take(name)[order] if name in common else None

    t = take("mixing_factors")
    return nhwc(take("reals")), take("labels_reals"), take("labels_random"), t.reshape(-1), take("latents")


FILES = [file for file in official.files("losses_*.npz") if not file.startswith("losses_common")]


CASES = [official.parameters(file, lod) for file in FILES for lod in official.cases(file)]


@pytest.mark.parametrize(("file", "lod"), CASES)
def test_loss_and_its_gradients_agree_with_the_official_code(file, lod):
    settings = official.meta(file)
    with Recorded(settings["common"]) as common, Recorded(file, f"{lod}/") as r:
        g, d = common.take_network("G/vars"), common.take_network("D/vars")
        train = official.to_train(settings["fn"], settings["kwargs"])
        config = Config(model=joined(g.model, d.model), train=train)
        full, n = config.model.resolution, len(common.take("latents"))
        order = names.image_order(n, config.model.stddev_group)
        reals, d_labels, g_labels, t, z = take_inputs(common, order)
        resolution, alpha = names.level(official.lod_of(lod), full)
        noise = tuple(None if x is None else jnp.broadcast_to(x, (n, *x.shape[1:])) for x in g.noise)
        latents = sampling.Latents(z, z, np.full(n, config.model.num_layers), noise)
        images, column = official.converters(order)
        enlarge = functools.partial(ops.upscale, factor=full // resolution)
        labels = d_labels if settings["net"] == "D" else g_labels
        fakes, w_mean = official.generate(g.params, latents, labels, alpha, model=config.model, resolution=resolution)
        if settings["net"] == "D":
            own = ops.downscale(jnp.asarray(reals), full // resolution)
            (mean, values), grads = discriminator_values(
                d.params, own, fakes, labels, alpha, t, config=config, resolution=resolution
            )
            r.check("loss", official.d_loss(values, train, official.load(file)[f"{lod}/loss"].shape, np.argsort(order)))
            r.check("scores_real", values["real_scores"], column)
            r.check("scores_fake", values["fake_scores"], column)
            if "scores_mixed" in r:
                r.check("scores_mixed", values["mixed_scores"], column)
            if "images_mixed" in r:
                r.check("images_mixed", losses.interpolate(jnp.asarray(reals), enlarge(fakes), t), images)
            d.check_tree(r, "grads/", grads)
        else:
            (mean, values), grads = generator_values(
                g.params, d.params, latents, labels, alpha, config=config, resolution=resolution
            )
            scores = official.discriminate(d.params, fakes, labels, alpha, model=config.model, resolution=resolution)
            r.check("loss", values["g_loss"], column)
            r.check("scores_fake", scores, column)
            g.check_tree(r, "grads/", grads)
        r.check("loss_mean", mean)
        if "images_fake" in r:
            r.check("images_fake", enlarge(fakes), images)
        r.check("dlatent_avg_after", ops.lerp(w_mean, jnp.asarray(g.w_avg), train.w_avg_beta))
