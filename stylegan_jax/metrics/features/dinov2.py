"""DINOv2 (Oquab et al. 2023): the features that FD_DINOv2 compares, of Meta's files.

The published FD_DINOv2 takes ViT-L/14, whose features have 1,024 dimensions; smaller networks of DINOv2 are read too.
Sources: facebookresearch/dinov2, dinov2/models/vision_transformer.py; NVlabs/edm2, calculate_metrics.py.
"""

import os
import re

import jax
import numpy as np
from jax import Array

from stylegan_jax.metrics.features import known, resize, stored, transformer

INPUT_PX = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet's, of 0..1.
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
EPSILON = 1e-6
POSITION_OFFSET = 0.1  # Patches: the official code scales its map of positions to 16.1 of them, not to 16.
CUBIC_A = -0.75  # Of PyTorch's bicubic interpolation without antialiasing.
PUBLISHED_DEPTH, PUBLISHED_WIDTH = 24, 1024


def features(params: transformer.Params, images: Array) -> Array:
    """Returns the normalized class tokens of images, in the parameters' precision.

    Images are brought to INPUT_PX by PyTorch's antialiased bicubic filter, as EDM2 does.

    Args:
        params: from `read`.
        images: uint8, of any size. [n, h, w, c], c = 1, 3 or 4

    Returns:
        [n, d]: d = 1024 of ViT-L.

    Raises:
        ValueError: images of that type and shape are not taken.
    """
    x = resize.rgb(images, params["patch/kernel"].dtype)
    x = resize.torch_bicubic(x, INPUT_PX, INPUT_PX) / resize.WHITE
    x = transformer.tokens(params, (x - MEAN[None, None, None]) / DEVIATION[None, None, None])
    x = transformer.blocks(params, x, lambda hidden: jax.nn.gelu(hidden, approximate=False), EPSILON)
    return transformer.norm(params, "norm", x[:, :1], EPSILON)[:, 0]


# ---- weights

_BLOCK = {  # Names of Meta for those of transformer.BLOCK_SHAPES.
    "norm1/scale": "norm1.weight", "norm1/bias": "norm1.bias", "qkv/kernel": "attn.qkv.weight",
    "qkv/bias": "attn.qkv.bias", "attention/kernel": "attn.proj.weight", "attention/bias": "attn.proj.bias",
    "norm2/scale": "norm2.weight", "norm2/bias": "norm2.bias", "hidden/kernel": "mlp.fc1.weight",
    "hidden/bias": "mlp.fc1.bias", "out/kernel": "mlp.fc2.weight", "out/bias": "mlp.fc2.bias",
}  # fmt: skip
_SCALED = {"attention": "ls1.gamma", "out": "ls2.gamma"}  # Layers whose results the network scales.


def read(path: str | os.PathLike) -> known.Weights:
    """Returns the weights of a file of Meta, such as dinov2_vitl14_pretrain.pth.

    The scales of the layers are part of their kernels and biases; the positions are those of INPUT_PX.

    Raises:
        ValueError: the file is damaged, or of another network; a sentence that says which, where that is known.
        OSError: it cannot be opened.
    """
    found = stored.read(path)
    if known.networks_of(found.arrays) != ("dinov2",):
        raise ValueError(f"{path} {found.description}, not DINOv2. FD_DINOv2 needs {known.DINOV2_FILES}.")
    for name in ("patch_embed.proj.weight", "pos_embed"):
        if name not in found.arrays:
            raise ValueError(f"{path} {found.description}, but lacks the array {name!r}; get the file anew.")
    width, _, patch, _ = (*found.arrays["patch_embed.proj.weight"].shape, 0, 0, 0, 0)[:4]
    side = round(max(found.arrays["pos_embed"].size / max(width, 1) - 1, 0) ** 0.5)
    if width % transformer.HEAD_SIZE or not width or not patch or INPUT_PX % patch or side < 1:
        raise ValueError(
            f"{path} holds DINOv2 of width {width} with patches of {patch} px, which no published one has."
        )
    depth = len({match[1] for name in found.arrays if (match := re.match(r"blocks\.(\d+)\.", name))})
    names: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,),
        "cls_token": (1, 1, width), "pos_embed": (1, 1 + side**2, width),
        "norm.weight": (width,), "norm.bias": (width,),
    }  # fmt: skip
    for k in range(depth):
        for own, name in _BLOCK.items():
            shape = transformer.BLOCK_SHAPES[own]
            names[f"blocks.{k}.{name}"] = tuple(width * size for size in reversed(shape))
        names |= {f"blocks.{k}.{name}": (width,) for name in _SCALED.values()}
    arrays = stored.take(found, names, "mask_token")  # That is a token of training.
    params = {
        "patch/kernel": arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "patch/bias": arrays["patch_embed.proj.bias"], "class": arrays["cls_token"][0, 0],
        "positions": _positions(arrays["pos_embed"][0], INPUT_PX // patch),
        "norm/scale": arrays["norm.weight"], "norm/bias": arrays["norm.bias"],
    }  # fmt: skip
    for own, name in _BLOCK.items():
        values = [arrays[f"blocks.{k}.{name}"].T for k in range(depth)]
        if gamma := _SCALED.get(own.partition("/")[0]):
            values = [value * arrays[f"blocks.{k}.{gamma}"] for k, value in enumerate(values)]
        params[f"blocks/{own}"] = np.stack(values)
    notes = []
    if (depth, width) != (PUBLISHED_DEPTH, PUBLISHED_WIDTH):
        notes.append(
            f"{path} is DINOv2 of {depth} blocks of width {width}; the published FD_DINOv2 takes ViT-L/14, of "
            f"{PUBLISHED_DEPTH} blocks of width {PUBLISHED_WIDTH}, so numbers cannot be compared with it."
        )
    return stored.weights([found], params, *notes)


def _positions(table: np.ndarray, side: int) -> np.ndarray:
    """Returns positions [1 + side^2, d] for those of another number of patches, as the official code scales them."""
    old = round((len(table) - 1) ** 0.5)
    if old == side:
        return table
    weights = np.zeros((side, old))
    for i in range(side):
        at = (i + 0.5) * old / (side + POSITION_OFFSET) - 0.5
        for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            weights[i, min(max(tap, 0), old - 1)] += resize.cubic(np.float64(tap - at), CUBIC_A)
    patches = table[1:].reshape(old, old, -1).astype(np.float64)
    scaled = np.einsum("ui,vj,ijd->uvd", weights, weights, patches, optimize=True)
    return np.concatenate([table[:1], scaled.reshape(side**2, -1)])
