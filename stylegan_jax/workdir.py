"""The folder of a run, and the settings that it was begun with."""

import json
import os
import pathlib
from typing import Any

import jax


def check_config(workdir: str | os.PathLike, config_dict: dict[str, Any]) -> None:
    """Writes `config_dict` to config.json in a new workdir, or checks that an old one was made with the same.

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
            _write_if_absent(file, json.dumps(now, indent=2) + "\n")
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
        if name not in old or name not in new or old[name] != new[name]
    ]
    if lines:
        raise ValueError(
            f"{workdir} holds a run with another config:\n" + "\n".join(lines) + "\n"
            "Choose another --workdir for a new run, or restore the value to go on with the old one."
        )


def _write_if_absent(file: pathlib.Path, text: str) -> None:
    """Writes the file in one piece, and shows that its folder can be written even where the file is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if file.exists():
        temporary.unlink()
    else:
        temporary.replace(file)


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"train.r1_gamma": 10.0, ...} from nested dicts."""
    flat = {}
    for name, value in config.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
