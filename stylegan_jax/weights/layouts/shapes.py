"""Whether the shapes of an official network's arrays fit each other."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from stylegan_jax.weights.layouts import places


def check(func: str, arrays: Mapping[str, np.ndarray], described: Callable[[str], str]) -> None:
    """Checks that the shapes of an official network's arrays fit each other.

    Args:
        func: G_style or D_basic.
        arrays: arrays by official names.
        described: says what an array is called in the file, and its shape there.

    Raises:
        ValueError: two do not, or one is of a wrong shape in itself; it names them.
    """
    known: dict[str, tuple[int, str]] = {}  # By the name of a size: its value, and an array that has it.
    resolution = 4 << max(places.place(name, 4).level for name in arrays if re.search(r"\d+x\d+/", name))
    num_dense = sum(name.startswith("G_mapping/Dense") and name.endswith("/weight") for name in arrays)
    has_labels = "G_mapping/LabelConcat/weight" in arrays
    for name, array in arrays.items():
        sizes = _sizes(func, name, resolution, num_dense, has_labels)
        if len(sizes) != array.ndim:
            raise ValueError(f"{described(name)} should have {len(sizes)} dimensions: it is {name}.")
        for size, (factor, symbol) in zip(array.shape, sizes, strict=True):
            value, other = known.setdefault(symbol, (size // factor, name)) if symbol else (1, name)
            if size != factor * value and other == name:
                raise ValueError(f"{described(name)} has {size} where {name} has {factor * value} by its place.")
            if size != factor * value:
                raise ValueError(f"{described(name)} does not fit {described(other)}: they are {name} and {other}.")


def _sizes(func: str, name: str, resolution: int, num_dense: int, has_labels: bool) -> list[tuple[int, str]]:
    """Returns the sizes of an official array as (factor, name of what is multiplied); the name is "" for a number."""
    part, level, _, leaf = places.place(name, resolution)
    one, maps, w = (1, ""), (1, f"maps at {4 << level} px"), (1, "w")
    if part == "mapping":
        first = (2 if has_labels else 1, "z")
        rows = first if level == 0 else (1, f"hidden {level}")
        columns = w if level == num_dense - 1 else (1, f"hidden {level + 1}")
        return [rows, columns] if leaf == "weight" else [columns]
    if part in ("label", "average", "lod", "noise"):
        side = (4 << level, "")
        return {"label": [(1, "labels"), (1, "z")], "average": [w], "lod": [], "noise": [one, one, side, side]}[part]
    is_generator, rgb = func.startswith("G_"), (1, "colours")
    before = (1, f"maps at {2 << level} px") if is_generator else maps
    after = (1, f"maps at {2 << level} px") if part in ("Conv1_down", "Dense0") else maps
    if part == "rgb":
        ends = [maps, rgb] if is_generator else [rgb, maps]
        return [one, one, *ends] if leaf == "weight" else ends[1:]
    kernel = [(3, ""), (3, "")]
    weights = {
        "Dense": [w, (16, maps[1])], "Conv0_up": [*kernel, before, maps], "Conv0": [*kernel, maps, maps],
        "Conv1": [*kernel, maps, maps], "Conv1_down": [*kernel, maps, after],
        "Conv": [*kernel, maps if is_generator else (1, "maps and deviations"), maps],
        "Dense0": [(16, maps[1]), after], "Dense1": [(1, "maps at 2 px"), (1, "scores")],
    }  # fmt: skip
    leaves = {
        "weight": weights.get(part, []), "const": [one, maps, (4, ""), (4, "")], "Noise/weight": [maps],
        "StyleMod/weight": [w, (2, maps[1])], "StyleMod/bias": [(2, maps[1])],
        "bias": [(1, "scores")] if part == "Dense1" else [after],
    }  # fmt: skip
    return leaves[leaf]
