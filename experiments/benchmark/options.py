"""Checks of flags, and the file for the results."""

import json
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

from absl import flags

from stylegan_jax.config import Config
from stylegan_jax.runs import whole


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags; exits with a message of one line if a flag cannot be understood."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        text = str(error)  # After an error in a config file it is a traceback, whose last line says what happened.
        sys.exit(f"error: {text.splitlines()[-1] if 'Traceback' in text else ' '.join(text.split())}")


def check_no_arguments(argv: list[str]) -> None:
    """Raises ValueError if there are arguments that are no flags."""
    if len(argv) > 1:
        raise ValueError(f"{' '.join(argv[1:])}: not understood; every setting is a flag, see --help")


def pairs(name: str, text: str, resolutions: Iterable[int]) -> list[tuple[int, int]]:
    """Returns "8:16,64:4" as [(8, 16), (64, 4)]: resolutions and batches.

    Args:
        name: name of the flag, for messages.
        text: value of the flag.
        resolutions: possible resolutions.

    Raises:
        ValueError: `text` is not of that form, or one of its resolutions is impossible.
    """
    result = []
    for part in filter(None, text.split(",")):
        resolution, _, batch = part.partition(":")
        if not (resolution.strip().isdecimal() and batch.strip().isdecimal() and int(batch) > 0):
            raise ValueError(f"--{name}={text}: {part!r} is no resolution:batch, such as 64:4")
        result.append((checked_resolution(name, resolution, resolutions), int(batch)))
    return result


def checked_resolution(name: str, text: str, resolutions: Iterable[int]) -> int:
    """Returns the resolution in `text`; raises ValueError if it is none of `resolutions`."""
    if not text.strip().isdecimal() or int(text) not in resolutions:
        raise ValueError(f"--{name}: {text!r} is no resolution; use some of {', '.join(map(str, resolutions))}")
    return int(text)


def check_group(name: str, batch: int, group: int) -> None:
    """Raises ValueError if a training batch cannot be split into groups of the minibatch standard deviation."""
    if group and batch > group and batch % group:
        raise ValueError(
            f"--{name}: a training batch of {batch} is no multiple of {group}; use {batch // group * group}"
        )


def training_pairs(config: Config, text: str) -> list[tuple[int, int]]:
    """Returns the resolutions and batches that --train names, such as "64:32", for these settings.

    Raises:
        ValueError: it names none, a resolution that these settings do not train at, or an impossible batch.
    """
    trained = [r for r in config.model.resolutions if r >= config.schedule.initial_resolution]
    if not (wanted := pairs("train", text, trained)):
        raise ValueError("--train names nothing; give resolutions and batches, such as 64:32")
    for _, batch in wanted:
        check_group("train", batch, config.model.stddev_group)
    return wanted


def checked_out(text: str) -> pathlib.Path:
    """Returns the file that --out names; makes its folder.

    Raises:
        ValueError: it is a folder.
        OSError: it cannot be written.
    """
    path = pathlib.Path(text)
    if path.is_dir():
        raise ValueError(f"--out={text}: this is a folder; name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = whole.partial_path(path)
    part.touch()
    part.unlink()
    return path


def write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes `values` to `path`, whole or not at all."""
    with whole.writing(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(values, indent=1) + "\n")
