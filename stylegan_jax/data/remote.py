"""Copies pictures from gs://, s3:// or another place that fsspec knows."""

import hashlib
import json
import pathlib
from collections.abc import Callable

import fsspec

from stylegan_jax.runs import locks, whole

ProgressFn = Callable[[int, int], None]  # Called with (done, in all).

_TOKENS = "copied.json"  # Name of the file that says what each file was when it was copied.
_FILES_AT_ONCE = 64


def is_remote(path: str) -> bool:
    """Returns whether a path begins with a scheme, as gs://bucket/folder does."""
    return "://" in path


def copy(path: str, cache: str, progress_fn: ProgressFn | None = None) -> str:
    """Returns the path of a copy of a remote file or folder, which is made or brought up to date first.

    Each file is copied under another name and then renamed, so that a file with its own name is whole; an interrupted
    copy goes on with the files that are missing. Processes that ask for the same path wait for each other.

    Args:
        path: path of the file or folder, with its scheme.
        cache: folder of all copies.
        progress_fn: called with (bytes done, bytes in all).

    Raises:
        ValueError: the scheme is unknown, its package is missing, nothing is there or it cannot be read or written.
    """
    try:
        fs, root = fsspec.url_to_fs(path)
        info = fs.info(root)
        found = {root: info} if info["type"] == "file" else fs.find(root, detail=True)
        sizes = {name: info["size"] for name, info in found.items()}
    except Exception as error:  # Errors of a dozen libraries, each with its own types.
        raise ValueError(
            f"{path} cannot be read: {type(error).__name__}: {error}. Check the path and your credentials."
        ) from error
    try:
        copies = pathlib.Path(cache).expanduser()
    except RuntimeError as error:
        raise ValueError(f"data.remote_copy is {cache!r}: {error} Set it to a folder that can be made.") from error
    folder = copies / hashlib.sha256(path.encode()).hexdigest()[:16]
    target = folder / pathlib.PurePosixPath(root).name
    places = {name: _place(target, name, root, path) for name in sizes}
    try:
        with locks.exclusive(folder / "lock", waits=True):
            wanted = set(places.values())
            for stray in [f for f in target.rglob("*") if f.is_file() and f not in wanted]:
                stray.unlink()  # It is gone from the source.
            _copy_all(fs, places, sizes, folder / _TOKENS, progress_fn)
    except OSError as error:
        raise ValueError(f"{path} cannot be copied to {target}: {error}. Make room or set data.remote_copy.") from error
    return str(target)


def _place(target: pathlib.Path, name: str, root: str, path: str) -> pathlib.Path:
    """Returns where a file is copied to, which is within `target`."""
    inner = pathlib.PurePosixPath(name).relative_to(root)
    if ".." in inner.parts:
        raise ValueError(f"{path} has a file whose name leads out of it, {name}; rename it.")
    return target / inner


def _copy_all(
    fs: fsspec.AbstractFileSystem,
    places: dict[str, pathlib.Path],
    sizes: dict[str, int],
    token_file: pathlib.Path,
    progress_fn: ProgressFn | None,
) -> None:
    """Copies what is missing or has changed, many files at once where the library can."""
    had = json.loads(token_file.read_text()) if token_file.exists() else {}
    tokens = {name: str(fs.checksum(name)) for name in places}
    missing = [
        name
        for name, place in places.items()
        if had.get(name) != tokens[name] or not place.exists() or place.stat().st_size != sizes[name]
    ]
    total = sum(sizes.values())
    done = total - sum(sizes[name] for name in missing)
    for start in range(0, len(missing), _FILES_AT_ONCE):
        names = missing[start : start + _FILES_AT_ONCE]
        partials = [whole.partial_path(places[name]) for name in names]
        for partial in partials:
            partial.parent.mkdir(parents=True, exist_ok=True)
        fs.get(names, [str(partial) for partial in partials])
        for name, partial in zip(names, partials, strict=True):
            if partial.stat().st_size != sizes[name]:
                raise OSError(f"{name} has {sizes[name]} bytes, but {partial.stat().st_size} arrived")
            partial.replace(places[name])
            had[name] = tokens[name]
            done += sizes[name]
        with whole.writing(token_file, "w") as file:
            json.dump(had, file)
        if progress_fn is not None:
            progress_fn(done, total)
