"""Files of settings that come with the package, by their names."""

import difflib
import os
import pathlib


def find(argv: list[str]) -> list[str]:
    """Returns the arguments with the file of a config that is given by its name: --config=ffhq:8.

    Raises:
        ValueError: there is no config of that name.
    """
    argv = list(argv)
    for i, argument in enumerate(argv[1:], 1):
        flag, has_value, value = argument.partition("=")
        if flag in ("-config", "--config") and not has_value and i + 1 < len(argv):
            argv[i + 1] = _config_file(argv[i + 1])
        elif flag in ("-config", "--config") and has_value:
            argv[i] = f"{flag}={_config_file(value)}"
    return argv


def _config_file(value: str) -> str:
    """Returns NAME:ARGUMENT with the path of the config called NAME; what names a file stays as it is."""
    name, colon, argument = value.partition(":")
    if not name or pathlib.PurePath(name).suffix or len(pathlib.PurePath(name).parts) > 1 or os.path.isfile(name):
        return value
    here = pathlib.Path(__file__).parent.parent
    folder = next((f for f in (here / "configs", here.parent / "configs") if f.is_dir()), here / "configs")
    names = sorted(file.stem for file in folder.glob("[!_]*.py"))
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}, or name a file."
        raise ValueError(f"--config={value}: there is no such config; {hint}")
    return f"{folder / name}.py{colon}{argument}"
