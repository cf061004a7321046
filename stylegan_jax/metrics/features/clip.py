"""CLIP (Radford et al. 2021): the embeddings of images that CMMD compares, of OpenAI's and Hugging Face's files.

The published CMMD takes ViT-L/14 for images of 336 px (google-research, cmmd/embedding.py). ViT-B/32 and the others of
OpenAI's vision transformers are read too; they give other numbers.
Sources: openai/CLIP, clip/model.py; google-research/scenic, projects/baselines/clip; cmmd/io_util.py for the resize.
"""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.metrics.features import known, resize, stored, transformer

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # Of 0..1.
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
EPSILON = 1e-5
PUBLISHED = (336, 24, 1024)  # Pixels, blocks and width of the network of CMMD.


def features(params: transformer.Params, images: Array) -> Array:
    """Returns the embeddings of images, of length 1, in the parameters' precision.

    The largest square in the middle is brought to the network's size by Pillow's bicubic filter, as CMMD does.

    Args:
        params: from `read`.
        images: uint8, of any size. [n, h, w, c], c = 1, 3 or 4

    Returns:
        [n, d]: d = 768 of ViT-L, 512 of ViT-B.

    Raises:
        ValueError: images of that type and shape are not taken.
    """
    dtype, px = params["patch/kernel"].dtype, transformer.input_px(params)
    x = jnp.round(resize.rgb(images, jnp.float32))
    side = min(x.shape[1:3])
    top, left = ((size - side) // 2 for size in x.shape[1:3])
    x = resize.pil_bicubic_uint8(x[:, top : top + side, left : left + side], px, px).astype(dtype) / resize.WHITE
    x = transformer.tokens(params, (x - MEAN[None, None, None]) / DEVIATION[None, None, None])
    x = transformer.norm(params, "norm_before", x, EPSILON)
    x = transformer.blocks(params, x, lambda hidden: hidden * jax.nn.sigmoid(1.702 * hidden), EPSILON)
    x = transformer.norm(params, "norm", x[:, :1], EPSILON)[:, 0]
    x = jnp.matmul(x, params["projection"], precision=jax.lax.Precision.HIGHEST)
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=1, keepdims=True))


# ---- weights

_ENDS = (("scale", "weight"), ("bias", "bias"))  # Of a normalization's parameters, and of its arrays.
_OPENAI: dict[str, Any] = {
    "patch": "visual.conv1.weight", "class": "visual.class_embedding", "positions": "visual.positional_embedding",
    "norm_before": "visual.ln_pre", "norm": "visual.ln_post", "projection": "visual.proj",
    "blocks": "visual.transformer.resblocks", "norm1": "ln_1", "norm2": "ln_2", "attention": "attn.out_proj",
    "hidden": "mlp.c_fc", "out": "mlp.c_proj", "qkv/kernel": ("attn.in_proj_weight",),
    "qkv/bias": ("attn.in_proj_bias",),
}  # fmt: skip
_HUGGING_FACE: dict[str, Any] = {
    "patch": "vision_model.embeddings.patch_embedding.weight", "class": "vision_model.embeddings.class_embedding",
    "positions": "vision_model.embeddings.position_embedding.weight", "norm_before": "vision_model.pre_layrnorm",
    "norm": "vision_model.post_layernorm", "projection": "visual_projection.weight",
    "blocks": "vision_model.encoder.layers", "norm1": "layer_norm1", "norm2": "layer_norm2",
    "attention": "self_attn.out_proj", "hidden": "mlp.fc1", "out": "mlp.fc2",
    "qkv/kernel": tuple(f"self_attn.{part}_proj.weight" for part in "qkv"),
    "qkv/bias": tuple(f"self_attn.{part}_proj.bias" for part in "qkv"),
}  # fmt: skip
_UNUSED = (  # The network of texts, and constants that images do not need.
    r"(text_model|transformer|token_embedding|ln_final)\..*|positional_embedding|text_projection(\.weight)?"
    r"|logit_scale|input_resolution|context_length|vocab_size|.*position_ids"
)


def read(path: str | os.PathLike) -> known.Weights:
    """Returns the weights of a vision transformer of OpenAI (.pt) or of Hugging Face (.bin, .safetensors).

    Raises:
        ValueError: the file is damaged, or of another network; a sentence that says which, where that is known.
        OSError: it cannot be opened.
    """
    found = stored.read(path)
    if known.networks_of(found.arrays) != ("clip",):
        raise ValueError(f"{path} {found.description}, not CLIP's vision transformer. CMMD needs {known.CLIP_FILES}.")
    is_openai = _OPENAI["class"] in found.arrays
    layout = _OPENAI if is_openai else _HUGGING_FACE
    for name in (layout["patch"], layout["positions"], layout["projection"]):
        if name not in found.arrays:
            raise ValueError(f"{path} {found.description}, but lacks the array {name!r}; get the file anew.")
    width, _, patch, _ = (*found.arrays[layout["patch"]].shape, 0, 0, 0, 0)[:4]
    grid = round(max((*found.arrays[layout["positions"]].shape, 0)[0] - 1, 0) ** 0.5)
    size = (*found.arrays[layout["projection"]].shape, 0, 0)[1 if is_openai else 0]
    projection = (width, size) if is_openai else (size, width)
    block = re.escape(layout["blocks"]) + r"\.(\d+)\."
    depth = len({match[1] for name in found.arrays if (match := re.match(block, name))})
    if width % transformer.HEAD_SIZE or not (width and depth):
        raise ValueError(f"{path} holds CLIP of {depth} blocks of width {width}, which no published one has.")
    own = _parts(layout, (width, 3, patch, patch), 1 + grid**2, projection, depth)
    arrays = stored.take(found, {name: shape for parts in own.values() for name, shape in parts}, _UNUSED)
    params = {}
    for name, parts in own.items():
        value = np.concatenate([np.asarray(arrays[part], np.float32) for part, _ in parts])
        if name == "patch/kernel":
            value = value.transpose(2, 3, 1, 0)
        elif name.endswith("kernel") or (name == "projection" and not is_openai):
            value = value.T
        params[name] = value
    for name in transformer.BLOCK_SHAPES:
        params[f"blocks/{name}"] = np.stack([params.pop(f"{k}/{name}") for k in range(depth)])
    notes = []
    if (patch * grid, depth, width) != PUBLISHED:
        notes.append(
            f"{path} is CLIP's ViT of {depth} blocks of width {width} for {patch * grid} px; the published CMMD takes "
            "ViT-L/14 for 336 px, so numbers cannot be compared with it."
        )
    return stored.weights([found], params, *notes)


def _parts(
    layout: dict[str, Any], patch: tuple[int, ...], num_positions: int, projection: tuple[int, ...], depth: int
) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Returns the names and shapes of the arrays that make each parameter; of a block, each is "0/qkv/kernel"."""
    width = patch[0]
    own: dict[str, list[tuple[str, tuple[int, ...]]]] = {
        "patch/kernel": [(layout["patch"], patch)],
        "class": [(layout["class"], (width,))],
        "positions": [(layout["positions"], (num_positions, width))],
        "projection": [(layout["projection"], projection)],
    }
    for name in ("norm_before", "norm"):
        own |= {f"{name}/{part}": [(f"{layout[name]}.{end}", (width,))] for part, end in _ENDS}
    for k in range(depth):
        for name, shape in transformer.BLOCK_SHAPES.items():
            place, part = name.split("/")
            sizes = [width * factor for factor in reversed(shape)]
            ends = layout.get(name) or (f"{layout[place]}.{'bias' if part == 'bias' else 'weight'}",)
            sizes[0] //= len(ends)
            own[f"{k}/{name}"] = [(f"{layout['blocks']}.{k}.{end}", tuple(sizes)) for end in ends]
    return own
