"""The Inception network of FID: TensorFlow's graph of 2015-12-05, which differs from other networks of that name.

Its average pools leave padding out of their counts, the pool of its last block takes the maximum, and it has 1008
classes. Sources: pytorch-fid, src/pytorch_fid/inception.py; NVIDIA's inception-2015-12-05.pt.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from stylegan_jax.metrics.features import convolution, known, resize, stored

Params = Mapping[str, Array]
Conv = Callable[..., Array]  # (name, x, maps, height, width, stride=1, padding="SAME")

NUM_FEATURES = 2048
NUM_CLASSES = 1008
INPUT_PX = 299
BATCH_NORM_EPSILON = 1e-3
RESIZES = {  # Name: function, and the value that becomes 0. The range becomes about -1..1.
    "tf1_bilinear": (resize.tf1_bilinear, 128.0),  # The original FID, StyleGAN's and torch-fidelity's.
    "torch_bilinear": (resize.torch_bilinear, 127.5),  # pytorch-fid's.
    "pil_bicubic": (resize.pil_bicubic, 128.0),  # clean-fid's.
}


# ---- the network


def apply(params: Params, images: Array, resize_name: str = "tf1_bilinear") -> tuple[Array, Array]:
    """Returns the features and the logits of images, in the parameters' precision.

    Args:
        params: from `read`.
        images: uint8, of any size. [n, h, w, c], c = 1, 3 or 4
        resize_name: one of RESIZES.

    Returns:
        features [n, NUM_FEATURES] and logits without a bias [n, NUM_CLASSES].

    Raises:
        ValueError: there is no such way of resizing, or images of that type and shape are not taken.
    """
    features = activations(params, images, resize_name)["2048"]
    return features, jnp.matmul(features, params["output/kernel"], precision=lax.Precision.HIGHEST)


def activations(params: Params, images: Array, resize_name: str = "tf1_bilinear") -> dict[str, Array]:
    """Returns the spatial means of the four layers that metrics use, by their numbers of maps.

    They follow the first and the second pool, the eighth block and the last one. Arguments and errors are those of
    `apply`.

    Returns:
        "64", "192", "768" and "2048": [n, maps]
    """
    if resize_name not in RESIZES:
        raise ValueError(f"there is no resize {resize_name!r}; use one of {', '.join(RESIZES)}.")
    resize_fn, center = RESIZES[resize_name]
    x = resize.rgb(images, params["conv/kernel"].dtype)
    if x.shape[1:3] != (INPUT_PX, INPUT_PX):
        x = resize_fn(x, INPUT_PX, INPUT_PX)

    def conv(name: str, x: Array, maps: int, *_: int, stride: int = 1, padding: str = "SAME") -> Array:
        x = convolution.conv(x, params[f"{name}/kernel"], stride, padding)
        return jax.nn.relu(x + params[f"{name}/bias"][None, None, None])

    # Small layers are computed for some images at a time: most of the network's weights are theirs.
    layers, x = convolution.by_image(lambda x: _to_17px(conv, x), (x - center) / center)
    layers["768"], x = convolution.by_image(lambda x: _to_8px(conv, x), x, at_a_time=4)
    layers["2048"] = convolution.by_image(lambda x: _last(conv, x), x, at_a_time=8)
    return layers


def _to_17px(conv: Conv, x: Array) -> tuple[dict[str, Array], Array]:
    """Returns the means of the first two layers of an input [n, 299, 299, 3], and features [n, 17, 17, 768]."""
    x = conv("conv", x, 32, 3, 3, stride=2, padding="VALID")
    x = conv("conv_1", x, 32, 3, 3, padding="VALID")
    x = first = _max_pool(conv("conv_2", x, 64, 3, 3))
    x = conv("conv_3", x, 80, 1, 1)
    x = second = _max_pool(conv("conv_4", x, 192, 3, 3, padding="VALID"))
    for name, maps in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        x = _block_35px(functools.partial(_local, conv, name), x, maps)
    return {"64": _mean(first), "192": _mean(second)}, _block_to_17px(functools.partial(_local, conv, "mixed_3"), x)


def _to_8px(conv: Conv, x: Array) -> tuple[Array, Array]:
    """Returns the means of the third layer, and features [n, 8, 8, 1280]."""
    for name, maps in (("mixed_4", 128), ("mixed_5", 160), ("mixed_6", 160), ("mixed_7", 192)):
        x = _block_17px(functools.partial(_local, conv, name), x, maps)
    return _mean(x), _block_to_8px(functools.partial(_local, conv, "mixed_8"), x)


def _last(conv: Conv, x: Array) -> Array:
    """Returns the means of the last layer."""
    x = _block_8px(functools.partial(_local, conv, "mixed_9"), x, _average_pool)
    # Differs from Szegedy et al. 2016 as the graph of 2015 does: its last pool takes the maximum.
    return _mean(_block_8px(functools.partial(_local, conv, "mixed_10"), x, _same_max_pool))


def _mean(x: Array) -> Array:
    return jnp.mean(x, axis=(1, 2))


def _local(conv: Conv, block: str, name: str, x: Array, *sizes: int, **how: int | str) -> Array:
    return conv(f"{block}.{name}", x, *sizes, **how)


def _block_35px(conv: Conv, x: Array, maps: int) -> Array:
    a = conv("conv", x, 64, 1, 1)
    b = conv("tower.conv_1", conv("tower.conv", x, 48, 1, 1), 64, 5, 5)
    c = conv("tower_1.conv_1", conv("tower_1.conv", x, 64, 1, 1), 96, 3, 3)
    c = conv("tower_1.conv_2", c, 96, 3, 3)
    d = conv("tower_2.conv", _average_pool(x), maps, 1, 1)
    return jnp.concatenate([a, b, c, d], axis=3)


def _block_to_17px(conv: Conv, x: Array) -> Array:
    a = conv("conv", x, 384, 3, 3, stride=2, padding="VALID")
    b = conv("tower.conv_1", conv("tower.conv", x, 64, 1, 1), 96, 3, 3)
    b = conv("tower.conv_2", b, 96, 3, 3, stride=2, padding="VALID")
    return jnp.concatenate([a, b, _max_pool(x)], axis=3)


def _block_17px(conv: Conv, x: Array, maps: int) -> Array:
    a = conv("conv", x, 192, 1, 1)
    b = conv("tower.conv_1", conv("tower.conv", x, maps, 1, 1), maps, 1, 7)
    b = conv("tower.conv_2", b, 192, 7, 1)
    c = conv("tower_1.conv_1", conv("tower_1.conv", x, maps, 1, 1), maps, 7, 1)
    c = conv("tower_1.conv_2", c, maps, 1, 7)
    c = conv("tower_1.conv_3", c, maps, 7, 1)
    c = conv("tower_1.conv_4", c, 192, 1, 7)
    d = conv("tower_2.conv", _average_pool(x), 192, 1, 1)
    return jnp.concatenate([a, b, c, d], axis=3)


def _block_to_8px(conv: Conv, x: Array) -> Array:
    a = conv("tower.conv_1", conv("tower.conv", x, 192, 1, 1), 320, 3, 3, stride=2, padding="VALID")
    b = conv("tower_1.conv_1", conv("tower_1.conv", x, 192, 1, 1), 192, 1, 7)
    b = conv("tower_1.conv_2", b, 192, 7, 1)
    b = conv("tower_1.conv_3", b, 192, 3, 3, stride=2, padding="VALID")
    return jnp.concatenate([a, b, _max_pool(x)], axis=3)


def _block_8px(conv: Conv, x: Array, pool_fn: Callable[[Array], Array]) -> Array:
    a = conv("conv", x, 320, 1, 1)
    b = conv("tower_conv", x, 384, 1, 1)
    c = conv("tower_1_conv_1", conv("tower_1_conv", x, 448, 1, 1), 384, 3, 3)
    both = [
        conv("tower_mixed_conv", b, 384, 1, 3),
        conv("tower_mixed_conv_1", b, 384, 3, 1),
        conv("tower_1_mixed_conv", c, 384, 1, 3),
        conv("tower_1_mixed_conv_1", c, 384, 3, 1),
    ]
    return jnp.concatenate([a, *both, conv("tower_2_conv", pool_fn(x), 192, 1, 1)], axis=3)


# Pools of 3x3 pixels are made of nine slices, which XLA fuses: with its own windows the network takes a quarter longer
# on CPUs.
_NINE = tuple((i, j) for i in range(3) for j in range(3))


def _max_pool(x: Array) -> Array:
    height, width = x.shape[1:3]
    return functools.reduce(jnp.maximum, [x[:, i : height - 2 + i : 2, j : width - 2 + j : 2] for i, j in _NINE])


def _same_max_pool(x: Array) -> Array:
    return functools.reduce(jnp.maximum, _neighbours(x, -jnp.inf))


def _average_pool(x: Array) -> Array:
    """Returns the means of 3x3 neighbourhoods, over the pixels that are within the image."""
    counts = sum(_neighbours(jnp.ones((1, *x.shape[1:3], 1), x.dtype), 0))
    return sum(_neighbours(x, 0)) / counts


def _neighbours(x: Array, outside: float) -> list[Array]:
    """Returns the image shifted to each of nine places, with a value for pixels outside of it. [n, h, w, c] each"""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=outside)
    return [padded[:, i : i + height, j : j + width] for i, j in _NINE]


@functools.cache
def shapes() -> dict[str, tuple[int, int, int, int]]:
    """Returns the shape of each convolution's kernel, by the graph's name. [height, width, in, out]"""
    result = {}

    def conv(name: str, x: Array, maps: int, height: int, width: int, stride: int = 1, padding: str = "SAME") -> Array:
        result[name] = (height, width, x.shape[3], maps)
        return convolution.plain_conv(x, jnp.zeros((*result[name],), x.dtype), stride, padding)

    def network(x: Array) -> Array:
        return _last(conv, _to_8px(conv, _to_17px(conv, x)[1])[1])

    jax.eval_shape(network, jax.ShapeDtypeStruct((1, INPUT_PX, INPUT_PX, 3), jnp.float32))
    return result


# ---- weights

_TORCH_BLOCKS = {
    "mixed": "Mixed_5b", "mixed_1": "Mixed_5c", "mixed_2": "Mixed_5d", "mixed_3": "Mixed_6a", "mixed_4": "Mixed_6b",
    "mixed_5": "Mixed_6c", "mixed_6": "Mixed_6d", "mixed_7": "Mixed_6e", "mixed_8": "Mixed_7a", "mixed_9": "Mixed_7b",
    "mixed_10": "Mixed_7c", "conv": "Conv2d_1a_3x3", "conv_1": "Conv2d_2a_3x3", "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1", "conv_4": "Conv2d_4a_3x3",
}  # fmt: skip
_TORCH_LAYERS = {  # By the blocks' kinds; torchvision numbers the layers of a branch from 1 on.
    "5": {"conv": "branch1x1", "tower": "branch5x5", "tower_1": "branch3x3dbl", "tower_2": "branch_pool"},
    "6a": {"conv": "branch3x3", "tower": "branch3x3dbl"},
    "6": {"conv": "branch1x1", "tower": "branch7x7", "tower_1": "branch7x7dbl", "tower_2": "branch_pool"},
    "7a": {"tower": "branch3x3", "tower_1": "branch7x7x3"},
    "7": {
        "conv": "branch1x1", "tower_conv": "branch3x3_1", "tower_mixed_conv": "branch3x3_2a",
        "tower_mixed_conv_1": "branch3x3_2b", "tower_1_conv": "branch3x3dbl_1", "tower_1_conv_1": "branch3x3dbl_2",
        "tower_1_mixed_conv": "branch3x3dbl_3a", "tower_1_mixed_conv_1": "branch3x3dbl_3b",
        "tower_2_conv": "branch_pool",
    },
}  # fmt: skip


def torch_name(name: str) -> str:
    """Returns torchvision's and pytorch-fid's name of a layer that the graph calls `name`."""
    block, _, rest = name.partition(".")
    if not rest:
        return _TORCH_BLOCKS[block]
    place = _TORCH_BLOCKS[block].removeprefix("Mixed_")
    layers = _TORCH_LAYERS.get(place) or _TORCH_LAYERS[place[0]]
    if rest in layers:
        return f"{_TORCH_BLOCKS[block]}.{layers[rest]}"
    tower, _, conv = rest.partition(".")
    branch = layers[tower]
    number = "" if branch == "branch_pool" else f"_{int(conv.removeprefix('conv').removeprefix('_') or 0) + 1}"
    return f"{_TORCH_BLOCKS[block]}.{branch}{number}"


def read(path: str | os.PathLike) -> known.Weights:
    """Returns the weights of a file: of pytorch-fid and torch-fidelity (.pth), or of NVIDIA (.pt, .pkl of PyTorch).

    Batch normalization is part of the convolutions' kernels and biases; it is folded in in float64.

    Raises:
        ValueError: the file is damaged, or of another network; a sentence that says which, where that is known.
        OSError: it cannot be opened.
    """
    found = stored.read(path)
    if found.is_tensorflow:
        raise ValueError(
            f"{path} is a pickle of TensorFlow for NVIDIA's first code, whose names of arrays are not published. "
            "inception-2015-12-05.pt is the same network, and is read."
        )
    is_torch = any(name.startswith("Mixed_5b.") for name in found.arrays)
    if is_torch and found.arrays.get("fc.weight", np.empty(0)).shape[:1] == (1000,):
        raise ValueError(
            f"{path} is torchvision's Inception of 1000 classes, not FID's of 1008: its features are others. "
            f"FID needs {known.INCEPTION_FILES}."
        )
    if not is_torch and "layers.mixed_10.conv.weight" not in found.arrays:
        raise ValueError(f"{path} {found.description}, not FID's Inception. FID needs {known.INCEPTION_FILES}.")
    output = "fc" if is_torch else "output"
    places = {name: torch_name(name) if is_torch else f"layers.{name}" for name in shapes()}
    wanted: dict[str, tuple[int, ...]] = {f"{output}.weight": (NUM_CLASSES, NUM_FEATURES)}
    for name, (height, width, inputs, maps) in shapes().items():
        kernel, *vectors = _parts(places[name], is_torch)
        wanted |= {kernel: (maps, inputs, height, width)} | dict.fromkeys(vectors, (maps,))
    # Unused: the bias, since the inception score is defined by logits without one, and counters of training.
    arrays = stored.take(found, wanted, rf"{output}\.bias|.*\.num_batches_tracked")
    params = {"output/kernel": arrays[f"{output}.weight"].T}
    for name, place in places.items():
        values = [arrays[part] for part in _parts(place, is_torch)]
        params[f"{name}/kernel"], params[f"{name}/bias"] = _folded(*values)
    return stored.weights([found], params)


def _parts(place: str, is_torch: bool) -> list[str]:
    """Returns the names of a layer's kernel and of its normalization: bias, mean, variance and, if it has one, gain."""
    if is_torch:
        return [
            f"{place}.{part}" for part in ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.weight")
        ]
    return [f"{place}.{part}" for part in ("weight", "beta", "mean", "var")]


def _folded(kernel: np.ndarray, beta: Any, mean: Any, variance: Any, gain: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns a convolution's kernel [h, w, i, o] and bias [o] with its batch normalization in them. float64"""
    beta, mean, variance = (np.asarray(value, np.float64) for value in (beta, mean, variance))
    factor = gain / np.sqrt(variance + BATCH_NORM_EPSILON)
    return kernel.transpose(2, 3, 1, 0) * factor, beta - mean * factor
