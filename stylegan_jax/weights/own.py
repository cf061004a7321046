"""Our own files of weights: safetensors and npz, with the same arrays and the same JSON about them."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from stylegan_jax.config import Model, checks, typed
from stylegan_jax.runs import whole
from stylegan_jax.weights import assemble, trees
from stylegan_jax.weights.files import npz
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network

KEY = "stylegan_jax"  # Where the JSON is: in the metadata of safetensors, or as an array of an npz.
VERSION = 1
MAX_BYTES = 2**33  # Of a file's arrays; the paper's three networks of 1024 px have 325 MB.
DTYPES = {"float32": "F32", "float16": "F16"}  # Of arrays in files, by their names in NumPy and in safetensors.
PARTS = {"params": "generator", "g_params": "generator", "d_params": "discriminator"}


def write_safetensors(network: Network, path: pathlib.Path, dtype: str = "float32") -> None:
    """Writes a network as safetensors, whole or not at all. Arrays are rounded to `dtype`, of DTYPES."""
    data = safetensors.numpy.save(_arrays(network, dtype), metadata={"format": "np", KEY: json.dumps(_about(network))})
    with whole.writing(path) as file:
        file.write(data)


def write_npz(network: Network, path: pathlib.Path, dtype: str = "float32") -> None:
    """Writes a network as npz, whole or not at all. Arrays are rounded to `dtype`, of DTYPES."""
    about = np.frombuffer(json.dumps(_about(network)).encode(), np.uint8)
    with whole.writing(path) as file:
        np.savez(file, **_arrays(network, dtype), **{KEY: about})


def read_safetensors(path: pathlib.Path) -> Network:
    """Returns the network of a safetensors file that was written here.

    Raises:
        ValueError: it is damaged, or of another code.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            about = (file.metadata() or {}).get(KEY)
            if about is None:
                raise ValueError(f"its metadata has no {KEY!r}, so it is of another code")
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            num_bytes = sum(4 * math.prod(part.get_shape()) for part in parts.values())
            other = next((part.get_dtype() for part in parts.values() if part.get_dtype() not in DTYPES.values()), None)
            if other is not None or num_bytes > MAX_BYTES:
                raise ValueError(f"it has arrays of {other}" if other else f"its arrays have {num_bytes} bytes")
            arrays = {name: file.get_tensor(name) for name in parts}
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as safetensors of ours: {error}.") from None
    return _network(arrays, about, path)


def read_npz(path: pathlib.Path) -> Network:
    """Returns the network of an npz file that was written here.

    Raises:
        ValueError: it is damaged, or of another code.
    """
    arrays = npz.load(path)
    if {"act_comp", "lat_comp"} & set(arrays):
        raise ValueError(
            f"{path} holds GANSpace's principal components, which are directions and no network; load the network that "
            "they were made for."
        )
    about = arrays.pop(KEY, None)
    if about is None or about.dtype != np.uint8:
        raise ValueError(f"{path} is an npz file of another code: it has no array {KEY!r}.")
    return _network(arrays, about.tobytes(), path)


def _arrays(network: Network, dtype: str) -> dict[str, np.ndarray]:
    arrays = {
        f"{root}/{place}": np.asarray(value)
        for root in PARTS
        for place, value in trees.flat(getattr(network, root) or {}).items()
    }
    for prefix, noise, w_avg in (("", network.noise, network.w_avg), ("g_", network.g_noise, network.g_w_avg)):
        arrays |= {f"{prefix}noise/{i}": m for i, m in enumerate(noise or ()) if m is not None}
        arrays |= {} if w_avg is None else {f"{prefix}w_avg": w_avg}
    arrays = {name: np.array(value, order="C", copy=None) for name, value in arrays.items()}
    other = {name: value.dtype for name, value in arrays.items() if value.dtype != np.float32}
    for name, found in other.items():
        raise ValueError(f"{name} is {found}, and networks have float32 alone; convert the network's arrays first.")
    if dtype == "float32":
        return arrays
    with np.errstate(over="ignore"):
        rounded = {name: value.astype(dtype) for name, value in arrays.items()}
    for name, value in rounded.items():
        if np.isfinite(arrays[name]).all() and not np.isfinite(value).all():
            raise ValueError(f"{name} goes up to {np.abs(arrays[name]).max():.3g}, and {dtype} does not; use float32.")
    return rounded


def _about(network: Network) -> dict[str, Any]:
    info = network.info
    return {
        "version": VERSION,
        "model": dataclasses.asdict(network.model),
        "resolution": int(network.resolution),
        "alpha": float(network.alpha),
        "class_names": list(network.class_names),
        "license": info.license,
        "nimg": info.nimg,
        "origin": info.layout,
        "notes": list(info.notes),
    }


def _network(arrays: Mapping[str, np.ndarray], text: str | bytes, path: pathlib.Path) -> Network:
    """Returns the network of arrays and the JSON about them, checked."""
    try:
        about = json.loads(text)
        _check_types(about)
        if not 1 <= about["version"] <= VERSION:
            raise ValueError(f"it is of version {about['version']}, and this stylegan_jax reads up to {VERSION}")
        model = typed.from_dict(Model, about["model"])
        checks.check_model(model)
        class_names, resolution, alpha = tuple(about["class_names"]), about["resolution"], float(about["alpha"])
        if len(class_names) not in (0, model.num_labels):
            raise ValueError(f"it names {len(class_names)} classes, and the model has {model.num_labels}")
        if resolution not in model.resolutions or not 0 <= alpha <= 1:
            raise ValueError(f"resolution {resolution} or alpha {alpha} is out of range")
        notes = tuple(dict.fromkeys([*about["notes"], *assemble.not_finite(arrays.items())]))
        same_names = {name: name for name in arrays}
        info = Info(str(path), about["origin"], same_names, {}, {}, notes, about["license"], about["nimg"])
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path}: what it says of its network cannot be read ({error}).") from None
    abstract = {"generator": trees.abstract_generator, "discriminator": trees.abstract_discriminator}
    networks: dict[str, Any] = {}
    rest = dict(arrays)
    for root, kind in PARTS.items():
        own = {name.removeprefix(f"{root}/"): rest.pop(name) for name in arrays if name.startswith(f"{root}/")}
        wanted = trees.flat(abstract[kind](model))
        for place, value in own.items():
            assemble.check_shape(f"{root}/{place}", value.shape, wanted.get(place), kind, model, str(path))
        lacking = sorted(set(wanted) - set(own))
        if own and lacking:
            raise ValueError(
                f"{path} lacks {root}/{lacking[0]}" + (f" and {len(lacking) - 1} more." if lacking[1:] else ".")
            )
        values = {place: _float32(value, place, path) for place, value in own.items()}
        networks[root] = trees.nested(values, kind) if own else None
    if networks["params"] is None and networks["d_params"] is None:
        raise ValueError(f"{path} holds no network.")
    w_avg, noise = _own_state("", rest, model, path)
    g_w_avg, g_noise = _own_state("g_", rest, model, path)
    if rest:
        raise ValueError(f"{path} has arrays that are of no use in its network: {', '.join(sorted(rest)[:3])}.")
    shared = w_avg, noise, class_names, resolution, alpha, g_w_avg, g_noise
    return Network(model, networks["params"], info, networks["g_params"], networks["d_params"], *shared)


def _own_state(
    prefix: str, rest: dict[str, np.ndarray], model: Model, path: pathlib.Path
) -> tuple[np.ndarray | None, tuple[np.ndarray, ...] | None]:
    """Returns a generator's mean of w and noise maps, if a file has them, and takes them out of `rest`."""
    w_avg = rest.pop(f"{prefix}w_avg", None)
    wanted = [r and (1, r, r, 1) for r in model.noise_sizes]
    maps = [rest.pop(f"{prefix}noise/{i}", None) for i in range(len(wanted))]
    if w_avg is not None and w_avg.shape != (model.w_size,):
        raise ValueError(f"{path}: {prefix}w_avg has the shape {list(w_avg.shape)}; it would be [{model.w_size}].")
    has_noise = any(m is not None for m in maps)
    if has_noise and [getattr(m, "shape", None) for m in maps] != wanted:
        raise ValueError(f"{path}: its noise maps are not of shape [1, r, r, 1] for r in {model.noise_sizes}.")
    noise = tuple(m if m is None else _float32(m, f"{prefix}noise", path) for m in maps) if has_noise else None
    return None if w_avg is None else _float32(w_avg, f"{prefix}w_avg", path), noise


_TYPES = {
    "version": int, "model": dict, "resolution": int, "alpha": float | int, "class_names": list,
    "license": str | None, "nimg": int | None, "origin": str, "notes": list,
}  # fmt: skip


def _check_types(about: Any) -> None:
    """Raises ValueError unless the JSON of a file has what `_about` returns, by its types."""
    for name, kind in _TYPES.items():
        if not isinstance(about, dict) or name not in about:
            raise ValueError(f"it has no {name!r}")
        value = about[name]
        texts = value if isinstance(value, list) else ()
        if not isinstance(value, kind) or isinstance(value, bool) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{name} is {value!r:.100}, which is of another type")


def _float32(value: np.ndarray, place: str, path: pathlib.Path) -> np.ndarray:
    if value.dtype.name not in DTYPES:
        raise ValueError(f"{path}: {place} is {value.dtype}; our files have {' or '.join(DTYPES)}.")
    return value.astype(np.float32, copy=False)
