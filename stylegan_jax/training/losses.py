"""What each network minimizes (official training/loss.py): formulas for each image, then their means with penalties."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Config, Model
from stylegan_jax.networks import discriminator, ops, sampling

Metrics = dict[str, Array]

# ---- generator: scores of fakes [n] to losses [n]


def logistic_nonsaturating(fake_scores: Array) -> Array:
    """Returns -log sigmoid(D(fake)) (Goodfellow et al. 2014)."""
    return jax.nn.softplus(-fake_scores)


def logistic_saturating(fake_scores: Array) -> Array:
    """Returns log(1 - sigmoid(D(fake)))."""
    return -jax.nn.softplus(fake_scores)


def wgan(fake_scores: Array) -> Array:
    """Returns -D(fake) (Arjovsky et al. 2017)."""
    return -fake_scores


GENERATOR_LOSSES: dict[str, Callable[[Array], Array]] = {
    "logistic_nonsaturating": logistic_nonsaturating,
    "logistic_saturating": logistic_saturating,
    "wgan": wgan,
}


# ---- discriminator: scores of reals and fakes [n] to losses [n]


def discriminator_logistic(real_scores: Array, fake_scores: Array) -> Array:
    """Returns -log sigmoid(D(real)) - log(1 - sigmoid(D(fake)))."""
    return jax.nn.softplus(fake_scores) + jax.nn.softplus(-real_scores)


def discriminator_wgan(real_scores: Array, fake_scores: Array) -> Array:
    """Returns D(fake) - D(real); `drift` keeps the scores near zero."""
    return fake_scores - real_scores


def discriminator_hinge(real_scores: Array, fake_scores: Array) -> Array:
    """Returns max(0, 1 + D(fake)) + max(0, 1 - D(real)) (Lim and Ye 2017)."""
    return jax.nn.relu(1 + fake_scores) + jax.nn.relu(1 - real_scores)


DISCRIMINATOR_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "logistic": discriminator_logistic,
    "wgan": discriminator_wgan,
    "hinge": discriminator_hinge,
}


# ---- penalties


def scores_and_gradients(score_fn: Callable[[Array], Array], images: Array) -> tuple[Array, Array]:
    """Returns the scores [n] and the gradient of their sum with respect to `images` [n, h, w, c], in one pass.

    The minibatch standard deviation couples the images, so these are not the gradients of each image's own score.
    """
    scores, pull = jax.vjp(score_fn, images)
    (gradients,) = pull(jnp.ones_like(scores))
    return scores, gradients


def squared_gradient_norm(gradients: Array, enlargement: int) -> Array:
    """Returns the squared norm of the gradient with respect to the full-resolution image, R1 and R2 without gamma / 2.

    The official networks see each image enlarged to full resolution by repeating pixels: each of the enlargement**2
    repeats of a pixel has 1 / enlargement**2 of its gradient. (Mescheder et al. 2018, Eq. 9.)

    Args:
        gradients: with respect to the image at its own resolution. [n, h, w, c]
        enlargement: full resolution / own resolution.

    Returns:
        [n]
    """
    return jnp.sum(gradients * gradients, axis=(1, 2, 3)) / enlargement**2


def gradient_norm_penalty(gradients: Array, enlargement: int, target: float) -> Array:
    """Returns (|gradient| - target)**2 / target**2, WGAN-GP without lambda (Gulrajani et al. 2017, Eq. 3). [n]

    Args:
        gradients: at images between reals and fakes. [n, h, w, c]
        enlargement: full resolution / own resolution, as in squared_gradient_norm.
        target: target of the norm.
    """
    norms = jnp.sqrt(squared_gradient_norm(gradients, enlargement))
    return (norms - target) ** 2 / target**2


def interpolate(reals: Array, fakes: Array, t: Array) -> Array:
    """Returns images between reals (t = 0) and fakes (t = 1), one t an image. [n, h, w, c]"""
    return ops.lerp(reals, fakes, t[:, None, None, None])


def drift(real_scores: Array) -> Array:
    """Returns D(real)**2, which keeps WGAN scores from drifting away (Progressive GAN, Sec. A.1)."""
    return real_scores**2


# ---- objectives: what a network minimizes, as a function of its parameters


def score_fn(
    params: Any,
    model: Model,
    resolution: int,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
) -> Callable[[Array], Array]:
    """Returns the discriminator as a function of images [n, r, r, c] alone, to scores [n]."""
    d = discriminator.Discriminator(model, axis_name)
    return lambda images: d.apply({"params": params}, images, labels, alpha, resolution=resolution)


def discriminator_loss(
    params: Any,
    config: Config,
    resolution: int,
    reals: Array,
    fakes: Array,
    labels: Array | None,
    alpha: Array | None,
    t: Array,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    """Returns the mean loss of the discriminator with its penalties, and the values of each for every image.

    Lazy R1 is not one of them; see lazy_r1_loss.

    Args:
        params: the discriminator's parameters.
        config: settings.
        resolution: resolution of the images, px.
        reals: in [-1, 1]. [n, r, r, c]
        fakes: likewise.
        labels: classes of reals and fakes alike. [n, num_labels]
        alpha: weight of this resolution in a fade; None where it does not fade.
        t: places between reals and fakes, for WGAN-GP. [n]
        axis_name: within jax.shard_map, the axis that the batch is split over.
    """
    train, enlargement = config.train, config.model.resolution // resolution
    r1_gamma = train.r1_gamma if train.r1_interval == 1 else 0.0
    score = score_fn(params, config.model, resolution, labels, alpha, axis_name)

    values: Metrics = {}

    def scored(images: Array, penalty: str, gamma: float) -> Array:
        if not gamma:
            return score(images)
        scores, gradients = scores_and_gradients(score, images)
        values[penalty] = squared_gradient_norm(gradients, enlargement)
        return scores

    real_scores, fake_scores = scored(reals, "r1", r1_gamma), scored(fakes, "r2", train.r2_gamma)
    loss = DISCRIMINATOR_LOSSES[train.d_loss](real_scores, fake_scores)
    values |= {"d_loss": loss, "real_scores": real_scores, "fake_scores": fake_scores}
    penalty = r1_gamma / 2 * values.get("r1", 0.0) + train.r2_gamma / 2 * values.get("r2", 0.0)
    if train.gp_lambda:
        mixed_scores, gradients = scores_and_gradients(score, interpolate(reals, fakes, t))
        values["gp"] = gradient_norm_penalty(gradients, enlargement, train.gp_target)
        values["mixed_scores"] = mixed_scores
        penalty += train.gp_lambda * values["gp"]
    if train.d_loss == "wgan":
        penalty += train.wgan_drift * drift(real_scores)
    return jnp.mean(loss + penalty), values


def lazy_r1_loss(
    params: Any,
    config: Config,
    resolution: int,
    reals: Array,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    """Returns k gamma / 2 times the mean R1 of the reals, and R1 of each image.

    One update by it stands for k iterations (Karras et al. 2020).
    """
    score = score_fn(params, config.model, resolution, labels, alpha, axis_name)
    _, gradients = scores_and_gradients(score, reals)
    r1 = squared_gradient_norm(gradients, config.model.resolution // resolution)
    return config.train.r1_interval * config.train.r1_gamma / 2 * jnp.mean(r1), {"r1": r1}


def generator_loss(
    params: Any,
    d_params: Any,
    config: Config,
    resolution: int,
    latents: sampling.Latents,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
) -> tuple[Array, Metrics]:
    """Returns the mean loss of the generator, its values for each image, and the mean of w."""
    fakes, w_mean = sampling.generate(params, latents, labels, alpha, config.model, resolution)
    scores = score_fn(d_params, config.model, resolution, labels, alpha, axis_name)(fakes)
    loss = GENERATOR_LOSSES[config.train.g_loss](scores)
    return jnp.mean(loss), {"g_loss": loss, "w_mean": w_mean}
