"""A picture is a square or is left out for a reason of its own; what fails beside it ends the survey."""

import dataclasses
import errno
import io
import os
import pathlib
import random
import weakref

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Config, Data, Model
from stylegan_jax.data import decode, images, inspection, prepare, sources, survey
from stylegan_jax.data.source import Source, readable
from tests import picture_files

R = 8
MODEL = Model(resolution=R)


def _png(size: int = R) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (1, 2, 3)).save(file, "PNG")
    return file.getvalue()


def _of(noise: bytes) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (R, R), noise[: R * R * 3]).save(file, "PNG")
    return file.getvalue()


def _source(*contents: bytes | Exception) -> Source:
    def read(i: int) -> bytes:
        if isinstance(contents[i], Exception):
            raise contents[i]
        return contents[i]

    return Source("place", [f"{i}.png" for i in range(len(contents))], ["x"] * len(contents), read)


def _survey(source: Source, **data) -> dict[int, survey.LeftOut]:
    return survey.look_at_all(source, Data(**data), MODEL, lambda i, found: None, None)


def test_each_picture_left_out_has_its_name_its_kind_and_its_reason():
    left_out = _survey(_source(_png(), b"text", ValueError("no such entry"), _png(4)), min_side_px=5)
    assert [(row.name, row.kind) for row in left_out.values()] == [
        ("1.png", "unreadable"), ("2.png", "unreadable"), ("3.png", "filtered"),
    ]  # fmt: skip
    assert list(left_out) == [1, 2, 3]
    assert [left_out[2].reason, left_out[3].reason] == ["no such entry", "4x4 px, with data.min_side_px 5"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT, errno.ESTALE, errno.ETIMEDOUT])
def test_an_error_of_the_disk_is_not_taken_for_a_bad_picture_even_if_those_are_skipped(number):
    source = _source(_png(), OSError(number, os.strerror(number), "place/1.png"), _png())
    with pytest.raises(survey.SourceFailed, match=f"place/1.png could not be read: .*{os.strerror(number)}") as error:
        _survey(source, on_bad_image="skip", num_workers=1)
    assert "disk or network that it lies on failed" in str(error.value)


def test_a_picture_that_this_user_may_not_read_is_said_to_be_that():
    source = _source(_png(), PermissionError(errno.EACCES, os.strerror(errno.EACCES), "place/1.png"))
    with pytest.raises(survey.SourceFailed, match="place/1.png may not be read by this user. Change that, or remove"):
        _survey(source, on_bad_image="skip", num_workers=1)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "No such file", "x.parquet"), OSError("read failed: 'Input/output error'")],
    ids=["with a number", "as HDF5 tells it"],
)
def test_an_error_of_the_disk_is_known_for_that_where_a_library_passed_it_on(error):
    def read(i: int) -> bytes:
        with readable("x.parquet", "parquet"):
            raise error

    with pytest.raises(survey.SourceFailed, match="place/0.png could not be read: x.parquet cannot be read as parquet"):
        _survey(dataclasses.replace(_source(b""), read_fn=read), on_bad_image="skip")


def test_damage_that_a_library_tells_as_an_error_without_a_number_is_of_the_picture():
    def read(i: int) -> bytes:
        with readable("x.h5", "HDF5"):
            raise OSError("Can't synchronously read data (inflate() failed)")

    left_out = _survey(dataclasses.replace(_source(b""), read_fn=read))
    assert left_out[0].kind == "unreadable"


def _with_a_file_that_fails(root: pathlib.Path) -> Data:
    """Returns settings for sound pictures, and one of which each read is an input/output error."""
    (root / "pictures").mkdir()
    for name in ("a", "c"):
        (root / "pictures" / f"{name}.png").write_bytes(_png())
    (root / "pictures" / "b.png").symlink_to("/proc/self/mem")
    return Data(source=str(root / "pictures"), on_bad_image="skip", num_workers=1)


def test_a_disk_that_fails_ends_training_inspecting_and_preparing(tmp_path):
    data, message = _with_a_file_that_fails(tmp_path), "b.png could not be read: .*Input/output error"
    with pytest.raises(OSError, match=message):
        images.open_images(data, MODEL)
    with pytest.raises(OSError, match=message):
        inspection.inspect(Config(data=data, model=MODEL), tmp_path / "out")
    with pytest.raises(ValueError, match=message) as error:
        prepare.make_store(data, MODEL, tmp_path / "store")
    assert "cannot write" not in str(error.value) and not (tmp_path / "store").exists()


def _damage(path: pathlib.Path, kind: str) -> None:
    """Writes zeros over the second half of an archive, or cuts the files of a folder."""
    for file in path.iterdir() if kind == "folder" else [path]:
        size = file.stat().st_size
        with file.open("r+b") as stream:
            stream.truncate(size // 2)
            stream.truncate(size if kind != "folder" else size // 2)


@pytest.mark.parametrize("run", ["train", "inspect"])
@pytest.mark.parametrize("kind", picture_files.KINDS)
def test_pictures_that_change_after_the_listing_are_no_bad_pictures(tmp_path, monkeypatch, kind, run):
    noise = random.Random(0).randbytes(R * R * 300)
    contents = {f"{i}.png": _of(noise[i * R * R * 3 :]) for i in range(20)}
    path, open_source = picture_files.write(tmp_path / "set", contents, kind), sources.open_source

    def open_and_change(*args):
        found = open_source(*args)
        _damage(pathlib.Path(path), kind)
        return found

    monkeypatch.setattr(sources, "open_source", open_and_change)
    data = Data(source=path, on_bad_image="skip", num_workers=1)
    with pytest.raises(survey.SourceFailed, match=f"{path} changed while it was read.* give the same command again"):
        if run == "train":
            images.open_images(data, MODEL)
        else:
            inspection.inspect(Config(data=data, model=MODEL), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", picture_files.KINDS)
def test_bad_pictures_of_a_source_that_does_not_change_are_bad_pictures(tmp_path, kind):
    path = picture_files.write(tmp_path / "set", {"1.png": _png(), "2.png": b"text"}, kind)
    if kind == "folder":
        (tmp_path / "set" / "3.png").symlink_to("nowhere")
    source = sources.open_source(Data(source=path), R)
    assert [row.kind for row in _survey(source).values()] == ["unreadable"] * (source.length - 1)


def test_nothing_of_a_picture_is_kept_when_it_is_left_out(monkeypatch):
    load, decoded = decode.load, []

    def remember(*args):
        image = load(*args)
        decoded.append(weakref.ref(image))
        return image

    monkeypatch.setattr(decode, "load", remember)
    left_out = _survey(_source(*[_png(200)] * 20), min_side_px=201, num_workers=1)
    assert len(left_out) == len(decoded) == 20
    assert not any(reference() for reference in decoded)


def test_the_text_of_a_failure_lists_the_first_pictures_and_counts_the_others():
    source = _source(*[b""] * (survey.MAX_LISTED + 5), _png())
    left_out = list(_survey(source).values())
    with pytest.raises(ValueError) as error:
        survey.check(left_out, source, Data(), "list.txt", ", and go on")
    lines = str(error.value).splitlines()
    assert lines[0] == f"{survey.MAX_LISTED + 5} of {survey.MAX_LISTED + 6} pictures cannot be read:"
    assert lines[1].startswith("  place/0.png: not a readable") and lines[-2] == "  and 5 more, all in list.txt"
    assert lines[-1] == "Mend or remove them, or set data.on_bad_image=skip, and go on."
    assert survey.check(left_out, source, Data(on_bad_image="skip"))[0].startswith("Skipping 25 of 26 pictures")


def test_no_picture_left_is_an_error_of_its_own():
    source = _source(b"", b"")
    with pytest.raises(ValueError, match="2 of 2 pictures cannot be read:(.|\n)*No picture is left."):
        survey.check(list(_survey(source).values()), source, Data(on_bad_image="skip"))


@pytest.mark.parametrize(
    ("brightest", "white_level", "said"),
    [
        (4095, None, "4095 of 65535, .* data.white_level=4095"),
        (3900, None, "3900 of 65535, .* data.white_level=4095"),
        (200, None, "200 of 65535, .* data.white_level=255"),
        (3, 4095, "3 of 4095, .* data.white_level=255"),
        (16384, None, None),
        (4000, 4095, None),
        (0, None, None),
    ],
)
def test_integers_far_below_their_white_are_told_with_the_white_that_is_likely(brightest, white_level, said):
    found = survey.dark(brightest, Data(white_level=white_level))
    if said is None:
        assert found == []
    else:
        with pytest.raises(ValueError, match=said):
            raise ValueError(*found)


def _dark_pictures(root: pathlib.Path) -> Data:
    """Returns settings for 12-bit pictures in 16 bits."""
    (root / "pictures").mkdir()
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 4096, (R, R)).astype(np.uint16)
        Image.fromarray(values).save(root / "pictures" / f"{i}.tif")
    return Data(source=str(root / "pictures"), num_workers=1, num_heldout=0)


def test_dark_pictures_are_told_by_training_inspecting_and_preparing(tmp_path, caplog):
    data, said = (
        _dark_pictures(tmp_path),
        r"of 65535, so they will be dark; if their white is 4095, set data.white_level",
    )
    assert images.open_images(data, MODEL).images_fn(np.arange(3), R).max() <= 16
    assert said in caplog.text
    assert said in inspection.inspect(Config(data=data, model=MODEL), tmp_path / "out")
    assert any(said in note for note in prepare.make_store(data, MODEL, tmp_path / "store")["notes"])


def test_with_their_white_level_they_are_bright_and_a_store_is_of_that_level(tmp_path, caplog):
    data = dataclasses.replace(_dark_pictures(tmp_path), white_level=4095)
    pixels = images.open_images(data, MODEL).images_fn(np.arange(3), R)
    assert pixels.max() > 240 and not caplog.messages
    record = prepare.make_store(data, MODEL, tmp_path / "store")
    assert record["white_level"] == 4095 and not record["notes"]
    stored = images.open_images(Data(source=str(tmp_path / "store")), MODEL)
    np.testing.assert_array_equal(stored.images_fn(np.arange(3), R), pixels)
    with pytest.raises(ValueError, match="white_level: 4095 there, None now"):
        prepare.make_store(dataclasses.replace(data, white_level=None), MODEL, tmp_path / "store")


def test_a_picture_of_more_pixels_than_the_setting_is_unreadable_and_names_it():
    left_out = _survey(_source(_png(8), _png(9)), max_pixels=64)
    assert [row.reason for row in left_out.values()] == ["9x9 px are 81 pixels, more than data.max_pixels=64"]
