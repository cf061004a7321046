"""Records what the public codes make of small random transformers: transformer_features.npz, beside this file.

Recipe: in an environment with torch, transformers and Pillow,
PYTHONPATH=. python -m tests.metrics.features.record_transformers.
Recorded with torch 2.13.0, transformers 5.24.0 and Pillow 13.0.0.
"""

import pathlib

import numpy as np
import PIL.Image
import torch
import transformers
from torch.nn import functional

from tests.metrics.features import random_transformers as small

_DINOV2_NAMES = (  # Of Meta and of transformers; the three matrices of attention are one of Meta's.
    ("cls_token", "embeddings.cls_token"), ("mask_token", "embeddings.mask_token"),
    ("pos_embed", "embeddings.position_embeddings"), ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("blocks.", "encoder.layer."), ("attn.proj", "attention.o_proj"), ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
)  # fmt: skip


def _dinov2(arrays: dict[str, np.ndarray], picture: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Returns transformers' class token. Positions are scaled, and pictures resized, as in Meta's and EDM2's codes."""
    state = {}
    for name, value in arrays.items():
        for theirs, own in _DINOV2_NAMES:
            name = name.replace(theirs, own)
        name = f"layer{name}" if name.startswith("norm.") else name
        if "attn.qkv" in name:
            for part, rows in zip("qkv", np.split(value, 3), strict=True):
                state[name.replace("attn.qkv", f"attention.{part}_proj")] = torch.from_numpy(rows)
        else:
            state[name] = torch.from_numpy(value)
    side, old = 224 // small.DINOV2_PATCH, small.DINOV2_SIDE
    table = state["embeddings.position_embeddings"]
    patches = table[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, scale_factor=((side + 0.1) / old,) * 2, mode="bicubic")
    patches = patches.permute(0, 2, 3, 1).reshape(1, side**2, -1)
    state["embeddings.position_embeddings"] = torch.cat([table[:, :1], patches], dim=1)
    config = transformers.Dinov2Config(
        hidden_size=small.WIDTH, num_hidden_layers=small.DEPTH, num_attention_heads=small.WIDTH // 64, image_size=224,
        patch_size=small.DINOV2_PATCH,
    )  # fmt: skip
    network = transformers.Dinov2Model(config).eval()
    network.load_state_dict(state)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].to(torch.float32)
    x = functional.interpolate(x, size=(224, 224), mode="bicubic", antialias=True).to(dtype) / 255
    mean, deviation = (
        torch.tensor(values, dtype=torch.float32).to(dtype).reshape(1, 3, 1, 1)
        for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    return network.to(dtype)(pixel_values=(x - mean) / deviation).last_hidden_state[:, 0].numpy()[0]


def _clip(arrays: dict[str, np.ndarray], picture: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Returns transformers' embedding of length 1, of the picture's middle, resized by Pillow as in CMMD's code."""
    px = small.CLIP_PATCH * small.CLIP_SIDE
    config = transformers.CLIPVisionConfig(
        hidden_size=small.WIDTH, intermediate_size=4 * small.WIDTH, projection_dim=small.CLIP_SIZE,
        num_hidden_layers=small.DEPTH, num_attention_heads=small.WIDTH // 64, image_size=px,
        patch_size=small.CLIP_PATCH, hidden_act="quick_gelu",
    )  # fmt: skip
    network = transformers.CLIPVisionModelWithProjection(config).to(dtype).eval()
    missing, unknown = network.load_state_dict({name: torch.from_numpy(v) for name, v in arrays.items()}, strict=False)
    assert not unknown and all(name.endswith("position_ids") for name in missing), (missing, unknown)
    height, width = picture.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    image = PIL.Image.fromarray(picture).crop((left, top, left + side, top + side))
    x = torch.from_numpy(np.array(image.resize((px, px), PIL.Image.Resampling.BICUBIC))).to(dtype) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).to(dtype)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).to(dtype)
    x = ((x - mean) / deviation).permute(2, 0, 1)[None]
    embedding = network(pixel_values=x).image_embeds
    return (embedding / torch.linalg.norm(embedding, dim=-1, keepdim=True)).numpy()[0]


def main() -> None:
    results = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            name = str(dtype).removeprefix("torch.")
            results[f"dinov2/{name}"] = np.stack([_dinov2(small.dinov2(), p, dtype) for p in small.pictures()])
            results[f"clip/{name}"] = np.stack([_clip(small.clip(), p, dtype) for p in small.pictures()])
    np.savez(pathlib.Path(__file__).with_name("transformer_features.npz"), **results)


if __name__ == "__main__":
    main()
