"""Command line: python -m stylegan_jax.main --config configs/demo.py --workdir DIR [--config.train.r1_gamma=5]."""

import difflib
import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

from stylegan_jax import config, loop

CONFIG = config_flags.DEFINE_config_file("config", None, "File of settings, such as configs/demo.py.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, pictures and logs.")
flags.mark_flags_as_required(["config", "workdir"])


def _field_names(values: config_dict.ConfigDict, prefix: str = "") -> list[str]:
    """Returns the dotted names of all fields in `values`."""
    names = []
    for name, value in values.items():
        names.append(prefix + name)
        if isinstance(value, config_dict.ConfigDict):
            names += _field_names(value, f"{prefix}{name}.")
    return names


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are no flags; ends with one line if a flag cannot be understood."""
    known = _field_names(config.default())
    for argument in argv[1:]:
        name = argument.lstrip("-").partition("=")[0]
        if name.startswith("config.") and name[len("config.") :] not in known:
            near = difflib.get_close_matches(name[len("config.") :], known, 1) or [", ".join(known)]
            sys.exit(f"error: --{name}: there is no such setting; did you mean --config.{near[0]}?")
    try:
        return flags.FLAGS(argv)
    except (flags.Error, OSError, ValueError, TypeError, AttributeError, KeyError, SyntaxError) as error:
        text = str(error)  # An error in a config file comes with its traceback, and what happened in the last line.
        sys.exit(f"error: {text.splitlines()[-1] if 'Traceback' in text else ' '.join(text.split())}")


def main(argv: list[str]) -> None:
    """Trains as the flags say."""
    if len(argv) > 1:
        sys.exit(f"error: {' '.join(argv[1:])}: not understood; settings are changed with --config.name=value.")
    logging.set_verbosity(logging.WARNING)
    try:
        values = CONFIG.value.to_dict()
    except OSError as error:  # The file could not be read; the last line of the message says why.
        sys.exit(f"error: {str(error).splitlines()[-1].strip()}")
    try:
        loop.train(config.from_dict(values), pathlib.Path(WORKDIR.value))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
