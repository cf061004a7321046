"""Random weights of small vision transformers in the layouts of published files, and pictures; NumPy alone."""

import pathlib

import numpy as np

WIDTH, DEPTH = 128, 2
DINOV2_PATCH, DINOV2_SIDE = 14, 37
CLIP_PATCH, CLIP_SIDE, CLIP_SIZE = 16, 5, 48  # For images of 80 px.


def pictures() -> list[np.ndarray]:
    """Returns pictures of three sizes: of noise, of gradients, and of edges. uint8 [h, w, 3]"""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 40, 3), np.uint8)
    y, x = np.mgrid[:250, :250]
    gradients = np.stack([x, y, (x + y) // 2], axis=2).astype(np.uint8)
    edges = (rng.random((300, 421, 3)) > 0.5).astype(np.uint8) * np.uint8(255)
    return [noise, gradients, edges]


def relative_error(ours: list[np.ndarray], name: str) -> float:
    """Returns the largest error, relative to the largest recorded feature; record_transformers.py recorded them."""
    with np.load(pathlib.Path(__file__).with_name("transformer_features.npz")) as npz:
        reference = npz[name]
    return float(np.max(np.abs(np.stack(ours) - reference)) / np.max(np.abs(reference)))


def _fill(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Returns random float32 arrays; the ends of their names tell their scales."""
    rng, result = np.random.default_rng(seed), {}
    for name, shape in sorted(shapes.items()):
        value = rng.standard_normal(shape).astype(np.float32)
        if "norm" in name and name.endswith("weight") or name.endswith("gamma"):
            value = 1 + value / 4
        elif len(shape) > 1 and "pos" not in name and "cls" not in name:
            value = value / np.float32(np.sqrt(np.prod(shape[1:])))
        else:
            value = value / 2
        result[name] = value.astype(np.float32)
    return result


def dinov2(seed: int = 1) -> dict[str, np.ndarray]:
    """Returns a small DINOv2 in Meta's layout, with positions for 518 px."""
    d = WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d), "pos_embed": (1, 1 + DINOV2_SIDE**2, d), "mask_token": (1, d),
        "patch_embed.proj.weight": (d, 3, DINOV2_PATCH, DINOV2_PATCH), "patch_embed.proj.bias": (d,),
        "norm.weight": (d,), "norm.bias": (d,),
    }  # fmt: skip
    for k in range(DEPTH):
        block = {
            "norm1.weight": (d,), "norm1.bias": (d,), "attn.qkv.weight": (3 * d, d), "attn.qkv.bias": (3 * d,),
            "attn.proj.weight": (d, d), "attn.proj.bias": (d,), "ls1.gamma": (d,), "ls2.gamma": (d,),
            "norm2.weight": (d,), "norm2.bias": (d,), "mlp.fc1.weight": (4 * d, d), "mlp.fc1.bias": (4 * d,),
            "mlp.fc2.weight": (d, 4 * d), "mlp.fc2.bias": (d,),
        }  # fmt: skip
        shapes |= {f"blocks.{k}.{name}": shape for name, shape in block.items()}
    return _fill(shapes, seed)


def clip(seed: int = 2) -> dict[str, np.ndarray]:
    """Returns a small CLIP in Hugging Face's layout: the network of images, and some arrays of texts."""
    d, root = WIDTH, "vision_model"
    shapes: dict[str, tuple[int, ...]] = {
        f"{root}.embeddings.class_embedding": (d,),
        f"{root}.embeddings.patch_embedding.weight": (d, 3, CLIP_PATCH, CLIP_PATCH),
        f"{root}.embeddings.position_embedding.weight": (1 + CLIP_SIDE**2, d),
        "visual_projection.weight": (CLIP_SIZE, d),
    }
    for name in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{root}.{name}.weight": (d,), f"{root}.{name}.bias": (d,)}
    for k in range(DEPTH):
        place = f"{root}.encoder.layers.{k}"
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{place}.{name}.weight": (d,), f"{place}.{name}.bias": (d,)}
        sizes = {f"self_attn.{part}_proj": (d, d) for part in ("q", "k", "v", "out")}
        for name, shape in (sizes | {"mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}).items():
            shapes |= {f"{place}.{name}.weight": shape, f"{place}.{name}.bias": shape[:1]}
    return _fill(shapes, seed)


def clip_of_openai(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays of `clip` in OpenAI's layout."""
    place, root = "visual.transformer.resblocks", "vision_model"
    result = {
        "visual.class_embedding": arrays[f"{root}.embeddings.class_embedding"],
        "visual.conv1.weight": arrays[f"{root}.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": arrays[f"{root}.embeddings.position_embedding.weight"],
        "visual.proj": np.ascontiguousarray(arrays["visual_projection.weight"].T),
    }
    renamed = {f"{root}.pre_layrnorm": "visual.ln_pre", f"{root}.post_layernorm": "visual.ln_post"}
    parts = {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }  # fmt: skip
    for k in range(DEPTH):
        layer = f"{root}.encoder.layers.{k}"
        renamed |= {f"{layer}.{theirs}": f"{place}.{k}.{ours}" for theirs, ours in parts.items()}
        for end in ("weight", "bias"):
            joined = np.concatenate([arrays[f"{layer}.self_attn.{part}_proj.{end}"] for part in "qkv"])
            result[f"{place}.{k}.attn.in_proj_{end}"] = joined
    for theirs, ours in renamed.items():
        result |= {f"{ours}.{end}": arrays[f"{theirs}.{end}"] for end in ("weight", "bias")}
    return result
