"""Official TFRecords are read as they were written; those that are cut, damaged or at odds are refused by name."""

import io
import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.data import tfrecords
from stylegan_jax.data.source import Source
from stylegan_jax.networks import ops
from stylegan_jax.weights.layouts import official as names
from tests import official
from tests.tfrecord_writer import example, masked_crc32c, records, write_tfrecords

N, R = 12, 32
RECORD_4PX = 98  # Bytes of a record of 3 channels at 4 px: 8 + 4 + 82 + 4.


def random_images(channels: int = 3, n: int = N, size: int = R) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)


def _squares(source: Source, indices: np.ndarray, size: int) -> np.ndarray:
    """Returns squares of a source's levels. uint8 [n, size, size, c]"""
    images = np.empty((len(indices), size, size, source.channels), np.uint8)
    source.read_many_fn(indices, images)
    return images


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A folder with the files of random_images."""
    write_tfrecords(tmp_path / "set", "set", random_images())
    return tmp_path / "set"


def refused(path: pathlib.Path) -> str:
    """Returns the message with which a path is refused."""
    with pytest.raises(ValueError) as error:
        tfrecords.open_source(str(path))
    assert str(path) in str(error.value)
    return str(error.value)


def edit(file: pathlib.Path, start: int, content: bytes) -> None:
    """Writes over the bytes of a file from `start` on."""
    before = file.read_bytes()
    file.write_bytes(before[:start] + content + before[start + len(content) :])


orders = pytest.mark.parametrize(
    "order", [("data shape",), ("shape data",), ("shape data", "data shape", "data shape")], ids=["d", "s", "mixed"]
)


@orders
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_those_written_whichever_feature_comes_first(tmp_path, channels, order):
    images = random_images(channels)
    write_tfrecords(tmp_path, "set", images, orders=order)
    source = tfrecords.open_source(str(tmp_path))
    assert (source.sizes, source.channels, source.length) == ((4, 8, 16, 32), channels, N)
    indices = np.array([11, 0, 3, 3, 4, 1])
    for size in source.sizes:
        found = _squares(source, indices, size)
        np.testing.assert_array_equal(found, ops.box_downscale_uint8(images[indices], size))
        assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    for i in (0, 1, 11):
        np.testing.assert_array_equal(source.read_fn(i), images[i])


def test_batches_larger_than_are_read_at_once_are_whole(folder, monkeypatch):
    monkeypatch.setattr(tfrecords, "GATHERED_BYTES", 5 * 16 * 16 * 3)  # Five images.
    indices = np.random.default_rng(1).integers(0, N, 23)
    found = _squares(tfrecords.open_source(str(folder)), indices, 16)
    np.testing.assert_array_equal(found, ops.box_downscale_uint8(random_images(), 16)[indices])


def test_any_file_of_a_set_opens_the_set_and_others_stay_out(folder):
    write_tfrecords(folder, "other", random_images(n=3))
    assert "of 2 data sets: other, set;" in refused(folder)
    for file in ("set-r02.tfrecords", "set-r05.tfrecords"):
        source = tfrecords.open_source(str(folder / file))
        assert (source.path, source.length, source.sizes) == (str(folder), N, (4, 8, 16, 32))
    assert tfrecords.open_source(str(folder / "other-r02.tfrecords")).length == 3
    assert source.full_name(11) == f"{folder}/set-r05.tfrecords#000011" and len(set(source.names)) == N


def test_missing_resolutions_are_left_out(folder):
    for level in ("02", "05"):
        (folder / f"set-r{level}.tfrecords").unlink()
    source = tfrecords.open_source(str(folder))
    assert source.sizes == (8, 16) and source.read_fn(0).shape == (16, 16, 3)


def test_a_file_of_any_size_that_is_written_anew_is_noticed(folder):
    source = tfrecords.open_source(str(folder))
    assert source.unchanged_fn([0])
    write_tfrecords(folder, "set", random_images() ^ 1)
    assert not source.unchanged_fn([0])


def test_fingerprint_changes_with_the_pixels_alone(folder, tmp_path):
    before = tfrecords.open_source(str(folder)).fingerprint()
    write_tfrecords(tmp_path / "again", "set", random_images())
    assert tfrecords.open_source(str(tmp_path / "again")).fingerprint() == before
    write_tfrecords(folder, "set", random_images() ^ 1)
    assert tfrecords.open_source(str(folder)).fingerprint() != before


@pytest.mark.parametrize(
    "rows", [np.eye(5, dtype=np.float32)[np.arange(N) % 5], np.arange(N) % 5], ids=["rows", "ints"]
)
def test_labels_may_be_one_hot_rows_or_whole_numbers(tmp_path, rows):
    write_tfrecords(tmp_path, "set", random_images(), rows)
    classes = tfrecords.open_source(str(tmp_path)).classes
    np.testing.assert_array_equal(classes.labels, np.arange(N) % 5)
    assert classes.names == ("0", "1", "2", "3", "4")


def test_without_a_label_file_there_are_no_classes(folder):
    assert tfrecords.open_source(str(folder)).classes is None


class Hostile:
    """Fails the test when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_labels_that_are_no_classes_are_told_and_left(folder):
    with (folder / "set-rxx.labels").open("wb") as stream:
        np.save(stream, np.full((N, 2), 0.5))
    opened = tfrecords.open_source(str(folder))
    assert opened.classes is None and "12 of 12 label rows are not one-hot" in opened.unused_labels


def test_negative_labels_are_told_and_left(folder):
    with (folder / "set-rxx.labels").open("wb") as stream:
        np.save(stream, np.full(N, -1))
    opened = tfrecords.open_source(str(folder))
    assert opened.classes is None and "label -1 of picture 0" in opened.unused_labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Hostile()), r"not a \.npy of numbers"),
        (np.array([Hostile()] * N, object), r"not a \.npy of numbers"),
        (b"", r"not a \.npy of numbers"),
        (np.eye(N - 1), r"float64\[11, 11\], but there are 12 records"),
        (np.float32(3), r"float32\[\], but there are 12 records"),
        (np.array(["a"] * N), "but there are 12 records"),
    ],
    ids=["pickle", "objects", "empty", "short", "scalar", "words"],
)
def test_labels_of_another_kind_or_length_are_refused_and_no_pickle_is_run(folder, content, message):
    file = folder / "set-rxx.labels"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        with file.open("wb") as stream:
            np.save(stream, content, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as error:
        tfrecords.open_source(str(folder))
    assert str(file) in str(error.value)


@pytest.mark.parametrize("num_bytes", [7, 8, 11, 12, 50, RECORD_4PX - 1])
def test_a_file_cut_in_its_first_record_is_refused(folder, num_bytes):
    file = folder / "set-r02.tfrecords"
    file.write_bytes(file.read_bytes()[:num_bytes])
    message = refused(file)
    assert "cut in record 0" in message if num_bytes >= 12 else "not a TFRecord file" in message


@pytest.mark.parametrize("num_bytes", [1, 10, RECORD_4PX - 1])
def test_a_file_cut_in_a_later_record_is_refused_with_its_number(folder, num_bytes):
    file = folder / "set-r02.tfrecords"
    file.write_bytes(file.read_bytes()[: 5 * RECORD_4PX + num_bytes])
    assert f"cut in record 5: {num_bytes} bytes of {RECORD_4PX}" in refused(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"name,class\n" * 50, "not a TFRecord file"),
        (bytes(10_000), "not a TFRecord file"),
        (b"\x1f\x8b\x08\x00" + bytes(500), "or is a compressed one"),
    ],
    ids=["empty", "text", "zeros", "gzip"],
)
def test_what_is_no_tfrecord_is_refused(folder, content, message):
    file = folder / "set-r03.tfrecords"
    file.write_bytes(content)
    assert message in refused(file)


@pytest.mark.parametrize("record", [0, 2])
def test_records_of_a_fork_that_hold_jpeg_files_are_said_to_be_that(folder, record):
    file, jpeg = folder / "set-r02.tfrecords", io.BytesIO()
    Image.new("RGB", (4, 4)).save(jpeg, "JPEG")
    sound = [example(image) for image in random_images(size=4).transpose(0, 3, 1, 2)]
    content = b"\x0a\x90\x02\x0a\x12\x0a\x04data" + jpeg.getvalue()
    file.write_bytes(b"".join(records([one]) for one in (*sound[:record], content, *sound[record:])))
    assert "holds JPEG files, as a fork of the official code writes them" in refused(file)


def test_a_file_that_is_cut_while_it_is_in_use_is_an_error_that_names_it(folder):
    source, file = tfrecords.open_source(str(folder)), folder / "set-r04.tfrecords"
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    with pytest.raises(OSError, match=f"the file was cut: .*: '{file}'"):
        _squares(source, np.arange(N), 16)
    assert _squares(source, np.arange(N), 8).shape == (N, 8, 8, 3)
    assert str(folder) not in pathlib.Path("/proc/self/maps").read_text()


def test_a_record_of_another_length_is_named(folder):
    images = random_images(size=4).transpose(0, 3, 1, 2)
    one_more = example(np.concatenate([images[0], images[1]]))
    file = folder / "set-r02.tfrecords"
    file.write_bytes(records([example(i) for i in images[:3]]) + records([one_more]) + records([example(images[3])]))
    assert f"record 3, of {len(one_more)} bytes" in refused(file)


@pytest.mark.parametrize(
    "place",
    [0, 8, 12, 20, 82, 90, 93],
    ids=["length", "length's CRC", "Example", "data's key", "shape's key", "channels", "width"],
)
def test_a_byte_changed_in_the_frame_of_any_record_is_noticed(folder, place):
    file = folder / "set-r02.tfrecords"
    start = 7 * RECORD_4PX + place
    edit(file, start, bytes([file.read_bytes()[start] ^ 2]))
    assert "record 7, of" in refused(file)


def test_zeros_in_place_of_records_are_noticed(folder):
    file = folder / "set-r04.tfrecords"
    edit(file, file.stat().st_size // 2, bytes(file.stat().st_size // 3))
    assert "of 0 bytes" in refused(file)


def test_a_file_named_after_another_resolution_is_refused(folder):
    (folder / "set-r05.tfrecords").rename(folder / "set-r06.tfrecords")
    assert "shape [1 or 3, 64, 64], as its name says" in refused(folder / "set-r06.tfrecords")
    (folder / "set-r06.tfrecords").rename(folder / "set-r19.tfrecords")
    assert "as its name says" in refused(folder / "set-r19.tfrecords")


@pytest.mark.parametrize("shape", [(48, 1, 1), (3, 2, 8), (1, 12, 4)])
def test_pixels_of_another_shape_and_the_same_number_are_refused(folder, shape):
    file = folder / "set-r02.tfrecords"
    file.write_bytes(records([example(np.zeros(shape, np.uint8))] * N))
    assert "with 'shape' [3, 4, 4]" in refused(file)


def test_levels_of_other_numbers_of_records_or_channels_are_refused(folder, tmp_path):
    write_tfrecords(tmp_path / "short", "set", random_images(n=N - 1))
    write_tfrecords(tmp_path / "gray", "set", random_images(1))
    file = folder / "set-r03.tfrecords"
    file.write_bytes((tmp_path / "short" / file.name).read_bytes())
    assert f"has 11 records of 3 channels, but {folder}/set-r05.tfrecords has 12 of 3" in refused(file)
    file.write_bytes((tmp_path / "gray" / file.name).read_bytes())
    assert "has 12 records of 1 channels" in refused(file)


@pytest.mark.parametrize("name", ["set.tfrecords", "set-r99.tfrecords", "missing-r02.tfrecords"])
def test_a_path_without_such_files_is_refused(tmp_path, name):
    for other in ("set.tfrecords", "set-r99.tfrecords"):
        (tmp_path / other).write_bytes(b"")
    assert "of 0 data sets: none;" in refused(tmp_path / name)
    assert "of 0 data sets: none;" in refused(tmp_path)
    assert "cannot be read" in refused(tmp_path / "nowhere" / name)


def test_the_writers_crc_is_castagnolis_and_so_is_the_readers():
    # RFC 3720, B.4: the CRC of 32 bytes of zeros, of ones, and of 0 to 31.
    for content, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        assert int(masked_crc32c(np.frombuffer(content, np.uint8)[None])[0]) == masked
        assert tfrecords.masked_crc32c(content) == masked.to_bytes(4, "little")


@pytest.fixture
def recorded() -> dict[str, np.ndarray]:
    """What the official code wrote into tfrecords/tiny, and read from there."""
    if not (official.folder() / "tfrecords" / "tiny").is_dir() or not official.files("tfrecords_expected.npz"):
        pytest.skip(f"{official.folder()} holds no recorded TFRecords")
    return official.load("tfrecords_expected")


@pytest.mark.goldens
def test_official_files_are_read_as_by_the_official_code(recorded):
    source = tfrecords.open_source(str(official.folder() / "tfrecords" / "tiny"))
    all_records = np.arange(source.length)
    sizes = source.sizes[::-1]
    top = _squares(source, all_records, sizes[0])
    np.testing.assert_array_equal(top, names.nhwc(recorded["images"][recorded["order"]]))
    assert sum(key.endswith("/images") for key in recorded) == len(sizes) == 3
    for lod, size in enumerate(sizes):
        found = _squares(source, all_records, size)
        np.testing.assert_array_equal(found, names.nhwc(recorded[f"read/lod{lod}/images"]))
        np.testing.assert_array_equal(found, ops.box_downscale_uint8(top, size))
        one_hot = np.eye(len(source.classes.names))[source.classes.labels]
        np.testing.assert_array_equal(one_hot, recorded[f"read/lod{lod}/labels"])


@pytest.mark.goldens
def test_the_writer_writes_the_official_files_byte_for_byte(recorded, tmp_path):
    order = recorded["order"]
    write_tfrecords(tmp_path, "tiny", names.nhwc(recorded["images"][order]), recorded["labels"][order])
    files = sorted((official.folder() / "tfrecords" / "tiny").iterdir())
    assert [file.name for file in files] == sorted(file.name for file in tmp_path.iterdir())
    for file in files:
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
