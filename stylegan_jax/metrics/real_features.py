"""The features of real pictures, kept from one evaluation to the next under a key of their content."""

import hashlib
import json
import logging
import pathlib
import tempfile
import zlib
from typing import Any

import numpy as np

from stylegan_jax.devices import backend
from stylegan_jax.metrics import frechet
from stylegan_jax.metrics.collected import Collected
from stylegan_jax.metrics.feature_networks import KINDS, Opened
from stylegan_jax.metrics.image_sets import Pictures
from stylegan_jax.runs import whole

VERSION = 1  # Raise it whenever the same pictures and weights give other numbers.

_log = logging.getLogger(__name__)


class Key(dict[str, Any]):
    """What decides about the features of pictures; as text, 16 hexadecimal digits, part of the files' names."""

    def __str__(self) -> str:
        return hashlib.sha256(json.dumps(self, sort_keys=True).encode()).hexdigest()[:16]


def open_folder() -> pathlib.Path | None:
    """Returns the folder of kept features in the user's cache; None, with a warning, if it cannot be written."""
    try:
        folder = backend.cache_folder("features")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        _log.warning("the features of real pictures are not kept for the next time: %s", error)
        return None
    return folder


def key_of(pictures: Pictures, network: Opened) -> Key:
    """Returns the key of the features that a network makes of pictures."""
    return Key(
        version=VERSION,
        fingerprint=pictures.images.fingerprint,
        resolution=pictures.resolution,
        made_with=dict(pictures.images.made_with),
        which=pictures.which,
        features=network.kind,
        resize=KINDS[network.kind].resize,
        weights=network.content_sha256,
    )


def read(folder: pathlib.Path | None, key: Key, half_of: np.ndarray, needs_rows: bool) -> Collected | None:
    """Returns kept features; None if there are none, or none with rows where rows are needed."""
    if folder is None:
        return None
    path = folder / f"{key}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            if json.loads(str(found["key"])) != key:
                return None
            halves = tuple(
                frechet.Statistics(int(found[f"count{i}"]), found[f"mean{i}"], found[f"scatter{i}"]) for i in (0, 1)
            )
            checksums = json.loads(str(found["rows"])) if needs_rows else {}
        rows = {name: np.load(_rows_path(folder, key, name), mmap_mode="r") for name in checksums}
        if any(zlib.crc32(row) != checksums[name] for name, row in rows.items()):
            raise ValueError("rows of features beside it are others")
    except FileNotFoundError:
        return None
    except Exception as error:  # Whatever a damaged file leads to.
        _log.warning("%s is damaged (%s), and is made anew.", path, error)
        return None
    if sum(half.count for half in halves) != len(half_of) or (needs_rows and not rows):
        return None
    return Collected(half_of, halves, rows.get("features"), rows.get("logits"))


def write(folder: pathlib.Path | None, key: Key, found: Collected) -> None:
    """Keeps features. A folder that cannot be written to, or a full disk, is told, and hinders nothing."""
    if folder is None:
        return
    rows = {name: value for name, value in (("features", found.rows), ("logits", found.logits)) if value is not None}
    checksums = {name: zlib.crc32(value) for name, value in rows.items()}
    arrays: dict[str, Any] = {"key": json.dumps(key), "rows": json.dumps(checksums)}
    for i, half in enumerate(found.halves):
        arrays |= {f"count{i}": half.count, f"mean{i}": half.mean, f"scatter{i}": half.scatter}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in rows.items():
            with whole.writing(_rows_path(folder, key, name)) as stream:
                np.save(stream, value)
        with whole.writing(folder / f"{key}.npz") as stream:
            np.savez(stream, **arrays)
    except OSError as error:
        _log.warning("the features of the real pictures are not kept for the next time: %s", error)


def _rows_path(folder: pathlib.Path, key: Key, name: str) -> pathlib.Path:
    return folder / f"{key}.{name}.npy"
