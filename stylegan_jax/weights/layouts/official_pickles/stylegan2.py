"""Official networks of StyleGAN2, of PyTorch and of TensorFlow: their settings as a Model, their arrays as ours.

Source: NVlabs/stylegan2-ada-pytorch, training/networks.py, legacy.py. PyTorch's convolutions are [out, in, k, k] and
its dense layers [out, in]; TensorFlow's have our order of axes. Kernels of layers that enlarge are turned by 180
degrees in PyTorch.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from stylegan_jax.config import Model, typed
from stylegan_jax.weights.files.pickle_machine import shown
from stylegan_jax.weights.layouts import contents, official, settings

FUNCTIONS = {"G_main": "G_stylegan2", "D_main": "D_stylegan2", "D_stylegan2": "D_stylegan2"}  # In TensorFlow.
VERSIONS = (4, 5)  # Of TensorFlow's pickles.
FILTER = [1, 3, 3, 1]  # The official default.
LONG_FILTER = 8  # From this number of taps on, PyTorch's code stores one axis.

# ---- settings: field of Model: keyword arguments in PyTorch, then in TensorFlow

_OF_BOTH = {
    "num_labels": "c_dim label_size", "resolution": "img_resolution resolution", "channels": "img_channels num_channels"
}  # fmt: skip
KWARGS = {
    "G_stylegan2": _OF_BOTH | {
        "z_size": "z_dim latent_size",
        "w_size": "w_dim dlatent_size",
        "mapping_layers": "mapping_kwargs.num_layers mapping_layers",
        "mapping_fmaps": "mapping_kwargs.layer_features mapping_fmaps",
        "embed_size": "mapping_kwargs.embed_features label_fmaps",
        "mapping_lr_multiplier": "mapping_kwargs.lr_multiplier mapping_lrmul",
        "nonlinearity": "mapping_kwargs.activation synthesis_kwargs.activation nonlinearity mapping_nonlinearity",
        "fmap_base": "synthesis_kwargs.channel_base fmap_base",
        "fmap_max": "synthesis_kwargs.channel_max fmap_max",
        "g_connections": "synthesis_kwargs.architecture architecture",
        "blur_filter": "synthesis_kwargs.resample_filter resample_kernel",
        "conv_clamp": "synthesis_kwargs.conv_clamp conv_clamp",
        "use_noise": "synthesis_kwargs.use_noise use_noise",
    },
    "D_stylegan2": _OF_BOTH | {
        "d_mapping_layers": "mapping_kwargs.num_layers mapping_layers",
        "d_mapping_lr_multiplier": "mapping_kwargs.lr_multiplier mapping_lrmul",
        "d_mapping_size": "cmap_dim mapping_fmaps",
        "nonlinearity": "mapping_kwargs.activation block_kwargs.activation epilogue_kwargs.activation nonlinearity",
        "fmap_base": "channel_base fmap_base",
        "fmap_max": "channel_max fmap_max",
        "d_connections": "architecture",
        "blur_filter": "block_kwargs.resample_filter resample_kernel",
        "conv_clamp": "conv_clamp",
        "stddev_group": "epilogue_kwargs.mbstd_group_size mbstd_group_size",
        "stddev_features": "epilogue_kwargs.mbstd_num_channels mbstd_num_features",
    },
}  # fmt: skip
IGNORED = settings.ELSEWHERE | {  # They change speed, training or the last digits alone.
    "num_fp16_res", "fp16_channels_last", "fused_modconv_default", "w_avg_beta", "freeze_layers",
}  # fmt: skip


def model_of(func: str, given: Iterable[tuple[str, Any]], arrays: dict[str, np.ndarray]) -> Model:
    """Returns the model of a network.

    Args:
        func: G_stylegan2 or D_stylegan2.
        given: its keyword arguments, those in groups by the names within; a name may come twice, with one value.
        arrays: its arrays by our paths, which tell the widths.

    Raises:
        ValueError: no model here has such a setting, two contradict each other, or there are no layers.
    """
    known = {name.rpartition(".")[2]: field for field, names in KWARGS[func].items() for name in names.split()}
    fields: dict[str, Any] = {}
    for name, value in given:
        field, value = known.get(name), value // 2 if name == "channel_base" else value
        if field is None and name not in IGNORED and value is not None:
            raise ValueError(f"its setting {shown(name)}={shown(repr(value))} is none that networks here have.")
        if field is not None and fields.setdefault(field, value) != value:
            raise ValueError(f"its settings say {field}={shown(repr(fields[field]))} and {shown(repr(value))}.")
    fields = {"architecture": "stylegan2", "fmap_base": 16384, "blur_filter": FILTER} | fields
    fields["blur_filter"] = blur_filter(fields["blur_filter"])
    if func == "G_stylegan2":
        fields["mapping_fmaps"] = fields.get("mapping_fmaps") or fields.get("w_size", Model.w_size)
    if fields.get("stddev_features") == 0:
        fields |= {"stddev_group": 0, "stddev_features": 1}
    if not fields.get("num_labels"):  # Then there is no network of labels.
        fields = {name: value for name, value in fields.items() if not name.startswith(("d_mapping", "embed"))}
    is_layer = r"synthesis/b(\d+)/conv1/weight" if func == "G_stylegan2" else r"b(\d+)/conv0/weight|conv/weight"
    found = ((re.fullmatch(is_layer, name), value) for name, value in arrays.items())
    widths = {int(match[1] or 4): value.shape[-1] for match, value in found if match and value.ndim}
    if not widths:
        raise ValueError(f"it has no layers of a network of StyleGAN2 ({func}).")
    model = typed.from_dict(Model, fields)
    return dataclasses.replace(model, **settings.fit_widths(widths, dataclasses.asdict(model)))


def blur_filter(taps: Any) -> tuple[int, ...]:
    """Returns the filter that makes `taps` with a box of two pixels: (1, 2, 1) for (1, 3, 3, 1).

    Raises:
        ValueError: there is none of whole numbers, or it is not symmetric.
    """
    result: list[int] = []
    if isinstance(taps, list | tuple) and all(isinstance(tap, int | float) and tap == tap // 1 for tap in taps):
        for tap in taps[:-1]:
            result.append(int(tap) - (result[-1] if result else 0))
    if not result or result != result[::-1] or result[-1] != taps[-1]:
        raise ValueError(
            f"its resample filter is {shown(repr(taps))}; filters here are (1, 1) times symmetric whole numbers, as "
            "(1, 3, 3, 1) is."
        )
    return tuple(result)


# ---- names: (beginning of a name there, of the path here), "#" for a number

_TORCH = (
    ("mapping.w_avg", "dlatent_avg"),
    ("mapping.embed.", "mapping/label_embedding/"),
    ("mapping.fc#.", "mapping/dense#/"),
    ("synthesis.b#.torgb.", "synthesis/to_rgb#/"),
    ("synthesis.b#.", "synthesis/b#/"),
    ("b4.conv.", "conv/"),
    ("b4.fc.", "dense0/"),
    ("b4.out.", "dense1/"),
    ("b#.fromrgb.", "from_rgb#/"),
    ("b#.", "b#/"),
)
_TENSORFLOW = (
    ("mapping/LabelEmbed/", "mapping/label_embedding/"),
    ("LabelEmbed/", "mapping/label_embedding/"),
    ("mapping/Dense#/", "mapping/dense#/"),
    ("Mapping#/", "mapping/dense#/"),
    ("synthesis/4x4/Const/", "synthesis/b4/"),
    ("synthesis/4x4/Conv/", "synthesis/b4/conv1/"),
    ("synthesis/#/ToRGB/", "synthesis/to_rgb#/"),
    ("synthesis/#/", "synthesis/b#/"),
    ("#/FromRGB/", "from_rgb#/"),
    ("4x4/Conv/", "conv/"),
    ("4x4/Dense0/", "dense0/"),
    ("Output/", "dense1/"),
    ("#/", "b#/"),
)


def _renamed(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Returns a name whose beginning is replaced by the other of its pair; 8x8 is a number too."""
    for old, new in pairs:
        if match := re.match(re.escape(old).replace(r"\#", r"(\d+)(?:x\d+)?"), name):
            return new.replace("#", match[1] if "#" in old else "") + name[match.end() :]
    return name


def from_tensorflow(func: str, kwargs: dict[str, Any], arrays: dict[str, np.ndarray], prefix: str) -> contents.Network:
    """Returns one network of a pickle of StyleGAN2 or StyleGAN2-ADA for TensorFlow.

    Args:
        func: G_stylegan2 or D_stylegan2.
        kwargs: its keyword arguments.
        arrays: its variables; those of its parts have the names of the parts before theirs.
        prefix: what precedes the variables' names in errors.
    """
    given: dict[str, Any] = {"nonlinearity": "lrelu"}
    given |= {"mapping_nonlinearity": "lrelu"} if func[0] == "G" else {"mapping_layers": 0, "mapping_lrmul": 0.1}
    given |= {"architecture": "orig"} if any("RGB_lod" in name for name in arrays) else {}
    ours, stored = {}, {}
    for name, value in arrays.items():
        place = name
        if noise := re.fullmatch(r"synthesis/noise(\d+)", name):
            place = f"noise{int(noise[1]) + 1}"  # Here the first layer at 4 px, which has none, has a number too.
        elif lod := re.fullmatch(r"(.*)(To|From)RGB_lod(\d{1,2})/(.*)", name):
            place = f"{lod[1]}{kwargs.get('resolution', 1024) >> int(lod[3])}/{lod[2]}RGB/{lod[4]}"
        place = _renamed(place, _TENSORFLOW).lower().replace("mod_", "style/")
        place = place.replace("conv0_up/", "conv0/").replace("conv1_down/", "conv1/")
        value = value + np.float32(1) if place.endswith("style/bias") else value
        value = official.flat_nhwc(value, axis=0) if place == "dense0/weight" else value
        value = official.nhwc(value) if place.endswith("/const") else value
        if place in ours:
            raise ValueError(f"{prefix}{name} is the same array as {stored[place]}.")
        ours[place] = value.reshape(1) if place.endswith("noise_strength") else value
        stored[place] = f"{prefix}{name}"
    return contents.Network(func, {}, ours, stored, model_of(func, (given | kwargs).items(), ours))


def from_torch(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the path here of an array in PyTorch, and the array in our order of axes; noise maps [1, 1, r, r]."""
    if noise := re.fullmatch(r"synthesis\.b(\d+)\.conv([01])\.noise_const", name):
        return f"noise{2 * int(noise[1]).bit_length() - 6 + int(noise[2])}", value[None, None]
    place = _renamed(name, _TORCH).replace("affine.", "style/").replace(".", "/")
    if place.endswith("/const"):
        return place, value.transpose(1, 2, 0)[None]
    if place.endswith("/noise_strength"):
        return place, value.reshape(1)
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        return place, official.rotate(value) if _is_turned(place) else value
    return place, official.flat_nhwc(value.T, axis=0) if place == "dense0/weight" else value.T


def to_torch(place: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the inverse of `from_torch`."""
    if noise := re.fullmatch(r"noise(\d+)", place):
        return f"synthesis.b{4 << int(noise[1]) // 2}.conv{int(noise[1]) % 2}.noise_const", value[0, 0]
    name = _renamed(place, ((here, there) for there, here in _TORCH)).replace("style/", "affine.").replace("/", ".")
    if place.endswith("/const"):
        return name, value[0].transpose(2, 0, 1)
    if place.endswith("/noise_strength"):
        return name, value.reshape(())
    if value.ndim == 4:
        return name, (official.rotate(value) if _is_turned(place) else value).transpose(3, 2, 0, 1)
    return name, official.flat_nchw(value, axis=0).T if place == "dense0/weight" else value.T


def _is_turned(place: str) -> bool:
    return re.fullmatch(r"synthesis/b\d+/conv0/weight", place) is not None


def filters(names: Iterable[str], taps: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Returns the filters that PyTorch's code stores beside arrays of these names: one a block, one a convolution.

    Args:
        names: names of the other arrays.
        taps: blur_filter of the model. Convolutions that do not resample have the default, and no use for it.
    """

    def stored(taps: tuple[int, ...]) -> np.ndarray:
        values = np.convolve((1, 1), taps).astype(np.float32)
        values = values if len(values) >= LONG_FILTER else np.outer(values, values)
        return values / values.sum()

    result = {}
    for name in names:
        if match := re.fullmatch(r"(.*b\d+)\.(conv\d?|skip|fromrgb)\.weight", name):
            resamples = match[2] in ("skip", "conv0" if name.startswith("synthesis") else "conv1")
            result[f"{match[1]}.{match[2]}.resample_filter"] = stored(taps if resamples else blur_filter(FILTER))
            result |= {f"{match[1]}.resample_filter": stored(taps)} if match[2] == "conv1" else {}
    return result
