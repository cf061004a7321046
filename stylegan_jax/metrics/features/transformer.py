"""Vision transformers (Dosovitskiy et al. 2021), as far as DINOv2 and CLIP have them in common.

Parameters, of width d and patches of p px: "patch/kernel" [p, p, 3, d] and maybe "patch/bias" [d]; "class" [d];
"positions" [1 + g^2, d], of the class and of g x g patches; "blocks/..." of BLOCK_SHAPES, with the block as first axis.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from stylegan_jax.metrics.features import convolution

Params = Mapping[str, Array]

HEAD_SIZE = 64  # Dimensions of an attention head, in every published network.
BLOCK_SHAPES = {  # In multiples of d.
    "norm1/scale": (1,), "norm1/bias": (1,), "qkv/kernel": (1, 3), "qkv/bias": (3,),
    "attention/kernel": (1, 1), "attention/bias": (1,), "norm2/scale": (1,), "norm2/bias": (1,),
    "hidden/kernel": (1, 4), "hidden/bias": (4,), "out/kernel": (4, 1), "out/bias": (1,),
}  # fmt: skip


def input_px(params: Params) -> int:
    """Returns the height and width of the images that the positions are for."""
    return params["patch/kernel"].shape[0] * round((params["positions"].shape[0] - 1) ** 0.5)


def tokens(params: Params, images: Array) -> Array:
    """Returns the class and the patches of images, at their positions.

    Args:
        params: as above.
        images: float, of the mean and deviation that the network takes. [n, input_px, input_px, 3]

    Returns:
        [n, 1 + g^2, d]
    """
    kernel = params["patch/kernel"]
    x = convolution.plain_conv(images, kernel, kernel.shape[0], "VALID")
    x = x.reshape(x.shape[0], -1, x.shape[3])
    x = x + params["patch/bias"][None, None] if "patch/bias" in params else x
    first = jnp.broadcast_to(params["class"][None, None], (x.shape[0], 1, x.shape[2]))
    return jnp.concatenate([first, x], axis=1) + params["positions"][None]


def blocks(params: Params, x: Array, activation_fn: Callable[[Array], Array], epsilon: float) -> Array:
    """Returns what the blocks make of tokens [n, t, d].

    Args:
        params: as above.
        x: tokens.
        activation_fn: nonlinearity between a block's two dense layers.
        epsilon: smallest variance of its normalizations.
    """

    def block(x: Array, layer: dict[str, Array]) -> tuple[Array, None]:
        x = x + _attention(layer, norm(layer, "norm1", x, epsilon))
        hidden = activation_fn(_dense(layer, "hidden", norm(layer, "norm2", x, epsilon)))
        return x + _dense(layer, "out", hidden), None

    with jax.default_matmul_precision("highest"):
        return lax.scan(block, x, {name: jnp.asarray(params[f"blocks/{name}"]) for name in BLOCK_SHAPES})[0]


def norm(params: Params, name: str, x: Array, epsilon: float) -> Array:
    """Returns x [n, t, d] with mean 0 and variance 1 over d, scaled and shifted (Ba et al. 2016)."""
    centered = x - jnp.mean(x, axis=2, keepdims=True)
    x = centered * lax.rsqrt(jnp.mean(jnp.square(centered), axis=2, keepdims=True) + epsilon)
    return x * params[f"{name}/scale"][None, None] + params[f"{name}/bias"][None, None]


def _dense(params: Params, name: str, x: Array) -> Array:
    return x @ params[f"{name}/kernel"] + params[f"{name}/bias"][None, None]


def _attention(params: Params, x: Array) -> Array:
    """Returns softmax(q k' / sqrt(HEAD_SIZE)) v, of all heads, and mixes them (Vaswani et al. 2017, Eq. 1)."""
    n, t, d = x.shape
    q, k, v = jnp.moveaxis(_dense(params, "qkv", x).reshape(n, t, 3, d // HEAD_SIZE, HEAD_SIZE), 2, 0)
    scores = jnp.einsum("nihs,njhs->nhij", q, k) / np.sqrt(HEAD_SIZE).astype(x.dtype)
    mixed = jnp.einsum("nhij,njhs->nihs", jax.nn.softmax(scores, axis=3), v)
    return _dense(params, "attention", mixed.reshape(n, t, d))
