"""Pickles of the official StyleGAN, StyleGAN2 and Progressive GAN: read as data, and written for the official code.

Source: NVlabs/stylegan, dnnlib/tflib/network.py, Network.__getstate__; tkarras/progressive_growing_of_gans, tfutil.py.
"""

import pathlib
import re
from typing import Any

import numpy as np

from stylegan_jax.runs import whole
from stylegan_jax.weights.files import persistence, pickle_writer, pickles
from stylegan_jax.weights.files.pickle_machine import Record, shown
from stylegan_jax.weights.layouts import contents, settings
from stylegan_jax.weights.layouts.official_pickles import snapshots, stylegan2

NETWORK = "dnnlib.tflib.network.Network"
NETWORKS = (NETWORK, "tfutil.Network")
EASY_DICTS = ("dnnlib.util.EasyDict", "dnnlib.EasyDict", "misc.EasyDict", "config.EasyDict")
ALLOWED = pickles.NUMPY | pickles.records(*NETWORKS) | dict.fromkeys(EASY_DICTS, pickles.make_dict)
VERSIONS = (2, 3)
FUNCTIONS = ("G_style", "G_paper", "D_basic", "D_paper")
LAYOUTS = {
    "G_style": "official pickle of StyleGAN",
    "G_paper": "official pickle of Progressive GAN",
    "G_stylegan2": "official pickle of StyleGAN2",
}
# The official loader runs this text to get the functions: with this line it takes its own copy of them.
SOURCES = {"style": "from training.networks_stylegan import *\n", "paper": "from training.networks_progan import *\n"}


# ---- reading


def read(path: pathlib.Path) -> contents.Contents:
    """Returns what an official pickle holds: a tuple (G, D, Gs), one network, or a snapshot of PyTorch modules.

    Nothing is executed.

    Raises:
        ValueError: it is no such pickle, or wants to call anything.
    """
    try:
        with path.open("rb") as file:
            value = pickles.load(file, ALLOWED)
    except ValueError as error:
        if persistence.CALL in str(error):
            return snapshots.read(path)
        raise
    networks = list(value) if isinstance(value, (tuple, list)) else [value]
    if not networks or not all(isinstance(network, Record) and network.name in NETWORKS for network in networks):
        raise ValueError(f"{path} is a pickle, but of no official network; a network is a tuple (G, D, Gs), or Gs.")
    parts = [_network(network, path) for network in networks]
    kinds = "".join(part.func[0] for part in parts)
    if kinds not in ("GDG", "G", "D"):
        funcs = ", ".join(part.func for part in parts)
        raise ValueError(f"{path} holds {funcs}; official files hold G, D and Gs, or one of them.")
    average = parts[-1] if kinds[-1] == "G" else None
    generator = parts[0] if kinds == "GDG" else None
    discriminator = next((part for part in parts if part.func[0] == "D"), None)
    main = average or discriminator
    notes = tuple(dict.fromkeys(note for part in parts for note in _notes(part)))
    return contents.Contents(
        LAYOUTS.get(main.func, "official pickle of a discriminator"), average, generator, discriminator, {}, notes
    )


def _network(record: Record, path: pathlib.Path) -> contents.Network:
    """Returns one network of a pickle."""
    state = record.state
    if not isinstance(state, dict) or "build_func_name" not in state or "variables" not in state:
        raise ValueError(f"{path} holds a Network without build_func_name and variables: it is of another code.")
    func, version = str(state["build_func_name"]), state.get("version")
    is_second = func in stylegan2.FUNCTIONS
    if func not in FUNCTIONS and not is_second:
        known = ", ".join((*FUNCTIONS, *stylegan2.FUNCTIONS))
        raise ValueError(f"{path} holds a network made by {shown(func)}; those of {known} are read here.")
    versions = stylegan2.VERSIONS if is_second else VERSIONS
    if type(version) is not int or version not in versions:
        listed = " and ".join(map(str, versions))
        raise ValueError(f"{path} has version {shown(str(version))} of the official format; {listed} are known.")
    arrays = variables(state, path)
    for name, part in _dict(state.get("components"), "components", path).items():
        part_state = part.state if isinstance(part, Record) else None
        if name not in ("synthesis", "mapping") or not isinstance(part_state, dict):
            raise ValueError(f"{path}: {func} has a part {shown(str(name))} that is no official network of StyleGAN.")
        top = name if is_second else f"G_{name}"
        own = {f"{top}/{local}": value for local, value in variables(part_state, path).items()}
        twice = sorted(own.keys() & arrays.keys())
        if twice:
            raise ValueError(f"{path} has {shown(twice[0])} twice: in a network, and in its part {name}.")
        arrays |= own
    name = shown(str(state.get("name") or func))
    kwargs = _dict(state.get("static_kwargs"), "static_kwargs", path)
    if is_second:
        return stylegan2.from_tensorflow(stylegan2.FUNCTIONS[func], kwargs, arrays, f"{name}/")
    return contents.Network(func, kwargs, arrays, {local: f"{name}/{local}" for local in arrays})


def _dict(value: Any, name: str, path: pathlib.Path) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{path}: {name} of a network is no dict.")
    return dict(value or {})


def variables(state: dict[str, Any], path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns a network's own variables by name."""
    result: dict[str, np.ndarray] = {}
    variables = state.get("variables") or ()
    for item in variables if isinstance(variables, (tuple, list)) else (None,):
        if not isinstance(item, (tuple, list)) or len(item) != 2 or not isinstance(item[0], str):
            raise ValueError(f"{path}: the variables of a network are no list of names and arrays.")
        name, value = item
        if name in result:
            raise ValueError(f"{path} has the variable {name!r} twice in one network.")
        if not isinstance(value, (np.ndarray, np.generic, int, float)):
            raise ValueError(f"{path}: the variable {name!r} is no array of numbers.")
        result[name] = np.asarray(value)
    return result


def _notes(part: contents.Network) -> list[str]:
    unknown = sorted(shown(str(name)) for name in set(part.kwargs) - set(settings.FIELDS) - settings.ELSEWHERE)
    return [f"The settings {', '.join(unknown)} of {part.func} are unknown here and ignored."] if unknown else []


# ---- writing


def write(path: pathlib.Path, found: contents.Contents) -> None:
    """Writes (G, D, Gs) as the official code does, protocol 4; without the source text that official files carry.

    Where the generator in training is missing, the average stands in; without a discriminator, Gs is alone.

    Args:
        path: file to write, whole or not at all.
        found: official networks; at least the average.

    Raises:
        ValueError: the official code cannot compute what the networks do.
    """
    if found.switches.get("bias_before_blur"):
        raise ValueError(
            f"{path} cannot be written: the network adds biases before the blur (bias_before_blur), as rosinality's "
            "code does, and the official code adds them after it; its images would be off by 3 to 25%. Save it as "
            ".safetensors, .npz or .model."
        )
    networks = {"G": found.generator or found.average, "D": found.discriminator, "Gs": found.average}
    records = tuple(_record(name, network) for name, network in networks.items() if network is not None)
    with whole.writing(path) as file:
        pickle_writer.dump(records if found.discriminator else records[-1], file)


def _record(name: str, network: contents.Network) -> Record:
    func, kwargs = network.func, dict(network.kwargs)
    source = SOURCES["paper" if func.endswith("_paper") else "style"]

    def own(prefix: str) -> list[tuple[str, np.ndarray]]:
        names = [n for n in network.arrays if (n.startswith(prefix) if prefix else not re.match("G_(map|syn)", n))]
        return [(n.removeprefix(prefix), np.asarray(network.arrays[n], order="C")) for n in names]

    # An official mapping network repeats w for each layer of the synthesis network that it is part of.
    num_resolutions = sum("ToRGB" in n and n.endswith("/bias") for n in network.arrays)
    num_layers = 2 * num_resolutions if kwargs.get("use_styles") else 1

    def state(name: str, func: str, variables: list, components: dict, **more: int) -> Record:
        fields = {
            "version": 3,
            "name": name,
            "static_kwargs": kwargs | more,
            "components": components,
            "build_module_src": source,
            "build_func_name": func,
            "variables": variables,
        }
        return Record(NETWORK, (), fields)

    components = {}
    if func == "G_style":
        components = {
            "synthesis": state("G_synthesis", "G_synthesis", own("G_synthesis/"), {}),
            "mapping": state("G_mapping", "G_mapping", own("G_mapping/"), {}, dlatent_broadcast=num_layers),
        }
    return state(name, func, own(""), components)
