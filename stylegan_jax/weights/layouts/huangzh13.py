"""Reads generators of huangzh13/StyleGAN.pytorch (models/GAN.py), whose file is one flat state dict.

Its generator computes what the official one does, but for the epsilon of its instance norm. Its discriminator is
another network.
"""

import pathlib
import re
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents, places, taking

LAYOUT = "huangzh13"
_BLOCK = "g_synthesis.blocks.{below}"
_START = "g_synthesis.init_block"
TABLE = {
    "mapping": "g_mapping.map.dense{level}.{leaf}",
    "label": "class_embedding.weight",
    "average": "truncation.avg_latent",
    "rgb": "g_synthesis.to_rgb.{level}.{leaf}",
    "Const": f"{_START}.{{leaf}}",
    "Conv": f"{_START}.conv.{{leaf}}",
    "Conv0_up": f"{_BLOCK}.conv0_up.{{leaf}}",
    "Conv1": f"{_BLOCK}.conv1.{{leaf}}",
}
for _part, _root in (("Const", _START), ("Conv", _START), ("Conv0_up", _BLOCK), ("Conv1", _BLOCK)):
    TABLE[f"{_part}/Noise/weight"] = f"{_root}.epi{{nth}}.top_epi.noise.weight"
    TABLE[f"{_part}/StyleMod/weight"] = f"{_root}.epi{{nth}}.style_mod.lin.weight"
    TABLE[f"{_part}/StyleMod/bias"] = f"{_root}.epi{{nth}}.style_mod.lin.bias"
SWITCHES = {"instance_norm_epsilon": 1e-5}


def read(tree: Any, path: str | pathlib.PurePath) -> contents.Contents | None:
    """Returns what a file of this layout holds, one generator; None if the layout is another.

    Args:
        tree: dict of the file's arrays.
        path: of the file. Its name, such as GAN_GEN_SHADOW_5_3.pth, tells what the arrays do not: whether they are the
            average ("SHADOW"), and the depth that was trained last, which gives the level of detail.

    Raises:
        ValueError: an array is missing, unknown, or does not fit the others; or the file holds a discriminator.
    """
    state = taking.state_of(LAYOUT, tree)
    if state is None:
        return None
    if state.has(r"final_block\.(conv|dense\d)\..+") and state.has(r"from_rgb\.\d+\..+"):
        raise ValueError(
            f"{path} holds a discriminator of {LAYOUT}'s code, which is another network: it has no activation after "
            "fromRGB, and a conditional one takes planes of labels beside the image. Load the generator (GAN_GEN_*.pth "
            "or GAN_GEN_SHADOW_*.pth)."
        )
    if not state.has(r"g_synthesis\.(init_block|blocks\.\d+)\.epi[12]\..+"):
        return None
    num_levels = max(1 + state.count(r"g_synthesis\.blocks\.(\d+)\."), state.count(r"g_synthesis\.to_rgb\.(\d+)\."))
    resolution, num_dense = 2 << num_levels, state.count(r"g_mapping\.map\.dense(\d+)\.")
    names = places.generator_names(resolution, num_dense, "class_embedding.weight" in state.arrays)
    stored = places.stored_names(TABLE, names, resolution, num_levels)
    has_blur = state.has(r".*\.intermediate\.kernel")
    network, left_out = taking.network(
        state,
        "G_style",
        stored,
        kwargs={} if has_blur else {"blur_filter": None},
        optional=["dlatent_avg"],
        filters=[f"g_synthesis.blocks.{i}.conv0_up.intermediate.kernel" for i in range(num_levels - 1) if has_blur],
    )
    notes = ["It has no noise maps."]
    if "dlatent_avg" not in network.arrays:
        notes.append("It has no average of w, as it was trained without truncation.")
    file = pathlib.PurePath(path).name
    depth = re.search(r"_(\d+)_\d+\b", file)
    if depth and int(depth[1]) < num_levels:
        network.arrays["lod"] = np.array(num_levels - 1 - int(depth[1]), np.float32)
        notes.append(f"Its file's name tells that it is trained at {4 << int(depth[1])} px.")
    else:
        notes.append("Its name tells no depth that it could have, so it is taken as trained at its full resolution.")
    if "_GEN_" in file and "SHADOW" not in file:
        return contents.Contents(LAYOUT, None, network, None, left_out, tuple(notes), SWITCHES)
    return contents.Contents(LAYOUT, network, None, None, left_out, tuple(notes), SWITCHES)
