"""Classifiers of CelebA's attributes, as pickles of discriminators without minibatch deviation."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.metrics.features import celeba
from stylegan_jax.networks import discriminator
from stylegan_jax.weights import save
from stylegan_jax.weights.layouts import contents, official_pickles
from tests.random_networks import random_network


def _write(path, **fields):
    """Writes a discriminator alone, as the official code of Progressive GAN pickles it, and returns it."""
    network = random_network(resolution=16, **fields)
    part = save.to_contents(network).discriminator
    official_pickles.write(path, contents.Contents("", average=part))
    return network


def test_logits_are_scores_of_the_discriminator(tmp_path):
    path = tmp_path / celeba.file_name("smiling")
    network = _write(path, stddev_group=0, blur_filter=None)
    weights, model = celeba.read(path)
    assert model.resolution == 16 and not model.stddev_group
    assert weights.name == "celebahq-classifier-01-smiling.pkl"
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    small = images.reshape(3, 16, 4, 16, 4, 3).mean(axis=(2, 4)).astype(np.float32) / 127.5 - 1
    expected = discriminator.discriminator(network.model).apply(
        {"params": network.d_params}, small, None, None, resolution=16
    )
    np.testing.assert_allclose(celeba.logits(weights.params, images, model), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        celeba.logits(weights.params, jnp.asarray(images / np.float32(127.5) - 1), model),
        expected,
        rtol=1e-4,
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="square images of at least 16 px, a power of two; these have 8x8 px"):
        celeba.logits(weights.params, images[:, :8, :8], model)


def test_other_networks_are_named_as_what_they_are(tmp_path):
    path = tmp_path / "d.pkl"
    _write(path, stddev_group=4)
    with pytest.raises(ValueError, match="a discriminator that compares the images of a batch or takes labels"):
        celeba.read(path)
    network = random_network(resolution=8)
    official_pickles.write(path, dataclasses.replace(save.to_contents(network)))
    with pytest.raises(ValueError, match="holds generators, not a classifier; celebahq-classifier-00-male.pkl is one"):
        celeba.read(path)


def test_there_are_forty_attributes():
    assert len(set(celeba.ATTRIBUTES)) == 40
    assert celeba.file_name("wearing-necktie") == "celebahq-classifier-39-wearing-necktie.pkl"
    with pytest.raises(ValueError, match="no classifier of 'Smiling'"):
        celeba.file_name("Smiling")
