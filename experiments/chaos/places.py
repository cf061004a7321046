"""Folders that an experiment may empty: those that it made itself."""

import pathlib
import shutil
import sys

MARK = ".made_by_chaos"


def claim(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder, emptied except for MARK; ends the process if no experiment made what is in it."""
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).exists())):
        sys.exit(f"error: --workdir={folder} exists, and this experiment did not make it; name another folder.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder
