"""Builds a Network from what a file holds, and checks that every array is there, fits and is used once."""

import dataclasses
import functools
import mmap
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Model, checks
from stylegan_jax.networks import sampling
from stylegan_jax.weights import classes, trees
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.layouts import contents, official, settings
from stylegan_jax.weights.network import Network

_LATENTS_AT_ONCE = 100
NUM_LATENTS = 10_000  # Latents that a missing w_avg is the mean of: as many as the official code takes.


def network_of(found: contents.Contents, source: str) -> Network:
    """Returns the network of a file's contents.

    Args:
        found: what the file holds.
        source: its path, for `Network.info` and for errors.

    Raises:
        ValueError: an array is missing, has another shape, or is of no use; or there is no model of these networks.
    """
    main = found.average or found.generator
    notes, left_out = list(found.notes), dict(found.left_out)
    if main is None and found.discriminator is None:
        raise ValueError(f"{source} holds no network.")
    model = _model(main or found.discriminator, found, source)
    if main is not None and found.discriminator is not None:
        d_model = _model(found.discriminator, found, source)
        try:
            model = settings.joined(model, d_model)
        except ValueError as error:
            reason = f"The discriminator is left out: {error}."
            left_out |= dict.fromkeys(found.discriminator.stored.values(), reason)
            notes.append(reason)
            found = dataclasses.replace(found, discriminator=None)
    try:
        checks.check_model(model)
    except ValueError as error:
        raise ValueError(f"{source} is of a network that cannot be represented: {error}") from None
    arrays: dict[str, str] = {}
    missing: dict[str, str] = {}
    networks = {}
    parts = {"params": main, "g_params": found.generator if found.average else None, "d_params": found.discriminator}
    for root, part in parts.items():
        networks[root] = None if part is None else _params(part, model, root, source, arrays, missing)
    if main is not None and found.average is None:
        notes.append("Its weights are those in training: the file has no average of them.")
    noise = None if main is None else _noise(main, model, source, arrays)
    resolution, alpha = _level(main or found.discriminator, model, source)
    w_avg = _w_avg(main, networks["params"], model, missing, notes, arrays)
    g_noise, g_w_avg = _own_state(parts["g_params"], noise, w_avg, model, source, arrays)
    _leave_rest(parts, main or found.discriminator, arrays, left_out)
    notes += not_finite((s, part.arrays[name]) for part in parts.values() if part for name, s in part.stored.items())
    info = Info(source, found.layout, arrays, missing, left_out, tuple(notes))
    shared = w_avg, noise, (), resolution, alpha, g_w_avg, g_noise
    return Network(model, networks["params"], info, networks["g_params"], networks["d_params"], *shared)


def _own_state(
    part: contents.Network | None,
    noise: tuple[np.ndarray, ...] | None,
    w_avg: np.ndarray | None,
    model: Model,
    source: str,
    arrays: dict[str, str],
) -> tuple[tuple[np.ndarray, ...] | None, np.ndarray | None]:
    """Returns the noise maps and the mean of w of the generator in training, where they differ from the average's."""
    own_noise, own_w_avg = None, None
    if part is None:
        return own_noise, own_w_avg
    stored: dict[str, str] = {}
    maps = _noise(part, model, source, stored, "g_noise")
    if maps is not None and (noise is None or not all(map(np.array_equal, maps, noise))):
        own_noise = maps
        arrays |= stored
    if model.use_styles and "dlatent_avg" in part.arrays:
        found = _stored_w_avg(part, model)
        if w_avg is None or not np.array_equal(found, w_avg):
            own_w_avg, arrays["g_w_avg"] = found, part.stored["dlatent_avg"]
    return own_noise, own_w_avg


def _leave_rest(
    parts: dict[str, contents.Network | None], main: contents.Network, arrays: dict[str, str], left_out: dict[str, str]
) -> None:
    """Notes the level of detail that is used, and why the other networks' own state is not."""
    for name in ("lod", "G_synthesis/lod"):
        if name in main.stored:
            arrays.setdefault("resolution, alpha", main.stored[name])
    used = set(arrays.values())
    for part in parts.values():
        for name, stored in part.stored.items() if part else ():
            if stored not in used:
                assert official.path(part.func, name, 2**10) == (), f"{stored} was not used"
                left_out[stored] = "it is the same in the averaged generator, which is used"


def not_finite(arrays: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    """Returns a note if some of a file's arrays, which are given by name, have values that are not finite."""
    found = [name for name, array in arrays if not np.isfinite(array).all()]
    return [f"It has {len(found)} arrays with values that are not finite; the first is {found[0]}."] if found else []


def _model(part: contents.Network, found: contents.Contents, source: str) -> Model:
    try:
        return contents.model_of(part, **found.switches)
    except ValueError as error:
        raise ValueError(f"{source} ({found.layout}): {error}") from None


def _params(
    part: contents.Network, model: Model, root: str, source: str, arrays: dict[str, str], missing: dict[str, str]
) -> Any:
    """Returns a network's parameters, checked against the model; notes where each came from, and what was missing."""
    is_generator = part.func.startswith("G_")
    kind = "generator" if is_generator else "discriminator"
    wanted = trees.flat(trees.abstract_generator(model) if is_generator else trees.abstract_discriminator(model))
    try:
        found = trees.flat(contents.params_of(part, model.resolution))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    for name in part.arrays:
        parents = official.path(part.func, name, model.resolution)
        if parents and name in part.stored:
            arrays["/".join((root, *parents))] = part.stored[name]
        elif parents:
            missing["/".join((root, *parents))] = "zeros; its layout has no such array"
    for place, value in found.items():
        check_shape(arrays.get(f"{root}/{place}", place), value.shape, wanted.get(place), kind, model, source)
    result: dict[str, np.ndarray] = {}
    for place, shape in wanted.items():
        if place not in found and not _can_lack(place, model):
            raise ValueError(f"{source} lacks {place}, without which a {kind} of {_size(model)} cannot be computed.")
        if place not in found:
            missing[f"{root}/{place}"] = "zeros; it is used only while lower resolutions are trained"
            found[place] = np.zeros(shape.shape, np.float32)
        result[place] = owned(found[place])
    return trees.nested(result, kind)


def check_shape(stored: str, shape: tuple[int, ...], wanted: Any, kind: str, model: Model, source: str) -> None:
    """Raises ValueError if an array of a file has no place in a network, or another shape than it needs there.

    Args:
        stored: name in the file.
        shape: shape of the array, in our order of axes.
        wanted: shape and dtype in the network; None: there is no such array.
        kind: "generator" or "discriminator".
        model: the network's model.
        source: path of the file.
    """
    if wanted is None:
        raise ValueError(f"{source}: {stored} is of no use in this {kind}, whose other arrays make it {_size(model)}.")
    if shape != wanted.shape:
        raise ValueError(
            f"{source}: {stored} has the shape {list(shape)} in our order of axes, and in this {kind} of "
            f"{_size(model)} it would be {list(wanted.shape)}."
        )


def _can_lack(place: str, model: Model) -> bool:
    """Returns whether a finished network can do without an array: the ways to and from RGB of lower resolutions."""
    if model.architecture == "stylegan2":
        return False
    head = place.removeprefix("synthesis/").partition("/")[0]
    return any(head == f"{way}_rgb{r}" for way in ("to", "from") for r in model.resolutions[:-1])


def _size(model: Model) -> str:
    return f"{model.resolution} px, {model.fmaps(4)} maps at 4 px and {model.fmaps(model.resolution)} at the top"


def _noise(
    part: contents.Network, model: Model, source: str, arrays: dict[str, str], root: str = "noise"
) -> tuple[np.ndarray | None, ...] | None:
    """Returns the stored noise maps; None if there are none."""
    sizes = model.noise_sizes
    maps = contents.noise_of(part, len(sizes))
    for name in part.arrays:
        number = name.rpartition("noise")[2]
        if name.endswith(f"noise{number}") and number.isdecimal():
            if int(number) >= len(sizes):
                raise ValueError(
                    f"{source}: {part.stored[name]} is of no use: this network has {len(sizes)} noise maps."
                )
            arrays[f"{root}/{number}"] = part.stored[name]
    if all(m is None for m in maps):
        return None
    for i, (m, r) in enumerate(zip(maps, sizes, strict=True)):
        if getattr(m, "shape", None) != (None if r is None else (1, r, r, 1)):
            found = "missing" if m is None else list(m.shape)
            wanted = "that layer takes none" if r is None else f"at {r} px it would be [1, 1, {r}, {r}]"
            raise ValueError(f"{source}: noise map {i} is {found}, and {wanted}.")
    return tuple(None if m is None else owned(m) for m in maps)


def owned(value: np.ndarray) -> np.ndarray:
    """Returns an array as contiguous float32 that stays what it is when the file that it was mapped from changes."""
    base: Any = value
    while isinstance(base, np.ndarray):
        base = base.base
    return np.array(value, np.float32, order="C", copy=True if isinstance(base, mmap.mmap) else None)


def _level(part: contents.Network, model: Model, source: str) -> tuple[int, float]:
    """Returns the resolution that a network is trained at, px, and the weight of that resolution in a fade."""
    lod = float(np.asarray(part.arrays.get("lod", part.arrays.get("G_synthesis/lod", 0.0))).reshape(()))
    if not 0 <= lod <= len(model.resolutions) - 1:
        raise ValueError(
            f"{source}: its level of detail (lod) is {lod}; it goes from 0 to {len(model.resolutions) - 1}."
        )
    resolution, alpha = official.level(lod, model.resolution)
    return resolution, float(alpha)


def _w_avg(
    part: contents.Network | None,
    params: Any,
    model: Model,
    missing: dict[str, str],
    notes: list[str],
    arrays: dict[str, str],
) -> np.ndarray | None:
    """Returns the mean of w: the file's, or that of NUM_LATENTS latents; None for networks without styles."""
    if part is None or not model.use_styles:
        return None
    if "dlatent_avg" in part.arrays:
        arrays["w_avg"] = part.stored["dlatent_avg"]
        return _stored_w_avg(part, model)
    missing["w_avg"] = f"the mean w of {NUM_LATENTS} latents, computed now"
    notes.append(f"It has no mean of w: psi goes by the mean of {NUM_LATENTS} latents, computed now.")
    if model.num_labels:
        notes.append(f"All {model.num_labels} classes have equal shares in that mean.")
    rng, total = np.random.RandomState(0), np.zeros(model.w_size)
    for begin in range(0, NUM_LATENTS, _LATENTS_AT_ONCE):  # All at once could take a thousand times the file's size.
        z = rng.randn(_LATENTS_AT_ONCE, model.z_size).astype(np.float32)
        numbers = np.arange(begin, begin + _LATENTS_AT_ONCE) % max(model.num_labels, 1)
        labels = classes.one_hot(numbers, model.num_labels) if model.num_labels else None
        total += np.asarray(_mean_w(params, z, labels, model=model), np.float64)
    return (total * (_LATENTS_AT_ONCE / NUM_LATENTS)).astype(np.float32)


def _stored_w_avg(part: contents.Network, model: Model) -> np.ndarray:
    w_avg = part.arrays["dlatent_avg"]
    if w_avg.shape != (model.w_size,):
        raise ValueError(
            f"{part.stored['dlatent_avg']} has the shape {list(w_avg.shape)}; it would be [{model.w_size}]."
        )
    return owned(w_avg)


@functools.partial(jax.jit, static_argnames="model")
def _mean_w(params: Any, z: Any, labels: Any, *, model: Model) -> Any:
    return jnp.mean(sampling.map_latents(params, z, labels, model), axis=0)
