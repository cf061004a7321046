"""GAN losses and gradient penalties, one value an image, without reduction (official training/loss.py)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.networks import ops

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

    Of the sum, because the minibatch standard deviation couples the images: gradients image by image are others.
    """
    scores, pull = jax.vjp(score_fn, images)
    (gradients,) = pull(jnp.ones_like(scores))
    return scores, gradients


def squared_gradient_norm(gradients: Array, enlargement: int) -> Array:
    """Returns the squared norm of the gradient with respect to the full-resolution image, R1 and R2 without gamma / 2.

    The official networks see each image enlarged to full resolution by repeating pixels: of the gradient, each of
    enlargement**2 repeats has the share 1 / enlargement**2. (Mescheder et al. 2018, Eq. 9.)

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
        target: of the norm.
    """
    norms = jnp.sqrt(squared_gradient_norm(gradients, enlargement))
    return (norms - target) ** 2 / target**2


def interpolate(reals: Array, fakes: Array, t: Array) -> Array:
    """Returns images between reals (t = 0) and fakes (t = 1), one t an image. [n, h, w, c]"""
    return ops.lerp(reals, fakes, t[:, None, None, None])


def drift(real_scores: Array) -> Array:
    """Returns D(real)**2, which keeps WGAN scores from drifting away (Progressive GAN, Sec. A.1)."""
    return real_scores**2
