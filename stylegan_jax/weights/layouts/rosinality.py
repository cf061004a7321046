"""Reads and writes checkpoints of rosinality/style-based-gan-pytorch (model.py, train.py).

train_step-N.model is a dict of "generator", "discriminator" and "g_running", the average, beside optimizers; a file
that is named after an iteration is the average's state dict alone. Modules always have nine resolutions, 4 to 1024 px,
of which the lower ones are trained.

The generator computes what the official one does, with three differences: its instance norm adds 1e-5 to the variance;
biases of layers that enlarge come before the blur; and its weights are scaled by other factors, which rosinality_arrays
names. The discriminator widens in the first layer of a resolution, the official one in the second.
"""

import functools
import pathlib
import re
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents, places, taking, writing
from stylegan_jax.weights.layouts import rosinality_arrays as layout

LAYOUT = "rosinality"
ROUNDING = 1e-6  # How far the running average may drift off a constant 1.
NETWORKS = {"generator": "generator", "discriminator": "discriminator", "g_running": "average"}  # As Contents.
GROUPS = {"g_optimizer": taking.OPTIMIZER, "d_optimizer": taking.OPTIMIZER}
SWITCHES = {"bias_before_blur": True, "instance_norm_epsilon": 1e-5}
DEVIATION = (
    "Its discriminator takes the minibatch deviation over the whole batch, and here it is over groups of 4 images: "
    "scores agree in batches of up to 4."
)
NOTES = (
    "It has no average of w and no noise maps; its code draws one map for both layers of a resolution.",
    "Its code truncates all layers.",
)


def read(tree: Any, path: str | pathlib.PurePath) -> contents.Contents | None:
    """Returns what a file of this layout holds, up to the highest resolution trained; None if the layout is another.

    Args:
        tree: nested dicts and arrays of the file.
        path: of the file. A name like train_step-7.model says what was trained, for a note if arrays say otherwise.

    Raises:
        ValueError: an array is missing, unknown, or does not fit the others.
    """
    alone = taking.state_of(LAYOUT, tree)
    groups = {"g_running": tree} if alone else tree
    if not isinstance(groups, dict):
        return None
    states = {
        name: taking.state_of(LAYOUT, groups[name], "" if alone else f"{name}/") for name in NETWORKS if name in groups
    }
    generators = [states[name] for name in ("generator", "g_running") if states.get(name)]
    if not any(state.has(r"generator\.progression\.\d+\.(adain|noise)[12]\..+") for state in generators):
        return None
    left_out = taking.leave_groups(LAYOUT, {k: v for k, v in groups.items() if k not in states}, GROUPS)
    trained = max(_num_trained(state) for state in generators)
    networks, notes = {}, [*NOTES, *_notes_on_levels(generators[0], trained, path)]
    for name, state in states.items():
        if state is None:
            raise ValueError(f"{LAYOUT}'s layout has arrays in the group {name!r}, and this file has others.")
        if name != "discriminator":
            networks[NETWORKS[name]], unused = _generator(state, trained)
        else:
            networks[NETWORKS[name]], unused, why = _discriminator(state, trained)
            notes.append(why or DEVIATION)
        left_out |= unused
    return contents.Contents(LAYOUT, left_out=left_out, notes=tuple(notes), switches=SWITCHES, **networks)


# ---- levels


def _num_trained(state: taking.State) -> int:
    """Returns how many resolutions, from 4x4 on, were trained: the highest has a value that no initialization gives.

    Biases and noise strengths begin as zeros, and those of styles as 1 for scales and 0 for the rest.
    """
    trained = {1}  # Training begins at 8x8 or above.
    for name, value in state.arrays.items():
        match = re.match(r"generator\.(?:progression|to_rgb)\.(\d)\.(.+)", name)
        if match and match[2].endswith(("bias", "noise1.weight_orig", "noise2.weight_orig")):
            is_style, half = match[2].endswith("style.linear.bias"), value.size // 2
            initial = np.repeat([1.0, 0.0], [half, value.size - half]) if is_style else np.zeros(value.size)
            if np.any(np.abs(value.reshape(-1) - initial) > ROUNDING):
                trained.add(int(match[1]))
    return 1 + max(trained)


def _notes_on_levels(state: taking.State, trained: int, path: str) -> list[str]:
    num_levels, notes = state.count(r"generator\.(?:progression|to_rgb)\.(\d+)\."), []
    if trained < num_levels:
        notes.append(
            f"Its levels above {2 << trained} px are as they were initialized, without biases and noise strengths, so "
            f"that it is read as a network of {2 << trained} px."
        )
    step = re.fullmatch(r"train_step-(\d{1,2})\..+", pathlib.PurePath(path).name)
    if step and int(step[1]) != trained:
        notes.append(
            f"Its name, {step[0]}, stands for training up to {2 << int(step[1])} px, and its arrays say "
            f"{2 << trained} px: the arrays count."
        )
    return notes


# ---- networks


def _generator(state: taking.State, trained: int) -> tuple[contents.Network, dict[str, str]]:
    resolution, num_dense = 2 << trained, state.count(r"style\.(\d+)\.linear") // 2
    fused = {4 << k: f"generator.progression.{k}.conv1.0.weight" in state.arrays for k in range(1, trained)}
    names = places.generator_names(resolution, num_dense, has_labels=False)
    network, left_out = taking.network(
        state,
        "G_style",
        layout.generator_names(names, resolution, fused),
        functools.partial(layout.from_stored, fused=fused),
        kwargs={"fused_scale": taking.fused_scale(LAYOUT, fused)},
        filters=[
            name for r, is_fused in fused.items() for name in layout.generator_filters(r.bit_length() - 3, is_fused)
        ],
        left_out=_above(
            state, r"generator\.(?:progression|to_rgb)\.(\d+)\.", range(trained, len(layout.WIDTHS)), resolution
        ),
    )
    constant_bias = "G_synthesis/4x4/Const/bias"
    network.arrays[constant_bias] = np.zeros(network.arrays["G_synthesis/4x4/Const/const"].shape[1], np.float32)
    return network, left_out


def _discriminator(state: taking.State, trained: int) -> tuple[contents.Network | None, dict[str, str], str | None]:
    """Returns the discriminator, or None; why arrays are left out; and why all of them are, if they are."""
    num_levels, resolution = state.count(r"(?:progression|from_rgb)\.(\d+)\."), 2 << trained
    why = None
    if state.has(r"from_rgb\.\d+\.conv\..+"):
        why = "Its discriminator is left out: it has no activation after fromRGB, and the official one has."
    for level in range(1, trained):
        weight = state.arrays.get(f"progression.{num_levels - 1 - level}.conv1.0.conv.weight_orig")
        if weight is not None and weight.ndim == 4 and weight.shape[0] != weight.shape[1] and why is None:
            why = (
                f"Its discriminator is left out: at {4 << level} px its first layer makes {weight.shape[0]} feature "
                f"maps of {weight.shape[1]}, and the official one does so in the second layer."
            )
    if why:
        return None, {state.prefix + name: why for name in state.arrays}, why
    fused = [k for k in range(1, trained) if f"progression.{num_levels - 1 - k}.conv2.1.weight" in state.arrays]
    stored = layout.discriminator_names(places.discriminator_names(resolution), resolution, num_levels, fused)
    network, left_out = taking.network(
        state,
        "D_basic",
        stored,
        functools.partial(layout.from_stored, fused={}),
        filters=[name for k in range(1, trained) for name in layout.discriminator_filters(num_levels - 1 - k)],
        left_out=_above(state, r"(?:progression|from_rgb)\.(\d+)\.", range(num_levels - trained), resolution),
    )
    return network, left_out, None


def _above(state: taking.State, pattern: str, numbers: range, resolution: int) -> dict[str, str]:
    """Returns why arrays are left out whose names have one of these numbers."""
    matches = ((name, re.match(pattern, name)) for name in state.arrays)
    why = f"it belongs to a level above {resolution} px, which was not trained"
    return {name: why for name, match in matches if match and int(match[1][:3]) in numbers}


# ---- writing

REQUIRED = {  # Fields of Model that are always the same in its code.
    "nonlinearity": "lrelu", "blur_filter": (1, 2, 1), "use_styles": True, "use_noise": True, "use_pixel_norm": False,
    "use_instance_norm": True, "normalize_latents": True, "const_input": True, "num_labels": 0, "channels": 3,
    "use_equalized_lr": True, "mapping_lr_multiplier": 0.01, "stddev_group": 4, "stddev_features": 1,
    "bias_before_blur": True,
}  # fmt: skip


def write(source: contents.Contents) -> dict[str, Any]:
    """Returns networks in this layout: {"generator": {...}, "discriminator": {...}, "g_running": {...}}, if present.

    Its modules always have nine resolutions. Those above the networks' own get initial values, the same each time, and
    reading stops below them; so it does below levels of the networks themselves that are as they were initialized.
    Reading gives the same weights bit for bit: factors such as 100 and sqrt(2) have no inverse in float32, so that the
    arrays that they scale are float64, and its load_state_dict rounds them. Two things are not kept so. Biases of
    scales below 2e-9 lose digits, since 1 is added to them. A bias of the constant has no place: it is added to the
    constant, which gives the same images.

    Its instance norm adds 1e-5 to the variance, whatever the networks' does: images of a network with 1e-8 differ by up
    to 3e-4 of their range. The average of w and noise maps have no place either, and a discriminator is left out where
    `misfit` says why. Its code has fixed numbers of feature maps (512 to 16), which must be changed for networks of
    other widths.

    Args:
        source: official networks, which add biases before the blur (bias_before_blur).

    Raises:
        ValueError: its code cannot compute what the networks do.
    """
    result: dict[str, Any] = {}
    for group, field in NETWORKS.items():
        network = getattr(source, field)
        if network is None or (group == "discriminator" and misfit(network)):
            continue
        writing.require(LAYOUT, group, network, source.switches, REQUIRED)
        result[group] = _written_discriminator(network) if group == "discriminator" else _written_generator(network)
    if not result:
        raise ValueError(f"there is no network to write in {LAYOUT}'s layout.")
    return result


def misfit(discriminator: contents.Network) -> str | None:
    """Returns why this layout cannot hold an official discriminator; None if it can."""
    for name, array in discriminator.arrays.items():
        if name.endswith("Conv1_down/weight") and array.shape[2] != array.shape[3]:
            return (
                f"{LAYOUT}'s discriminator widens in the first layer of a resolution, and here "
                f"{name.removesuffix('/weight')} widens, the second: {array.shape[2]} to {array.shape[3]} feature maps."
            )
    return None


def _written_generator(network: contents.Network) -> dict[str, np.ndarray]:
    arrays = writing.arrays_of(network)
    dense = {name: x.shape for name, x in arrays.items() if re.fullmatch(r"G_mapping/Dense\d+/weight", name)}
    if len({size for shape in dense.values() for size in shape}) != 1:
        raise ValueError(f"{LAYOUT}'s mapping network has one width, of z, of w and between; here it has {dense}.")
    constant, bias = (arrays.pop(f"G_synthesis/4x4/Const/{name}") for name in ("const", "bias"))
    arrays["G_synthesis/4x4/Const/const"] = constant + bias[None, :, None, None] if np.any(bias) else constant
    names = places.generator_names(layout.FULL_PX, len(dense), has_labels=False)
    levels = range(1, len(layout.WIDTHS))
    fused = {4 << level: level >= layout.FUSED_FROM for level in levels}
    stored = layout.generator_names([n for n in names if n != "G_synthesis/4x4/Const/bias"], layout.FULL_PX, fused)
    arrays = layout.grown(arrays, contents.resolution_of(network), stored)
    result = {local: layout.to_stored(name, arrays[name], fused) for name, local in stored.items()}
    for level in levels:
        maps = arrays[f"G_synthesis/{4 << level}x{4 << level}/Conv1/bias"].size
        filters = layout.generator_filters(level, level >= layout.FUSED_FROM)
        result |= dict.fromkeys(filters, np.tile(taking.BLUR, (maps, 1, 1, 1)))
    return result


def _written_discriminator(network: contents.Network) -> dict[str, np.ndarray]:
    num_levels = len(layout.WIDTHS)
    names = places.discriminator_names(layout.FULL_PX)
    stored = layout.discriminator_names(names, layout.FULL_PX, num_levels, range(layout.FUSED_FROM, num_levels))
    arrays = layout.grown(network.arrays, contents.resolution_of(network), stored)
    result = {local: layout.to_stored(name, arrays[name], {}) for name, local in stored.items()}
    for level in range(1, num_levels):
        maps = arrays[f"{4 << level}x{4 << level}/Conv1_down/weight"].shape[2]
        filters = layout.discriminator_filters(num_levels - 1 - level)
        result |= dict.fromkeys(filters, np.tile(taking.BLUR, (maps, 1, 1, 1)))
    return result
