"""Locks that end with their process."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def exclusive(path: str | os.PathLike, waits: bool = False) -> Iterator[None]:
    """Holds a file against other processes, until the block or this process ends.

    Processes of other containers on this machine are kept out too. Network drives decide by themselves whether
    they keep out other hosts.

    Args:
        path: path of the file; it is made if needed, with its folder, and stays.
        waits: whether to wait for a process that holds it.

    Raises:
        BlockingIOError: another process holds it, and `waits` is False.
        OSError: the file cannot be made.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
