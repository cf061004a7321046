"""Reads and writes checkpoints of genforce/genforce (models/stylegan_generator.py, stylegan_discriminator.py).

A file holds "generator", "discriminator" and "generator_smooth", the average: at its top in those converted from
official pickles, under "models" in those of its own training. The state dict of one generator is taken for the average.
Its networks compute what the official ones do. No file tells its argument fused_scale: the default "auto" is taken.
"""

import pathlib
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents, places, taking, writing

LAYOUT = "genforce"
GENERATOR = {
    "mapping": "mapping.dense{level}.{leaf}",
    "label": "mapping.label_weight",
    "average": "truncation.w_avg",
    "lod": "synthesis.lod",
    "noise": "synthesis.layer{index}.apply_noise.noise",
    "rgb": "synthesis.output{level}.{leaf}",
    "layer": "synthesis.layer{index}.{leaf}",
    "layer/Noise/weight": "synthesis.layer{index}.apply_noise.weight",
    "layer/StyleMod/weight": "synthesis.layer{index}.style.weight",
    "layer/StyleMod/bias": "synthesis.layer{index}.style.bias",
}
DISCRIMINATOR = {"lod": "lod", "rgb": "input{down}.{leaf}", "layer": "layer{down_index}.{leaf}"}
NETWORKS = {"generator": "generator", "discriminator": "discriminator", "generator_smooth": "average"}  # As Contents.
GROUPS = {
    "optimizers": taking.OPTIMIZER,
    "learning_rates": "the state of the learning rate's schedule, which a network does not need",
    "running_metadata": "the progress of the training run, which a network does not need",
    "running_stats": "statistics of the training run, which a network does not need",
}
REQUIRED = {  # Fields of Model that its files do not tell.
    "nonlinearity": "lrelu", "blur_filter": (1, 2, 1), "use_styles": True, "use_noise": True, "use_pixel_norm": False,
    "use_instance_norm": True, "bias_before_blur": False, "normalize_latents": True,
    "embed_labels": True, "use_equalized_lr": True, "mapping_lr_multiplier": 0.01, "fmap_decay": 1.0,
    "fmaps_by_resolution": (), "stddev_group": 4,
}  # fmt: skip


def read(tree: Any, path: str | pathlib.PurePath) -> contents.Contents | None:
    """Returns what a file of this layout holds; None if the layout is another.

    Args:
        tree: nested dicts and arrays of the file.
        path: of the file; nothing is taken from its name.

    Raises:
        ValueError: an array is missing, unknown, or does not fit the others.
    """
    if not isinstance(tree, dict):
        return None
    if group := _group(taking.state_of(LAYOUT, tree)):  # The state dict of one network, without a group.
        tree = {group: tree}
    prefix, models = ("models/", tree["models"]) if isinstance(tree.get("models"), dict) else ("", tree)
    states = {name: taking.state_of(LAYOUT, models[name], f"{prefix}{name}/") for name in NETWORKS if name in models}
    if not any(map(_group, states.values())):
        return None
    left_out = taking.leave_groups(LAYOUT, {k: v for k, v in models.items() if k not in states}, GROUPS, prefix)
    if prefix:
        left_out |= taking.leave_groups(LAYOUT, {k: v for k, v in tree.items() if k != "models"}, GROUPS)
    networks, has_labels = {}, any(state and _has_labels(state) for state in states.values())
    for name, state in states.items():
        if state is None:
            raise ValueError(f"{LAYOUT}'s layout has arrays in the group {prefix + name!r}, and this file has others.")
        network, unused = _discriminator(state) if name == "discriminator" else _generator(state, has_labels)
        networks[NETWORKS[name]] = network
        left_out |= unused
    return contents.Contents(LAYOUT, left_out=left_out, **networks)


def _group(state: taking.State | None) -> str | None:
    """Returns where a network of these names belongs; one generator is taken for the average."""
    if state and state.has(r"synthesis\.layer\d+\.apply_noise\.(weight|noise)"):
        return "generator_smooth"
    if state and state.has(r"input\d+\.weight") and state.has(r"layer\d+\.blur\.kernel"):
        return "discriminator"
    return None


def _has_labels(state: taking.State) -> bool:
    """Returns whether a generator embeds labels, or a discriminator has a score for each."""
    last = f"layer{2 * state.count(r'input([0-9]+)[.]')}"
    scores = [state.arrays[name].shape[:1] for name in (f"{last}.weight", f"{last}.bias") if name in state.arrays]
    return "mapping.label_weight" in state.arrays or (len(scores) == 2 and min(scores) > (1,))


def _generator(state: taking.State, has_labels: bool) -> tuple[contents.Network, dict[str, str]]:
    num_levels = max(state.count(r"synthesis\.layer(\d+)\.") // 2, state.count(r"synthesis\.output(\d+)\."))
    resolution, num_dense = 2 << num_levels, state.count(r"mapping\.dense(\d+)\.")
    is_const = "synthesis.layer0.weight" not in state.arrays
    names = places.generator_names(resolution, num_dense, has_labels, is_const)
    stored = places.stored_names(GENERATOR, names, resolution, num_levels)
    return taking.network(state, "G_style", stored, _from, filters=_generator_filters(num_levels))


def _discriminator(state: taking.State) -> tuple[contents.Network, dict[str, str]]:
    num_levels = state.count(r"input(\d+)\.")
    resolution = 2 << num_levels
    stored = places.stored_names(DISCRIMINATOR, places.discriminator_names(resolution), resolution, num_levels)
    return taking.network(state, "D_basic", stored, filters=_discriminator_filters(num_levels))


def _generator_filters(num_levels: int) -> list[str]:
    return [f"synthesis.layer{2 * level}.blur.kernel" for level in range(1, num_levels)]


def _discriminator_filters(num_levels: int) -> list[str]:
    return [f"layer{2 * down + 1}.blur.kernel" for down in range(num_levels - 1)]


def _from(name: str, x: np.ndarray) -> np.ndarray:
    """Returns an array in the official layout: its dense start is a 4x4 kernel over one pixel, padded and so turned."""
    if name.endswith("4x4/Dense/weight") and x.ndim == 4:
        return x[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(x.shape[1], -1)  # [w, c 16]
    return taking.from_torch(name, x)


def _to(name: str, x: np.ndarray) -> np.ndarray:
    """Returns the inverse of `_from`."""
    if name.endswith("4x4/Dense/weight"):
        return x.reshape(x.shape[0], -1, 4, 4).transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]  # [c, w, 4, 4]
    return taking.to_torch(name, x)


# ---- writing


def write(source: contents.Contents) -> dict[str, Any]:
    """Returns networks in this layout, as its converter from official pickles leaves them: {"generator": {...}, ...}.

    Its load_state_dict(strict=True) takes them; reading them again gives the same weights bit for bit. The resolution
    and widths are arguments there: fmaps_base is twice the official fmap_base. Where the networks enlarge by transposed
    convolutions at other resolutions than its fused_scale="auto" does, kernels are turned, and nothing else changes.
    Its instance norm adds 1e-8 to the variance: images of a network with 1e-5 differ by up to 3e-4 of their range.

    Args:
        source: official networks, with noise maps and average of w.

    Raises:
        ValueError: its code cannot compute what the networks do, or it needs an array that is not there.
    """
    result: dict[str, Any] = {}
    for group, field in NETWORKS.items():
        network = getattr(source, field)
        if network is not None:
            writing.require(LAYOUT, group, network, source.switches, REQUIRED)
            result[group] = _written(network)
    if not result:
        raise ValueError(f"there is no network to write in {LAYOUT}'s layout.")
    return result


def _written(network: contents.Network) -> dict[str, np.ndarray]:
    is_generator, resolution = network.func == "G_style", contents.resolution_of(network)
    arrays, num_levels = {"lod": np.zeros(())} | writing.arrays_of(network), resolution.bit_length() - 2
    table = GENERATOR if is_generator else DISCRIMINATOR
    result = {}
    for name, local in places.stored_names(table, writing.names_of(network), resolution, num_levels).items():
        if name not in arrays:
            raise ValueError(f"{LAYOUT}'s layout needs {name}, which the {network.func} does not have: add it first.")
        result[local] = np.array(_to(name, arrays[name]), np.float32, order="C")
    for local in (_generator_filters if is_generator else _discriminator_filters)(num_levels):
        layer = local.removesuffix(".blur.kernel")
        maps = result[f"{layer}.weight"].shape[0 if is_generator else 1]  # It blurs what D's layer takes.
        result[local] = np.tile(taking.BLUR, (maps, 1, 1, 1))
    return result
