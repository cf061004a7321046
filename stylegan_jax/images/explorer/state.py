"""What the page shows: its state, checked, and the styles and the noise that a network's picture is made of."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stylegan_jax.images.explorer.gallery import Latent, Opened
from stylegan_jax.weights.network import Network, NoiseMaps

NUM_SEEDS = 2**32
ROW = 100  # Seeds in a row of the plane: the point (x, y) of whole numbers is the seed x + 100 y.
MOST_XY = 1e8  # Reaches every seed, and float64 still has eight digits after the point.
MOST_PSI = 10.0
MOST_STRENGTH = 100.0  # Standard deviations along a direction.
MOST_SIDE_BY_SIDE = 8
MOST_DIGITS = 40  # Of a whole number.


@dataclasses.dataclass(frozen=True)
class State:
    """All that decides which pictures the page shows."""

    networks: tuple[int, ...] = (0,)  # Numbers of the networks that are shown side by side.
    x: float = 0.0  # Point of the plane of seeds.
    y: float = 0.0
    latent: str | None = None  # Name of an uploaded latent that takes the place of the plane's styles.
    label: int | None = None  # Class of a conditional network.
    psi: float = 1.0  # Scale of the styles of seeds about their mean.
    cutoff: int | None = None  # Number of layers that psi acts on; None: all.
    mix_seed: int = 1  # Seed whose styles the layers of mix_layers take.
    mix_layers: tuple[int, ...] = ()
    strengths: tuple[float, ...] = ()  # Standard deviations along each direction; those that are left out are 0.
    direction_layers: tuple[int, ...] | None = None  # Layers that directions act on; None: all.
    noise_seed: int | None = None  # Seed that noise is drawn from; None: the network's or the latent's own noise.
    noise_off: tuple[int, ...] = ()  # Layers without noise.


# ---- checks of what a page sends


def _number(name: str, value: Any, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:  # NaN is not, either.
        raise ValueError(f"{name} is {_shown(value)}; give a number from {least:g} to {most:g}.")
    return float(value)


def _whole(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is {_shown(value)}; give a whole number from 0 to {most}.")
    return value


def _wholes(name: str, value: Any, most: int) -> tuple[int, ...]:
    if type(value) is not list:
        raise ValueError(f"{name} is {_shown(value)}; give a list of whole numbers from 0 to {most}.")
    found = tuple(_whole(f"a number in {name}", one, most) for one in value)
    if len(set(found)) < len(found):
        raise ValueError(f"{name} has a number twice; give each once.")
    return found


def _numbers(name: str, value: Any, least: float, most: float) -> tuple[float, ...]:
    if type(value) is not list:
        raise ValueError(f"{name} is {_shown(value)}; give a list of numbers.")
    return tuple(_number(f"a number in {name}", one, least, most) for one in value)


def _text(name: str, value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{name} is {_shown(value)}; give the name of an uploaded latent.")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _or_none(check: Callable[..., Any]) -> Callable[..., Any]:
    return lambda name, value, **limits: None if value is None else check(name, value, **limits)


MOST_LAYERS = 2 * 30  # More than any network has; the number of each network's own is checked when it draws.
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "networks": functools.partial(_wholes, most=10**6),
    "x": functools.partial(_number, least=0, most=MOST_XY),
    "y": functools.partial(_number, least=0, most=MOST_XY),
    "latent": _or_none(_text),
    "label": functools.partial(_or_none(_whole), most=10**6),
    "psi": functools.partial(_number, least=-MOST_PSI, most=MOST_PSI),
    "cutoff": functools.partial(_or_none(_whole), most=MOST_LAYERS),
    "mix_seed": functools.partial(_whole, most=NUM_SEEDS - 1),
    "mix_layers": functools.partial(_wholes, most=MOST_LAYERS),
    "strengths": functools.partial(_numbers, least=-MOST_STRENGTH, most=MOST_STRENGTH),
    "direction_layers": functools.partial(_or_none(_wholes), most=MOST_LAYERS),
    "noise_seed": functools.partial(_or_none(_whole), most=2**31 - 1),
    "noise_off": functools.partial(_wholes, most=MOST_LAYERS),
}


def read_json(text: str | bytes) -> Any:
    """Returns the value of a text of JSON. Raises ValueError, in a sentence, if it is none."""

    def refuse(number: str) -> Any:
        raise ValueError(f"the message has the number {number}, which is not read; send finite and shorter ones.")

    def whole(digits: str) -> int:
        return int(digits) if len(digits) <= MOST_DIGITS else refuse(f"{digits[:8]}... of {len(digits)} digits")

    try:
        return json.loads(text, parse_constant=refuse, parse_int=whole)
    except RecursionError:
        raise ValueError("the message has lists within lists, too deep to be read.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the message is not JSON: {error}.") from None
    except UnicodeDecodeError:
        raise ValueError("the message is not text in UTF-8.") from None


def parse(values: Any) -> State:
    """Returns the state that a page has sent.

    Args:
        values: the fields of State by name, as JSON has them; those that are left out have their defaults.

    Raises:
        ValueError: there is no such field, or its value is of another kind or out of range.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"the state is {_shown(values)}; give an object such as {{'x': 3, 'y': 0}}.")
    for name in values:
        if name not in CHECKS:
            raise ValueError(f"the state has no field {_shown(name)}; its fields are {', '.join(CHECKS)}.")
    state = State(**{name: CHECKS[name](name, value) for name, value in values.items()})
    if not 1 <= len(state.networks) <= MOST_SIDE_BY_SIDE:
        raise ValueError(
            f"{len(state.networks)} networks are chosen; choose 1 to {MOST_SIDE_BY_SIDE} to see side by side."
        )
    return state


def check_fits(state: State, opened: Opened, latent: Latent | None = None) -> None:
    """Raises ValueError if a network lacks a layer, class or direction that a state names, or `latent` is another's."""
    model, num_directions = opened.network.model, len(opened.names)
    num_layers = dict.fromkeys(("mix_layers", "direction_layers"), model.num_layers)
    for name, num in (num_layers | {"noise_off": 2 * len(model.resolutions)}).items():
        worst = max(getattr(state, name) or (0,))
        if worst >= num:
            raise ValueError(f"{name} has {worst}, and {opened.name} has the layers 0 to {num - 1}.")
    if state.cutoff is not None and state.cutoff > model.num_layers:
        raise ValueError(f"cutoff is {state.cutoff}, and {opened.name} has {model.num_layers} layers.")
    if state.label is not None and state.label >= model.num_labels:
        raise ValueError(f"label is {state.label}, and {opened.name} has {model.num_labels or 'no'} classes.")
    if any(state.strengths[num_directions:]):
        raise ValueError(f"strengths has {len(state.strengths)} numbers for the {num_directions} directions.")
    if latent is not None and latent.network != opened.network.sha256:
        raise ValueError(f"the uploaded latent was made for another network than {opened.name}; choose that one.")
    if state.noise_off and not model.use_noise:
        raise ValueError(f"noise_off names layers, and {opened.name} takes no noise.")


# ---- from a state to styles and noise


def corners(x: float, y: float) -> list[tuple[int, float]]:
    """Returns the seeds next to a point of the plane and their weights, which add up to 1; weights of 0 are left out.

    A point of whole numbers has one seed.
    """
    left, top = math.floor(x), math.floor(y)
    right, down = x - left, y - top
    weights = {
        (left, top): (1 - right) * (1 - down),
        (left + 1, top): right * (1 - down),
        (left, top + 1): (1 - right) * down,
        (left + 1, top + 1): right * down,
    }
    return [((i + ROW * j) % NUM_SEEDS, weight) for (i, j), weight in weights.items() if weight]


def ws_of(opened: Opened, state: State, latent: Latent | None = None) -> np.ndarray:
    """Returns the styles of a state. float32 [1, num_layers, w_size]

    Truncated styles of seeds are mixed; those of mix_layers are then replaced, and the directions added. psi does not
    act on `latent`, so that its picture is the one that was uploaded.
    """
    network = opened.network
    label = 0 if state.label is None and network.model.num_labels else state.label
    cutoff = None if state.psi == 1 else state.cutoff

    def seen(seed: int) -> np.ndarray:
        return network.map(network.latents(seed), label, state.psi, cutoff)

    if latent is not None:
        ws = latent.ws
    else:
        (first, weight), *others = corners(state.x, state.y)
        ws = sum((share * seen(seed) for seed, share in others), weight * seen(first))
    layers = np.arange(network.model.num_layers)[None, :, None]
    if state.mix_layers:
        ws = np.where(np.isin(layers, state.mix_layers), seen(state.mix_seed), ws)
    if any(state.strengths):
        strengths = np.float32(state.strengths[: len(opened.names)])
        moved = ws + np.tensordot(strengths, opened.directions[: len(strengths)], axes=1)  # [1, num_layers, w_size]
        is_moved = True if state.direction_layers is None else np.isin(layers, state.direction_layers)
        ws = np.where(is_moved, moved, ws)
    return ws.astype(np.float32)


def noise_of(network: Network, state: State, latent: Latent | None = None) -> NoiseMaps | None:
    """Returns the noise maps of a state, [1, r, r, 1], two for each resolution r; None for a network without noise."""
    if not network.model.use_noise:
        return None
    if state.noise_seed is not None:
        maps = dataclasses.replace(network, noise=None).const_noise(state.noise_seed)
    elif latent is not None and latent.noise is not None:
        maps = latent.noise
    else:
        maps = network.const_noise()
    return tuple(m if m is None or i not in state.noise_off else np.zeros_like(m) for i, m in enumerate(maps))
