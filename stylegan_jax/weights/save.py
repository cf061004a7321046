"""Writes a network for others: the name's end tells the layout."""

import dataclasses
import logging
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from stylegan_jax.runs import whole
from stylegan_jax.weights import card, hub, onnx_graph, own, programs
from stylegan_jax.weights.files import torch_files
from stylegan_jax.weights.layouts import contents, genforce, official, official_pickles, rosinality, settings
from stylegan_jax.weights.layouts.official_pickles import snapshots
from stylegan_jax.weights.network import Network


class Layout(NamedTuple):
    """How files of one kind are written."""

    what: str
    write_fn: Callable[..., None]  # Of the network and the path; also of has_noise_inputs (programs) or dtype (ours).
    epsilon: float | None = None  # The other code's term in the instance norm; None: ours has any.
    has_any_widths: bool = True  # Whether feature maps may follow no formula.
    has_stylegan2: bool = True


def save(
    network: Network,
    path: str | pathlib.Path,
    license: str | None = None,
    has_noise_inputs: bool = False,
    dtype: str = "float32",
) -> pathlib.Path | str:
    """Writes a network and, beside it, its model card; what the code that reads it does otherwise is logged.

    Args:
        network: the network.
        path: file to write, whole or not at all: its end is one of LAYOUTS. Its card is PATH.md. Or hf://OWNER/NAME:
            the network goes to the Hugging Face hub by that name, as safetensors with its card.
        license: licence of the weights, as their owner states it; None: what `network.info` says.
        has_noise_inputs: whether a program (.onnx, .stablehlo) takes its noise maps as inputs; else they are constants,
            those of noise="const".
        dtype: "float32", or "float16" for a .safetensors or .npz of half the size, whose arrays are rounded.

    Returns:
        The path; the address of its page at the hub.

    Raises:
        ValueError: no layout has this name; or the other code cannot compute this network.
        ModuleNotFoundError: a package is missing that the layout needs.
    """
    if license is not None and not (isinstance(license, str) and license.strip()):
        raise ValueError(f"license is {license!r}; give a line such as 'CC BY 4.0', or leave it out.")
    if license is not None:
        network = dataclasses.replace(network, info=dataclasses.replace(network.info, license=license))
    if dtype not in own.DTYPES:
        raise ValueError(f"dtype is {dtype!r}; use {' or '.join(own.DTYPES)}.")
    if str(path).startswith(hub.SCHEME):
        return _upload(network, str(path), has_noise_inputs, dtype)
    path = pathlib.Path(os.path.expanduser(path))
    check_name(path)
    if dtype != "float32" and path.suffix not in OWN:
        raise ValueError(
            f"{path} has float32 arrays in its layout: leave dtype={dtype} out, or use {' or '.join(OWN)}."
        )
    layout = LAYOUTS[path.suffix]
    if has_noise_inputs and path.suffix not in PROGRAMS:
        raise ValueError(f"{path} holds no program, so it has no noise inputs: leave has_noise_inputs out.")
    if network.model.architecture == "stylegan2" and not layout.has_stylegan2:
        raise ValueError(
            f"{path} cannot be written: what reads {path.suffix} computes StyleGAN alone, and this network is of "
            "StyleGAN2. Save it as .safetensors, .npz or .pkl."
        )
    if layout.epsilon is not None or path.suffix in PROGRAMS:
        if network.params is None:
            raise ValueError(f"{network.info.source} holds a discriminator alone; save it as .safetensors or .npz.")
        for line in _differences(network, path.suffix, has_noise_inputs):
            logging.warning("%s: %s", path, line)
    if network.model.fmaps_by_resolution and not layout.has_any_widths:
        raise ValueError(
            f"{path} cannot be written: the network's numbers of feature maps follow no formula (fmaps_by_resolution), "
            "and the code that reads this layout has no other way. Save it as .safetensors or .npz."
        )
    card_path = path.with_name(f"{path.name}.md")
    card.check_replaceable(card_path)
    more = [has_noise_inputs] if path.suffix in PROGRAMS else [dtype] if path.suffix in OWN else []
    layout.write_fn(network, path, *more)
    _write_card(card_path, card.card_of(network, path.name, path.name))
    return path


def check_name(path: str | pathlib.Path) -> None:
    """Raises ValueError if `save` cannot write to a path of this name."""
    if str(path).startswith(hub.SCHEME):
        hub.name_of(str(path))
        return
    path = pathlib.Path(os.path.expanduser(path))
    if path.suffix not in LAYOUTS:
        listed = ", ".join(f"{suffix} ({layout.what})" for suffix, layout in LAYOUTS.items())
        raise ValueError(
            f"{path}: the name's end tells the layout, and it is none of {listed}; hf://OWNER/NAME is a name at the "
            "Hugging Face hub."
        )
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder; make it first.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file that is not there yet, or one to replace.")


# ---- layouts


def _write_pickle(network: Network, path: pathlib.Path) -> None:
    (snapshots if network.model.architecture == "stylegan2" else official_pickles).write(path, to_contents(network))


def _write_genforce(network: Network, path: pathlib.Path) -> None:
    torch_files.save(genforce.write(to_contents(network)), path)


def _write_rosinality(network: Network, path: pathlib.Path) -> None:
    found = to_contents(network)
    misfit = rosinality.misfit(found.discriminator) if found.discriminator else None
    if misfit:
        logging.warning("%s has no discriminator: %s", path, misfit)
    torch_files.save(rosinality.write(found), path)


def _write_stablehlo(network: Network, path: pathlib.Path, has_noise_inputs: bool) -> None:
    program = programs.stablehlo(*_program(network, has_noise_inputs), has_noise_inputs=has_noise_inputs)
    programs.save_stablehlo(path, program)


def _write_onnx(network: Network, path: pathlib.Path, has_noise_inputs: bool) -> None:
    proto = onnx_graph.onnx_model(*_program(network, has_noise_inputs), has_noise_inputs=has_noise_inputs)
    onnx_graph.save_onnx(path, proto)


LAYOUTS = {
    ".safetensors": Layout("our own, for sharing", own.write_safetensors),
    ".npz": Layout("our own, as NumPy arrays", own.write_npz),
    ".pkl": Layout("the official code's pickle", _write_pickle, 1e-8, has_any_widths=False),
    ".pth": Layout("genforce's, for PyTorch", _write_genforce, 1e-8, has_any_widths=False, has_stylegan2=False),
    ".model": Layout("rosinality's, for PyTorch", _write_rosinality, 1e-5, has_stylegan2=False),
    ".stablehlo": Layout("a program for jax.export", _write_stablehlo),
    ".onnx": Layout("a program for ONNX runtimes", _write_onnx),
}
PROGRAMS = (".stablehlo", ".onnx")
OWN = (".safetensors", ".npz")


def _program(network: Network, has_noise_inputs: bool) -> tuple[Any, ...]:
    """Returns the arguments of a program, up to alpha."""
    has_constants = network.model.use_noise and not has_noise_inputs
    maps = network.const_noise() if has_constants else None
    return network.params, network.model, network.w_avg, maps, network.resolution, network.alpha


def to_contents(network: Network) -> contents.Contents:
    """Returns a network as official ones."""
    model = network.model
    func = settings.function_of(model)
    # D_paper ignores labels, and makes classes of its own from images.
    d_func = "D_paper" if func == "G_paper" and not model.num_labels else "D_basic"
    d_func = "D_stylegan2" if func == "G_stylegan2" else d_func
    lod = official.lod_of(network.resolution, network.alpha, model.resolution)

    def generator(network: Network) -> contents.Network:
        noise = network.const_noise() if model.use_noise else None
        return contents.to_official(func, model, network.params, network.w_avg, noise, lod)

    d_params = network.d_params
    return contents.Contents(
        network.info.layout,
        generator(network),
        None if network.g_params is None else generator(network.in_training()),
        None if d_params is None else contents.to_official(d_func, model, d_params, None, None, lod),
        switches={name: getattr(model, name) for name in ("instance_norm_epsilon", "bias_before_blur")},
    )


def _differences(network: Network, suffix: str, has_noise_inputs: bool) -> list[str]:
    """Returns what is not written, or done otherwise by the code that reads it: a sentence each."""
    model, lines, epsilon = network.model, [], LAYOUTS[suffix].epsilon
    if model.use_instance_norm and epsilon is not None and model.instance_norm_epsilon != epsilon:
        lines.append(
            f"the network's instance norm adds {model.instance_norm_epsilon:g} to the variance, and the code that "
            f"reads {suffix} adds {epsilon:g}: its images differ by 1e-5 to 3e-4 of their largest value"
        )
    if model.use_noise and network.noise is None and suffix != ".model" and not has_noise_inputs:
        lines.append("the network has no stored noise maps; those of noise='const' are written")
    if suffix in PROGRAMS:
        if network.resolution != model.resolution:
            lines.append(f"its images are of {network.resolution} px, the resolution that is trained at")
        if suffix == ".onnx" and model.compute_dtype != "float32":
            lines.append(f"its features are float32, and the network's are {model.compute_dtype}")
        return lines
    if suffix == ".model":
        lines += _lost_by_rosinality(network)
    if network.d_params is None:
        lines.append("the network has no discriminator, and none is written")
    if network.g_params is None and suffix == ".pkl" and network.d_params is not None:
        lines.append("the network has no generator in training (G); the average stands in")
    if network.class_names:
        lines.append(f"{suffix} has no place for the names of classes: {', '.join(network.class_names[:3])}, ...")
    return lines


def _lost_by_rosinality(network: Network) -> list[str]:
    """Returns what rosinality's layout has no place for, and this network has."""
    lines, model = [], network.model
    if network.w_avg is not None:
        lines.append(".model has no place for the mean of w; who reads it computes one for psi")
    if network.noise is not None:
        lines.append(".model has no place for noise maps, and they are not written")
    if (network.resolution, network.alpha) != (model.resolution, 1):
        lines.append(
            f".model has no place for the resolution that is trained, {network.resolution} px at a weight of "
            f"{network.alpha:.3g}: it reads as a network of the highest resolution with trained values, at full weight"
        )
    return lines


# ---- the card and the hub


def _write_card(path: pathlib.Path, text: str) -> None:
    with whole.writing(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def _upload(network: Network, address: str, has_noise_inputs: bool, dtype: str) -> str:
    name = hub.name_of(address)
    if has_noise_inputs:
        raise ValueError(f"{address} holds no program, so it has no noise inputs: leave has_noise_inputs out.")
    with tempfile.TemporaryDirectory() as folder:
        own.write_safetensors(network, pathlib.Path(folder) / hub.WEIGHTS, dtype)
        _write_card(pathlib.Path(folder) / hub.CARD, card.card_of(network, name, hub.WEIGHTS, name))
        return hub.upload(folder, name)
