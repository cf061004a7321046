"""NVIDIA's 40 classifiers of CelebA's attributes, which linear separability is measured with.

Each is a discriminator of Progressive GAN for 256 px, without minibatch deviation; its score is a logit.
Source: NVlabs/stylegan, metrics/linear_separability.py.
"""

import hashlib
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.metrics.features import known, resize
from stylegan_jax.networks import discriminator
from stylegan_jax.weights import trees
from stylegan_jax.weights.layouts import contents, official_pickles

ATTRIBUTES = (
    "male", "smiling", "attractive", "wavy-hair", "young", "5-o-clock-shadow", "arched-eyebrows", "bags-under-eyes",
    "bald", "bangs", "big-lips", "big-nose", "black-hair", "blond-hair", "blurry", "brown-hair", "bushy-eyebrows",
    "chubby", "double-chin", "eyeglasses", "goatee", "gray-hair", "heavy-makeup", "high-cheekbones",
    "mouth-slightly-open", "mustache", "narrow-eyes", "no-beard", "oval-face", "pale-skin", "pointy-nose",
    "receding-hairline", "rosy-cheeks", "sideburns", "straight-hair", "wearing-earrings", "wearing-hat",
    "wearing-lipstick", "wearing-necklace", "wearing-necktie",
)  # fmt: skip


def file_name(attribute: str) -> str:
    """Returns the published name of an attribute's file.

    Raises:
        ValueError: there is no such attribute.
    """
    if attribute not in ATTRIBUTES:
        raise ValueError(f"there is no classifier of {attribute!r}; those of {', '.join(ATTRIBUTES)} are published.")
    return f"celebahq-classifier-{ATTRIBUTES.index(attribute):02}-{attribute}.pkl"


def logits(params: Any, images: Array, model: Model) -> Array:
    """Returns a classifier's logits of images; above 0 they have the attribute.

    The official probabilities are softmax([logit, -logit]), so the sigmoid of twice the logit.

    Args:
        params: from `read`.
        images: uint8, or float in [-1, 1]; they are averaged over boxes to the model's resolution.
            [n, h, w, c], h = w = a power of two, at least the model's resolution
        model: from `read`.

    Returns:
        float32 [n]

    Raises:
        ValueError: the images are smaller, or not square.
    """
    x = resize.rgb(images) / (resize.WHITE / 2) - 1 if images.dtype == jnp.uint8 else resize.on_white(images, -1.0, 1.0)
    x = resize.shrink(x, model.resolution)
    if x.shape[1:3] != (model.resolution,) * 2:
        raise ValueError(
            f"the classifiers take square images of at least {model.resolution} px, a power of two; these have "
            f"{images.shape[1]}x{images.shape[2]} px."
        )
    with jax.default_matmul_precision("highest"):
        return discriminator.discriminator(model).apply({"params": params}, x, None, None, resolution=model.resolution)


def read(path: str | os.PathLike) -> tuple[known.Weights, Model]:
    """Returns the weights of a classifier's pickle, and its model.

    Raises:
        ValueError: the file is damaged, or of another network.
        OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    found = official_pickles.read(path)
    if found.average is not None or found.discriminator is None:
        raise ValueError(f"{path} holds generators, not a classifier; {file_name('male')} is one.")
    network = found.discriminator
    model = contents.model_of(network)
    if model.stddev_group or model.num_labels:
        raise ValueError(
            f"{path} holds a discriminator that compares the images of a batch or takes labels, not a classifier; "
            f"{file_name('male')} is one."
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    params = contents.params_of(network, model.resolution)
    flat = {jax.tree_util.keystr(name): value for name, value in jax.tree_util.tree_leaves_with_path(params)}
    notes = (*found.notes, f"{path} is no file whose SHA-256 is known here. Its SHA-256 is {sha256}.")
    weights = known.Weights(params, sha256, trees.sha256(flat), path.name, notes)
    return weights, model
