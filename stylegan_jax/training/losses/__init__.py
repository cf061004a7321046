"""What each network minimizes (official training/loss.py): formulas for each image, then their means with penalties."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Config, Model
from stylegan_jax.networks import discriminator, ops, sampling
from stylegan_jax.training.losses import ada, diffaugment

Metrics = dict[str, Array]

# ---- generator: scores of fakes [n], or of pairs of fake and real, to losses [n]


def logistic_nonsaturating(fake_scores: Array) -> Array:
    """Returns -log sigmoid(D(fake)) (Goodfellow et al. 2014)."""
    return jax.nn.softplus(-fake_scores)


def logistic_saturating(fake_scores: Array) -> Array:
    """Returns log(1 - sigmoid(D(fake)))."""
    return -jax.nn.softplus(fake_scores)


def wgan(fake_scores: Array) -> Array:
    """Returns -D(fake) (Arjovsky et al. 2017)."""
    return -fake_scores


def relativistic(fake_scores: Array, real_scores: Array) -> Array:
    """Returns -log sigmoid(D(fake) - D(real)) (Jolicoeur-Martineau 2018; Huang et al. 2024, Eq. 2)."""
    return jax.nn.softplus(real_scores - fake_scores)


GENERATOR_LOSSES: dict[str, Callable[..., Array]] = {
    "logistic_nonsaturating": logistic_nonsaturating,
    "logistic_saturating": logistic_saturating,
    "wgan": wgan,
    "relativistic": relativistic,
}
PAIRED = ("relativistic",)  # Losses of the generator that compare each fake with a real image.


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


def discriminator_relativistic(real_scores: Array, fake_scores: Array) -> Array:
    """Returns -log sigmoid(D(real) - D(fake)) (Jolicoeur-Martineau 2018; Huang et al. 2024, Eq. 2)."""
    return jax.nn.softplus(fake_scores - real_scores)


DISCRIMINATOR_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "logistic": discriminator_logistic,
    "wgan": discriminator_wgan,
    "hinge": discriminator_hinge,
    "relativistic": discriminator_relativistic,
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
    d = discriminator.discriminator(model, axis_name)
    return lambda images: d.apply({"params": params}, images, labels, alpha, resolution=resolution)


class Draws(NamedTuple):
    """What chance decides about the augmentation of what the discriminator sees."""

    reals: Any
    fakes: Any


def draw(key: Array, n: int, config: Config) -> Draws | None:
    """Returns the draws of `n` real and `n` fake images; None if the settings have no augmentation."""
    if config.train.augment is None:
        return None
    draw_fn = ada.draw if config.train.augment == "ada" else diffaugment.draw
    return Draws(*(draw_fn(k, n) for k in jax.random.split(key)))


def _augmented(images: Array, draws: Any, p: Array | None) -> Array:
    """Returns images as the discriminator sees them; `p` is None for DiffAugment, `draws` for no augmentation."""
    if draws is None:
        return images
    return diffaugment.apply(images, draws) if p is None else ada.apply(images, draws, p)


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
    draws: Draws | None = None,
    p: Array | None = None,
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
        draws: the augmentation's, see `draw`; penalties are of the images before it.
        p: probability of ADA.
    """
    train, enlargement = config.train, config.model.resolution // resolution
    r1_gamma = train.r1_gamma if train.r1_interval == 1 else 0.0
    of_reals, of_fakes = draws or (None, None)
    score = score_fn(params, config.model, resolution, labels, alpha, axis_name)

    values: Metrics = {}

    def scored(images: Array, draws: Any, penalty: str, gamma: float) -> Array:
        if not gamma:
            return score(_augmented(images, draws, p))
        scores, gradients = scores_and_gradients(lambda x: score(_augmented(x, draws, p)), images)
        values[penalty] = squared_gradient_norm(gradients, enlargement)
        return scores

    real_scores = scored(reals, of_reals, "r1", r1_gamma)
    fake_scores = scored(fakes, of_fakes, "r2", train.r2_gamma)
    loss = DISCRIMINATOR_LOSSES[train.d_loss](real_scores, fake_scores)
    values |= {"d_loss": loss, "real_scores": real_scores, "fake_scores": fake_scores}
    values |= {} if p is None else {"real_signs": jnp.sign(real_scores)}
    penalty = r1_gamma / 2 * values.get("r1", 0.0) + train.r2_gamma / 2 * values.get("r2", 0.0)
    if train.gp_lambda:
        mixed = interpolate(reals, fakes, t)
        mixed_scores, gradients = scores_and_gradients(lambda x: score(_augmented(x, of_reals, p)), mixed)
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
    draws: Draws | None = None,
    p: Array | None = None,
) -> tuple[Array, Metrics]:
    """Returns k gamma / 2 times the mean R1 of the reals, and R1 of each image.

    One update by it stands for k iterations (Karras et al. 2020).
    """
    score = score_fn(params, config.model, resolution, labels, alpha, axis_name)
    of_reals = None if draws is None else draws.reals
    scores, gradients = scores_and_gradients(lambda x: score(_augmented(x, of_reals, p)), reals)
    r1 = squared_gradient_norm(gradients, config.model.resolution // resolution)
    values = {"r1": r1} | ({} if p is None else {"real_signs": jnp.sign(scores)})
    return config.train.r1_interval * config.train.r1_gamma / 2 * jnp.mean(r1), values


def generator_loss(
    params: Any,
    d_params: Any,
    config: Config,
    resolution: int,
    latents: sampling.Latents,
    labels: Array | None,
    alpha: Array | None,
    axis_name: str | None = None,
    reals: Array | None = None,
    draws: Draws | None = None,
    p: Array | None = None,
) -> tuple[Array, Metrics]:
    """Returns the mean loss of the generator, its values for each image, and the mean of w.

    Args: those of `discriminator_loss`; only losses that compare pairs need reals.
    """
    fakes, w_mean = sampling.generate(params, latents, labels, alpha, config.model, resolution)
    score = score_fn(d_params, config.model, resolution, labels, alpha, axis_name)
    name, (of_reals, of_fakes) = config.train.g_loss, draws or (None, None)
    pairs = [score(_augmented(reals, of_reals, p))] if name in PAIRED else []
    loss = GENERATOR_LOSSES[name](score(_augmented(fakes, of_fakes, p)), *pairs)
    return jnp.mean(loss), {"g_loss": loss, "w_mean": w_mean}
