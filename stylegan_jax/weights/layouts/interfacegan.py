"""Reads generators of genforce/interfacegan (models/stylegan_generator_model.py), whose file is one flat state dict.

They are converted averages (official Gs), and compute what the official ones do.
"""

import pathlib
import re
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents, places, taking

LAYOUT = "interfacegan"
TABLE = {
    "mapping/weight": "mapping.dense{level}.linear.weight",
    "mapping/bias": "mapping.dense{level}.wscale.bias",
    "average": "truncation.w_avg",
    "lod": "synthesis.lod",
    "noise": "synthesis.layer{index}.epilogue.apply_noise.noise",
    "rgb/weight": "synthesis.output{level}.conv.weight",
    "rgb/bias": "synthesis.output{level}.bias",
    "layer/const": "synthesis.layer{index}.first_layer",
    "layer/weight": "synthesis.layer{index}.conv.weight",
    "layer/bias": "synthesis.layer{index}.epilogue.bias",
    "layer/Noise/weight": "synthesis.layer{index}.epilogue.apply_noise.weight",
    "layer/StyleMod/weight": "synthesis.layer{index}.epilogue.style_mod.dense.linear.weight",
    "layer/StyleMod/bias": "synthesis.layer{index}.epilogue.style_mod.dense.wscale.bias",
}
LEFT_OUT = {"truncation.truncation": "the truncation of one psi; psi is an argument here"}


def read(tree: Any, path: str | pathlib.PurePath) -> contents.Contents | None:
    """Returns what a file of this layout holds: one generator, the average; None if the layout is another.

    Args:
        tree: dict of the file's arrays.
        path: of the file; nothing is taken from its name.

    Raises:
        ValueError: an array is missing, unknown, or does not fit the others.
    """
    state = taking.state_of(LAYOUT, tree)
    if state is None or not state.has(r"synthesis\.layer\d+\.epilogue\..+"):
        return None
    num_levels = max(state.count(r"synthesis\.layer(\d+)\.") // 2, state.count(r"synthesis\.output(\d+)\."))
    resolution = 2 << num_levels
    names = places.generator_names(resolution, state.count(r"mapping\.dense(\d+)\."), has_labels=False)
    stored = places.stored_names(TABLE, names, resolution, num_levels)
    fused = {}  # A layer that enlarges by a transposed convolution keeps its kernel as official files do.
    for level in range(1, num_levels):
        name, local = f"G_synthesis/{4 << level}x{4 << level}/Conv0_up/weight", f"synthesis.layer{2 * level}.weight"
        fused[4 << level] = local in state.arrays
        stored[name] = local if fused[4 << level] else stored[name]

    def convert(name: str, x: np.ndarray) -> np.ndarray:
        up = re.fullmatch(r"G_synthesis/(\d+)x\d+/Conv0_up/weight", name)
        return x if up and fused[int(up[1])] else taking.from_torch(name, x)

    average, left_out = taking.network(
        state,
        "G_style",
        stored,
        convert,
        kwargs={"fused_scale": taking.fused_scale(LAYOUT, fused)},
        filters=[f"synthesis.layer{2 * level}.blur.kernel" for level in range(1, num_levels)],
        left_out=LEFT_OUT,
    )
    return contents.Contents(LAYOUT, average=average, left_out=left_out)
