"""Arrays in HDF5, .npy and .npz files are pictures by type and shape; what is none is named."""

import fcntl
import os
import pathlib
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from stylegan_jax.data import arrays
from tests import table_files

OPEN_FNS = {"hdf5": arrays.open_hdf5, "npy": arrays.open_npy, "npz": arrays.open_npy}


SHAPES = {  # Of the array, and of a picture of it.
    "gray": ((5, 8, 6), (8, 6)),
    "channels last": ((5, 8, 6, 3), (8, 6, 3)),
    "channels first": ((5, 3, 8, 6), (8, 6, 3)),
    "alpha": ((5, 4, 8, 8), (8, 8, 4)),
    "one channel": ((5, 1, 8, 8), (8, 8, 1)),
    "4 px, channels first": ((5, 3, 4, 4), (4, 4, 3)),
    "4 px, channels last": ((5, 4, 4, 3), (4, 4, 3)),
    "3 px": ((5, 3, 3, 3), (3, 3, 3)),
    "4 px, gray": ((5, 4, 4), (4, 4)),
    "one picture": ((1, 8, 8, 3), (8, 8, 3)),
}
array_kinds = pytest.mark.parametrize("kind", ["hdf5", "npy", "npz"])


def _write_arrays(kind: str, root: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    if kind == "hdf5":
        return table_files.write_hdf5(root / "a.h5", arrays)
    if kind == "npz":
        return table_files.write_npz(root / "a.npz", arrays)
    return table_files.write_npy(root / "a.npy", next(iter(arrays.values())))


@array_kinds
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_of_every_layout_give_pictures(kind, shape, tmp_path):
    array = table_files.pixels(*SHAPES[shape][0])
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, {"x": array}))
    assert opened.length == len(array)
    is_first = array.ndim == 4 and array.shape[1:] != SHAPES[shape][1]
    for found, expected in zip(table_files.read_all(opened), array, strict=True):
        assert type(found) is np.ndarray and found.dtype == np.uint8 and found.shape == SHAPES[shape][1]
        assert found.flags.owndata and found.flags.writeable and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected.transpose(1, 2, 0) if is_first else expected)


@array_kinds
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 8, 8, 3), np.float32),
        np.zeros((5, 8, 8, 3), np.int8),
        np.zeros((5, 8, 8, 3), bool),
        np.zeros((5, 8, 8, 2), np.uint8),
        np.zeros((5, 192), np.uint8),
        np.zeros((8, 6, 3), np.uint8),
        np.zeros((2, 5, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((5, 0, 8, 3), np.uint8),
        np.uint8(3),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_arrays_that_are_no_pictures_are_named_with_type_and_shape(kind, array, tmp_path):
    message = table_files.message(OPEN_FNS[kind], _write_arrays(kind, tmp_path, {"x": array}))
    assert "Expected uint8" in message and "convert" in message
    if array.ndim:
        assert f"{array.dtype} {list(array.shape)}" in message


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_of_several_arrays_the_highest_is_taken_then_the_longest_and_the_rest_noted(kind, tmp_path):
    arrays = {f"data{r}x{r}": table_files.pixels(5, 3, r, r, seed=r) for r in (16, 2, 4, 8)}
    arrays |= {
        "a16": table_files.pixels(4, 3, 16, 16),
        "wide": table_files.pixels(9, 8, 64, 3),
        "means": np.zeros((5, 32, 32, 3)),
        "size": np.int64(3),
    }
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, arrays))
    np.testing.assert_array_equal(opened.read_fn(4), arrays["data16x16"][4].transpose(1, 2, 0))
    assert opened.notes == (
        f"{opened.path}: the pictures are those of data16x16; passed over: a16, data2x2, data4x4, data8x8, wide",
    )


def test_colour_goes_before_gray_of_the_same_size(tmp_path):
    both = {"depths": table_files.pixels(5, 8, 8), "photos": table_files.pixels(5, 8, 8, 3)}
    assert arrays.open_npy(table_files.write_npz(tmp_path / "a.npz", both)).read_fn(0).shape == (8, 8, 3)


LABELS = {
    "numbers": ("labels", np.array([2, 0, 1, 2, 0])),
    "small numbers": ("label", np.array([2, 0, 1, 2, 0], np.uint8)),
    "column": ("y_train", np.array([[2], [0], [1], [2], [0]])),
    "one-hot": ("train_labels", np.eye(3, dtype=np.float32)[[2, 0, 1, 2, 0]]),
    "one-hot bool": ("class", np.eye(3, dtype=bool)[[2, 0, 1, 2, 0]]),
}


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
@pytest.mark.parametrize("form", LABELS)
def test_array_of_labels_gives_the_classes(kind, form, tmp_path):
    name, values = LABELS[form]
    arrays = {"x_train": table_files.pixels(5, 8, 8, 3), name: values, "y_test": np.arange(4), "ids": np.arange(5)}
    arrays["label_maps"] = np.zeros((5, 8, 8), np.int64)
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, arrays))
    np.testing.assert_array_equal(opened.classes.labels, [2, 0, 1, 2, 0])
    assert opened.classes.names == ("0", "1", "2") and opened.notes == ()


@pytest.mark.parametrize("kind", ["hdf5", "npz"])
@pytest.mark.parametrize(
    "more",
    [
        {"labels": np.array([0.5, 1, 2, 3, 4])},
        {"labels": np.array([0, 1, 2, 3, -1])},
        {"labels": np.array([[1, 1], [0, 1], [1, 0], [1, 0], [1, 0]])},
        {"labels": np.full(5, 2**64 - 1, np.uint64)},
        {"labels": np.arange(5), "y": np.arange(5)},
        {"labels": np.array([True, False, True, True, False])},
    ],
    ids=["floats", "missing", "several ones", "too large", "two arrays", "bool"],
)
def test_arrays_of_labels_that_are_no_classes_leave_the_pictures_and_a_reason(kind, more, tmp_path):
    opened = OPEN_FNS[kind](_write_arrays(kind, tmp_path, {"x": table_files.pixels(5, 8, 8, 3), **more}))
    assert opened.classes is None and opened.length == 5
    assert opened.path in opened.unused_labels and "labels" in opened.unused_labels and opened.notes == ()


def test_names_of_array_rows_sort_as_the_rows_do(tmp_path):
    names = arrays.open_npy(table_files.write_npy(tmp_path / "a.npy", table_files.pixels(101, 2, 2))).names
    assert names[:2] == ["000", "001"] and names[-1] == "100"


def test_pickled_objects_are_refused_and_never_run(tmp_path):
    mark = tmp_path / "was run"

    class Hostile:
        def __reduce__(self):
            return pathlib.Path.touch, (mark,)

    objects = np.empty(3, object)
    objects[:] = [Hostile()] * 3
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.npy", "a.npz", "b.npy"):
        assert "cannot be read as" in table_files.message(arrays.open_npy, str(tmp_path / name))
    assert not mark.exists()


def test_opening_npy_does_not_read_the_pictures(tmp_path):
    path = table_files.write_npy(tmp_path / "a.npy", np.zeros((12, 1024, 1024), np.uint8))
    before = table_files.bytes_read()
    arrays.open_npy(path)
    assert table_files.bytes_read() - before < 3 * 2**20


def test_npy_in_the_order_of_fortran_is_read(tmp_path):
    array = table_files.pixels(5, 8, 6, 3)
    opened = arrays.open_npy(table_files.write_npy(tmp_path / "a.npy", np.asfortranarray(array)))
    np.testing.assert_array_equal(np.stack(table_files.read_all(opened)), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_not_mapped_into_memory(tmp_path, order):
    path = table_files.write_npy(tmp_path / "a.npy", np.asarray(table_files.pixels(5, 3, 8, 6), order=order))
    opened = arrays.open_npy(path)
    opened.read_fn(0)
    assert path not in pathlib.Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("shape", [(5, 8, 6, 3), (5, 3, 8, 6), (5, 8, 6)])
def test_npy_that_is_cut_while_it_is_in_use_is_an_error_that_names_it(tmp_path, shape):
    array = table_files.pixels(*shape)
    path = table_files.write_npy(tmp_path / "a.npy", array)
    opened, begin = arrays.open_npy(path), pathlib.Path(path).stat().st_size - array.nbytes
    before = opened.read_fn(3)
    os.truncate(path, begin + array[:4].nbytes + 1)
    with pytest.raises(ValueError, match=f"the file was cut: it ends at byte {begin + array[:4].nbytes + 1}.*{path}"):
        opened.read_fn(4)
    np.testing.assert_array_equal(opened.read_fn(3), before)
    assert not opened.unchanged_fn([3])


def test_npz_too_large_for_memory_is_a_value_error(tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**50, 8, 8, 3)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    assert "memory" in table_files.message(arrays.open_npy, str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["readme.txt", "a/b.png"])
def test_npz_with_other_files_in_it_is_named(name, tmp_path):
    path = table_files.write_npz(tmp_path / "a.npz", {})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "text")
    table_files.message(arrays.open_npy, path)


def test_hdf5_locked_by_others_is_read(tmp_path):
    path = table_files.make("hdf5", tmp_path)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert arrays.open_hdf5(path).length == table_files.N


def test_hdf5_arrays_in_groups_are_found_beside_what_is_none(tmp_path):
    path = table_files.write_hdf5(
        tmp_path / "a.h5", {"train/images/rgb": table_files.pixels(5, 8, 8, 3), "scale": np.float32(2)}
    )
    with h5py.File(path, "a") as file:
        file["empty"] = h5py.Empty("u1")
        file["elsewhere"] = h5py.ExternalLink("missing.h5", "/x")
        file["dangling"] = h5py.SoftLink("/missing")
        file["text"] = "words"
        file["type"] = np.dtype("f4")
        file[b"\xff\xfe"] = np.zeros((5, 4, 4), np.uint8)
    opened = arrays.open_hdf5(path)
    assert opened.length == 5 and opened.read_fn(0).shape == (8, 8, 3)


def test_hdf5_of_many_other_arrays_has_a_short_message(tmp_path):
    path = table_files.write_hdf5(tmp_path / "a.h5", {f"picture {i}": table_files.pixels(8, 8, 3) for i in range(100)})
    assert len(table_files.message(arrays.open_hdf5, path)) < 1500


def test_hdf5_chunk_of_many_pictures_is_decoded_once(tmp_path):
    array = table_files.pixels(12, 1024, 1024)
    path = table_files.write_hdf5(tmp_path / "a.h5", {"x": array}, chunks=array.shape, compression="lzf")
    opened = arrays.open_hdf5(path)
    before = table_files.bytes_read()
    for i in range(12):
        np.testing.assert_array_equal(opened.read_fn(i), array[i])
    assert table_files.bytes_read() - before < 2 * array.nbytes


def test_damaged_hdf5_chunks_are_named_when_read(tmp_path):
    path = table_files.make("hdf5", tmp_path)
    with h5py.File(path) as file:
        chunk = file["data8x8"].id.get_chunk_info(0)
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * 64)
    opened = arrays.open_hdf5(path)
    with pytest.raises(ValueError, match=r"a\.h5 cannot be read as"):
        opened.read_fn(0)
    assert opened.read_fn(table_files.N - 1).shape == (8, 8, 3)
    opened.close_fn()


def test_closed_hdf5_cannot_be_read_and_failed_one_is_closed(tmp_path):
    opened = arrays.open_hdf5(table_files.make("hdf5", tmp_path))
    opened.close_fn()
    with pytest.raises(ValueError, match="cannot be read as"):
        opened.read_fn(0)
    path = table_files.write_hdf5(tmp_path / "b.h5", {"x": np.zeros((5, 8, 8, 3))})
    table_files.message(arrays.open_hdf5, path)
    h5py.File(path, "w").close()  # Fails on a file that is open.
