"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def writing(path: str | os.PathLike, mode: str = "wb", is_durable: bool = False, **how: Any) -> Iterator[Any]:
    """Yields a file that takes the name `path` when the block ends; after an error, `path` is as it was.

    Args:
        path: path of the file; its folder must exist.
        mode: "wb" or "w".
        is_durable: whether the file survives a power failure from then on, which takes some milliseconds.
        **how: other arguments of `open`.

    Raises:
        OSError: the file cannot be written.
    """
    path = pathlib.Path(path)
    partial = partial_path(path)
    try:
        with partial.open(mode, **how) as file:
            yield file
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    if is_durable:
        with contextlib.suppress(OSError):  # Some network drives cannot make names in a folder durable.
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def partial_path(path: pathlib.Path) -> pathlib.Path:
    """Returns the name of a file while this process writes it, beside its final name."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
