"""Classes of pictures, from folders, dataset.json, tables or one-hot arrays."""

import csv
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

LABEL_NAMES = ("label", "labels", "class", "cls", "y")  # Names of columns and arrays that hold classes.
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}

_MAX_LISTED = 8  # Names in a message.
_WHOLE = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


class NotClasses(ValueError):
    """Labels that can be read, but do not give each picture one class.

    An unconditional model does without them, and a note says why; a conditional one is refused with the same reason.
    """


@dataclasses.dataclass(frozen=True)
class Classes:
    """The class of each picture."""

    labels: np.ndarray  # Number of each picture's class. int64 [n], 0 <= label < len(names)
    names: tuple[str, ...]  # Names of the classes; one that comes again is numbered: crane, crane (1).

    def __post_init__(self) -> None:
        seen: dict[str, int] = {}
        unique = []
        for name in self.names:
            unique.append(f"{name} ({seen[name]})" if name in seen else name)
            seen[name] = seen.get(name, 0) + 1
        object.__setattr__(self, "names", tuple(unique))

    @property
    def counts(self) -> np.ndarray:
        """Number of pictures of each class. int64 [len(names)]"""
        return np.bincount(self.labels, minlength=len(self.names))

    def of(self, indices: np.ndarray) -> "Classes":
        """Returns the classes of some of the pictures, in that order; no class is dropped."""
        return Classes(self.labels[indices], self.names)


def or_reason(make_fn: Callable[[], Classes | None]) -> tuple[Classes | None, str | None]:
    """Returns (a source's own classes, None), or (None, the reason why its labels are not classes)."""
    try:
        return make_fn(), None
    except NotClasses as error:
        return None, str(error)


def listed(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{', '.join(names[:_MAX_LISTED])}{more}"


def label_name(names: Iterable[str], path: str) -> str | None:
    """Returns the column or array of classes: one named in LABEL_NAMES, else one with such a word in its name, or None.

    Raises:
        NotClasses: there are several.
    """
    words = {name: set(re.split(r"[^a-z]+", name.lower())) for name in names}
    found = [name for name in words if name.lower() in LABEL_NAMES] or [n for n in words if words[n] & {*LABEL_NAMES}]
    if len(found) > 1:
        raise NotClasses(
            f"{path} has several labels, {listed(found)}; keep one of them, or name a file of classes in data.labels."
        )
    return found[0] if found else None


def from_values(values: Sequence[Any], path: str) -> Classes:
    """Returns the classes of pictures whose labels are whole numbers, one-hot vectors, or names of classes.

    Whole numbers, even as text, are the classes themselves, 0 to the largest. Names are sorted.

    Args:
        values: a label for each picture, all of one kind. [n]
        path: where they come from, for errors.

    Raises:
        NotClasses: labels of several kinds, negative or fractional ones, or vectors that are not one-hot.
    """
    if all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
        return _from_numbers(values, path)
    if all(isinstance(v, str) for v in values):
        if all(_WHOLE.fullmatch(v) for v in values):
            return _from_numbers(values, path)
        if all(_NUMBER.fullmatch(v) for v in values):
            fraction = next(v for v in values if not _WHOLE.fullmatch(v))
            raise NotClasses(f"{path}: labels are fractions, such as {fraction}; number the classes 0, 1, 2 ...")
        return _from_names(values)
    if all(isinstance(v, list | tuple | np.ndarray) for v in values):
        if len({len(v) for v in values}) > 1:
            raise NotClasses(f"{path}: label vectors have {sorted({len(v) for v in values})} elements; use one length.")
        try:
            rows = np.array(values, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise NotClasses(f"{path}: label vectors are not numeric ({error}); use one-hot vectors.") from error
        return from_one_hot(rows, path)
    kinds = sorted({type(v).__name__ for v in values})
    raise NotClasses(f"{path}: labels are of types {', '.join(kinds)}; use whole numbers, names or one-hot vectors.")


def _from_names(values: Sequence[str]) -> Classes:
    """Returns the classes in the order of their names: numbers first, by value, then the others, by the alphabet."""

    def place(name: str) -> tuple[bool, int, str, str]:
        digits = name.strip().lstrip("0")
        is_number = name.strip().isascii() and name.strip().isdecimal()
        return not is_number, len(digits) if is_number else 0, digits if is_number else name, name

    names = tuple(sorted(set(values), key=place))
    numbers = {name: i for i, name in enumerate(names)}
    return Classes(np.array([numbers[v] for v in values], np.int64), names)


def from_one_hot(rows: np.ndarray, path: str) -> Classes:
    """Returns the classes of one-hot rows [n, num_classes], named by their numbers.

    Raises:
        NotClasses: a row is not a single 1 among zeros; the message names the first.
    """
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise NotClasses(f"{path}: labels of shape {list(rows.shape)}; one-hot labels are [pictures, classes].")
    is_one_hot = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    if not is_one_hot.all():
        raise NotClasses(
            f"{path}: {np.sum(~is_one_hot)} of {len(rows)} label rows are not one-hot, the first is row "
            f"{np.argmin(is_one_hot)}: {rows[np.argmin(is_one_hot)][:8].tolist()}; a row is one 1 among zeros."
        )
    return Classes(rows.argmax(axis=1).astype(np.int64), tuple(map(str, range(rows.shape[1]))))


def common_folder(names: Sequence[str]) -> str:
    """Returns the innermost folder that all names share, "" where they share none."""
    return os.path.commonprefix([min(names), max(names)]).rpartition("/")[0] if names else ""


def from_folders(names: Sequence[str], path: str) -> Classes:
    """Returns the classes of pictures named CLASS/..., in the order of `from_values`.

    Folders that all pictures share are not classes. In a folder of .tar files, a class is a folder in them; where they
    have none, each .tar is a class.

    Raises:
        ValueError: a picture lies in no folder, all lie in the same, or the folders are splits.
    """
    in_archives = [name.rpartition(".tar/")[2] for name in names]
    names = in_archives if all("/" in name for name in in_archives) else names
    top = common_folder(names)
    inner = [name[len(top) + 1 :] for name in names] if top else names
    outside = [name for name, place in zip(names, inner, strict=True) if "/" not in place]
    if len(outside) == len(names):
        raise ValueError(
            f"data.labels is 'folders', but all {len(names)} pictures of {path} lie in one folder{top and ', '}{top}; "
            "use data.labels=own, or put the pictures of each class into a folder of its own."
        )
    if outside:
        raise ValueError(
            f"data.labels is 'folders', but {len(outside)} pictures of {path} lie in no folder, the first is "
            f"{outside[0]}; put each into the folder of its class."
        )
    classes = _from_names([place.partition("/")[0] for place in inner])
    if {name.lower() for name in classes.names} <= SPLITS:
        raise ValueError(
            f"data.labels is 'folders', but the folders of {path} are splits, not classes: {', '.join(classes.names)}; "
            "name the folder of one split as data.source, or a file of classes in data.labels."
        )
    return classes


def from_file(file: str, names: Sequence[str]) -> Classes:
    """Returns the classes that a .csv, dataset.json or .npy gives to pictures.

    A .csv has a line NAME,CLASS for each picture, and may begin with a line of titles; of several columns, a title
    tells which one holds the classes. A .json is of StyleGAN2's layout, {"labels": [[NAME, CLASS], ...]}. NAME is a
    picture's path in the source, with or without its extension. A .npy holds one-hot rows or class numbers in the
    order of the pictures' names.

    Raises:
        ValueError: the file cannot be read, is of another kind, lacks pictures, or gives one picture two classes.
    """
    kind = pathlib.Path(file).suffix.lower()
    try:
        if kind == ".csv":
            with open(file, newline="", encoding="utf-8-sig") as stream:
                return _from_rows([row for row in csv.reader(stream) if row], file, names)
        if kind == ".json":
            classes = from_dataset_json(pathlib.Path(file).read_bytes(), file, names)
            if classes is None:
                raise ValueError(f"the labels in {file} are null; name another file in data.labels, or use 'own'.")
            return classes
        if kind in (".npy", ".labels"):
            return _from_array(load_npy(file), file, len(names))
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise ValueError(f"the labels in {file} cannot be read: {error}.") from error
    raise ValueError(f"data.labels is {file!r}; use 'own', 'folders', or the path of a .csv, .json or .npy.")


def from_dataset_json(content: bytes, path: str, names: Sequence[str]) -> Classes | None:
    """Returns the classes in a dataset.json of StyleGAN2 and 3, or None where its labels are null.

    Raises:
        NotClasses: its labels are not classes, or some pictures have none or two.
        ValueError: it is not JSON of that layout, or names none of the pictures.
    """
    try:
        rows = json.loads(content)["labels"]
        if rows is None:
            return None
        pairs = list(rows.items()) if isinstance(rows, dict) else [(name, label) for name, label in rows]
        if not all(isinstance(name, str) for name, _ in pairs):
            raise TypeError("a NAME is not text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} is not {{"labels": [[NAME, CLASS], ...]}} ({error!r}).') from error
    return from_values(_look_up(pairs, path, names), path)


def load_npy(file: str) -> np.ndarray:
    """Returns the array in a .npy; raises ValueError if it is not one, or holds objects, which could run code."""
    try:
        return np.lib.format.open_memmap(file, mode="r")  # Never unpickles.
    except OSError:
        raise
    except Exception:  # NumPy raises half a dozen unrelated types at damaged bytes.
        raise ValueError(f"{file} is not a .npy of numbers; use class numbers [n] or one-hot [n, classes].") from None


def _from_rows(rows: list[list[str]], path: str, names: Sequence[str]) -> Classes:
    """Returns the classes in the second of two columns, or in the one of several whose title is of classes."""
    titles, column = rows[0] if rows else [], 1
    width = max(2, len(titles))
    for i, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"{path}: line {i + 1} has {len(row)} columns, not {width}; use NAME,CLASS.")
    if width > 2:
        title = None if _stem(titles[0]) in map(_stem, names) else label_name(titles[1:], path)  # None: no titles.
        if title is None or titles[1:].count(title) > 1:
            raise ValueError(f"{path} has the columns {listed(titles)}, and no one is the label; keep NAME,CLASS.")
        column = titles.index(title, 1)
    pairs = [(row[0], row[column].strip()) for row in rows if row[column].strip()]
    return from_values(_look_up(pairs, path, names), path)


def _from_array(array: np.ndarray, path: str, length: int) -> Classes:
    if array.shape[:1] != (length,):
        raise ValueError(f"{path} has labels of {sum(array.shape[:1])} pictures, but there are {length}.")
    if array.ndim == 1 and np.issubdtype(array.dtype, np.integer):
        return _from_numbers(array, path)
    return from_one_hot(array, path)


def _from_numbers(values: Iterable[Any], path: str) -> Classes:
    try:
        numbers = np.array([int(v) for v in values], np.int64)
    except (OverflowError, ValueError) as error:
        raise NotClasses(f"{path}: a label is not the number of a class ({error}); number them 0, 1, 2 ...") from error
    if numbers.size and numbers.min() < 0:
        raise NotClasses(f"{path}: label {numbers.min()} of picture {numbers.argmin()}; classes are numbered from 0.")
    count = int(numbers.max()) + 1 if numbers.size else 0
    if count > 2 * len(numbers) + 1000:
        raise NotClasses(f"{path}: label {count - 1} among {len(numbers)} pictures; number the classes 0, 1, 2 ...")
    return Classes(numbers, tuple(map(str, range(count))))


def _look_up(pairs: Sequence[tuple[str, Any]], path: str, names: Sequence[str]) -> list[Any]:
    """Returns the label of each name, found with or without its extension in pairs (name, label)."""
    by_key: dict[str, Any] = {}
    twice = set()
    for name, label in pairs:
        for key in (name, _stem(name)):
            if by_key.setdefault(key, label) != label:
                twice.add(key)
    keys = [name if name in by_key else _stem(name) for name in names]
    missing = [name for name, key in zip(names, keys, strict=True) if key not in by_key]
    if missing:
        kind = ValueError if len(missing) == len(names) else NotClasses  # If all are missing, it is another table.
        raise kind(f"{path} has no label for {len(missing)} of {len(names)} pictures: {listed(missing)}.")
    several = [name for name, key in zip(names, keys, strict=True) if key in twice]
    if several:
        raise NotClasses(f"{path} has two classes for {len(several)} pictures: {listed(several)}; keep one for each.")
    return [by_key[key] for key in keys]


def _stem(name: str) -> str:
    """Returns a name without its extension; a / at its beginning tells it from a name."""
    folder, _, file = name.replace("\\", "/").rpartition("/")
    return f"/{folder}/{file.rpartition('.')[0] or file}"
