"""Hostile files: each gets a sentence with its path, none ends a run, and nothing is written outside the target."""

import contextlib
import dataclasses
import gzip
import io
import json
import lzma
import os
import pathlib
import pickle
import re
import signal
import stat
import struct
import tarfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Config, Data, Model
from stylegan_jax.data import decode, images, inspection, listing, prepare, sources, store
from tests import tfrecord_writer

R = 8
MODEL = Model(resolution=R)
COLOUR = (200, 100, 50)
WHITE = (255, 255, 255)
BOMB_BYTES = listing.MAX_FILE_BYTES + 2**20
DEEP = "deeper than 8 bits, scaled to 0..255"
TURNED = "turned upright by its EXIF orientation"
TRANSPARENT = "transparent, laid on data.background"
FRAMES = "has several frames, the first is taken"
NO_PICTURE = "not a readable PNG"


def _encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _plain(colour: tuple[int, ...] = COLOUR, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (R, R), colour)


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (4 * R, 4 * R, 3), np.uint8))


def _half(part: bytes) -> bytes:
    return part[: len(part) // 2]


def _png(width: int, height: int, depth: int, colour_type: int, row: bytes) -> bytes:
    """Returns a PNG whose header claims that size, and that has `row` R times."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * R)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _exif(*entries: bytes) -> bytes:
    """Returns an EXIF block of tags: number uint16, type uint16, count uint32, value of 4 bytes each."""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def _turned(exif: bytes) -> bytes:
    """Returns a JPEG whose lower half comes to the left where it is turned by 90 degrees, as `exif` is to say."""
    image = _plain((0, 0, 0)).resize((4 * R, 4 * R))
    image.paste(COLOUR, (0, 2 * R, 4 * R, 4 * R))
    return _encode(image, "JPEG", exif=exif, quality=100, subsampling=0)


def _damaged_second_page() -> bytes:
    """Returns a TIFF of two pages, the second without its width."""
    content = bytearray(_encode(_plain(), "TIFF", save_all=True, append_images=[_plain()]))
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<I", content, first + 2 + 12 * count)
    assert struct.unpack_from("<H", content, second + 2) == (256,)  # ImageWidth.
    struct.pack_into("<H", content, second + 2, 257)
    return bytes(content)


_QUARTER = struct.pack("<HHIHH", 274, 3, 1, 6, 0)
_WIDTH_OF_LETTERS = struct.pack("<HHI", 256, 2, 4) + b"abc\0"
_FRAMES = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (R, R, 3), np.uint8)) for i in range(3)]
_ANIMATION = _encode(_plain(), "GIF", save_all=True, append_images=_FRAMES)
_CLEAR = Image.new("P", (R, R), 1)
_CLEAR.putpalette([0, 0, 0, *COLOUR])

GOOD = _encode(_plain(), "PNG")
# Content, and words of the reason.
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "cut.jpg": (_half(_encode(_noise(), "JPEG")), "truncated"),
    "cut.png": (_half(_encode(_noise(), "PNG")), "truncated"),
    "cut.webp": (_half(_encode(_noise(), "WEBP")), "decoder"),
    "empty.png": (b"", NO_PICTURE),
    "text.png": (b"This is no picture.\n", NO_PICTURE),
    "line.png": (_encode(Image.new("L", (1, 10_000)), "PNG"), "1x10000 px is a line"),
    "huge.png": (_png(60_000, 60_000, 8, 2, bytes(100)), "3600000000 pixels"),
    "Ünïcödé 日本語 😀.png": (_half(_encode(_noise(), "PNG")), "truncated"),
}
# Content, the remark, and the first pixel of what training sees.
UNUSUAL: dict[str, tuple[bytes, str, tuple[int, int, int]]] = {
    "cmyk.jpg": (_encode(_plain((0, 255, 255, 0), "CMYK"), "JPEG"), "CMYK colours, converted to RGB", (255, 0, 0)),
    "gray16.png": (_png(R, R, 16, 0, struct.pack(">H", 77 * 257) * R), DEEP, (77, 77, 77)),
    "rgb16.png": (_png(R, R, 16, 2, struct.pack(">HHH", *(257 * c for c in COLOUR)) * R), DEEP, COLOUR),
    "clear.png": (_encode(_CLEAR, "PNG", transparency=1), TRANSPARENT, WHITE),
    "turned.jpg": (_turned(_exif(_QUARTER)), TURNED, COLOUR),
    "odd_exif.jpg": (_turned(_exif(_WIDTH_OF_LETTERS, _QUARTER)), TURNED, COLOUR),
    "animation.gif": (_ANIMATION, FRAMES, COLOUR),
    "cut_animation.gif": (_ANIMATION[:-600], FRAMES, COLOUR),
    "damaged_page.tif": (_damaged_second_page(), FRAMES, COLOUR),
}
SOUND = {"good.png": GOOD, "добрый день é.png": GOOD}
CONTENTS = {name: content for name, (content, *_) in (UNREADABLE | UNUSUAL).items()} | SOUND


@dataclasses.dataclass
class Corpus:
    """All hostile files in one source, and what is to be said of each, by its name as it is printed."""

    root: pathlib.Path  # Holds all that the tests write.
    path: str
    length: int  # Pictures, with the unreadable ones.
    unreadable: dict[str, str]  # Words of the reason.
    notes: dict[str, str]  # Words of the note.


def _write(folder: pathlib.Path, contents: dict[str, bytes]) -> str:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return str(folder)


def _folder(root: pathlib.Path) -> Corpus:
    """Returns the corpus as a folder, with links, a pipe and a device, and names that are hard to print."""
    place = root / "pictures"
    _write(place, CONTENTS)
    bad, odd = {name: words for name, (_, words) in UNREADABLE.items()}, 0
    (place / "deep").mkdir()
    (place / "deep" / "up").symlink_to("..", target_is_directory=True)
    (place / "self.png").symlink_to("self.png")
    (place / "nowhere.png").symlink_to(root / "nowhere")
    (place / "device.png").symlink_to(os.devnull)
    os.mkfifo(place / "pipe.png")
    bad |= {"self.png": "symbolic links", "nowhere.png": "No such file"}
    bad |= {"device.png": "not an ordinary file", "pipe.png": "not an ordinary file"}
    (place / "two\nlines\x1b[2J.png").write_bytes(b"")
    bad["two\\nlines\\x1b[2J.png"] = NO_PICTURE
    with contextlib.suppress(OSError):  # Some file systems take UTF-8 alone.
        (place / os.fsdecode(b"bad \xff.png")).write_bytes(b"")
        (place / os.fsdecode(b"good \xff.png")).write_bytes(GOOD)
        bad["bad \\xff.png"], odd = NO_PICTURE, 1
    length = len(bad) + len(UNUSUAL) + len(SOUND) + odd
    return Corpus(root, str(place), length, bad, {"deep/up": "read already; passed over"})


def _zip(root: pathlib.Path) -> Corpus:
    """Returns the corpus as a .zip, with bombs, a link, damage, and names that lead out of it."""
    place, bad = root / "pictures.zip", {name: words for name, (_, words) in UNREADABLE.items()}
    odd = ["../../out.png", f"{root}/elsewhere/absolute.png", "a/../../out.png"]
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENTS.items():
            archive.writestr(name, content)
        for name in odd:
            archive.writestr(name, GOOD)
        _add_bomb(archive, "bomb.png", BOMB_BYTES)
        _add_bomb(archive, "claims_little.png", 1000)
        _add_bomb(archive, "claims_much.png", 2**60)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
        archive.writestr("two\nlines\x1b[2J.png", b"")
        archive.writestr("damaged.png", _damaged_lzma(), zipfile.ZIP_STORED)
        archive.getinfo("damaged.png").compress_type = zipfile.ZIP_LZMA
    assert place.stat().st_size < 2**20 < BOMB_BYTES
    bad |= {"bomb.png": "more than", "claims_much.png": "more than", "claims_little.png": "Bad CRC"}
    bad |= {"link.png": NO_PICTURE, "two\\nlines\\x1b[2J.png": NO_PICTURE, "damaged.png": "damaged"}
    length = len(bad) + len(UNUSUAL) + len(SOUND) + len(odd)
    return Corpus(root, str(place), length, bad, dict.fromkeys(odd, "never unpacked"))


def _add_bomb(archive: zipfile.ZipFile, name: str, claimed_bytes: int) -> None:
    """Adds BOMB_BYTES zeros, deflated to a thousandth, that are said to be `claimed_bytes`."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    archive.writestr(name, block * (BOMB_BYTES // 2**20) + deflate.flush(), zipfile.ZIP_STORED)
    entry = archive.getinfo(name)  # The archive's directory is written from it in the end.
    entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, claimed_bytes


def _damaged_lzma() -> bytes:
    """Returns what a .zip has of an entry that is packed by LZMA, damaged."""
    packed = lzma.compress(bytes(100), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1}])
    properties = struct.pack("<BBH", 9, 4, 5) + b"\x5d\0\0\x80\0"  # Version, length; lc, lp, pb; size of the window.
    return properties + b"\xff" * len(packed)


def _tar(root: pathlib.Path) -> Corpus:
    """Returns the corpus as a .tar, with links, devices, a bomb of holes, and names that lead out of it."""
    place, bad = root / "pictures.tar", {name: words for name, (_, words) in UNREADABLE.items()}
    odd = ["../../out.png", f"{root}/elsewhere/absolute.png", "a/../../out.png"]
    no_files = {"symbolic.png": tarfile.SYMTYPE, "hard.png": tarfile.LNKTYPE, "pipe.png": tarfile.FIFOTYPE}
    no_files |= {"character.png": tarfile.CHRTYPE, "block.png": tarfile.BLKTYPE}
    with tarfile.open(place, "w") as archive:
        for name, content in CONTENTS.items():
            _add_member(archive, name, content)
        for name in odd:
            _add_member(archive, name, GOOD)
        for name, kind in no_files.items():
            _add_member(archive, name, b"", type=kind, linkname="/etc/hostname")
        holes = {"GNU.sparse.map": f"0,{len(GOOD)}", "GNU.sparse.size": str(2**40)}
        _add_member(archive, "holes.png", GOOD, pax_headers=holes)
        _add_member(archive, "two\nlines\x1b[2J.png", b"")
        _add_member(archive, os.fsdecode(b"bad \xff.png"), b"")
    bad |= {"two\\nlines\\x1b[2J.png": NO_PICTURE, "bad \\xff.png": NO_PICTURE}
    length = len(bad) + len(UNUSUAL) + len(SOUND) + len(odd)
    notes = dict.fromkeys(odd, "never unpacked") | dict.fromkeys((*no_files, "holes.png"), "passed over")
    return Corpus(root, str(place), length, bad, notes)


def _add_member(archive: tarfile.TarFile, name: str, content: bytes, **attributes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    archive.addfile(member, io.BytesIO(content))


@contextlib.contextmanager
def _ended(pipe: pathlib.Path) -> Iterator[None]:
    """Ends the wait of whoever opens the pipe, so that a test fails instead of waiting for ever."""
    done = threading.Event()

    def end_waits() -> None:
        while not done.wait(0.05):
            with contextlib.suppress(OSError):  # Nobody waits.
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=end_waits)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.fixture(scope="module")
def corpus(request, tmp_path_factory) -> Iterator[Corpus]:
    root = tmp_path_factory.mktemp("hostile")
    (root / "elsewhere").mkdir()
    if request.param != "folder":
        yield {"zip": _zip, "tar": _tar}[request.param](root)
        return
    found = _folder(root)
    with _ended(root / "pictures" / "pipe.png"):
        yield found


@contextlib.contextmanager
def _watched(root: pathlib.Path, target: pathlib.Path) -> Iterator[None]:
    """Raises AssertionError if anything below `root` changes but the target; current folder and HOME are in `root`."""
    for folder in (root / "cwd", root / "home", target.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "cwd")
        patch.setenv("HOME", str(root / "home"))
        before = _snapshot(root, target)
        yield
        after = _snapshot(root, target)
    assert not [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]


def _snapshot(root: pathlib.Path, target: pathlib.Path) -> dict[str, tuple]:
    """Returns the mode of all below `root` but for the target, with the time of change and the content of files."""
    found = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if pathlib.Path(folder, name) not in (target, _partial(target))]
        for place in (pathlib.Path(folder, name) for name in (*subfolders, *names)):
            mode = place.lstat().st_mode
            is_file = stat.S_ISREG(mode)
            found[str(place)] = (mode, place.lstat().st_mtime_ns, place.read_bytes()) if is_file else (mode,)
    return found


def _partial(target: pathlib.Path) -> pathlib.Path:
    """Returns where `prepare` keeps what is unfinished."""
    return target.with_name(f"{target.name}.partial")


def _data(path: str, on_bad_image: str = "skip", **others) -> Data:
    return Data(source=path, on_bad_image=on_bad_image, num_workers=1, **others)


def _open(data: Data, folder: pathlib.Path | None = None) -> images.Images:
    return images.open_images(data, MODEL)


def _prepare(data: Data, folder: pathlib.Path) -> tuple[dict, list[dict]]:
    """Prepares a store; returns what its prepared.json and its left_out.jsonl say."""
    prepare.make_store(data, MODEL, folder)
    lines = (folder / store.LEFT_OUT).read_bytes().splitlines()
    return json.loads((folder / store.RECORD).read_bytes()), [json.loads(line) for line in lines]


def _inspect(data: Data, folder: pathlib.Path) -> tuple[dict, list[dict]]:
    """Inspects a source; returns what its inspect.json says, and of that what is left out."""
    inspection.inspect(Config(data=data, model=MODEL), folder)
    report = json.loads((folder / "inspect.json").read_bytes())
    return report, report["left_out"]


def _check(corpus: Corpus, record: dict, left_out: list[dict]) -> None:
    """Raises AssertionError where a hostile file lacks its sentence."""
    reasons = {row["name"]: row["reason"] for row in left_out}
    assert reasons.keys() == corpus.unreadable.keys() and len(reasons) == len(left_out)
    assert not {name: reasons[name] for name, words in corpus.unreadable.items() if words not in reasons[name]}
    assert {row["kind"] for row in left_out} == {"unreadable"}
    said = {remark: (found["count"], set(found["names"])) for remark, found in record["remarks"].items()}
    expected: dict[str, set[str]] = {}
    for name, (_, remark, _) in UNUSUAL.items():
        expected.setdefault(remark, set()).add(name)
    assert said == {remark: (len(names), names) for remark, names in expected.items()}
    for name, words in corpus.notes.items():
        assert any(name in note and words in note for note in record["notes"]), (name, record["notes"])
    assert all(text.isprintable() for text in (*reasons, *reasons.values(), *record["notes"]))


all_kinds = pytest.mark.parametrize("corpus", ["folder", "zip", "tar"], indirect=True, scope="module")


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_picture_is_named_with_its_reason_and_the_others_go_on(tmp_path, name):
    content, words = UNREADABLE[name]
    path = _write(tmp_path / "in", {"good.png": GOOD, name: content})
    with pytest.raises(ValueError, match="1 of 2 pictures cannot be read:") as error:
        _open(_data(path, "fail"))
    (line,) = (line for line in str(error.value).splitlines() if path in line)
    assert line.strip().startswith(f"{path}/{name}: ") and words in line
    found = _open(_data(path))
    assert (found.length, found.num_skipped) == (1, 1)


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_picture_is_used_and_remarked_upon(tmp_path, name):
    content, remark, colour = UNUSUAL[name]
    path = _write(tmp_path / "in", {name: content})
    pixels = _open(_data(path, "fail")).images_fn(np.array([0]), R)[0].astype(int)
    assert np.abs(pixels[0, 0] - colour).max() <= 3  # JPEG is not exact.
    report, left_out = _inspect(_data(path), tmp_path / "out")
    assert report["remarks"] == {remark: {"count": 1, "names": [name]}} and not left_out


@all_kinds
def test_training_names_all_unreadable_pictures_at_once(corpus):
    with _watched(corpus.root, corpus.root / "none"), pytest.raises(ValueError) as error:
        _open(_data(corpus.path, "fail"))
    lines = str(error.value).splitlines()
    assert lines[0] == f"{len(corpus.unreadable)} of {corpus.length} pictures cannot be read:"
    said = dict(line.strip().removeprefix(f"{corpus.path}/").split(": ", 1) for line in lines[1:-1])
    assert said.keys() == corpus.unreadable.keys()
    assert not {name: said[name] for name, words in corpus.unreadable.items() if words not in said[name]}


@all_kinds
def test_training_goes_on_with_all_other_pictures(corpus, caplog):
    with _watched(corpus.root, corpus.root / "none"):
        found = _open(_data(corpus.path))
        pixels = found.images_fn(np.arange(found.length), R)
    assert found.num_skipped == len(corpus.unreadable) and len(pixels) == corpus.length - found.num_skipped
    assert not [name for name in corpus.unreadable | corpus.notes if name not in caplog.text]


@all_kinds
@pytest.mark.parametrize("run_fn", [_inspect, _prepare])
def test_each_hostile_file_has_its_sentence_in_what_is_written_and_only_the_target_is(corpus, run_fn):
    target = corpus.root / "targets" / "of" / run_fn.__name__
    with _watched(corpus.root, target):
        record, left_out = run_fn(_data(corpus.path), target)
    _check(corpus, record, left_out)
    assert not _partial(target).exists()


@pytest.mark.parametrize("corpus", ["folder"], indirect=True, scope="module")
def test_preparing_names_all_unreadable_pictures_at_once_and_goes_on_once_they_may_be_skipped(corpus):
    target = corpus.root / "targets" / "of" / "two_tries"
    with _watched(corpus.root, target):
        with pytest.raises(ValueError, match=f"{len(corpus.unreadable)} of {corpus.length} pictures") as error:
            _prepare(_data(corpus.path, "fail"), target)
        listing = (_partial(target) / prepare.UNREADABLE).read_text(encoding="utf-8").splitlines()
        assert not target.exists()
        record, left_out = _prepare(_data(corpus.path), target)
    assert sorted(listing) == sorted(line.strip() for line in str(error.value).splitlines() if corpus.path in line)
    assert listing == [f"{corpus.path}/{row['name']}: {row['reason']}" for row in left_out]
    _check(corpus, record, left_out)


def test_a_bomb_is_never_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bombs.zip", "w") as archive:
        archive.writestr("good.png", GOOD)
        for claimed_bytes in (1000, BOMB_BYTES, 2**60):
            _add_bomb(archive, f"{claimed_bytes}.png", claimed_bytes)
        archive.writestr("bzip2.png", bytes(2**25), zipfile.ZIP_BZIP2)
        archive.getinfo("bzip2.png").file_size = 1000
    tracemalloc.start()
    try:
        assert _open(_data(str(tmp_path / "bombs.zip"))).num_skipped == 4
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_classes_of_any_names_are_prepared(tmp_path):
    classes = ["Ünïcödé 日本語", "two\nlines", "..."]
    with contextlib.suppress(OSError):  # Some file systems take UTF-8 alone.
        (tmp_path / "in" / os.fsdecode(b"\xff")).mkdir(parents=True)
        classes.append(os.fsdecode(b"\xff"))
    for name in classes:
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name / "good.png").write_bytes(GOOD)
    classes = sorted(name for name in classes if not name.startswith("."))
    data = _data(str(tmp_path / "in"), labels="folders")
    with _watched(tmp_path, tmp_path / "targets" / "store"):
        _prepare(data, tmp_path / "targets" / "store")
    assert list(_inspect(data, tmp_path / "out")[0]["classes"]) == classes
    found = sources.open_source(_data(str(tmp_path / "targets" / "store")), R)
    assert list(found.classes.names) == classes and found.classes.labels.tolist() == list(range(len(classes)))
    assert [decode.load(found.read_fn(i)).size for i in range(found.length)] == [(R, R)] * len(classes)


def _small_zip(name: str = "good.png", content: bytes = GOOD, **attributes) -> bytes:
    """Returns a .zip of a good picture and of one entry about which its directory says other things."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("0.png", GOOD)
        archive.writestr(name, content)
        for attribute, value in attributes.items():
            setattr(archive.getinfo(name), attribute, value)
    return file.getvalue()


def _member(name: str, **attributes) -> bytes:
    member = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    return member.tobuf(tarfile.GNU_FORMAT)


def _length(num_bytes: int) -> bytes:
    """Returns how a record of a TFRecord file begins."""
    length = np.array([num_bytes], "<u8").view(np.uint8)
    return length.tobytes() + tfrecord_writer.masked_crc32c(length[None]).astype("<u4").tobytes()


def _record(**changes) -> bytes:
    """Returns a prepared.json."""
    record = {"format": store.FORMAT, "resolution": R, "channels": 3, "shard_lengths": [1], "class_names": ["a"]}
    return json.dumps(record | {"num_unreadable": 0, "num_filtered": 0, "sha256": ""} | changes).encode()


RECORDS = tfrecord_writer.records([tfrecord_writer.example(np.zeros((3, R, R), np.uint8))] * 3)
RECORD_BYTES = len(RECORDS) // 3
NO_TABLE = 'is not {"labels": [[NAME, CLASS], ...]}'
# A file that a source depends on, its content, and words of the error.
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "records cut in the last": ("set-r03.tfrecords", RECORDS[:-100], "is cut in record 2"),
    "records without a length": ("set-r03.tfrecords", b"\1" + RECORDS[1:], "its first CRC is wrong"),
    "records with a vast length": ("set-r03.tfrecords", _length(2**62) + RECORDS[12:], "has records of 46116860"),
    "records with a second length": (
        "set-r03.tfrecords",
        RECORDS[:RECORD_BYTES] + _length(2**40) + RECORDS[RECORD_BYTES + 12 :],
        "record 1, of 1099511627776 bytes",
    ),
    "empty records": ("set-r03.tfrecords", b"", "is empty"),
    "table cut": ("dataset.json", b'{"labels": [["good.png", 1', NO_TABLE),
    "table nested too deep": ("dataset.json", b'{"labels": ' + b"[" * 100_000, NO_TABLE),
    "table of other kind": ("dataset.json", b'[["good.png", 1]]', NO_TABLE),
    "table with a number for a name": ("dataset.json", b'{"labels": [[5, 1]]}', NO_TABLE),
    "table of others": ("dataset.json", b'{"labels": [["other.png", 1]]}', "no label for 1 of 1 pictures: good.png"),
    "zip cut": ("set.zip", _small_zip()[:-30], "not a readable .zip"),
    "zip of a later version": ("set.zip", _small_zip(extract_version=99), "not a readable .zip"),
    "zip with broken UTF-8": ("set.zip", _small_zip("é.png").replace("é".encode(), b"\xff\xff"), "not a readable .zip"),
    "zip with a vast table": ("set.zip", _small_zip("dataset.json", b"{}", file_size=2**60), "dataset.json"),
    "zip with a damaged table": ("set.zip", _small_zip("dataset.json", b"{}", CRC=1), "dataset.json"),
    "tar cut": ("set.tar", _member("good.png", size=5000) + bytes(1000), "not a readable, uncompressed .tar"),
    "tar packed": ("set.tar", gzip.compress(_member("good.png")), "not a readable, uncompressed .tar"),
    "tar without an end": (
        "set.tar",
        _member("0") + _member("1", type=b"Z", size=-512) + bytes(1024),
        "not a readable",
    ),
    "tar with a vast name": ("set.tar", _member("0", type=b"L", size=2**80) + bytes(1024), "not a readable"),
    "store cut": (store.RECORD, _record()[:-9], "prepare it again"),
    "store of other kind": (store.RECORD, b"[]", "prepare it again"),
    "store of no hash": (store.RECORD, _record(class_names=[]).replace(b"sha256", b"sha512"), "prepare it again"),
    "store of a text for a size": (store.RECORD, _record(class_names=[], resolution="8"), "prepare it again"),
    "store without its classes": (store.RECORD, _record(), "prepare it again"),
    "array cut": ("set.npy", b"\x93NUMPY\1\0\x46\0{'descr': '|u1'", "cannot be read as a .npy"),
}


# A label that can be read but is no class, as a dataset.json has it, and words of the reason.
ODD_LABELS: dict[str, tuple[bytes, str]] = {
    "vast number": (b"1" + b"0" * 30, "a label is not the number of a class"),
    "vast text": (b'"1%s"' % (b"0" * 5000), "a label is not the number of a class"),
    "objects": (b"[{}]", "label vectors are not numeric"),
    "words": (b'["one"]', "label vectors are not numeric"),
    "negative": (b'"-1"', "label -1 of picture 0"),
    "fraction": (b"0.5", "labels are of types float"),
    "fraction as text": (b'"0.5"', "labels are fractions, such as 0.5"),
    "yes": (b"true", "labels are of types bool"),
    "two of a kind": (b"[1, 1]", "1 of 1 label rows are not one-hot"),
}


@pytest.fixture
def _time_limit() -> Iterator[None]:
    """Fails a test that takes for ever."""

    def fail(*_) -> None:
        raise AssertionError("takes for ever")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_time_limit")
@pytest.mark.parametrize("run_fn", [_open, _inspect, _prepare])
@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_source_is_refused_with_its_path_and_nothing_is_written(tmp_path, case, run_fn):
    name, content, words = REFUSED[case]
    folder = _write(tmp_path / "in", {name: content, "good.png": GOOD})
    path = f"{folder}/{name}" if name.startswith("set.") else folder
    target = tmp_path / "targets" / "out"
    with _watched(tmp_path, target), pytest.raises(ValueError) as error:
        run_fn(_data(path), target)
    assert (folder if name == store.RECORD else f"{folder}/{name}") in str(error.value) and words in str(error.value)
    assert not target.exists() and not _partial(target).exists()


@pytest.mark.usefixtures("_time_limit")
@pytest.mark.parametrize("kind", ["dataset.json", "good.json"])
@pytest.mark.parametrize("case", ODD_LABELS)
def test_an_odd_label_is_a_note_and_with_a_model_of_classes_a_refusal_with_the_same_reason(tmp_path, case, kind):
    label, words = ODD_LABELS[case]
    content = b'{"label": %s}' % label if kind == "good.json" else b'{"labels": [["good.png", %s]]}' % label
    path = _write(tmp_path / "in", {"good.png": GOOD, kind: content})
    opened = sources.open_source(_data(path), R)
    assert opened.classes is None and any("there are no classes" in note and words in note for note in opened.notes)
    assert _open(_data(path)).length == 1
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        images.open_images(_data(path), Model(resolution=R, num_labels=2))
    assert "model.num_labels is 2" in str(error.value) and path in str(error.value)


class _Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def _pickled(path: pathlib.Path, form: str) -> bytes:
    """Returns a pickle that makes the folder `path`, as it is, or as the array of a .npy or .npz."""
    file, payload = io.BytesIO(), np.empty(1, object)
    payload[0] = _Payload(path)
    if form == "pickle":
        return pickle.dumps(_Payload(path))
    (np.savez if form == "npz" else np.save)(file, payload)
    return file.getvalue()


@pytest.mark.parametrize("form", ["pickle", "npy", "npz"])
@pytest.mark.parametrize(
    "name", ["in/bad.npy", "set.npy", "set.npz", "labels.npy", "store/labels.npy", "tf/x-rxx.labels"]
)
def test_pickled_objects_are_refused_with_their_path_and_never_run(tmp_path, name, form):
    ran, file = tmp_path / "ran", tmp_path / name
    pickle.loads(_pickled(ran, "pickle"))
    ran.rmdir()  # So the payload works.
    good = io.BytesIO()
    np.save(good, np.zeros((R, R, 3), np.uint8))
    _write(tmp_path / "in", {"good.npy": good.getvalue()})
    _write(tmp_path / "tf", {"x-r03.tfrecords": RECORDS})
    _write(tmp_path / "store", {store.RECORD: _record()})
    file.write_bytes(_pickled(ran, form))
    source = file if name.startswith("set") else tmp_path / "in" if name == "labels.npy" else file.parent
    data = _data(str(source), "fail", labels=str(file) if name == "labels.npy" else "own")
    for run_fn in (_open, _inspect, _prepare) if name != "in/bad.npy" else (_open,):
        said = file if name != "store/labels.npy" else file.parent
        with pytest.raises(ValueError, match=re.escape(str(said))):
            run_fn(data, tmp_path / "out")
    if name == "in/bad.npy":
        assert [row["name"] for row in _inspect(data, tmp_path / "out")[1]] == ["bad.npy"]
    assert not ran.exists()
