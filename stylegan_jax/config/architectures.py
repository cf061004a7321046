"""Rules of a model's switches: what has no effect keeps its default, so that no setting is lost quietly."""

from typing import Any

OF_STYLEGAN = (
    "normalize_latents", "embed_labels", "use_styles", "const_input", "use_pixel_norm", "use_instance_norm",
    "instance_norm_epsilon", "bias_before_blur", "use_equalized_lr",
)  # fmt: skip
OF_STYLEGAN2 = (
    "g_connections", "d_connections", "conv_clamp", "embed_size", "d_mapping_layers", "d_mapping_lr_multiplier",
    "d_mapping_size",
)  # fmt: skip
_MOST = 2**24  # Far above what any network has.
_LEAST_EPSILON = 1e-30  # Much smaller numbers are zero in float32, by which a flat map cannot be divided.


def misfit(model: Any) -> tuple[str, str] | None:
    """Returns the first field of a Model that breaks a rule of its switches, and the rule; None: none does."""
    has_no_effect = OF_STYLEGAN if model.architecture == "stylegan2" else OF_STYLEGAN2
    for name in has_no_effect:
        default = getattr(type(model), name)
        if getattr(model, name) != default:
            return name, f"with model.architecture={model.architecture!r} it has no effect: use {default!r}"
    if model.architecture == "stylegan":
        return _misfit_of_stylegan(model)
    if model.blur_filter is None or model.blur_filter != model.blur_filter[::-1]:
        return "blur_filter", "StyleGAN2 takes a symmetric filter, such as (1, 2, 1), or (1,) for none"
    if any(resolution == 2 for resolution, _ in model.fmaps_by_resolution):
        return "fmaps_by_resolution", "StyleGAN2 has nothing at 2 px: leave that pair out"
    if not 0 <= model.d_mapping_layers <= 8:
        return "d_mapping_layers", "use 0 to 8"
    for name in ("conv_clamp", "embed_size", "d_mapping_size", "d_mapping_lr_multiplier"):
        value = getattr(model, name)
        if value is not None and not 0 < value <= _MOST:
            return name, f"use more than 0, and at most {_MOST}"
    return None


def _misfit_of_stylegan(model: Any) -> tuple[str, str] | None:
    epsilon, default = model.instance_norm_epsilon, type(model).instance_norm_epsilon
    if not _LEAST_EPSILON <= epsilon < 1:
        return "instance_norm_epsilon", f"use {_LEAST_EPSILON:g} or more, and less than 1"
    if not model.use_instance_norm and epsilon != default:
        return "instance_norm_epsilon", f"with model.use_instance_norm=False it has no effect: use {default:g}"
    if model.blur_filter is None and model.bias_before_blur:
        return "bias_before_blur", "with model.blur_filter=None it has no effect: use False"
    return None
