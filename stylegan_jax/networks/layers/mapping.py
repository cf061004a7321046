"""The mapping network of both architectures."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import activations, layers, ops


class Mapping(nn.Module):
    """The mapping network f: z to w (StyleGAN, Fig. 1b).

    It computes in float32 whatever model.compute_dtype and model.matmul_precision are, and so do the styles: an error
    of w moves every style of the image, and a few products of vectors take no time.
    """

    model: Model

    @nn.compact
    def __call__(self, z: Array | None, labels: Array | None = None) -> Array:
        """Returns intermediate latents w.

        Args:
            z: unit Gaussian latents; None for the discriminator's mapping of labels alone. [n, z_size]
            labels: one-hot classes, if the model has any. [n, num_labels]

        Returns:
            [n, w_size]
        """
        model = self.model
        x = self._stylegan2_inputs(z, labels) if model.architecture == "stylegan2" else self._inputs(z, labels)
        for i in range(model.mapping_layers):
            features = model.w_size if i == model.mapping_layers - 1 else model.mapping_fmaps
            x = layers.Dense(
                features,
                bias_gain=layers.RELU_GAIN if model.architecture == "stylegan2" else 1.0,
                lr_multiplier=model.mapping_lr_multiplier,
                use_equalized_lr=model.use_equalized_lr,
                bias_fn=functools.partial(activations.bias_act, nonlinearity=model.nonlinearity),
                precision="highest",
                name=f"dense{i}",
            )(x)
        return x

    def _inputs(self, z: Array, labels: Array | None) -> Array:
        """Returns latents and embedded labels, side by side, of unit mean square."""
        model, x = self.model, z
        if model.num_labels:
            if model.embed_labels:
                embedding = self.param("label_embedding", nn.initializers.normal(1), (model.num_labels, model.z_size))
                labels = jnp.matmul(labels, embedding, precision="highest")
            x = jnp.concatenate([x, labels], axis=-1)
        return ops.pixel_norm(x) if model.normalize_latents else x

    def _stylegan2_inputs(self, z: Array | None, labels: Array | None) -> Array:
        """Returns latents of unit mean square and, beside them, embedded labels of unit mean square."""
        model, inputs = self.model, [] if z is None else [ops.pixel_norm(z)]
        if model.num_labels:
            size = model.w_size if model.embed_size is None else model.embed_size
            embedded = layers.Dense(size, gain=1.0, precision="highest", name="label_embedding")(labels)
            inputs.append(ops.pixel_norm(embedded))
        return jnp.concatenate(inputs, axis=-1)
