"""The folders that pictures are written to: none is overwritten with another's, and what is there is not made again."""

import json
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from stylegan_jax.runs import whole, workdir


def begin(folder: pathlib.Path, mode: str, about: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Notes in <mode>.json how the pictures in a folder are made, and returns which of `names` are there already.

    Args:
        folder: where they go; it must exist.
        mode: what makes them.
        about: all that decides what a picture of some name is, as JSON has it.
        names: names of the files that are to be made.

    Raises:
        ValueError: pictures that were made otherwise are there.
    """
    record, about = folder / f"{mode}.json", json.loads(json.dumps(about))
    present = {name for name in names if (folder / name).exists()}
    try:
        found = json.loads(record.read_text()) if record.exists() else None
    except ValueError:
        found = {}
    if found is None and present:
        raise ValueError(
            f"{folder / min(present)} is there already, and no {record.name} says how it was made; choose another "
            "--out."
        )
    if found is not None and found != about:
        known = found if isinstance(found, dict) else {}
        changed = sorted(name for name in about.keys() | known.keys() if about.get(name) != known.get(name))
        differs = ", ".join(f"{name} {_text(known, name)} there, {_text(about, name)} here" for name in changed)
        raise ValueError(f"{folder} has pictures that were made otherwise ({differs}); choose another --out.")
    if found is None:
        with whole.writing(record, "w") as file:
            json.dump(about, file, indent=2)
    return present


def check_new_file(path: pathlib.Path, ends: Collection[str]) -> None:
    """Raises ValueError if a new file of --out cannot be written: its end is another, or something is there already."""
    if path.suffix not in ends:
        raise ValueError(f"--out={path}: name a file that ends with {' or '.join(ends)}.")
    if path.exists():
        raise ValueError(f"--out={path} is there already; choose another name, or delete it.")
    if not path.parent.is_dir():
        raise ValueError(f"--out={path}: {path.parent} is no folder; make it first.")
    workdir.check_writable(path.parent, "--out")


def _text(record: Mapping[str, Any], name: str) -> str:
    return repr(record[name]) if name in record else "absent"
