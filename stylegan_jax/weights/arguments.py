"""Arguments of a network's calls, checked before anything is computed."""

from collections.abc import Iterable
from typing import Any

import numpy as np

MOST_PSI = 1e6  # Images of such styles are finite.


def floats(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an argument as float32 [n, *shape].

    Raises:
        ValueError: it is not of numbers, has another shape, or has values that float32 does not hold.
    """
    value = np.asarray(value)
    if value.dtype.kind not in "fiu" or value.shape[1:] != shape or not value.ndim or not len(value):
        wanted = ", ".join(map(str, ("n", *shape)))
        raise ValueError(f"{name} is {value.dtype} {list(value.shape)}; this network takes numbers [{wanted}].")
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f"{name} has values that are not finite in float32; give finite numbers.")
    return value


def seeds(value: Iterable[int] | int) -> np.ndarray:
    """Returns the numbers of images. [n]

    Raises:
        ValueError: they are not whole numbers from 0 to 2**32 - 1.
    """
    numbers = list(np.atleast_1d(value) if isinstance(value, np.ndarray) or not isinstance(value, Iterable) else value)
    found = [np.asarray(number) for number in numbers]
    if not found or any(number.ndim or not _is_whole(number) for number in found):
        raise ValueError(f"seeds is {value!r}; give whole numbers, such as seeds=[1, 2, 3] or seeds=range(100).")
    whole = [int(number) for number in found]
    if min(whole) < 0 or max(whole) > 2**32 - 1:
        raise ValueError(f"seeds go from 0 to {2**32 - 1}; found {min(whole)} to {max(whole)}.")
    return np.asarray(whole, np.int64)


def _is_whole(number: np.ndarray) -> bool:
    return number.dtype.kind in "iu" or (number.dtype.kind == "O" and type(number.item()) is int)


def check_truncation(psi: Any, cutoff: Any, num_layers: int) -> None:
    """Raises ValueError unless psi is one number of use, and cutoff a number of layers or None."""
    value = np.asarray(psi)
    if value.ndim or value.dtype.kind not in "fiu" or not abs(value) <= MOST_PSI:
        raise ValueError(f"psi is {psi!r}; give one number from {-MOST_PSI:g} to {MOST_PSI:g}, such as 0.7.")
    if cutoff is not None and not (np.ndim(cutoff) == 0 and np.asarray(cutoff).dtype.kind in "iu" and cutoff >= 0):
        raise ValueError(f"cutoff is {cutoff!r}; give a whole number of layers: all are {num_layers}.")


def noise_seed(value: Any) -> int:
    """Returns the seed of noise. Raises ValueError unless it is a whole number from 0 to 2**31 - 1."""
    number = np.asarray(value)
    if number.ndim or not _is_whole(number) or not 0 <= int(number) < 2**31:
        raise ValueError(f"noise_seed is {value!r}; give a whole number from 0 to {2**31 - 1}.")
    return int(number)
