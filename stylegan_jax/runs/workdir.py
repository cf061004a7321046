"""The folder of a run, and the settings that it was begun with."""

import dataclasses
import json
import pathlib
import re
from typing import Any

from flax import traverse_util

from stylegan_jax.config import Config, Report, to_dict
from stylegan_jax.devices import distributed
from stylegan_jax.runs import whole

# Settings that a run may change: a fingerprint tells which pictures it has, gradients in parts are the same, a longer
# schedule begins like a shorter one, and reports take no part in training (but scores of two metrics cannot be
# compared).
FREE = frozenset(
    {"data.source", "data.remote_copy", "data.num_workers", "data.cache_gib", "model.remat"}
    | {"schedule.accumulation", "schedule.accumulation_by_resolution", "schedule.total_kimg"}
    | {f"report.{field.name}" for field in dataclasses.fields(Report) if field.name != "best_metric"}
)


def resolve(text: str, flag: str) -> pathlib.Path:
    """Returns the folder that a flag names.

    Args:
        text: the flag's value; "~" is the user's home.
        flag: its name, for messages: "--workdir".

    Raises:
        ValueError: it is empty, a file, not on a file system, or in the home of a user who does not exist.
    """
    if not text.strip():
        raise ValueError(f"{flag} is empty; name a folder (a shell variable in it may not be set).")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text):
        raise ValueError(
            f"{flag}={text} is not a folder of this machine; name a local one, or mount the bucket or share and name "
            "the folder that it is mounted at."
        )
    try:
        folder, home = pathlib.Path(text).expanduser(), pathlib.Path(text.partition("/")[0]).expanduser()
    except RuntimeError:
        raise ValueError(f"{flag}={text}: this machine has no such user; write the whole path.") from None
    if text.startswith("~") and not home.is_dir():
        raise ValueError(f"{flag}={text}: the home folder {home} does not exist; write the whole path.")
    if folder.is_file():
        raise ValueError(f"{flag}={text} is a file; name a folder.")
    return folder


def check_writable(folder: pathlib.Path, flag: str = "--workdir") -> None:
    """Makes a folder if needed, and raises ValueError if files cannot be written in it; `flag` names it."""
    if distributed.process_index() > 0:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = whole.partial_path(folder / "probe")
        with probe.open("w"):
            probe.unlink()
    except OSError as error:
        raise ValueError(f"Cannot write the folder {folder} ({error.strerror}); choose another {flag}.") from None


def read_config(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Returns the settings that the run in a folder was begun with; None if no run was begun there.

    Raises:
        ValueError: config.json cannot be read as settings.
    """
    file = workdir / "config.json"
    try:
        values = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); mend it, or choose another --workdir.") from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}); restore it, or choose another --workdir.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file} has no settings in it; restore it, or choose another --workdir.")
    return values


def check_config(workdir: pathlib.Path, config_dict: dict[str, Any]) -> list[str]:
    """Checks that the run in a folder, if there is one, was begun with the same settings.

    Args:
        workdir: folder of the run.
        config_dict: the whole config as nested dicts of plain values.

    Returns:
        A line for the user if the schedule has another length, else none.

    Raises:
        ValueError: the run has other settings.
    """
    before = read_config(workdir)
    if before is None:
        return []
    new, defaults, recorded = (
        traverse_util.flatten_dict(json.loads(json.dumps(values)), sep=".")  # {"train.r1_gamma": 10.0, ...}
        for values in (config_dict, to_dict(Config()), before)
    )
    # A run from before a setting existed has its default.
    old = {name: value for name, value in defaults.items() if name in new} | recorded
    lines = {
        name: f"{name}: {old.get(name, 'absent')} in {workdir}, {new.get(name, 'absent')} now"
        for name in [*new, *(name for name in old if name not in new)]
        if name not in old or name not in new or old[name] != new[name]
    }
    refused = [f"  {line}" for name, line in lines.items() if name not in FREE]
    if refused:
        raise ValueError(
            f"{workdir} holds a run with another config:\n" + "\n".join(refused) + "\n"
            "Choose another --workdir for a new run, restore the value to go on with the old one, or move "
            "config.json away to go on from its checkpoints with what is given now."
        )
    return [f"The length of the run changes: {line}." for name, line in lines.items() if name == "schedule.total_kimg"]


def record_config(workdir: pathlib.Path, config_dict: dict[str, Any]) -> None:
    """Writes `config_dict` to config.json, in one piece: from now on the folder is this run's.

    Where config.json exists, only its schedule.total_kimg changes: that says when the run is complete.
    """
    if distributed.process_index() > 0:
        return
    before = read_config(workdir)
    if before is not None:
        total_kimg = config_dict.get("schedule", {}).get("total_kimg")
        if total_kimg is None or before.get("schedule", {}).get("total_kimg") == total_kimg:
            return
        config_dict = before | {"schedule": before.get("schedule", {}) | {"total_kimg": total_kimg}}
    with whole.writing(workdir / "config.json", "w", is_durable=True) as stream:
        stream.write(json.dumps(config_dict, indent=2) + "\n")
