"""How the flags are read and checked."""

import difflib
import io
import os
import pathlib
import sys
from typing import Any

from absl import flags as absl_flags
from ml_collections import config_dict, config_flags

from stylegan_jax.command_line import flags
from stylegan_jax.config import Config, default, from_dict, named
from stylegan_jax.runs import workdir

MOST_STRENGTH = 1e6  # An edit's numbers stay finite.


def _field_names(values: config_dict.ConfigDict, prefix: str = "") -> list[str]:
    """Returns the dotted names of all fields in `values`."""
    names = []
    for name, value in values.items():
        names.append(prefix + name)
        if isinstance(value, config_dict.ConfigDict):
            names += _field_names(value, f"{prefix}{name}.")
    return names


class _NumberOrNone(absl_flags.ArgumentParser):
    """Reads a number, or None; which settings can be None is checked with all else of the config."""

    def __init__(self, number: absl_flags.ArgumentParser) -> None:
        self.number = number

    def parse(self, argument: Any) -> Any:
        return None if argument == "None" else self.number.parse(argument)


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are not flags; ends the process with one line if a flag cannot be understood."""
    open_streams()
    try:
        argv = named.find(argv)
    except ValueError as error:
        sys.exit(f"error: {error}")
    known = _field_names(default())
    names = [argument.lstrip("-").partition("=")[0] for argument in argv[1:] if argument.startswith("-")]
    if names.count("config") > 1:
        sys.exit("error: --config is given twice; leave one out. Settings are changed with --config.name=value.")
    for name in names:
        if name.startswith("config.") and "config" not in names:
            sys.exit(f"error: --{name} changes a setting of --config, which is missing.")
        if name.startswith("config.") and name[len("config.") :] not in known:
            near = difflib.get_close_matches(name[len("config.") :], known, 1) or [", ".join(known)]
            sys.exit(f"error: --{name}: there is no such setting; did you mean --config.{near[0]}?")
    for kind, number in ((int, absl_flags.IntegerParser()), (float, absl_flags.FloatParser())):
        config_flags.register_flag_parser_for_type(kind, _NumberOrNone(number))
    try:
        return absl_flags.FLAGS(argv)
    except (absl_flags.Error, OSError, ValueError, TypeError, AttributeError, KeyError, SyntaxError) as error:
        text = str(error)  # After an error in a config file it is a traceback, whose last line says what happened.
        if isinstance(error, AttributeError) and "get_config" in text:
            text = "--config names a file without a function get_config; see configs/demo.py."
        sys.exit(f"error: {text.splitlines()[-1] if 'Traceback' in text else ' '.join(text.split())}")


def open_streams() -> None:
    """Opens standard streams that the process was started without (`>&-`): what is printed there goes nowhere.

    What a terminal has no letters for, such as bytes of a file's name that are no UTF-8, is printed with escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)  # So that no file of the run gets this number.
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def check_flags(mode: str) -> None:
    """Raises ValueError if a flag is given that `mode` does not use."""
    for name, modes in flags.MODES_OF_FLAGS.items():
        if absl_flags.FLAGS[name].present and mode not in modes:
            allowed = " and ".join(f"--mode={m}" for m in modes)
            raise ValueError(f"--{name} is for {allowed} alone; leave it out with --mode={mode}.")


def required(name: str, what: str) -> str:
    """Returns the value of a flag that this mode needs. Raises ValueError if it is not given, or empty."""
    if not absl_flags.FLAGS[name].present:
        raise ValueError(f"--{name} is missing, which --mode={flags.MODE.value} needs: {what}.")
    value = absl_flags.FLAGS[name].value
    if value == "":
        raise ValueError(f"--{name} is empty; name {what} (a shell variable in it may not be set).")
    return value


def data_config() -> Config | None:
    """Returns --config in a mode that takes from it how pictures become squares; None without it.

    Raises:
        ValueError: a setting of anything else is changed, or one has a bad value.
    """
    if flags.CONFIG.value is None:
        return None
    for name in config_flags.get_override_values(absl_flags.FLAGS["config"]):
        if not name.startswith("data.") or name == "data.source":
            raise ValueError(
                f"--config.{name} has no effect with --mode={flags.MODE.value}, which takes from --config how pictures "
                "become squares (data.fit and the like); leave it out."
            )
    return from_dict(flags.CONFIG.value.to_dict())


def check_apart(folder: pathlib.Path, flag: str, source: str, where: str) -> None:
    """Raises ValueError if what `flag` writes to a folder would lie among the pictures of a source, named `where`."""
    pictures = pathlib.Path(os.path.expanduser(source))  # An unknown user stays in the path.
    if source and pictures.is_dir() and folder.resolve().is_relative_to(pictures.resolve()):
        raise ValueError(f"{flag}={folder} lies in {where}, among the pictures; choose another.")


def look() -> dict[str, Any]:
    """Returns how images are made, as `weights.network.Network` takes it."""
    return {name: absl_flags.FLAGS[name].value for name in ("psi", "cutoff", "noise", "noise_seed")}


def weights_folder() -> pathlib.Path | None:
    """Returns the folder of --weights; None for the usual one."""
    return None if flags.WEIGHTS.value is None else workdir.resolve(flags.WEIGHTS.value, "--weights")


def seeds(most: int = flags.MOST_SEEDS) -> list[int]:
    """Returns the numbers of --seeds.

    Args:
        most: number of them in a range that is allowed.

    Raises:
        ValueError: they are not numbers from 0 to 2**32 - 1, one comes twice, or there are none or too many.
    """
    return _numbers("seeds", flags.SEEDS.value, 2**32, most)


def layers() -> list[int] | None:
    """Returns the numbers of --layers; None without it. Raises ValueError as `seeds`."""
    most = flags.MOST_LAYERS
    return _numbers("layers", flags.LAYERS.value, most, most) if flags.LAYERS.present else None


def strengths() -> list[float]:
    """Returns the numbers of --strengths. Raises ValueError unless they are different numbers, at least one."""
    try:
        found = [float(text) for text in flags.STRENGTHS.value]
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found) or not all(abs(x) <= MOST_STRENGTH for x in found):
        raise ValueError(
            f"--strengths={','.join(flags.STRENGTHS.value)}: use different numbers from -1e6 to 1e6, such as -3,0,3."
        )
    return found


def _numbers(name: str, parts: list[str], end: int, most: int) -> list[int]:
    """Returns the numbers of a flag, below `end` and at most `most` in a range."""
    found: list[int] = []
    text = f"--{name}={','.join(parts)}"
    for part in parts:
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{text}: {part!r} is no number and no range; use 0-2 or 5,7.")
        low, high = int(first), int(last or first)
        if not low <= high < end or high - low >= most:
            raise ValueError(
                f"{text}: {part!r} is no range; use numbers from 0 to {end - 1}, the smaller one first, and at most "
                f"{most} of them."
            )
        found += range(low, high + 1)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{text}: use different numbers, at least one.")
    return found
