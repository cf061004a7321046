"""Small folders, .zip and .tar of pictures, for tests."""

import io
import pathlib
import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping

from PIL import Image

KINDS = ("folder", "zip", "tar")


def png(value: int = 0, size: int = 8) -> bytes:
    """Returns a gray picture as a file."""
    file = io.BytesIO()
    Image.new("L", (size, size), value).save(file, "PNG")
    return file.getvalue()


def write(
    place: pathlib.Path, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]], kind: str, top: str = ""
) -> str:
    """Writes files as a folder, a .zip or a .tar called as `place`; returns its path.

    Args:
        place: without its extension.
        files: name and content of each; the names of archives may come twice.
        kind: of KINDS.
        top: what all names of an archive begin with, as "./" where `tar .` wrote it.
    """
    pairs = list(files.items() if isinstance(files, Mapping) else files)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        place.mkdir()
        for name, content in pairs:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return str(place)
    path = f"{place}.{kind}"
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(path, "w") if kind == "zip" else tarfile.open(path, "w") as archive,
    ):  # zipfile warns of names that come twice.
        for name, content in pairs:
            if kind == "zip":
                archive.writestr(top + name, content)
            else:
                member = tarfile.TarInfo(top + name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path
