"""Tells by their names what the files of a folder, .zip or .tar are: pictures, labels of these, or others."""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.data import decode, labels
from stylegan_jax.data.source import Source

MAX_FILE_BYTES = 2**28  # Limit on one picture: a .zip can turn kilobytes into petabytes.
ARRAY_EXTENSION = ".npy"  # Ending of arrays; Progressive GAN's CelebA-HQ has a picture in each.
TABLE = "dataset.json"  # File of labels of StyleGAN2 and 3.

_BESIDE = ".cls"  # Ending of the file with a picture's class, number or name, in a WebDataset.
_METADATA, _METADATA_KEYS = ".json", ("label", "cls")  # The JSON that it may have instead, and keys of the class.
_MAX_LABEL_BYTES = 2**20  # Limit on one label.
_NOT_DECODED = (".heic", ".heif", ".jxl", ".svg", ".dng", ".psd", ".exr")  # Pictures that Pillow cannot read.
_MAX_ENDINGS = 6  # Endings named in a sentence.


class NoPictures(ValueError):
    """A folder or archive that can be read, but has no picture."""


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of a folder or archive, whatever they hold."""

    path: str  # Path of the folder or archive.
    names: Sequence[str]  # Names as found there, with / between folders; where one comes twice, the last is read.
    read_fn: Callable[[str], bytes]  # Returns the content of a name. Called from threads. Raises ValueError, OSError.
    identity_fn: Callable[[str], str]  # Returns what differs if the file of a name does. Raises nothing.
    notes: tuple[str, ...] = ()  # Sentences on what was passed over.
    close_fn: Callable[[], None] = Source.close_fn  # Gives open files back.
    # Returns whether the archive is as it was when it was opened; in a folder, the identities tell.
    unchanged_fn: Callable[[Iterable[int]], bool] = Source.unchanged_fn


@dataclasses.dataclass(frozen=True)
class _LabelFiles:
    """Files that may give the pictures their classes."""

    at_top: list[str]  # Each dataset.json in a folder that all pictures share.
    elsewhere: list[str]  # Each other dataset.json.
    beside: dict[str, str]  # The .cls beside a picture, by the picture's name.
    metadata: dict[str, str]  # The .json beside a picture, by the picture's name.


def to_source(files: Files, is_webdataset: bool = False) -> Source:
    """Returns the pictures among files, with the classes that other files give them.

    Hidden files are passed over. The classes are those of a dataset.json at the top or in a folder that all pictures
    share, or of a .cls, or a .json with a "label" or "cls", beside each picture.

    Args:
        files: files of a folder or archive.
        is_webdataset: whether pictures with one key, such as 0.jpg and 0.mask.png, belong to one sample.

    Raises:
        NoPictures: there is none.
        ValueError: a dataset.json is broken, or the samples have several pictures each.
    """
    places = {_plain(name): name for name in files.names}
    seen = [name for name in places if not any(map(is_hidden, name.split("/")))]
    names, notes = _one_for_each_key(_pictures(seen), files.path, is_webdataset)
    found = _label_files(seen, names)

    def read_file(name: str) -> bytes:
        return files.read_fn(places[name])

    def read(index: int) -> bytes | np.ndarray:
        content = read_file(names[index])
        return decode.read_npy(content) if names[index].lower().endswith(ARRAY_EXTENSION) else content

    classes, reason = labels.or_reason(lambda: _own_classes(files.path, names, found, read_file))
    others = _count_others(seen, names, found, has_classes=classes is not None)
    if not names:
        raise NoPictures(
            f"data.source {files.path!r} has no pictures ({describe_others(others)}). "
            f"Pictures are files that end in {', '.join((*decode.EXTENSIONS, ARRAY_EXTENSION))}."
        )
    if found.elsewhere and reason is None:
        notes.append(f"{files.path} has {labels.listed(found.elsewhere)} beside some pictures only; passed over")
    identities = [files.identity_fn(places[name]) for name in names]

    def is_unchanged(indices: Iterable[int]) -> bool:
        same = (files.identity_fn(places[names[i]]) == identities[i] for i in indices)
        return files.unchanged_fn(indices) and all(same)

    return Source(
        files.path,
        names,
        identities,
        read,
        classes,
        others=others,
        notes=(*files.notes, *notes, *_odd_names(files, names)),
        unused_labels=reason,
        close_fn=files.close_fn,
        unchanged_fn=is_unchanged,
    )


def is_hidden(part: str) -> bool:
    """Returns whether a file or folder of this name is passed over: a hidden one, macOS's, or the file system's own."""
    return (part.startswith(".") and part not in (".", "..")) or part in ("__MACOSX", "lost+found")


def check_size(num_bytes: int) -> None:
    """Raises ValueError for a file that is too large to be a picture."""
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"it has {num_bytes} bytes unpacked, more than the limit of {MAX_FILE_BYTES}")


def describe_others(others: Mapping[str, int]) -> str:
    """Returns how many files are not pictures, by ending, and what to do about pictures that cannot be decoded."""
    ranked = sorted(others.items(), key=lambda row: (-row[1], row[0]))
    endings = [f"{ending or 'without ending'} {count}" for ending, count in ranked[:_MAX_ENDINGS]]
    if len(ranked) > _MAX_ENDINGS:
        endings.append(f"and {len(ranked) - _MAX_ENDINGS} more endings")
    text = f"other files: {sum(others.values())}{' (' if endings else ''}{', '.join(endings)}{')' if endings else ''}"
    not_decoded = [ending for ending in _NOT_DECODED if ending in others]
    return f"{text}; {', '.join(not_decoded)} cannot be decoded: convert them to PNG or JPEG" if not_decoded else text


def _plain(name: str) -> str:
    """Returns a name without the "./" that `tar -C FOLDER .` writes."""
    return re.sub(r"(^|/)(\./)+", r"\1", name)


def _pictures(names: Sequence[str]) -> list[str]:
    """Returns the names of pictures, sorted."""
    found = [name for name in names if name.lower().endswith(decode.EXTENSIONS)]
    # Beside pictures of other endings, a .npy holds labels.
    return sorted(found or [name for name in names if name.lower().endswith(ARRAY_EXTENSION)])


def _one_for_each_key(names: Sequence[str], path: str, is_webdataset: bool) -> tuple[list[str], list[str]]:
    """Returns the pictures to train on, and notes on those that share a key.

    A key is a name up to the first dot of its file. In a WebDataset KEY.mask.png is left out beside KEY.png; KEY.jpg
    and KEY.png are both taken.

    Raises:
        ValueError: most keys of a WebDataset have several pictures called KEY.ENDING.
    """
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(_key(name), []).append(name)
    simple = {key: [name for name in group if "." not in name[len(key) + 1 :]] for key, group in by_key.items()}
    shared = [group for key, group in by_key.items() if simple[key] and len(group) > 1]
    if not is_webdataset:
        if 2 * len(shared) <= len(by_key):
            return [*names], []
        return [*names], [
            f"{path}: most pictures share their key, such as {labels.listed(shared[0])}; each is trained on"
        ]
    pairs = [group for group in simple.values() if len(group) > 1]
    if 2 * len(pairs) > len(by_key):
        raise ValueError(
            f"{path} has several pictures with one key, such as {labels.listed(pairs[0])}, and it is not clear which "
            "to train on; keep one in each sample, or unpack all and name the folder: there each is trained on."
        )
    notes = [f"{path}: pictures share a key, such as {labels.listed(pairs[0])}; each is trained on"] if pairs else []
    left_out = sorted(name for group in shared for name in group if name not in simple[_key(name)])
    if left_out:
        notes.append(
            f"{path}: of pictures with one key only KEY.ENDING is trained on; {len(left_out)} are left out: "
            f"{labels.listed(left_out)}"
        )
    return sorted({*names} - {*left_out}), notes


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _label_files(seen: Sequence[str], names: Sequence[str]) -> _LabelFiles:
    """Returns those of the files `seen` that may label the pictures `names`."""
    tables = sorted(name for name in seen if name.rpartition("/")[2] == TABLE)
    shared = f"/{labels.common_folder(names)}/"
    at_top = [table for table in tables if shared.startswith(f"/{_folder(table)}")]
    elsewhere = [table for table in tables if table not in at_top]
    every = set(seen)
    return _LabelFiles(at_top, elsewhere, _beside(names, _BESIDE, every), _beside(names, _METADATA, every))


def _beside(names: Sequence[str], ending: str, seen: set[str]) -> dict[str, str]:
    """Returns the file of this ending beside each picture that has one, by the picture's name."""
    stems = [(name, stem) for name in names for stem in (_key(name), os.path.splitext(name)[0])]  # The last is taken.
    return {name: stem + ending for name, stem in stems if stem + ending in seen}


def _folder(name: str) -> str:
    """Returns what stands before a file's own name: "" or a folder with its slash."""
    return "".join(name.rpartition("/")[:2])


def _count_others(seen: Sequence[str], names: Sequence[str], found: _LabelFiles, has_classes: bool) -> dict[str, int]:
    """Returns the number of files that are neither pictures nor their labels, by lower-case ending."""
    known = {*names, *found.at_top, *found.elsewhere, *found.beside.values()}
    if has_classes and not found.at_top and not found.beside:
        known |= {*found.metadata.values()}
    return dict(Counter(os.path.splitext(name)[1].lower() for name in seen if name not in known))


def _own_classes(
    path: str, names: Sequence[str], found: _LabelFiles, read_fn: Callable[[str], bytes]
) -> labels.Classes | None:
    """Returns the classes that label files give the pictures, or None if there are no such files.

    Raises:
        labels.NotClasses: they are of several kinds, lie where they could mean others, or give no classes.
        ValueError: a dataset.json is broken.
    """
    if not names:
        return None
    kinds = [*found.at_top, *[f"{_BESIDE} files"] * bool(found.beside)]
    if len(kinds) > 1:
        raise labels.NotClasses(f"{path} has labels in {' and '.join(kinds)}; keep those of one kind.")
    if found.at_top:
        (table,) = found.at_top
        try:
            content = read_fn(table)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}/{table} cannot be read: {error}.") from error
        return labels.from_dataset_json(content, f"{path}/{table}", [name[len(_folder(table)) :] for name in names])
    if found.beside:
        return _from_beside(
            path, names, found.beside, read_fn, lambda content: content.decode(errors="replace").strip()
        )
    if found.elsewhere:
        raise labels.NotClasses(
            f"{path} has {labels.listed(found.elsewhere)} beside some of its pictures only; put one at the top."
        )
    return _from_beside(path, names, found.metadata, read_fn, _label_of) if found.metadata else None


def _from_beside(
    path: str,
    names: Sequence[str],
    beside: Mapping[str, str],
    read_fn: Callable[[str], bytes],
    label_fn: Callable[[bytes], Any],
) -> labels.Classes:
    """Returns the classes in files beside the pictures. Raises NotClasses if one is missing or has no class."""
    ending = os.path.splitext(next(iter(beside.values())))[1]
    missing = [name for name in names if name not in beside]
    if missing:
        raise labels.NotClasses(
            f"{path}: {len(missing)} of {len(names)} pictures have no {ending} beside them: {labels.listed(missing)}."
        )
    values = []
    for name in names:
        try:
            content = read_fn(beside[name])
            if len(content) > _MAX_LABEL_BYTES:
                raise ValueError(f"{len(content)} bytes are too many for a label")
            values.append(label_fn(content))
        except (ValueError, OSError, RecursionError) as error:
            raise labels.NotClasses(f"{path}/{beside[name]} has no label: {error}.") from error
    return labels.from_values(values, path)


def _label_of(content: bytes) -> Any:
    """Returns the label in a JSON. Raises ValueError if it has none."""
    metadata = json.loads(content)
    found = [metadata[key] for key in _METADATA_KEYS if key in metadata] if isinstance(metadata, dict) else []
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} of the keys {' and '.join(_METADATA_KEYS)}; one is needed")
    return found[0]


def _odd_names(files: Files, names: Sequence[str]) -> list[str]:
    """Returns a sentence about pictures whose names lead out of a folder, and one about those that come twice."""
    notes = []
    outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    if outside:
        notes.append(f"{files.path} has names that lead out of it; they are never unpacked: {labels.listed(outside)}")
    counts = Counter(map(_plain, files.names))
    twice = [name for name in names if counts[name] > 1]
    if twice:
        notes.append(f"{files.path} has pictures of one name twice, and the last is read: {labels.listed(twice)}")
    return notes
