"""Settings of the official networks (keyword arguments of their functions) and those of Model, both ways.

The functions are G_style, G_paper, D_basic and D_paper of networks_stylegan.py and networks_progan.py.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from stylegan_jax.config import Model, typed

FIELDS = {  # Official keyword argument: field of Model.
    "resolution": "resolution", "num_channels": "channels", "label_size": "num_labels", "latent_size": "z_size",
    "dlatent_size": "w_size", "mapping_layers": "mapping_layers", "mapping_fmaps": "mapping_fmaps",
    "mapping_lrmul": "mapping_lr_multiplier", "normalize_latents": "normalize_latents", "fmap_base": "fmap_base",
    "fmap_decay": "fmap_decay", "fmap_max": "fmap_max", "use_styles": "use_styles", "use_noise": "use_noise",
    "const_input_layer": "const_input", "use_pixel_norm": "use_pixel_norm", "use_instance_norm": "use_instance_norm",
    "use_wscale": "use_equalized_lr", "blur_filter": "blur_filter", "nonlinearity": "nonlinearity",
    "mapping_nonlinearity": "nonlinearity", "mbstd_group_size": "stddev_group",
    "mbstd_num_features": "stddev_features", "use_pixelnorm": "use_pixel_norm", "use_leakyrelu": "nonlinearity",
}  # fmt: skip
ELSEWHERE = {  # Settings that are arguments here, or that change nothing but speed.
    "randomize_noise", "style_mixing_prob", "dlatent_broadcast", "fused_scale", "structure", "truncation_psi",
    "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val", "dlatent_avg_beta", "dtype",
    "pixelnorm_epsilon", "is_training", "is_validation", "is_template_graph", "force_clean_graph",
}  # fmt: skip
DEFAULTS = {  # The official functions' own, where they differ from Model's.
    "D_basic": {"num_channels": 1, "resolution": 32},
    "D_paper": {"num_channels": 1, "resolution": 32, "blur_filter": None, "fused_scale": True},
    "G_paper": {
        "num_channels": 1, "resolution": 32, "blur_filter": None, "fused_scale": True, "mapping_layers": 0,
        "use_styles": False, "use_noise": False, "const_input_layer": False, "use_pixelnorm": True,
        "use_instance_norm": False,
    },
}  # fmt: skip
SHARED = ("architecture", "resolution", "channels", "num_labels", "nonlinearity", "conv_clamp")
WIDTHS = ("fmap_base", "fmap_decay", "fmap_max", "fmaps_by_resolution")
OF_DISCRIMINATOR = (
    "stddev_group", "stddev_features", "d_connections", "d_mapping_layers", "d_mapping_lr_multiplier", "d_mapping_size"
)  # fmt: skip
NUM_DECAYS = 61  # Values of fmap_decay that are tried: multiples of 0.05, from 0 to 3, those nearest to 1 first.


def to_model(func: str, kwargs: Mapping[str, Any], **switches: Any) -> Model:
    """Returns the model that official keyword arguments of a network stand for.

    Args:
        func: name of the official function.
        kwargs: its keyword arguments; what they leave out has the function's own defaults. Unknown ones are ignored.
        switches: fields of Model that the official code does not have.

    Raises:
        ValueError: an argument has another type, or two contradict each other in the terms of Model.
    """
    kwargs = DEFAULTS.get(func, {}) | dict(kwargs)
    fields: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name not in FIELDS:
            continue
        value = tuple(value) if isinstance(value, list) else value
        value = ("lrelu" if value else "relu") if name == "use_leakyrelu" else value
        field = FIELDS[name]
        if fields.setdefault(field, value) != value:
            raise ValueError(f"{func} has {name}={value}, but {field} is {fields[field]} by another setting.")
    if func == "G_paper":  # One network: its synthesis starts from z and the labels as they are.
        model = Model()
        base, most = fields.get("fmap_base", model.fmap_base), fields.get("fmap_max", model.fmap_max)
        z_size = fields.setdefault("z_size", None) or min(base, most)
        fields |= {"z_size": z_size, "embed_labels": False, "w_size": z_size + fields.get("num_labels", 0)}
    if func == "D_paper":
        fields["num_labels"] = 0  # It takes labels and ignores them.
    return typed.from_dict(Model, fields | switches)


def to_kwargs(func: str, model: Model) -> dict[str, Any]:
    """Returns the official keyword arguments of `model`, all of them, so that no default of another code counts.

    Raises:
        ValueError: the official function cannot compute what `model` does.
    """
    is_paper = func in ("G_paper", "D_paper")
    if func == "G_style" and not model.embed_labels and model.num_labels:
        raise ValueError("the official G_style embeds labels, and the model does not (embed_labels=False).")
    names = [name for name in FIELDS if name not in _FOREIGN[func]]
    kwargs = {name: getattr(model, FIELDS[name]) for name in names}
    if is_paper:
        kwargs["use_leakyrelu"] = model.nonlinearity == "lrelu"
    if kwargs.get("blur_filter") is not None:
        kwargs["blur_filter"] = list(kwargs["blur_filter"])
    return kwargs | {"fused_scale": True if is_paper else "auto"}


_STYLE_ONLY = {
    "dlatent_size", "mapping_layers", "mapping_fmaps", "mapping_lrmul", "use_styles", "use_noise", "const_input_layer",
    "use_pixel_norm", "use_instance_norm", "mapping_nonlinearity", "latent_size", "normalize_latents",
}  # fmt: skip
_OF_PAPER, _OF_STDDEV = {"use_pixelnorm", "use_leakyrelu"}, {"mbstd_group_size", "mbstd_num_features"}
_FOREIGN = {  # Arguments that each function does not have.
    "G_style": _OF_PAPER | _OF_STDDEV,
    "D_basic": _OF_PAPER | _STYLE_ONLY,
    "G_paper": _OF_STDDEV | {"blur_filter", "nonlinearity"} | (_STYLE_ONLY - {"latent_size", "normalize_latents"}),
    "D_paper": _STYLE_ONLY | {"blur_filter", "nonlinearity", "use_pixelnorm", "mbstd_num_features"},
}


def function_of(model: Model) -> str:
    """Returns the official function of the generator of `model`: G_stylegan2, G_paper (Progressive GAN) or G_style."""
    if model.architecture == "stylegan2":
        return "G_stylegan2"
    is_paper = (
        model.mapping_layers == 0
        and not (model.use_styles or model.const_input or model.use_noise or model.use_instance_norm)
        and model.blur_filter is None
        and not (model.num_labels and model.embed_labels)
    )
    return "G_paper" if is_paper else "G_style"


def joined(generator: Model, discriminator: Model) -> Model:
    """Returns the settings of a generator and a discriminator as one.

    Raises:
        ValueError: they differ in what one Model has once.
    """
    for field in (*SHARED, *(("blur_filter",) if generator.architecture == "stylegan2" else ())):
        of_g, of_d = getattr(generator, field), getattr(discriminator, field)
        if field == "num_labels" and (of_g, of_d) == (1, 0):
            continue  # The one score is that of the one class: the arrays are the same.
        if of_g != of_d:
            raise ValueError(f"its {field} is {of_d}, and the generator's is {of_g}")
    for r in generator.resolutions:
        of_g, of_d = generator.fmaps(r), discriminator.fmaps(r)
        if of_g != of_d:
            raise ValueError(f"it has {of_d} feature maps at {r} px, and the generator {of_g}")
    fields = OF_DISCRIMINATOR if generator.fmaps(2) == discriminator.fmaps(2) else (*OF_DISCRIMINATOR, *WIDTHS)
    return dataclasses.replace(generator, **{field: getattr(discriminator, field) for field in fields})


def fit_widths(widths: Mapping[int, int], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of Model that give a network's numbers of feature maps.

    They are those of `stated`, or the defaults, if these give the widths; else the simplest fmap_base, fmap_decay and
    fmap_max that do; else fmaps_by_resolution.

    Args:
        widths: feature maps by resolution, px.
        stated: official keyword arguments.
    """
    start = typed.from_dict(Model, {name: stated[name] for name in WIDTHS[:3] if name in stated})
    most = max(widths.values())
    decays = sorted((k / 20 for k in range(NUM_DECAYS)), key=lambda decay: abs(decay - 1))
    candidates = [start]
    for decay in decays:
        # The width is min(int(base / (r / 2) ** decay), most): each bounds the base.
        low = max(width * (r / 2) ** decay for r, width in widths.items())
        high = min([math.inf] + [(width + 1) * (r / 2) ** decay for r, width in widths.items() if width < most])
        base = _simplest(low, high)
        candidates += [] if base is None else [Model(fmap_base=base, fmap_decay=decay, fmap_max=most)]
    by_resolution = Model(fmaps_by_resolution=tuple(sorted(widths.items())))
    model = next((m for m in candidates if all(m.fmaps(r) == n for r, n in widths.items())), by_resolution)
    return {name: getattr(model, name) for name in WIDTHS}


def _simplest(low: float, high: float) -> int | None:
    """Returns the integer in [low, high) that the highest power of two divides; None if there is none."""
    first = math.ceil(low)
    if high == math.inf:
        return 1 << (first - 1).bit_length()
    for power in reversed(range(first.bit_length() + 1)):
        candidate = -((-first) >> power) << power
        if candidate < high:
            return candidate
    return None
