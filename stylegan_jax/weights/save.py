"""Writes a network for others: the layout follows from the file's name."""

import logging
import pathlib

from stylegan_jax.weights import contents, genforce, official, official_pickles, own, rosinality, settings, torch_files
from stylegan_jax.weights.network import Network

LAYOUTS = {
    ".safetensors": "our own, for sharing",
    ".npz": "our own, as NumPy arrays",
    ".pkl": "the official code's pickle",
    ".pth": "genforce's, for PyTorch",
    ".model": "rosinality's, for PyTorch",
}
OTHERS_EPSILON = {".pkl": 1e-8, ".pth": 1e-8, ".model": 1e-5}  # Of the instance norm.


def save(network: Network, path: str | pathlib.Path) -> pathlib.Path:
    """Writes a network, whole or not at all, and returns the path. LAYOUTS tells the layout by the name's end.

    What the other code does differently is logged.

    Raises:
        ValueError: no layout has this name; or the other code cannot compute this network.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix not in LAYOUTS:
        listed = ", ".join(f"{suffix} ({what})" for suffix, what in LAYOUTS.items())
        raise ValueError(f"{path}: the name's end tells the layout, and it is none of {listed}.")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder; make it first.")
    if path.suffix == ".safetensors":
        own.write_safetensors(network, path)
    elif path.suffix == ".npz":
        own.write_npz(network, path)
    else:
        if network.params is None:
            raise ValueError(f"{network.info.source} holds a discriminator alone; save it as .safetensors or .npz.")
        if network.model.fmaps_by_resolution and path.suffix != ".model":
            raise ValueError(
                f"{path} cannot be written: the network's numbers of feature maps follow no formula "
                "(fmaps_by_resolution), and the code that reads this layout has no other way. Save it as .safetensors, "
                ".npz or .model."
            )
        for line in _differences(network, path.suffix):
            logging.warning("%s: %s", path, line)
        found = to_contents(network)
        if path.suffix == ".pkl":
            official_pickles.write(path, found)
        else:
            torch_files.save((genforce if path.suffix == ".pth" else rosinality).write(found), path)
    return path


def to_contents(network: Network) -> contents.Contents:
    """Returns a network as official ones."""
    model = network.model
    func = settings.function_of(model)
    # D_paper ignores labels, and makes classes of its own from images.
    d_func = "D_paper" if func == "G_paper" and not model.num_labels else "D_basic"
    lod = official.lod_of(network.resolution, network.alpha, model.resolution)
    noise = network.const_noise() if model.use_noise else None

    def to_official(func: str, params: object) -> contents.Network | None:
        return None if params is None else contents.to_official(func, model, params, network.w_avg, noise, lod)

    return contents.Contents(
        network.info.layout,
        to_official(func, network.params),
        to_official(func, network.g_params),
        to_official(d_func, network.d_params),
        switches={name: getattr(model, name) for name in ("instance_norm_epsilon", "bias_before_blur")},
    )


def _differences(network: Network, suffix: str) -> list[str]:
    """Returns what the code of a layout does otherwise, a sentence each."""
    model, lines = network.model, []
    epsilon = OTHERS_EPSILON[suffix]
    if model.use_instance_norm and model.instance_norm_epsilon != epsilon:
        lines.append(
            f"the network's instance norm adds {model.instance_norm_epsilon:g} to the variance, and the code that "
            f"reads {suffix} adds {epsilon:g}: its images differ by 1e-5 to 3e-4 of their largest value"
        )
    if model.use_noise and network.noise is None:
        lines.append("the network has no stored noise maps; those of noise='const' are written")
    if network.d_params is None:
        lines.append("the network has no discriminator, and none is written")
    if network.g_params is None and suffix == ".pkl" and network.d_params is not None:
        lines.append("the network has no generator in training (G); the average (Gs) stands in")
    if network.class_names:
        lines.append(f"{suffix} has no place for the names of classes: {', '.join(network.class_names[:5])}, ...")
    return lines
