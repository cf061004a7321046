"""What a file of weights holds, as official networks, and the model that their arrays and settings tell."""

import dataclasses
import re
from typing import Any

import numpy as np
from flax import traverse_util

from stylegan_jax.config import Model
from stylegan_jax.weights.files.pickle_machine import shown
from stylegan_jax.weights.layouts import official, settings


@dataclasses.dataclass(frozen=True)
class Network:
    """One official network.

    The function is G_style, G_paper, D_basic or D_paper. Names of arrays are those of the official variables:
    "G_mapping/Dense0/weight", "G_synthesis/4x4/Const/const", "dlatent_avg", "lod"; for G_paper and discriminators
    "4x4/Dense/weight".

    Of StyleGAN2 (G_stylegan2, D_stylegan2) it has the model, and arrays in our order of axes by our paths; besides
    "dlatent_avg", and "noise3" in the official order of axes.
    """

    func: str
    kwargs: dict[str, Any]  # Keyword arguments; those that arrays tell may be left out.
    arrays: dict[str, np.ndarray]
    stored: dict[str, str]  # For each array, its name in the file; arrays that are zero by the layout have none.
    model: Model | None = None  # Of networks of StyleGAN2.


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds, as official networks."""

    layout: str  # What was recognized, such as "genforce".
    average: Network | None = None  # Generator of averaged weights: official Gs.
    generator: Network | None = None  # Generator in training: official G.
    discriminator: Network | None = None
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)  # Stored name: why it is not used.
    notes: tuple[str, ...] = ()  # What a user should know.
    switches: dict[str, Any] = dataclasses.field(default_factory=dict)  # Fields of Model that official code lacks.


# ---- the model of arrays


def model_of(network: Network, **switches: Any) -> Model:
    """Returns the model of an official network: what its arrays tell, and its keyword arguments for the rest.

    Raises:
        ValueError: the two contradict each other, or no model has these arrays.
    """
    if network.model is not None:
        return network.model
    for name, array in network.arrays.items():
        axes = official.num_axes(name)
        fits = array.size == 1 if axes == 0 else array.size > 0 and array.ndim == axes
        if not fits:
            wanted = "one number" if axes == 0 else f"{axes} axes, none of them empty"
            raise ValueError(f"{network.stored[name]} has the shape {list(array.shape)}; {name} has {wanted}.")
    told = told_by_generator(network) if network.func.startswith("G_") else told_by_discriminator(network)
    for name, value in told.items():
        stated = network.kwargs.get(name, value)
        if stated is not None and not (isinstance(stated, int | float) and stated == value):
            raise ValueError(f"its settings say {name}={shown(repr(stated))}, and its arrays {value}.")
    model = settings.to_model(network.func, network.kwargs | told, **switches)
    return dataclasses.replace(model, **settings.fit_widths(_widths(network), network.kwargs))


def told_by_generator(network: Network) -> dict[str, Any]:
    """Returns the keyword arguments that a generator's arrays tell."""
    arrays = network.arrays
    told: dict[str, Any] = {
        "resolution": resolution_of(network),
        "num_channels": _shape(network, "ToRGB_lod0/weight")[3],
    }
    if network.func == "G_paper":
        rows = _shape(network, "4x4/Dense/weight")[0]
        stated = network.kwargs.get("latent_size")
        label_size = rows - stated if stated else network.kwargs.get("label_size", 0)
        return told | {"latent_size": rows - label_size, "label_size": label_size}
    dense = sorted({int(m[1]) for m in (re.match(r"G_mapping/Dense(\d+)/", name) for name in arrays) if m})
    label = arrays.get("G_mapping/LabelConcat/weight")
    told |= {"label_size": 0 if label is None else label.shape[0], "mapping_layers": len(dense)}
    told |= {
        "use_styles": any("/StyleMod/" in name for name in arrays),
        "use_noise": any("/Noise/" in name for name in arrays),
        "const_input_layer": "G_synthesis/4x4/Const/const" in arrays,
    }
    if dense:
        rows, columns = _shape(network, "G_mapping/Dense0/weight")
        told |= {"latent_size": rows if label is None else label.shape[1]}
        told |= {"dlatent_size": _shape(network, f"G_mapping/Dense{dense[-1]}/weight")[1]}
        told |= {"mapping_fmaps": columns} if len(dense) > 1 else {}
    elif told["use_styles"]:  # Without mapping layers, the latent and its embedded label are w.
        told["dlatent_size"] = _shape(network, "G_synthesis/4x4/Conv/StyleMod/weight")[0]
        told["latent_size"] = told["dlatent_size"] if label is None else label.shape[1]
    return told


def told_by_discriminator(network: Network) -> dict[str, Any]:
    """Returns the keyword arguments that a discriminator's arrays tell."""
    scores = _shape(network, "4x4/Dense1/weight")[1]
    incoming, outgoing = _shape(network, "4x4/Conv/weight")[2:]
    told = {"resolution": resolution_of(network), "num_channels": _shape(network, "FromRGB_lod0/weight")[2]}
    if network.func == "D_paper":
        return told | {"label_size": scores - 1}
    told["label_size"] = scores if scores > 1 else min(network.kwargs.get("label_size", 0), 1)
    before = _shape(network, "8x8/Conv1_down/weight")[3]
    return told | ({"mbstd_num_features": incoming - before} if incoming > before else {"mbstd_group_size": 0})


def _shape(network: Network, name: str) -> tuple[int, ...]:
    """Returns the shape of an array by its name, without or with the part of the generator that it belongs to."""
    array = network.arrays.get(name, network.arrays.get(f"G_synthesis/{name}"))
    if array is None:
        raise ValueError(f"it has no {name}, which every {network.func} has.")
    return array.shape


def resolution_of(network: Network) -> int:
    """Returns the resolution of an official network, px."""
    sizes = [int(match[1]) for match in (re.search(r"(\d+)x\1/", name) for name in network.arrays) if match]
    if not sizes:
        raise ValueError(f"it has no layers of a {network.func}.")
    return max(sizes)


def _widths(network: Network) -> dict[int, int]:
    """Returns the number of feature maps at each resolution, px; a discriminator's last dense layer stands for 2 px."""
    widths = {}
    for name, array in network.arrays.items():
        size = re.search(r"(\d+)x\1/(Conv1?|Conv0)/weight$", name)
        if size and network.func.startswith("G_"):
            widths[int(size[1])] = array.shape[3]
        elif size and size[2] == "Conv0":
            widths[int(size[1])] = array.shape[2]
        elif size:
            widths[4] = array.shape[3]
        elif name == "4x4/Dense0/weight":
            widths[2] = array.shape[1]
    return widths


# ---- arrays as ours


def params_of(network: Network, resolution: int) -> dict[str, Any]:
    """Returns an official network's variables as our parameters: {"mapping", "synthesis"} for a generator.

    Args:
        network: the official network.
        resolution: its resolution, px.
    """
    arrays: dict[tuple[str, ...], np.ndarray] = {}
    for name, value in network.arrays.items():
        place = official.path(network.func, name, resolution)
        if place in arrays:
            raise ValueError(f"{network.stored[name]} is there twice, by another name too.")
        if place:
            arrays[place] = official.to_ours(network.func, network.kwargs, name, value)
    roots: dict[str, Any] = {} if network.func.startswith("D_") else {"mapping": {}, "synthesis": {}}
    return roots | traverse_util.unflatten_dict(arrays)


def noise_of(network: Network, num_maps: int) -> tuple[np.ndarray | None, ...]:
    """Returns the stored noise maps [1, r, r, 1], two a resolution; None where there is no such map."""
    found = ((re.search(r"(?:^|/)noise(\d+)$", name), value) for name, value in network.arrays.items())
    maps = {int(match[1]): official.nhwc(value) for match, value in found if match}
    return tuple(maps.get(i) for i in range(num_maps))


def to_official(
    func: str,
    model: Model,
    params: Any,
    w_avg: np.ndarray | None,
    noise: tuple[np.ndarray, ...] | None,
    lod: float,
) -> Network:
    """Returns parameters of ours as an official network, in the order of the official variables.

    Args:
        func: G_style, G_paper, D_basic or D_paper; or G_stylegan2 or D_stylegan2.
        model: the network's model.
        params: its parameters.
        w_avg: mean of w, for G_style and G_stylegan2. [w_size]
        noise: stored maps, two a resolution, for these with noise. [1, r, r, 1]
        lod: official level of detail.

    Raises:
        ValueError: the official function cannot compute what the model does.
    """
    mean = np.zeros(model.w_size, np.float32) if w_avg is None else w_avg  # Official networks always have one.
    if func.endswith("_stylegan2"):
        arrays = traverse_util.flatten_dict(params, sep="/") | ({"dlatent_avg": mean} if func[0] == "G" else {})
        arrays |= {f"noise{i}": np.moveaxis(m, -1, 1) for i, m in enumerate(noise or ()) if m is not None}
        return Network(func, {}, arrays, {}, model)
    kwargs = settings.to_kwargs(func, model)
    arrays = {"lod": np.asarray(lod, np.float32)}
    if func == "G_style":
        arrays |= {"dlatent_avg": mean, "G_synthesis/lod": arrays["lod"]}
        arrays |= {f"G_synthesis/noise{i}": np.moveaxis(m, -1, 1) for i, m in enumerate(noise or ())}
    for name in official.names(func, model):
        value = official.leaf(func, name, params, model.resolution)
        arrays[name] = official.to_official(func, kwargs, name, np.asarray(value))
    return Network(func, kwargs, arrays, {name: name for name in arrays})
