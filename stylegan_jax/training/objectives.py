"""What each network minimizes: its loss and penalties, as a function of its parameters."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from stylegan_jax import config
from stylegan_jax.networks import discriminator, sampling
from stylegan_jax.training import losses

Metrics = dict[str, Array]


def score_fn(
    params: Any,
    m: config.Model,
    resolution: int,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
) -> Callable[[Array], Array]:
    """Returns the discriminator as a function of images [n, r, r, c] alone, to scores [n]."""
    d = discriminator.Discriminator(m, axis_name)
    return lambda images: d.apply({"params": params}, images, labels, alpha, resolution=resolution)


def discriminator_loss(
    params: Any,
    c: config.Config,
    resolution: int,
    reals: Array,
    fakes: Array,
    labels: Array | None,
    alpha: Array | None,
    t: Array,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    """Returns the mean loss of the discriminator with its penalties, and their values an image.

    Lazy R1 is none of them: lazy_r1_loss has it.

    Args:
        params: the discriminator's.
        c: settings.
        resolution: of the images, px.
        reals: in [-1, 1]. [n, r, r, c]
        fakes: likewise.
        labels: of reals and fakes alike. [n, num_labels]
        alpha: weight of this resolution in a fade; None where it does not fade.
        t: places between reals and fakes, for WGAN-GP. [n]
        axis_name: within jax.shard_map, the axis that the batch is split over.
    """
    train, enlargement = c.train, c.model.resolution // resolution
    r1_gamma = train.r1_gamma if train.r1_interval == 1 else 0.0
    score = score_fn(params, c.model, resolution, labels, alpha, axis_name)

    values: Metrics = {}

    def scored(images: Array, penalty: str, gamma: float) -> Array:
        if not gamma:
            return score(images)
        scores, gradients = losses.scores_and_gradients(score, images)
        values[penalty] = losses.squared_gradient_norm(gradients, enlargement)
        return scores

    real_scores, fake_scores = scored(reals, "r1", r1_gamma), scored(fakes, "r2", train.r2_gamma)
    loss = losses.DISCRIMINATOR_LOSSES[train.d_loss](real_scores, fake_scores)
    values |= {"d_loss": loss, "real_scores": real_scores, "fake_scores": fake_scores}
    penalty = r1_gamma / 2 * values.get("r1", 0.0) + train.r2_gamma / 2 * values.get("r2", 0.0)
    if train.gp_lambda:
        mixed_scores, gradients = losses.scores_and_gradients(score, losses.interpolate(reals, fakes, t))
        values["gp"] = losses.gradient_norm_penalty(gradients, enlargement, train.gp_target)
        values["mixed_scores"] = mixed_scores
        penalty += train.gp_lambda * values["gp"]
    if train.d_loss == "wgan":
        penalty += train.wgan_drift * losses.drift(real_scores)
    return jnp.mean(loss + penalty), values


def lazy_r1_loss(
    params: Any,
    c: config.Config,
    resolution: int,
    reals: Array,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    """Returns k gamma / 2 times the mean R1 of the reals, and R1 an image.

    An update in k stands for k of them (Karras et al. 2020).
    """
    score = score_fn(params, c.model, resolution, labels, alpha, axis_name)
    _, gradients = losses.scores_and_gradients(score, reals)
    r1 = losses.squared_gradient_norm(gradients, c.model.resolution // resolution)
    return c.train.r1_interval * c.train.r1_gamma / 2 * jnp.mean(r1), {"r1": r1}


def generator_loss(
    params: Any,
    d_params: Any,
    c: config.Config,
    resolution: int,
    latents: sampling.Latents,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    """Returns the mean loss of the generator, and what else its forward pass gives."""
    fakes, w_mean = sampling.generate(params, latents, labels, alpha, c.model, resolution)
    scores = score_fn(d_params, c.model, resolution, labels, alpha, axis_name)(fakes)
    loss = losses.GENERATOR_LOSSES[c.train.g_loss](scores)
    return jnp.mean(loss), {"g_loss": loss, "w_mean": w_mean}
