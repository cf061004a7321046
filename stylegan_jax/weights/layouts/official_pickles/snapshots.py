"""Snapshots of stylegan2-ada-pytorch: a pickled dict of PyTorch modules, G, D and G_ema, read as data and written.

Source: NVlabs/stylegan2-ada-pytorch, training/training_loop.py, legacy.py and torch_utils/persistence.py.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from stylegan_jax.runs import whole
from stylegan_jax.weights.files import persistence, pickle_writer
from stylegan_jax.weights.files.pickle_machine import Record, shown
from stylegan_jax.weights.layouts import contents
from stylegan_jax.weights.layouts.official_pickles import stylegan2

CLASSES = {"G": "Generator", "D": "Discriminator", "G_ema": "Generator"}
FUNCTIONS = {"Generator": "G_stylegan2", "Discriminator": "D_stylegan2"}
# The official loader runs the text in a snapshot to get the classes. This one makes the network by the loader's code.
SOURCE = """from training import networks


class Generator:
    def __setstate__(self, state):
        network = getattr(networks, type(self).__name__)(**state["_init_kwargs"]).eval().requires_grad_(False)
        network.load_state_dict(state["_parameters"])
        self.__class__, self.__dict__ = type(network), network.__dict__


class Discriminator(Generator):
    pass
"""


def read(path: pathlib.Path) -> contents.Contents:
    """Returns what a snapshot holds. Nothing is executed.

    Raises:
        ValueError: it is no snapshot of StyleGAN2, or wants to call anything.
    """
    with path.open("rb") as file:
        found = persistence.load_modules(file, str(path), CLASSES)
    if not found:
        raise ValueError(f"{path} holds no network; a snapshot has them by the names {', '.join(CLASSES)}.")
    if any(name.startswith("synthesis.input.") for module in found.values() for name in module.arrays):
        raise ValueError(
            f"{path} is a network of StyleGAN3; networks of StyleGAN, StyleGAN2 and Progressive GAN are read here. "
            "Nothing was executed. Use the code that it was made with."
        )
    parts = {key: _network(key, module) for key, module in found.items()}
    left_out = {
        f"{key}.{name}": "the settings tell it"
        for key, module in found.items()
        for name in module.arrays
        if name.endswith("resample_filter")
    }
    half = [key for key, module in found.items() if dict(_settings(key, module)).get("num_fp16_res")]
    notes = (f"The official code computes parts of {', '.join(half)} in half precision; here they are float32.",)
    of_d = parts.pop("D", None)
    return contents.Contents(
        "snapshot of StyleGAN2", parts.get("G_ema"), parts.get("G"), of_d, left_out, notes if half else ()
    )


def _network(key: str, module: persistence.Module) -> contents.Network:
    """Returns a module as `contents` has it."""
    func, arrays, stored = FUNCTIONS[CLASSES[key]], {}, {}
    if module.name != CLASSES[key]:
        raise ValueError(f"its {key} is of the class {shown(module.name)}; one of StyleGAN2 is a {CLASSES[key]}.")
    names = [name for name in module.arrays if not name.endswith("resample_filter")]
    for name in names:
        try:
            place, value = stylegan2.from_torch(name, module.arrays[name])
        except ValueError:
            shape = list(module.arrays[name].shape)
            raise ValueError(f"{key}.{name} has the shape {shape}, which it never has.") from None
        if place in arrays:
            raise ValueError(f"{key}.{name} is the same array as {stored[place]}.")
        arrays[place], stored[place] = value, f"{key}.{name}"
    model = stylegan2.model_of(func, _settings(key, module), arrays)
    for name, wanted in stylegan2.filters(names, model.blur_filter).items():
        if re.fullmatch(r".*b\d+\.resample_filter", name) and not np.array_equal(module.arrays.get(name), wanted):
            raise ValueError(f"{key}.{name} is another filter than its settings say.")
    return contents.Network(func, {}, arrays, stored, model)


def _settings(key: str, module: persistence.Module) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of keyword arguments, also of those in groups."""
    kwargs = module.fields.get("_init_kwargs")
    if not isinstance(kwargs, dict) or module.fields.get("_init_args"):
        raise ValueError(f"its {key} does not say by which keyword arguments it was made (_init_kwargs).")
    names = " ".join(stylegan2.KWARGS[FUNCTIONS[CLASSES[key]]].values()).split()
    groups = {name.partition(".")[0]: kwargs.get(name.partition(".")[0], {}) for name in names if "." in name}
    yield from ((name, value) for name, value in kwargs.items() if name not in groups)
    for group, inner in groups.items():
        if not isinstance(inner, dict):
            raise ValueError(f"its {key} has {group} that are no dict.")
        if group != "mapping_kwargs" or key != "D" or kwargs.get("c_dim"):  # Without labels, D has no mapping network.
            yield from ({"activation": "lrelu"} | inner).items()
    if isinstance(bound := _bound(module), int | float):
        yield "conv_clamp", bound


def _bound(module: persistence.Module) -> Any:
    """Returns the bound that a layer of a module keeps: the default of stylegan3's code, which no argument tells."""
    fields = module.fields
    for name in ("synthesis", "b4", "conv1") if module.name == "Generator" else ("b4", "conv"):
        parts = fields.get("_modules")
        part = parts.get(name) if isinstance(parts, dict) else None
        fields = part.state if isinstance(part, Record) and isinstance(part.state, dict) else {}
    return fields.get("conv_clamp")


# ---- writing


def write(path: pathlib.Path, found: contents.Contents) -> None:
    """Writes a snapshot that the official code loads, protocol 4; with SOURCE in place of the official source text.

    Where the generator in training is missing, the average stands in.

    Args:
        path: file to write, whole or not at all.
        found: networks of StyleGAN2; at least the average and the discriminator.

    Raises:
        ValueError: the official code cannot load or compute what the networks are.
    """
    model, reason = found.average.model, None
    base, most = 2 * model.fmap_base, model.fmap_max
    if found.discriminator is None:
        reason = "the official code loads no snapshot without a discriminator, and the network has none"
    elif any(model.fmaps(r) != min(base // r, most) for r in model.resolutions):
        reason = f"the official code has min({base} / r, {most}) feature maps at r px, and the network has others"
    if reason:
        raise ValueError(f"{path} cannot be written: {reason}. Save it as .safetensors or .npz.")
    networks = {"G": found.generator or found.average, "D": found.discriminator, "G_ema": found.average}
    records = {key: record(CLASSES[key], network) for key, network in networks.items()}
    with whole.writing(path) as file:
        pickle_writer.dump({"training_set_kwargs": None, **records, "augment_pipe": None}, file)


def record(kind: str, network: contents.Network) -> Record:
    """Returns a network as one persistent object with all its arrays and what it is made by."""
    model = network.model
    arrays = dict(stylegan2.to_torch(place, value) for place, value in network.arrays.items())
    arrays |= stylegan2.filters([*arrays], model.blur_filter)
    fields = {field: getattr(model, field) for field in stylegan2.KWARGS[network.func]}
    fields |= {"fmap_base": 2 * model.fmap_base, "blur_filter": np.convolve((1, 1), model.blur_filter).tolist()}
    if "stddev_group" in fields and not model.stddev_group:
        fields["stddev_features"] = 0
    kwargs: dict[str, Any] = {}
    for field, names in stylegan2.KWARGS[network.func].items():
        for name in (name for name in names.split() if name == names.split()[0] or "." in name):
            group, _, last = name.rpartition(".")
            (kwargs.setdefault(group, {}) if group else kwargs)[last] = fields[field]
    tensors = {name: persistence.tensor(value) for name, value in arrays.items()}
    state = {"_parameters": tensors, "_init_args": (), "_init_kwargs": kwargs}
    meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": kind, "state": state}
    return Record(persistence.CALL, (meta,))
