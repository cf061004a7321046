"""What the files of a folder, .zip or .tar are, told by their names: pictures, the labels of these, or others."""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stylegan_jax.data import labels, pictures
from stylegan_jax.data.source import Source, nothing_to_close

MAX_FILE_BYTES = 2**28  # Of one picture; a .zip can make petabytes out of kilobytes.
ARRAY_EXTENSION = ".npy"  # Progressive GAN's CelebA-HQ has a picture in each.
TABLE = "dataset.json"  # Labels of StyleGAN2 and 3.

_BESIDE = ".cls"  # What a WebDataset has beside each picture: the number or name of its class.
_METADATA, _METADATA_KEYS = ".json", ("label", "cls")  # What it may have instead.
_MAX_LABEL_BYTES = 2**20  # Of one label.
_NOT_DECODED = (".heic", ".heif", ".jxl", ".svg", ".dng", ".psd", ".exr")  # Pictures that Pillow does not read.
_MAX_ENDINGS = 6  # In a sentence.


class NoPictures(ValueError):
    """A folder or archive that can be read, but has no picture."""


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of a folder or archive, whatever they hold."""

    path: str  # Of the folder or archive.
    names: Sequence[str]  # With / between folders, as they are found there; of those that come twice the last is read.
    read_fn: Callable[[str], bytes]  # Content of a name. Called from threads. Raises ValueError, OSError.
    identity_fn: Callable[[str], str]  # What tells a changed file from the same. Raises nothing.
    notes: tuple[str, ...] = ()  # What was passed over: a sentence each.
    close_fn: Callable[[], None] = nothing_to_close  # Gives open files back.


def to_source(files: Files, is_webdataset: bool = False) -> Source:
    """Returns the pictures among files, with the classes that other files give them.

    Hidden files are passed over. The classes are those of a dataset.json at the top or in a folder that all pictures
    share, or of a .cls, or a .json with a "label" or "cls", beside each picture.

    Args:
        files: of a folder or archive.
        is_webdataset: whether pictures with one key, as 0.jpg and 0.mask.png, may be one sample.

    Raises:
        NoPictures: there is none.
        ValueError: a dataset.json is broken, or the samples have several pictures each.
    """
    places = {_plain(name): name for name in files.names}
    seen = [name for name in places if not any(map(is_hidden, name.split("/")))]
    names, notes = _pictures(seen), list(files.notes)
    if is_webdataset:
        names, said = _one_for_each_key(names, files.path)
        notes += said
    tables = sorted(name for name in seen if name.rpartition("/")[2] == TABLE)
    known = {*names, *tables, *_beside(names, _BESIDE, places).values()}
    others = Counter(os.path.splitext(name)[1].lower() for name in seen if name not in known)
    if not names:
        raise NoPictures(
            f"data.source {files.path!r} has no pictures ({describe_others(others)}). "
            f"Pictures are files that end in {', '.join((*pictures.EXTENSIONS, ARRAY_EXTENSION))}."
        )
    classes, reason = labels.or_reason(lambda: _own_classes(files, names, tables, places))
    notes += _odd_names(files, names)
    elsewhere = [table for table in tables if not _is_at_top(table, names)]
    if elsewhere and reason is None:
        notes.append(f"{files.path} has {labels.listed(elsewhere)} beside some pictures only; passed over")

    def read(index: int) -> bytes | np.ndarray:
        content = files.read_fn(places[names[index]])
        return pictures.read_npy(content) if names[index].lower().endswith(ARRAY_EXTENSION) else content

    return Source(
        files.path,
        names,
        [files.identity_fn(places[name]) for name in names],
        read,
        classes,
        others=others,
        notes=tuple(notes),
        unused_labels=reason,
        close_fn=files.close_fn,
    )


def is_hidden(part: str) -> bool:
    """Returns whether a file or folder of this name is passed over: a hidden one, macOS's, or the file system's own."""
    return (part.startswith(".") and part not in (".", "..")) or part in ("__MACOSX", "lost+found")


def check_size(num_bytes: int) -> None:
    """Raises ValueError for a file that is too large to be a picture."""
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(f"{num_bytes} bytes unpacked are more than the {MAX_FILE_BYTES} taken to be safe")


def describe_others(others: Mapping[str, int]) -> str:
    """Returns how many files are no pictures, by ending, and what to do about pictures that cannot be decoded."""
    ranked = sorted(others.items(), key=lambda row: (-row[1], row[0]))
    endings = [f"{ending or 'without ending'} {count}" for ending, count in ranked[:_MAX_ENDINGS]]
    if len(ranked) > _MAX_ENDINGS:
        endings.append(f"and {len(ranked) - _MAX_ENDINGS} more endings")
    text = f"other files: {sum(others.values())}{' (' if endings else ''}{', '.join(endings)}{')' if endings else ''}"
    not_decoded = [ending for ending in _NOT_DECODED if ending in others]
    return f"{text}; {', '.join(not_decoded)} cannot be decoded: convert to PNG or JPEG" if not_decoded else text


def _plain(name: str) -> str:
    """Returns a name without the "./" that `tar -C FOLDER .` writes."""
    return re.sub(r"(^|/)(\./)+", r"\1", name)


def _pictures(names: Iterable[str]) -> list[str]:
    """Returns the names of pictures, sorted."""
    names = list(names)
    found = [name for name in names if name.lower().endswith(pictures.EXTENSIONS)]
    # Among pictures, a .npy holds their labels.
    return sorted(found or [name for name in names if name.lower().endswith(ARRAY_EXTENSION)])


def _one_for_each_key(names: Sequence[str], path: str) -> tuple[list[str], list[str]]:
    """Returns the pictures to train on, where a key has several, and a note.

    A key is a name up to the first dot of its file. KEY.png is taken rather than KEY.mask.png; of KEY.jpg and KEY.png
    both are.

    Raises:
        ValueError: most keys have several pictures called KEY.ENDING.
    """
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(_key(name), []).append(name)
    left_out, num_pairs, pair = [], 0, []
    for key, group in by_key.items():
        simple = [name for name in group if "." not in name[len(key) + 1 :]]
        left_out += [name for name in group if name not in simple] if simple else []
        if len(simple) > 1:
            num_pairs, pair = num_pairs + 1, pair or simple
    if 2 * num_pairs > len(by_key):
        raise ValueError(
            f"{path} has several pictures with one key, as {labels.listed(pair)}, and it is not clear which to train "
            "on; unpack it and name the folder, where each is a picture of its own, or leave one in each sample."
        )
    notes = [f"{path} has several pictures with one key, as {labels.listed(pair)}; each is trained on"] if pair else []
    if left_out:
        notes.append(
            f"{path}: of pictures with one key only KEY.ENDING is trained on; {len(left_out)} are left out: "
            f"{labels.listed(left_out)}"
        )
    return sorted({*names} - {*left_out}), notes


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _own_classes(
    files: Files, names: Sequence[str], tables: Sequence[str], places: Mapping[str, str]
) -> labels.Classes | None:
    """Returns the classes that label files give the pictures, or None if there are no such files.

    Raises:
        labels.NotClasses: they are of several kinds, lie where they could mean others, or give no classes.
        ValueError: a dataset.json is broken.
    """
    at_top = [table for table in tables if _is_at_top(table, names)]
    beside, metadata = _beside(names, _BESIDE, places), _beside(names, _METADATA, places)
    found = at_top + [f"{_BESIDE} files"] * bool(beside)
    if len(found) > 1:
        raise labels.NotClasses(f"{files.path} has labels in {' and '.join(found)}; leave those of one kind.")
    if at_top:
        inner = [name[len(_folder(at_top[0])) :] for name in names]
        return labels.from_dataset_json(_read_table(files, places[at_top[0]]), f"{files.path}/{at_top[0]}", inner)
    if beside:
        return _from_beside(files, names, beside, places, lambda content: content.decode("utf-8", "replace").strip())
    if tables:
        raise labels.NotClasses(
            f"{files.path} has {labels.listed(tables)} beside some of its pictures only; put one at the top."
        )
    if metadata:
        return _from_beside(files, names, metadata, places, _label_of)
    return None


def _is_at_top(table: str, names: Sequence[str]) -> bool:
    """Returns whether a table lies in a folder that all pictures share."""
    return f"/{labels.common_folder(names)}/".startswith(f"/{_folder(table)}")


def _folder(name: str) -> str:
    """Returns what stands before a file's own name: "" or a folder with its slash."""
    return "".join(name.rpartition("/")[:2])


def _read_table(files: Files, place: str) -> bytes:
    try:
        return files.read_fn(place)
    except (ValueError, OSError) as error:
        raise ValueError(f"{files.path}/{place} cannot be read: {error}.") from error


def _beside(names: Sequence[str], ending: str, places: Mapping[str, str]) -> dict[str, str]:
    """Returns the names of pictures that have a file of this ending beside them, and that file."""
    found = {}
    for name in names:
        for stem in (os.path.splitext(name)[0], _key(name)):
            if stem + ending in places:
                found[name] = stem + ending
                break
    return found


def _from_beside(
    files: Files,
    names: Sequence[str],
    beside: Mapping[str, str],
    places: Mapping[str, str],
    label_fn: Callable[[bytes], Any],
) -> labels.Classes:
    """Returns the classes in files beside the pictures. Raises NotClasses if one is missing or has no class."""
    ending = os.path.splitext(next(iter(beside.values())))[1]
    missing = [name for name in names if name not in beside]
    if missing:
        raise labels.NotClasses(
            f"{files.path}: {len(missing)} of {len(names)} pictures have no {ending} beside them: "
            f"{labels.listed(missing)}."
        )
    values = []
    for name in names:
        try:
            content = files.read_fn(places[beside[name]])
            if len(content) > _MAX_LABEL_BYTES:
                raise ValueError(f"{len(content)} bytes are no label")
            values.append(label_fn(content))
        except (ValueError, OSError, RecursionError) as error:
            raise labels.NotClasses(f"{files.path}/{beside[name]} has no label: {error}.") from error
    return labels.from_values(values, files.path)


def _label_of(content: bytes) -> Any:
    """Returns the label in a JSON. Raises ValueError if it has none."""
    metadata = json.loads(content)
    found = [metadata[key] for key in _METADATA_KEYS if key in metadata] if isinstance(metadata, dict) else []
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} of {' and '.join(_METADATA_KEYS)}")
    return found[0]


def _odd_names(files: Files, names: Sequence[str]) -> list[str]:
    """Returns a sentence about names that would lead out of a folder, and one about names that come twice."""
    notes = []
    outside = [name for name in names if name.startswith("/") or ".." in name.split("/")]
    if outside:
        notes.append(f"{files.path} has names that lead out of it; they are never unpacked: {labels.listed(outside)}")
    counts = Counter(map(_plain, files.names))
    twice = [name for name in names if counts[name] > 1]
    if twice:
        notes.append(f"{files.path} has pictures of one name twice, and the last is read: {labels.listed(twice)}")
    return notes
