"""Reads files of lernapparat/lernapparat (the notebooks in style_gan), which come from official pickles.

There are three kinds: a list of the official arrays of G, D and Gs (.pt), and state dicts of the generator
(.for_g_all.pt) and of the discriminator (.for_d_basic.pt). Its generator computes what the official one does, but for
the epsilon of its instance norm.
"""

import pathlib
import re
from typing import Any

from stylegan_jax.weights.layouts import contents, places, taking

LAYOUT = "lernapparat"
_BLOCK = "g_synthesis.blocks.{size}x{size}"
GENERATOR = {
    "mapping": "g_mapping.dense{level}.{leaf}",
    "rgb": "g_synthesis.torgb.{leaf}",
    "Const": f"{_BLOCK}.{{leaf}}",
    "Conv": f"{_BLOCK}.conv.{{leaf}}",
    "Conv0_up": f"{_BLOCK}.conv0_up.{{leaf}}",
    "Conv1": f"{_BLOCK}.conv1.{{leaf}}",
    "layer/Noise/weight": f"{_BLOCK}.epi{{nth}}.top_epi.noise.weight",
    "layer/StyleMod/weight": f"{_BLOCK}.epi{{nth}}.style_mod.lin.weight",
    "layer/StyleMod/bias": f"{_BLOCK}.epi{{nth}}.style_mod.lin.bias",
}
DISCRIMINATOR = {"rgb": "fromrgb.{leaf}"} | {
    part: f"{{size}}x{{size}}.{part.lower()}.{{leaf}}" for part in ("Conv0", "Conv1_down", "Conv", "Dense0", "Dense1")
}
SWITCHES = {"instance_norm_epsilon": 1e-5}
NO_AVERAGE = "It has no average of w and no noise maps."


def read(tree: Any, path: str | pathlib.PurePath) -> contents.Contents | None:
    """Returns what a file of this layout holds; None if the layout is another.

    Args:
        tree: dict of the file's arrays, or a list of three.
        path: of the file; nothing is taken from its name.

    Raises:
        ValueError: an array is missing, unknown, or does not fit the others.
    """
    if isinstance(tree, (list, tuple)):
        return _read_list(tree)
    state = taking.state_of(LAYOUT, tree)
    if state is None:
        return None
    if state.has(r"g_synthesis\.blocks\.(\d+)x\1\..+"):
        average, left_out = _generator(state)
        notes = (NO_AVERAGE, "It has toRGB at its full resolution alone.")
        return contents.Contents(LAYOUT, average=average, left_out=left_out, notes=notes, switches=SWITCHES)
    if state.has(r"fromrgb\.(weight|bias)") and state.has(r"(\d+)x\1\..+"):
        discriminator, left_out = _discriminator(state)
        notes = ("It has fromRGB at its full resolution alone.",)
        return contents.Contents(LAYOUT, discriminator=discriminator, left_out=left_out, notes=notes)
    return None


def _generator(state: taking.State) -> tuple[contents.Network, dict[str, str]]:
    sizes = _sizes(state, r"g_synthesis\.blocks\.")
    names = _without_lower_rgb(places.generator_names(sizes[-1], state.count(r"g_mapping\.dense(\d+)\."), False))
    stored = places.stored_names(GENERATOR, names, sizes[-1], len(sizes))
    filters = [f"g_synthesis.blocks.{r}x{r}.conv0_up.intermediate.kernel" for r in sizes[1:]]
    return taking.network(state, "G_style", stored, filters=filters)


def _discriminator(state: taking.State) -> tuple[contents.Network, dict[str, str]]:
    sizes = _sizes(state, "")
    names = _without_lower_rgb(places.discriminator_names(sizes[-1]))
    filters = [f"{r}x{r}.{name}.kernel" for r in sizes[1:] for name in ("blur", "conv1_down.downscale.blur")]
    stored = places.stored_names(DISCRIMINATOR, names, sizes[-1], len(sizes))
    return taking.network(state, "D_basic", stored, filters=filters)


def _sizes(state: taking.State, prefix: str) -> list[int]:
    """Returns the resolutions of a network, px: all from 4 to the highest that some name has."""
    highest = max(int(m[1]) for m in (re.match(prefix + r"(\d{1,4})x\d+[./]", name) for name in state.arrays) if m)
    return [4 << level for level in range(highest.bit_length() - 2)]


def _without_lower_rgb(names: list[str]) -> list[str]:
    return [name for name in names if not re.search(r"RGB_lod(?!0/)", name)]


def _read_list(tree: list | tuple) -> contents.Contents | None:
    states = [taking.state_of(LAYOUT, value, f"{i}/") for i, value in enumerate(tree)]
    if len(states) != 3 or None in states or not states[0].has("G_synthesis/.+") or not states[2].has("G_synthesis/.+"):
        return None
    networks = []
    for state, func in zip(states, ("G_style", "D_basic", "G_style"), strict=True):
        sizes = _sizes(state, r"(?:G_synthesis/)?")
        if func == "G_style":
            is_const = not state.has("G_synthesis/4x4/Dense/.+")
            has_labels = state.has("G_mapping/LabelConcat/.+")
            names = places.generator_names(sizes[-1], state.count(r"G_mapping/Dense(\d+)/"), has_labels, is_const)
        else:
            names = places.discriminator_names(sizes[-1])
        trained = {name: name for name in names if name.endswith(("/weight", "/bias", "/const"))}
        networks.append(taking.network(state, func, trained, lambda name, x: x)[0])
    generator, discriminator, average = networks
    return contents.Contents(LAYOUT, average, generator, discriminator, notes=(NO_AVERAGE,), switches=SWITCHES)
