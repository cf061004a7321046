"""Where official arrays belong in a network, and from there their names in other layouts.

A layout is a table from places in a network to names in its files, so that one table serves a reader and a writer.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stylegan_jax.config import Model
from stylegan_jax.weights.layouts import official


class Place(NamedTuple):
    """Where an official array belongs."""

    part: str  # "mapping", "label", "average", "lod", "noise", "rgb", or the name of a layer, such as "Conv0_up".
    level: int  # Number of the resolution: 0 is 4x4. For "mapping": number of the layer.
    layer: int  # Number of the layer at its resolution.
    leaf: str  # What it is in its layer, such as "StyleMod/weight"; "" where there is but one array.


_ORDER = {"Conv1": 1, "Conv1_down": 1, "Dense0": 1, "Dense1": 2}  # Other layers are the first at their resolution.


def place(name: str, resolution: int) -> Place:
    """Returns the place of an official array in a network of `resolution` px."""
    local = name.removeprefix("G_synthesis/")
    if local in ("lod", "dlatent_avg"):
        return Place({"lod": "lod", "dlatent_avg": "average"}[local], 0, 0, "")
    if local == "G_mapping/LabelConcat/weight":
        return Place("label", 0, 0, "")
    if match := re.fullmatch(r"G_mapping/Dense(\d+)/(.+)", local):
        return Place("mapping", int(match[1]), 0, match[2])
    if match := re.fullmatch(r"noise(\d+)", local):
        return Place("noise", *divmod(int(match[1]), 2), "")
    if match := re.fullmatch(r"(?:To|From)RGB_lod(\d+)/(.+)", local):
        return Place("rgb", resolution.bit_length() - 3 - int(match[1]), 0, match[2])
    match = re.fullmatch(r"(\d+)x\d+/(\w+?)/(.+)", local)
    level, layer = int(match[1]).bit_length() - 3, _ORDER.get(match[2], 0)
    if name.startswith("G_") and match[2] == "Conv":
        layer = 1
    return Place(match[2], level, layer, match[3])


def stored_names(table: Mapping[str, str], names: Iterable[str], resolution: int, num_levels: int) -> dict[str, str]:
    """Returns the names that official arrays have in a layout; arrays that it does not store are left out.

    Args:
        table: names by place. A key is the part and the leaf, or the part for all leaves that are not listed; "layer"
            stands for all layers that are not. In a name, {level} counts resolutions up from 4x4, {down} down from the
            highest, {below} up from 8x8; {index} and {down_index} count layers, two a resolution; {nth} is 1 or 2 at a
            resolution; {odd} is 2 level + 1; {size} is the resolution, px.
        names: official names.
        resolution: of the official network, px.
        num_levels: number of resolutions in the file.
    """
    result = {}
    for name in names:
        part, level, layer, leaf = place(name, resolution)
        keys = (f"{part}/{leaf}", f"layer/{leaf}", part, "layer") if part[0].isupper() else (f"{part}/{leaf}", part)
        template = next((table[key] for key in keys if key in table), None)
        if template is not None:
            down = num_levels - 1 - level
            result[name] = template.format(
                leaf=leaf, level=level, down=down, below=level - 1, index=2 * level + layer,
                down_index=2 * down + layer, nth=layer + 1, odd=2 * level + 1, size=4 << level,
            )  # fmt: skip
    return result


def generator_names(resolution: int, num_dense: int, has_labels: bool, is_const: bool = True) -> list[str]:
    """Returns the official names of all arrays of a G_style, noise maps, average and lod too."""
    model = Model(resolution=resolution, mapping_layers=num_dense, num_labels=int(has_labels), const_input=is_const)
    maps = [f"G_synthesis/noise{i}" for i in range(2 * len(model.resolutions))]
    return ["lod", "dlatent_avg", *maps, *official.names("G_style", model)]


def discriminator_names(resolution: int) -> list[str]:
    """Returns the official names of all arrays of a D_basic, lod too."""
    return ["lod", *official.names("D_basic", Model(resolution=resolution))]
