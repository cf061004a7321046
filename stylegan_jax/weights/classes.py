"""Classes of a conditional network, by their names or numbers."""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_LISTED = 50  # Classes named in an error.


def number_of(wanted: str | int, names: Sequence[str], num_classes: int) -> int:
    """Returns the number of a class.

    Args:
        wanted: its name or number; a numeral is a name where a class has one as its name.
        names: the classes' names, if they are known.
        num_classes: number of classes.

    Raises:
        ValueError: there is no such class, and which there are.
    """
    if isinstance(wanted, str):
        if list(names).count(wanted) > 1:
            raise ValueError(f"this network has several classes named {wanted!r}; give the number of one.")
        if wanted in names[:num_classes]:
            return list(names).index(wanted)
        has_numbers = not any(name.isdecimal() for name in names)  # Else a number is a name.
        number = int(wanted) if has_numbers and wanted.isdecimal() else -1
    else:
        has_numbers, number = True, int(wanted)
    if 0 <= number < num_classes:
        return number
    near = difflib.get_close_matches(str(wanted), names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = "".join(f"\n  {i}: {name}" for i, name in enumerate(names[:MAX_LISTED]))
    more = f"\n  ... and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    how = f"Give names or numbers from 0 to {num_classes - 1}" if has_numbers else "Give names"
    raise ValueError(
        f"this network has no class {wanted!r}{hint} {how}.{' Its classes:' if names else ''}{listed}{more}"
    )


def rows(labels: Any, n: int, names: Sequence[str], num_classes: int) -> np.ndarray | None:
    """Returns the labels of images as float32 rows of weights [n, num_classes]; None for a network without classes.

    Args:
        labels: one name or number for all, or one for each image; or rows of weights [n, num_classes].
        n: number of images.
        names: the classes' names, if they are known.
        num_classes: number of classes of the network; 0: none.

    Raises:
        ValueError: labels that this network does not take, or too few of them.
    """
    if not num_classes:
        if labels is not None:
            raise ValueError("this network has no classes; leave labels out.")
        return None
    if labels is None:
        listed = ", ".join(names[:MAX_LISTED]) or f"0 to {num_classes - 1}"
        raise ValueError(
            f"this network has {num_classes} classes; give labels=, one for all images or one each: {listed}."
        )
    if isinstance(labels, (str, int, np.integer)) and not isinstance(labels, bool):
        labels = [labels] * n
    values = np.asarray(labels)
    if values.dtype.kind == "f" and values.shape == (n, num_classes) and np.isfinite(values).all():
        return values.astype(np.float32)
    if values.ndim != 1 or values.dtype.kind not in "iuU" or len(values) != n:
        raise ValueError(
            f"labels is {values.dtype} {list(values.shape)} for {n} images; give one name or number for all, one for "
            f"each image, or float rows [{n}, {num_classes}]."
        )
    numbers = [number_of(value.item(), names, num_classes) for value in values]
    return one_hot(np.asarray(numbers), num_classes)


def one_hot(numbers: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns a row for each class number, with a 1 at its place. float32 [n, num_classes]"""
    result = np.zeros((len(numbers), num_classes), np.float32)  # An identity matrix would be num_classes high.
    result[np.arange(len(numbers)), numbers] = 1
    return result
