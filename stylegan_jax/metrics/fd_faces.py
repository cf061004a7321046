"""Frechet distance on the features of our own small classifier of the procedural faces' 34 attributes.

The classifier is trained by experiments/attribute_network/train.py and its weights are part of the package.
The distance ranks generators of pictures like those faces; it is not FID, and the two cannot be compared.
"""

import functools
import hashlib
import importlib.resources
import math

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.metrics import batches, frechet

NUM_ATTRIBUTES = 34
INPUT_PX = 64  # Height and width that images are brought to.
WEIGHTS_FILE = "attribute_network.npz"
WEIGHTS_SHA256 = "f2defdef67ea8d89006fc5497a79a350baf5431dcda6de7d2f1edee419a1a178"

# Output maps and stride of each 3x3 convolution.
_CONVOLUTIONS = ((16, 2), (32, 2), (48, 1), (64, 2), (96, 1), (96, 2))
_POOLED = (0, 1, 2)  # Convolutions whose spatial means join the features: they see noise and blur.
_HIDDEN = 96  # Units of the penultimate layer.
NUM_FEATURES = _HIDDEN + sum(_CONVOLUTIONS[k][0] for k in _POOLED)

Params = dict[str, jax.Array]

# ---- the network


def init(key: jax.Array, num_attributes: int = NUM_ATTRIBUTES) -> Params:
    """Returns random parameters: He initialization, and features of scale 1."""
    params, maps, size = {}, 3, INPUT_PX
    keys = jax.random.split(key, len(_CONVOLUTIONS) + 2)
    for k, (out, stride) in enumerate(_CONVOLUTIONS):
        params |= _init_layer(keys[k], f"conv{k}", (3, 3, maps, out))
        maps, size = out, size // stride
    params |= _init_layer(keys[-2], "hidden", (size * size * maps, _HIDDEN))
    params |= _init_layer(keys[-1], "logits", (_HIDDEN, num_attributes))
    return params | {"feature_scale": jnp.ones(NUM_FEATURES)}


def apply(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the attributes' logits and the features.

    The features are the penultimate layer and the spatial means of the first three convolutions, times
    params["feature_scale"], which makes each one's standard deviation over the faces 1.

    Args:
        params: from `init` or `load`.
        images: float32 in [-1, 1]. [n, 64, 64, 3]

    Returns:
        logits [n, num_attributes] and features [n, NUM_FEATURES], float32.
    """
    x, pooled = images, []
    for k, (_, stride) in enumerate(_CONVOLUTIONS):
        x = jax.lax.conv_general_dilated(
            x, params[f"conv{k}/kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.leaky_relu(x + params[f"conv{k}/bias"][None, None, None], 0.2)
        if k in _POOLED:
            pooled.append(x.mean(axis=(1, 2)))
    hidden = x.reshape(x.shape[0], -1) @ params["hidden/kernel"] + params["hidden/bias"][None]
    hidden = jax.nn.leaky_relu(hidden, 0.2)
    logits = hidden @ params["logits/kernel"] + params["logits/bias"][None]
    return logits, jnp.concatenate([hidden, *pooled], axis=1) * params["feature_scale"][None]


def resize(images: jax.Array) -> jax.Array:
    """Returns images brought to 64x64 RGB in [-1, 1].

    Larger images are averaged over boxes, smaller ones repeat their pixels. The mean of the channels is taken three
    times, unless there are three.

    Args:
        images: uint8, or float in [-1, 1]. [n, h, w, c], h = w, a power of two

    Returns:
        float32. [n, 64, 64, 3]

    Raises:
        ValueError: their sides are others.
    """
    _check_size(images.shape)
    n, size, _, channels = images.shape
    x = images.astype(jnp.float32)
    x = x / 127.5 - 1 if images.dtype == jnp.uint8 else x
    if channels != 3:
        x = jnp.repeat(x.mean(axis=3, keepdims=True), 3, axis=3)
    if size > INPUT_PX:
        box = size // INPUT_PX
        x = x.reshape(n, INPUT_PX, box, INPUT_PX, box, 3).mean(axis=(2, 4))
    elif size < INPUT_PX:
        x = jnp.repeat(jnp.repeat(x, INPUT_PX // size, axis=1), INPUT_PX // size, axis=2)
    return x


# ---- the metric


def features(images: np.ndarray) -> np.ndarray:
    """Returns the shipped network's features of images.

    Args:
        images: uint8. [n, h, w, c], h = w, a power of two

    Returns:
        float32. [n, NUM_FEATURES]
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images must be uint8 [n, h, h, c], and are {images.dtype} {list(images.shape)}.")
    _check_size(images.shape)
    params = load()
    parts = [images[part] for part in batches.slices(len(images), images.shape[1])]
    return np.concatenate([jax.device_get(_features(params, jax.device_put(part))) for part in parts])


def fd_faces(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Frechet distance between the features of two sets of images; 0 is best.

    Like every Frechet distance it is biased upwards for few images: compare numbers from sets of one size.

    Args:
        first: uint8. [n, h, w, c], n >= 2
        second: uint8. [m, h, w, c], m >= 2; of any resolution and number of channels, as the first
    """
    return frechet.frechet_distance(*(frechet.statistics(features(images)) for images in (first, second)))


@functools.cache
def load() -> Params:
    """Returns the shipped parameters, as float32 arrays on the device."""
    resource = importlib.resources.files("stylegan_jax.metrics") / WEIGHTS_FILE
    with importlib.resources.as_file(resource) as path:
        return jax.device_put(read_weights(path, WEIGHTS_SHA256))


def read_weights(path, sha256: str) -> dict[str, np.ndarray]:
    """Returns the float32 parameters in an .npz file, after checking its content.

    Args:
        path: path of the file.
        sha256: hexadecimal digest that its bytes must have.

    Raises:
        ValueError: it is not the file that the digest was taken of.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(
            f"The weights in {path} are damaged or changed: their SHA-256 is {found}, expected {sha256}. "
            "Reinstall the package, or set WEIGHTS_SHA256 after training the network anew."
        )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def _check_size(shape: tuple[int, ...]) -> None:
    """Raises ValueError unless images of this shape are squares with sides of a power of two."""
    if len(shape) != 4 or shape[1] != shape[2]:
        raise ValueError(f"images must be squares [n, h, h, c], and are {list(shape)}.")
    size = shape[1]
    if size < 1 or size & (size - 1):
        raise ValueError(f"images must have sides of a power of two, and have {size} px; scale them first.")


@jax.jit
def _features(params: Params, images: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return apply(params, resize(images))[1]


def _init_layer(key: jax.Array, name: str, shape: tuple[int, ...]) -> Params:
    """Returns a layer's kernel of `shape` and its bias, by "name/kernel" and "name/bias"."""
    deviation = math.sqrt(2 / math.prod(shape[:-1]))
    return {
        f"{name}/kernel": jax.random.normal(key, shape) * deviation,
        f"{name}/bias": jnp.zeros(shape[-1]),
    }
