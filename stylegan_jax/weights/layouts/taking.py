"""Takes the arrays of one network out of a PyTorch file, each exactly once, as an official network."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from stylegan_jax.weights.layouts import contents, official, shapes

TAPS = (1, 2, 1)  # The blur of every port here.
BLUR = np.outer(TAPS, TAPS).astype(np.float32) / sum(TAPS) ** 2
CONSTANT = "a constant filter, which holds the values that the code here has"
OPTIMIZER = "the state of an optimizer, which a network does not need"


@dataclasses.dataclass(frozen=True)
class State:
    """The arrays of one network, as a file has them."""

    layout: str
    prefix: str  # What comes before their names in the file, such as "models/generator/module.".
    arrays: dict[str, np.ndarray]

    def has(self, pattern: str) -> bool:
        """Returns whether some whole name matches the pattern."""
        return any(re.fullmatch(pattern, name) for name in self.arrays)

    def count(self, pattern: str) -> int:
        """Returns one more than the largest number in names that match the pattern, whose group is that number.

        Raises:
            ValueError: it has three digits or more, as no network has.
        """
        numbers = [-1]
        for name in self.arrays:
            match = re.match(pattern, name)
            if match and len(match[1]) > 2:
                raise ValueError(f"{self.layout}'s layout has no array {self.described(name)}, which this file has.")
            numbers += [int(match[1])] if match else []
        return 1 + max(numbers)

    def described(self, name: str) -> str:
        """Returns the full name of an array and its shape, for messages."""
        return f"{self.prefix + name!r} {list(self.arrays[name].shape)}"


def state_of(layout: str, tree: Any, prefix: str = "") -> State | None:
    """Returns the arrays of a dict without the "module." of torch's parallel wrappers; None if it is no such dict."""
    if not isinstance(tree, dict) or not tree or not all(isinstance(name, str) for name in tree):
        return None
    if not all(isinstance(value, (np.ndarray, np.number, int, float)) for value in tree.values()):
        return None
    while all(name.startswith("module.") for name in tree):
        prefix, tree = prefix + "module.", {name.removeprefix("module."): value for name, value in tree.items()}
    return State(layout, prefix, {name: np.asarray(value) for name, value in tree.items()})


def leave_groups(layout: str, tree: Mapping[str, Any], reasons: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    """Returns why each group of a file is left out.

    Args:
        layout: name of the layout.
        tree: the groups that hold no network.
        reasons: names of known groups, and why they are not used.
        prefix: what comes before the names of the groups.

    Raises:
        ValueError: an unknown group holds arrays.
    """
    for name, value in tree.items():
        if name not in reasons and _holds_arrays(value):
            raise ValueError(
                f"{layout}'s layout has no group {prefix + str(name)!r}, and this file has one that holds arrays. Take "
                "it out of the file if the networks do not need it."
            )
    return {f"{prefix}{name}": reasons.get(name, "a setting of the training run, without arrays") for name in tree}


def _holds_arrays(tree: Any) -> bool:
    if isinstance(tree, (dict, list, tuple)):
        return any(_holds_arrays(value) for value in (tree.values() if isinstance(tree, dict) else tree))
    return isinstance(tree, np.ndarray)


def fused_scale(layout: str, fused: Mapping[int, bool]) -> str | bool:
    """Returns the official setting by which networks enlarge by transposed convolutions where a file's ones do.

    Args:
        layout: name of the layout.
        fused: for each resolution from 8 px on, whether they do.

    Raises:
        ValueError: no such setting does.
    """
    for setting in ("auto", True, False):
        if all(official.is_fused("G_style", {"fused_scale": setting}, r) == value for r, value in fused.items()):
            return setting
    sizes = [r for r, value in fused.items() if value]
    raise ValueError(
        f"{layout}'s files have transposed convolutions at all resolutions, from {official.FUSED_PX} px on, or "
        f"nowhere; this one has them at {sizes} px."
    )


def from_torch(name: str, x: np.ndarray) -> np.ndarray:
    """Returns an array of PyTorch's order of axes in the official one: [o, i, h, w] as [h, w, i, o], [o, i] as [i, o].

    Args:
        name: official name; arrays other than weights stay as they are, and so does the embedding of labels.
        x: the array.
    """
    if not name.endswith("/weight") or name.endswith("LabelConcat/weight"):
        return x
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T


def to_torch(name: str, x: np.ndarray) -> np.ndarray:
    """Returns the inverse of `from_torch`."""
    if not name.endswith("/weight") or name.endswith("LabelConcat/weight"):
        return x
    return x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T


def network(
    state: State,
    func: str,
    stored: Mapping[str, str],
    convert: Callable[[str, np.ndarray], np.ndarray] = from_torch,
    *,
    kwargs: Mapping[str, Any] | None = None,
    optional: Iterable[str] = (),
    filters: Iterable[str] = (),
    left_out: Mapping[str, str] | None = None,
) -> tuple[contents.Network, dict[str, str]]:
    """Returns an official network, and why other arrays of the file are left out.

    Args:
        state: the file's arrays.
        func: official function of the network.
        stored: for each official array, its name in the file.
        convert: brings an array to the official layout, by its official name.
        kwargs: keyword arguments of the official function that the file tells.
        optional: official arrays that may be missing.
        filters: arrays that hold constant filters.
        left_out: arrays that are not used, and why.

    Raises:
        ValueError: an array is missing or unknown, a filter is not the known one, or shapes do not fit each other.
    """
    optional, reasons = set(optional), dict(left_out or {}) | dict.fromkeys(filters, CONSTANT)
    for name in [*(stored[name] for name in stored if name not in optional), *filters]:
        if name not in state.arrays:
            raise ValueError(f"{state.layout}'s layout has an array {state.prefix + name!r}, and this file has none.")
    for name in sorted(set(state.arrays) - set(stored.values()) - set(reasons)):
        raise ValueError(f"{state.layout}'s layout has no array {state.described(name)}, which this file has.")
    for name, value in state.arrays.items():
        if value.size == 0 or np.iscomplexobj(value):
            what = "empty" if value.size == 0 else "of complex numbers"
            raise ValueError(f"{state.layout}'s layout has no array that is {what}, as {state.described(name)} is.")
    for name in filters:
        _check_filter(state, name)
    found = {name: local for name, local in stored.items() if local in state.arrays}
    with np.errstate(over="ignore", invalid="ignore"):  # What is not finite is noted later.
        arrays = {n: convert(n, state.arrays[local]).astype(np.float32, copy=False) for n, local in found.items()}
    shapes.check(func, arrays, lambda name: state.described(found[name]))
    result = contents.Network(func, dict(kwargs or {}), arrays, {k: state.prefix + name for k, name in found.items()})
    return result, {state.prefix + name: why for name, why in reasons.items() if name in state.arrays}


def _check_filter(state: State, name: str) -> None:
    value = state.arrays[name].astype(np.float32)
    known = np.full((2, 2), 0.25) if value.shape[-2:] == (2, 2) else BLUR
    if value.shape[-2:] != known.shape or not np.allclose(value, known, rtol=1e-5):
        raise ValueError(
            f"{state.layout}'s filter {state.described(name)} is not the known one, {known.tolist()}: a network with "
            "another filter computes other images."
        )
