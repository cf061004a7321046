"""Carries an existing network's arrays over to a new run, which may have another resolution, other colours or classes.

Arrays are matched by their paths, in which a block is named by its resolution in px: "b64" is the same block whatever
the networks' own resolutions are.
"""

import collections
import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from stylegan_jax.config import Model
from stylegan_jax.weights.transfer import colours

COPIED, PARTLY, INITIALISED, DROPPED = "copied", "copied in part", "initialised", "dropped"

# Settings of Model that may differ: the table tells what becomes of the arrays, or they change no image. The others are
# what the weights were trained under.
_MAY_DIFFER = frozenset(
    {"resolution", "channels", "num_labels", "z_size", "w_size", "mapping_layers", "mapping_fmaps", "embed_labels"}
    | {"mapping_lr_multiplier", "d_mapping_lr_multiplier"}
    | {"fmap_base", "fmap_decay", "fmap_max", "fmaps_by_resolution", "stddev_features"}
    | {"embed_size", "d_mapping_layers", "d_mapping_size"}
    | {"remat", "compute_dtype", "matmul_precision"}
)
_MAX_LISTED = 12  # Layers named in a line of the summary.
_OF_RESOLUTION = re.compile(r"(?:b|to_rgb|from_rgb)(\d+)")

Path = tuple[str, ...]
Outcome = tuple[np.ndarray, str, str]  # The array, what became of it, and why.


class Row(NamedTuple):
    """What became of an array."""

    array: str  # Its path: "d_params/b64/conv0/weight".
    what: str  # COPIED, PARTLY, INITIALISED or DROPPED.
    why: str  # "" where an array is copied as it is.


@dataclasses.dataclass(frozen=True)
class _Change:
    """From what to what: models, and for each class of the run its number in the imported network."""

    old: Model
    new: Model
    classes: tuple[int | None, ...]
    matched: str  # How classes were matched, for the table.


def transfer(
    network: Any, new: Mapping[str, Any], model: Model, class_names: Sequence[str] = ()
) -> tuple[dict[str, Any], list[Row]]:
    """Returns a new run's arrays with those of an existing network in their places, and what became of each.

    An array of the same path and shape is copied. Colours are converted in to_rgb and from_rgb, classes are matched by
    name (by number if a network does not know its classes' names and their counts are the same), and what has another
    shape, such as layers of another width, stays as the run initialised it.

    Args:
        network: the existing network: a weights.network.Network, or what has its fields model, params, g_params,
            d_params, w_avg, class_names and info.
        new: the run's initial arrays, by their names in its state: "g_params", "d_params", "ema_params" and "w_avg".
        model: the run's model.
        class_names: names of its classes, if it has any.

    Returns:
        Arrays under the names of `new`, of the same shapes, which share no memory with each other or the arguments;
        and a row for each of them and for each array of the network that has no place.

    Raises:
        ValueError: the two are of different architectures.
    """
    if network.model.architecture != model.architecture:
        raise ValueError(
            f"the network's model.architecture is {network.model.architecture!r}, and this run's is "
            f"{model.architecture!r}: no array has a place. Use --config.model.architecture="
            f"{network.model.architecture}, or another network."
        )
    classes, matched = match_classes(network.model.num_labels, network.class_names, model.num_labels, class_names)
    change = _Change(network.model, model, classes, matched)
    g_field, result, rows = "params" if network.g_params is None else "g_params", {}, []
    for name, field in {"g_params": g_field, "ema_params": "params", "d_params": "d_params"}.items():
        # Zeros stand in where a file lacks a way to or from RGB; the run's own are better.
        lacking = {tuple(path.split("/")[1:]) for path in network.info.missing if re.match(rf"{field}/.*_rgb\d", path)}
        result[name], of_tree = _tree(name, getattr(network, field), lacking, new[name], change)
        rows += of_tree
    mapping = [row for row in rows if row.array.startswith("ema_params/mapping/")]
    has_mapping = network.params is not None and all(row.what == COPIED for row in mapping)
    if network.w_avg is None or not has_mapping:
        why = "the network has none" if network.w_avg is None else "not all of the mapping network is copied"
        result["w_avg"], *row = np.array(new["w_avg"]), INITIALISED, why
    else:
        result["w_avg"], *row = _as_it_is(np.asarray(network.w_avg), new["w_avg"])
    return result, [*rows, Row("w_avg", *row)]


def match_classes(
    num_old: int, old_names: Sequence[str], num_new: int, new_names: Sequence[str]
) -> tuple[tuple[int | None, ...], str]:
    """Returns the imported network's number of each class of the run, or None; and how they were matched.

    Args:
        num_old: number of the imported network's classes.
        old_names: their names, or nothing.
        num_new: number of the run's classes.
        new_names: their names, or nothing.
    """
    if num_old and num_new and len(set(old_names)) == num_old and len(set(new_names)) == num_new:
        numbers = {name: number for number, name in enumerate(old_names)}
        return tuple(numbers.get(name) for name in new_names), "by name"
    if num_old == num_new:
        return tuple(range(num_new)), "by number"
    return (None,) * num_new, f"there are {num_old} there and {num_new} here, not all with names of their own"


def _tree(name: str, old: Any, lacking: set[Path], new: Any, change: _Change) -> tuple[Any, list[Row]]:
    """Returns a network's parameters and their rows; `old` is None if the imported network has none."""
    initial = traverse_util.flatten_dict(new)
    arrays = {path: x for path, x in traverse_util.flatten_dict(old or {}).items() if path not in lacking}
    result, rows = {}, []
    for path, value in initial.items():
        if old is None:
            part = "discriminator" if name == "d_params" else "generator"
            result[path], what, why = np.array(value), INITIALISED, f"the network has no {part}"
        else:
            result[path], what, why = _array(path, arrays, np.asarray(value), change, is_generator=name != "d_params")
        rows.append(Row("/".join((name, *path)), what, why))
    dropped = sorted(arrays.keys() - initial.keys())
    rows += [Row("/".join((name, *path)), DROPPED, _why_absent(path, "run", change.new)) for path in dropped]
    # A mapping network without layers has no arrays.
    return {key: {} for key in new} | traverse_util.unflatten_dict(result), rows


def _why_absent(path: Path, whose: str, model: Model) -> str:
    """Returns why `path` is not among the arrays of the network or run, whose model is `model`."""
    resolution = max((int(match[1]) for match in map(_OF_RESOLUTION.fullmatch, path) if match), default=0)
    if resolution > model.resolution:
        return f"the {whose} ends at {model.resolution} px"
    return f"the {whose} has no such array"


def _array(path: Path, arrays: Mapping[Path, Any], new: np.ndarray, change: _Change, is_generator: bool) -> Outcome:
    """Returns the run's array at `path`, what became of it, and why.

    Args:
        path: its path in "g_params", "ema_params" or "d_params".
        arrays: the imported network's arrays.
        new: the run's initial array.
        change: the two models and their classes.
        is_generator: whether it is of a generator.
    """
    is_sum = change.new.architecture == "stylegan2" and change.new.g_connections == "skip"
    if path not in arrays and is_sum and path[-2].startswith("to_rgb") and path[-1] == "weight":
        return np.zeros_like(new), INITIALISED, "zeros: it adds nothing to the sum of images yet"
    if path not in arrays:
        return np.array(new), INITIALISED, _why_absent(path, "network", change.old)
    old, layer = np.asarray(arrays[path]), path[-2]
    prefix = "" if is_generator else "d_"
    depths, rates = (
        [getattr(model, f"{prefix}mapping_{name}") for model in (change.old, change.new)]
        for name in ("layers", "lr_multiplier")
    )
    if path[0] == "mapping" and layer.startswith("dense"):  # A stored weight is divided by the multiplier.
        old = old * np.float32(rates[0] / rates[1])
    if path[0] == "mapping" and layer.startswith("dense") and depths[0] != depths[1]:
        return np.array(new), INITIALISED, "the mapping network has {} layers there and {} here".format(*depths)
    if path[:2] == ("mapping", "label_embedding") and path[-1] != "bias" and old.shape[1:] == new.shape[1:]:
        return _of_classes(old, new, 0, change)
    if is_generator and path == ("mapping", "dense0", "weight") and old.shape[1:] == new.shape[1:]:
        return _of_first_dense(old, new, change)
    if path[0] == "dense1" and change.new.architecture == "stylegan" and old.shape[:-1] == new.shape[:-1]:
        return _of_scores(old, new, change)
    if layer.startswith(("to_rgb", "from_rgb")) and change.old.channels != change.new.channels:
        converted = colours.converted(path, arrays, change.old, change.new)
        names = {1: "gray", 3: "RGB", 4: "RGBA"}
        why = f"converted from {names[change.old.channels]} to {names[change.new.channels]}"
        return (converted, PARTLY, why) if converted.shape == new.shape else _as_it_is(old, new)
    return _as_it_is(old, new)


def _as_it_is(old: np.ndarray, new: np.ndarray) -> Outcome:
    if old.shape == new.shape:
        return np.array(old), COPIED, ""
    return np.array(new), INITIALISED, f"its shape is {list(old.shape)} there and {list(new.shape)} here"


# ---- classes


def _of_classes(old: np.ndarray, new: np.ndarray, axis: int, change: _Change) -> Outcome:
    """Returns `new` with what `old` has for each class that both know, along an axis of classes."""
    result = np.array(new)
    known = [(here, there) for here, there in enumerate(change.classes) if there is not None]
    for here, there in known:
        np.moveaxis(result, axis, 0)[here] = np.moveaxis(old, axis, 0)[there]
    what = COPIED if len(known) == len(change.classes) else PARTLY if known else INITIALISED
    return result, what, f"{len(known)} of {len(change.classes)} classes matched ({change.matched})"


def _of_first_dense(old: np.ndarray, new: np.ndarray, change: _Change) -> Outcome:
    """Returns the mapping network's first weight, whose inputs are z and the label or its embedding.

    Rows are copied as they are stored. Equalized learning rates divide them by the root of their number, so that z
    counts for less beside a label than alone, and the layer's outputs keep their variance.
    """
    (of_old, of_new), z_size = (_kind_of_label(model) for model in (change.old, change.new)), change.new.z_size
    if change.old.z_size != z_size or (of_old == of_new != "one-hot"):
        return _as_it_is(old, new)
    result = np.array(new)
    result[:z_size] = old[:z_size]
    if of_old == of_new:
        result[z_size:], what, why = _of_classes(old[z_size:], new[z_size:], 0, change)
        return result, COPIED if what == COPIED else PARTLY, f"the rows of z, and {why}"
    return result, PARTLY, f"the rows of z; the label is {of_old} there and {of_new} here"


def _kind_of_label(model: Model) -> str:
    """Returns what the mapping network takes beside z."""
    if not model.num_labels:
        return "absent"
    return "embedded" if model.embed_labels else "one-hot"


def _of_scores(old: np.ndarray, new: np.ndarray, change: _Change) -> Outcome:
    """Returns the discriminator's last weight or bias, whose last axis is a score for each class."""
    num_old, num_new = change.old.num_labels, change.new.num_labels
    if num_old and num_new:
        return _of_classes(old, new, -1, change)
    if num_new:
        return np.repeat(old, num_new, axis=-1), PARTLY, "the one score there, for each class"
    if num_old:
        return old.mean(axis=-1, keepdims=True), PARTLY, "the mean over the classes there"
    return _as_it_is(old, new)


# ---- for the user


def differences(old: Model, new: Model) -> list[str]:
    """Returns a sentence for each setting that an imported network's weights were trained under, and that differs."""
    pairs = {
        field.name: (getattr(old, field.name), getattr(new, field.name))
        for field in dataclasses.fields(Model)
        if field.name not in _MAY_DIFFER
    }
    return [
        f"model.{name} is {there!r} in the imported network, whose weights were trained so, and {here!r} in this run; "
        f"to go on with what it learned, use --config.model.{name}={shlex.quote(str(there))}."
        for name, (there, here) in pairs.items()
        if there != here
    ]


def summary(rows: Sequence[Row]) -> list[str]:
    """Returns how many arrays became what, and a line for each reason with the layers that it is true of."""
    counts = collections.Counter(row.what for row in rows)
    whats = [what for what in (COPIED, PARTLY, INITIALISED, DROPPED) if counts[what]]
    lines = ["arrays: " + ", ".join(f"{counts[what]} {what}" for what in whats)]
    layers_of: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row.what != COPIED:
            path = re.sub("^(g|ema)_params/(synthesis|mapping)/", r"\1_params/", row.array).split("/")
            layers_of.setdefault((row.what, row.why), {})["/".join(path[:2])] = None
    for (what, why), found in layers_of.items():
        names, num_more = list(found)[:_MAX_LISTED], len(found) - _MAX_LISTED
        lines.append(f"{what}: {', '.join(names)}{f' and {num_more} more' if num_more > 0 else ''}: {why}")
    return lines
