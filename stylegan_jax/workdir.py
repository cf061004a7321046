"""The folder of a run, and the settings that it was begun with."""

import json
import os
import pathlib
from typing import Any

import jax

# Settings that leave a run the same: the pictures are told by their fingerprint, gradients are the same in parts.
FREE = frozenset(
    {"data.source", "data.remote_copy", "data.num_workers", "data.cache_gib", "model.remat"}
    | {"schedule.accumulation", "schedule.accumulation_by_resolution"}
)


def check_config(workdir: str | os.PathLike, config_dict: dict[str, Any]) -> None:
    """Checks that a folder can be written, and that a run in it was begun with the same settings.

    Args:
        workdir: folder of the run; made if needed.
        config_dict: the whole config as nested dicts of plain values.

    Raises:
        ValueError: the workdir cannot be written, or belongs to a run with other settings.
    """
    file = pathlib.Path(workdir) / "config.json"
    now = json.loads(json.dumps(config_dict))
    try:
        if jax.process_index() == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(file).open("w"):
                _temporary(file).unlink()
        before = json.loads(file.read_text()) if file.exists() else now
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON ({error}); restore it, or choose another --workdir.") from None
    except OSError as error:
        raise ValueError(
            f"Cannot write in {workdir} as a folder ({error.strerror}); choose another --workdir."
        ) from None
    old, new = _flatten(before), _flatten(now)
    lines = [
        f"  {name}: {old.get(name, 'absent')} in {workdir}, {new.get(name, 'absent')} now"
        for name in [*new, *(name for name in old if name not in new)]
        if (name not in old or name not in new or old[name] != new[name]) and name not in FREE
    ]
    if lines:
        raise ValueError(
            f"{workdir} holds a run with another config:\n" + "\n".join(lines) + "\n"
            "Choose another --workdir for a new run, or restore the value to go on with the old one."
        )


def record_config(workdir: str | os.PathLike, config_dict: dict[str, Any]) -> None:
    """Writes `config_dict` to config.json, in one piece, if it is not there: from now on the folder is this run's."""
    file = pathlib.Path(workdir) / "config.json"
    if jax.process_index() > 0 or file.exists():
        return
    with _temporary(file).open("w") as stream:
        stream.write(json.dumps(config_dict, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    _temporary(file).replace(file)


def _temporary(file: pathlib.Path) -> pathlib.Path:
    return file.with_name(f".{file.name}.{os.getpid()}.tmp")


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"train.r1_gamma": 10.0, ...} from nested dicts."""
    flat = {}
    for name, value in config.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
