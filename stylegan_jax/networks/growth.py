"""Which parameters of a network train at a resolution: modules that belong to one resolution are named after it."""

from collections.abc import Collection, Sequence
from typing import Any

_MAX_RESOLUTION = 1024  # px


def module_name(kind: str, resolution: int) -> str:
    """Returns the name of a module that one resolution has, such as "b64" or "to_rgb64"."""
    return f"{kind}{resolution}"


def grown(params: Any, resolution: int) -> Any:
    """Returns the part of a network's parameters, or of dicts like them, that has begun to train at `resolution` px.

    The rest has gradients and moments of zero, so that no update would change it.
    """
    later = [2**k for k in range(2, _MAX_RESOLUTION.bit_length()) if 2**k > resolution]
    return without(params, {module_name(kind, r) for kind in ("b", "to_rgb", "from_rgb") for r in later})


def frozen_modules(resolutions: Sequence[int], count: int) -> dict[str, int]:
    """Returns the discriminator's modules at the `count` highest of its resolutions, each with its resolution, px."""
    highest = resolutions[len(resolutions) - count :]
    return {module_name(kind, r): r for r in highest for kind in ("b", "from_rgb")}


def without(tree: Any, names: Collection[str]) -> Any:
    """Returns nested dicts without the branches of these names."""
    if not isinstance(tree, dict):
        return tree
    return {name: without(branch, names) for name, branch in tree.items() if name not in names}
