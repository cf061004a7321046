"""The discriminator of either architecture."""

import flax.linen as nn

from stylegan_jax.config import Model
from stylegan_jax.networks.discriminator import stylegan, stylegan2

DISCRIMINATORS: dict[str, type[nn.Module]] = {"stylegan": stylegan.Discriminator, "stylegan2": stylegan2.Discriminator}

BLOCKS = stylegan.DiscriminatorBlock, stylegan2.DiscriminatorBlock


def discriminator(model: Model, axis_name: str | None = None) -> nn.Module:
    """Returns the discriminator of the model's architecture; within jax.shard_map a batch is split over `axis_name`."""
    return DISCRIMINATORS[model.architecture](model, axis_name)
