"""What writers of PyTorch layouts share: they say what a layout cannot hold, and list what a network has."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents, official, places

OF_DISCRIMINATOR = (
    "nonlinearity",
    "blur_filter",
    "use_equalized_lr",
    "stddev_group",
    "stddev_features",
    "channels",
    "num_labels",
    "fmap_decay",
    "fmaps_by_resolution",
)
_COSTS = {"bias_before_blur": "its images would be off by 3 to 25%"}  # Of writing a network all the same.


def require(
    layout: str, group: str, network: contents.Network, switches: Mapping[str, Any], fields: Mapping[str, Any]
) -> None:
    """Checks that a layout can hold a network.

    Args:
        layout: name of the layout.
        group: what the layout calls the network.
        network: an official network.
        switches: fields of Model that official code lacks.
        fields: the fields of Model that the layout's files do not tell, with the only values that they may have.

    Raises:
        ValueError: it cannot.
    """
    if network.func not in ("G_style", "D_basic"):
        raise ValueError(
            f"{layout}'s layout holds networks of StyleGAN, and the {group} is a {network.func}: save it as "
            "safetensors, npz or an official pickle."
        )
    # Without what the settings say of widths, the model has fmap_decay=1 wherever that gives the widths.
    kwargs = {name: value for name, value in network.kwargs.items() if not name.startswith("fmap_")}
    model = contents.model_of(dataclasses.replace(network, kwargs=kwargs), **switches)
    is_generator = network.func == "G_style"
    for name, value in fields.items():
        counts = name not in ("stddev_group", "stddev_features") if is_generator else name in OF_DISCRIMINATOR
        if counts and getattr(model, name) != value:
            what = f"its {name} is {getattr(model, name)}, and there it is always {value}"
            if name.startswith("fmap"):
                widths = [model.fmaps(r) for r in model.resolutions]
                what = f"its numbers of feature maps, {widths}, are not min(fmap_base / (r/2), fmap_max) at r px"
            cost = _COSTS.get(name, "it would be another network")
            raise ValueError(
                f"{layout}'s layout cannot hold the {group}: {what}: {cost}. Save it as safetensors or npz."
            )


def names_of(network: contents.Network) -> list[str]:
    """Returns the official names of all arrays that a network of this kind has, also of those that are not there."""
    if network.func == "D_basic":
        return places.discriminator_names(contents.resolution_of(network))
    return places.generator_names(
        contents.resolution_of(network),
        num_dense=sum(re.fullmatch(r"G_mapping/Dense\d+/weight", name) is not None for name in network.arrays),
        has_labels="G_mapping/LabelConcat/weight" in network.arrays,
        is_const="G_synthesis/4x4/Const/const" in network.arrays,
    )


def arrays_of(network: contents.Network) -> dict[str, np.ndarray]:
    """Returns official arrays as fused_scale="auto" has them: elsewhere, kernels are turned, which changes nothing."""
    result = dict(network.arrays)
    for name, value in network.arrays.items():
        up = re.fullmatch(r"G_synthesis/(\d+)x\d+/Conv0_up/weight", name)
        if up and official.is_fused(network.func, network.kwargs, int(up[1])) != official.is_fused(
            network.func, {}, int(up[1])
        ):
            result[name] = official.rotate(value)
    return result
