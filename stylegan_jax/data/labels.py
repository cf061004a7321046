"""Classes of pictures, from folders, dataset.json, tables or one-hot arrays."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_MAX_LISTED = 5  # Pictures without a label that a message names.


class NotClasses(ValueError):
    """Labels that are sound, but say more or less than a class of each picture."""


@dataclasses.dataclass(frozen=True)
class Classes:
    """The class of each picture."""

    labels: np.ndarray  # Number of its class. int64 [n], 0 <= label < len(names)
    names: tuple[str, ...]  # Of the classes; one that comes again is numbered: crane, crane (1).

    def __post_init__(self) -> None:
        seen: dict[str, int] = {}
        unique = []
        for name in self.names:
            unique.append(f"{name} ({seen[name]})" if name in seen else name)
            seen[name] = seen.get(name, 0) + 1
        object.__setattr__(self, "names", tuple(unique))

    def of(self, indices: np.ndarray) -> "Classes":
        """Returns the classes of some of the pictures, in that order; none is dropped."""
        return Classes(self.labels[indices], self.names)


def or_reason(make_fn: Callable[[], Classes | None]) -> tuple[Classes | None, tuple[str, ...]]:
    """Returns the classes that a source has itself, or None and a sentence why its labels are no classes.

    They are not asked for: an unconditional model needs none.
    """
    try:
        return make_fn(), ()
    except NotClasses as error:
        return None, (f"there are no classes: {error}",)


def from_values(values: Sequence[Any], path: str) -> Classes:
    """Returns the classes of pictures whose labels are whole numbers, one-hot vectors, or names of classes.

    Whole numbers are the classes themselves, 0 to the largest; names are sorted.

    Args:
        values: a label for each picture, all of one kind. [n]
        path: where they come from, for errors.

    Raises:
        ValueError: labels of several kinds, negative ones, or vectors that are not one-hot.
    """
    if all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
        return _from_numbers(_int64(values, path), path)
    if all(isinstance(v, str) for v in values):
        if all(v.strip().isdecimal() for v in values):
            return _from_numbers(_int64(values, path), path)
        names = tuple(sorted(set(values)))
        numbers = {name: i for i, name in enumerate(names)}
        return Classes(np.array([numbers[v] for v in values], np.int64), names)
    if all(isinstance(v, list | tuple | np.ndarray) for v in values):
        if len({len(v) for v in values}) > 1:
            raise ValueError(f"{path}: label vectors have {sorted({len(v) for v in values})} elements; use one length.")
        try:
            rows = np.array(values, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{path}: label vectors are not of numbers ({error}); use one-hot vectors.") from error
        return from_one_hot(rows, path)
    kinds = sorted({type(v).__name__ for v in values})
    raise ValueError(f"{path}: labels are of types {', '.join(kinds)}; use whole numbers, names or one-hot vectors.")


def from_one_hot(rows: np.ndarray, path: str) -> Classes:
    """Returns the classes of one-hot rows [n, num_classes], named by their numbers.

    Raises:
        ValueError: a row is not a single 1 among zeros; it is named.
    """
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise ValueError(f"{path}: labels of shape {list(rows.shape)}; one-hot labels are [pictures, classes].")
    is_one_hot = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    if not is_one_hot.all():
        raise NotClasses(
            f"{path}: {np.sum(~is_one_hot)} of {len(rows)} label rows are not one-hot, the first is row "
            f"{np.argmin(is_one_hot)}: {rows[np.argmin(is_one_hot)][:8].tolist()}; a row is one 1 among zeros."
        )
    return Classes(rows.argmax(axis=1).astype(np.int64), tuple(map(str, range(rows.shape[1]))))


def from_folders(names: Sequence[str], path: str) -> Classes:
    """Returns the classes of pictures named CLASS/..., in the order of the classes' names.

    Raises:
        ValueError: a picture lies in no folder.
    """
    outside = [name for name in names if "/" not in name]
    if outside:
        raise ValueError(
            f"data.labels is 'folders', but {len(outside)} pictures of {path} lie in no folder, the first is "
            f"{outside[0]}; put each into the folder of its class."
        )
    folders = [name.partition("/")[0] for name in names]
    class_names = tuple(sorted(set(folders)))  # Even where folders have numbers for names: 7/ and 9/ are two classes.
    numbers = {name: i for i, name in enumerate(class_names)}
    return Classes(np.array([numbers[folder] for folder in folders], np.int64), class_names)


def from_file(file: str, names: Sequence[str]) -> Classes:
    """Returns the classes that a .csv, dataset.json or .npy gives to pictures.

    A .csv has a line NAME,CLASS for each picture, and may begin with a line of titles. A .json is of StyleGAN2's
    layout, {"labels": [[NAME, CLASS], ...]}. NAME is a picture's path in the source, with or without its extension. A
    .npy holds one-hot rows or class numbers in the order of the pictures' names.

    Raises:
        ValueError: the file cannot be read, is of another kind, or lacks pictures.
    """
    kind = pathlib.Path(file).suffix.lower()
    try:
        if kind == ".csv":
            with pathlib.Path(file).expanduser().open(newline="", encoding="utf-8-sig") as stream:
                rows = [row for row in csv.reader(stream) if row]
            return _from_rows(rows, file, names)
        if kind == ".json":
            return from_dataset_json(pathlib.Path(file).expanduser().read_bytes(), file, names)
        if kind in (".npy", ".labels"):
            return _from_array(load_npy(file), file, len(names))
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise ValueError(f"the labels in {file} cannot be read: {error}.") from error
    raise ValueError(f"data.labels is {file!r}; use 'own', 'folders', or the path of a .csv, .json or .npy.")


def from_dataset_json(content: bytes, path: str, names: Sequence[str]) -> Classes | None:
    """Returns the classes in a dataset.json of StyleGAN2 and 3, or None where its labels are null.

    Raises:
        ValueError: it is no JSON of that layout, or lacks pictures.
    """
    try:
        table = json.loads(content)
        rows = table["labels"]
        if rows is None:
            return None
        by_name = dict(rows)
        if not all(isinstance(name, str) for name in by_name):
            raise TypeError("a NAME is no text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f'{path} is not {{"labels": [[NAME, CLASS], ...]}} ({type(error).__name__}: {error}).'
        ) from error
    return from_values(_look_up(by_name, path, names), path)


def load_npy(file: str) -> np.ndarray:
    """Returns the array in a .npy. Raises ValueError if there is none, or it is of objects, which could run code."""
    try:
        return np.lib.format.open_memmap(pathlib.Path(file).expanduser(), mode="r")  # Never unpickles.
    except OSError:
        raise
    except Exception:  # NumPy raises half a dozen unrelated types at damaged bytes.
        raise ValueError(f"{file} is no .npy of numbers; use class numbers [n] or one-hot rows [n, classes].") from None


def _from_rows(rows: list[list[str]], path: str, names: Sequence[str]) -> Classes:
    short = [i for i, row in enumerate(rows) if len(row) < 2]
    if short:
        raise ValueError(f"{path}: line {short[0] + 1} has one column; use NAME,CLASS.")
    return from_values(_look_up({row[0]: row[1].strip() for row in rows}, path, names), path)


def _from_array(array: np.ndarray, path: str, length: int) -> Classes:
    count = len(array) if array.ndim else 0
    if count != length:
        raise ValueError(f"{path} has labels of {count} pictures, but there are {length}.")
    if array.ndim == 1 and np.issubdtype(array.dtype, np.integer):
        return _from_numbers(array.astype(np.int64), path)
    return from_one_hot(array, path)


def _int64(values: Sequence[Any], path: str) -> np.ndarray:
    try:
        return np.array([int(v) for v in values], np.int64)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{path}: a label is no number of a class ({error}); number them 0, 1, 2 ...") from error


def _from_numbers(numbers: np.ndarray, path: str) -> Classes:
    if numbers.size and numbers.min() < 0:
        raise ValueError(f"{path}: label {numbers.min()} of picture {numbers.argmin()}; classes are numbered from 0.")
    count = int(numbers.max()) + 1 if numbers.size else 0
    if count > 2 * len(numbers) + 1000:
        raise ValueError(f"{path}: label {count - 1} among {len(numbers)} pictures; number the classes 0, 1, 2 ...")
    return Classes(numbers, tuple(map(str, range(count))))


def _look_up(by_name: Mapping[str, Any], path: str, names: Sequence[str]) -> list[Any]:
    """Returns the label of each name, found with or without its extension."""
    by_stem = {_stem(name): label for name, label in by_name.items()}
    missing = [name for name in names if name not in by_name and _stem(name) not in by_stem]
    if missing:
        more = f" and {len(missing) - _MAX_LISTED} more" if len(missing) > _MAX_LISTED else ""
        kind = ValueError if len(missing) == len(names) else NotClasses  # The first is a table of something else.
        raise kind(
            f"{path} has no label for {len(missing)} of {len(names)} pictures: "
            f"{', '.join(missing[:_MAX_LISTED])}{more}."
        )
    return [by_name[name] if name in by_name else by_stem[_stem(name)] for name in names]


def _stem(name: str) -> str:
    folder, _, file = name.replace("\\", "/").rpartition("/")
    return f"{folder}/{file.rpartition('.')[0] or file}"
