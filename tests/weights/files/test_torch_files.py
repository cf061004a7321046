"""PyTorch's files are read as data, with the strides of their tensors, and written so that PyTorch reads them."""

import collections
import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from stylegan_jax.weights.files import archives, torch_files
from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record
from stylegan_jax.weights.files.torch_tensors import DTYPES
from tests.memory import peak_kib
from tests.weights.files import hostile, hostile_archives, small_files

ROOT = pathlib.Path(__file__).parents[3]
MAX_RSS_KIB = 2**20
DATA = np.arange(6, dtype=np.float32)
STORAGES = {"0": DATA.tobytes()}
TREES = hostile.torch_trees(small_files.STORAGE, small_files.tensor)
LEGACY_TREES = hostile.torch_trees(small_files.LEGACY_STORAGE, small_files.legacy_tensor)


def _load(folder: pathlib.Path, data: bytes) -> Any:
    path = folder / "net.pth"
    path.unlink(missing_ok=True)  # A file that is mapped stays as it is.
    path.write_bytes(data)
    return torch_files.load(path)


def _refusal(folder: pathlib.Path, data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        _load(folder, data)
    return _sentence(folder, str(caught.value))


def _sentence(folder: pathlib.Path, message: str) -> str:
    assert re.fullmatch(rf"{re.escape(str(folder))}/net\.pth .*\.", message) and len(message) < 600, message
    return message


FORMATS = {
    "zip": (hostile_archives.zip_file, small_files.tensor, small_files.STORAGE),
    "legacy": (hostile_archives.legacy_file, small_files.legacy_tensor, small_files.LEGACY_STORAGE),
}


@pytest.fixture(params=FORMATS)
def layout(request):
    """Returns the builders of a format: of the file from a tree, and of a tensor; and a storage's persistent id."""
    return FORMATS[request.param]


def test_tensors_and_plain_values_are_read(layout, tmp_path):
    write, tensor, _ = layout
    tree = {"model": collections.OrderedDict(w=tensor()), "steps": [1, 2.5, None, "text", (True,)], 3: {}}
    loaded = _load(tmp_path, write(tree))
    np.testing.assert_array_equal(loaded["model"].pop("w"), [[0, 1, 2], [3, 4, 5]])
    assert loaded == {"model": {}, "steps": [1, 2.5, None, "text", (True,)], 3: {}}


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (3, 2), (1, 3), DATA.reshape(2, 3).T),
        (1, (2,), (3,), DATA[1::3]),
        (5, (), (), DATA[5]),
        (2, (2, 2), (0, 1), [[2, 3], [2, 3]]),
        (0, (0, 3), (3, 1), np.zeros((0, 3))),
        (6, (0,), (1,), np.zeros(0)),
    ],
)
def test_offsets_and_strides_are_kept(offset, shape, strides, expected, layout, tmp_path):
    write, tensor, _ = layout
    loaded = _load(tmp_path, write(tensor(offset=offset, shape=shape, strides=strides)))
    np.testing.assert_array_equal(loaded, expected, strict=False)
    assert loaded.shape == shape and (loaded.size == 0 or loaded.strides == tuple(4 * stride for stride in strides))


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_of_storage_is_read(name, layout, tmp_path):
    write, tensor, storage = layout
    expected = np.arange(6).astype(DTYPES[name])
    typed = Persistent(("storage", Global(name), *storage.key[2:]))
    data = write(tensor(typed), storages={"0": expected.tobytes()}, num_bytes=expected.itemsize)
    loaded = _load(tmp_path, data)
    assert loaded.dtype == expected.dtype
    np.testing.assert_array_equal(loaded, expected.reshape(2, 3))


def test_storages_of_a_gpu_are_read(layout, tmp_path):
    write, tensor, storage = layout
    on_gpu = Persistent((*storage.key[:3], "cuda:0", *storage.key[4:]))
    assert _load(tmp_path, write(tensor(on_gpu))).shape == (2, 3)


def test_parameters_sizes_and_default_dicts_are_plain(layout, tmp_path):
    write, tensor, _ = layout
    parameter = Record("torch._utils._rebuild_parameter", (tensor(), True, collections.OrderedDict()))
    first = Record("torch._utils._rebuild_tensor", tensor().args[:4])
    default = Record("collections.defaultdict", (Global("__builtin__.dict"),))
    loaded = _load(tmp_path, write([parameter, first, Record("torch.Size", ((1, 2),)), default]))
    np.testing.assert_array_equal(loaded[0], loaded[1])
    assert loaded[2:] == [(1, 2), {}]


def test_arrays_are_read_only_views_of_the_file(layout, tmp_path):
    write, tensor, _ = layout
    loaded = _load(tmp_path, write(tensor()))
    assert not loaded.flags.owndata and not loaded.flags.writeable


def test_shared_tensors_stay_one_array(tmp_path):
    shared = small_files.torch_pickle(small_files.tensor())[2:-1]
    loaded = _load(tmp_path, small_files.torch_zip(b"\x80\x02(" + shared + b"q\x00h\x00t.", STORAGES))
    assert loaded[0] is loaded[1]


def test_members_may_be_compressed(tmp_path):
    data = hostile_archives.zip_file(small_files.tensor(), compression=zipfile.ZIP_DEFLATED)
    loaded = _load(tmp_path, data)
    np.testing.assert_array_equal(loaded, DATA.reshape(2, 3))
    assert not loaded.flags.writeable


def test_torchscript_gives_the_arrays_of_modules_by_dotted_names(tmp_path):
    conv = Record(
        "__torch__.torch.nn.modules.conv.Conv2d", (), {"training": True, "weight": small_files.tensor(), "bias": None}
    )
    net = Record(
        "__torch__.___torch_mangle_1.Net", (), {"conv": conv, "w": small_files.tensor(shape=(6,), strides=(1,)), "n": 3}
    )
    loaded = _load(tmp_path, hostile_archives.zip_file(net, **{"constants.pkl": b""}))
    assert list(loaded) == ["conv.weight", "w"]
    np.testing.assert_array_equal(loaded["conv.weight"], DATA.reshape(2, 3))


def test_names_of_torchscript_cannot_grow_without_end(tmp_path):
    net = Record("__torch__.Net", (), {"w": small_files.tensor()})
    for _ in range(3):
        net = Record("__torch__.Net", (), {"x" * 100: net})
    message = _refusal(tmp_path, hostile_archives.zip_file(net, **{"constants.pkl": b""}))
    assert "more than 256 characters" in message


def test_whole_module_is_refused_with_its_class_and_advice(layout, tmp_path):
    message = _refusal(tmp_path, layout[0](Record("models.stylegan.Generator", (), {"training": True})))
    assert "an object of the class models.stylegan.Generator" in message and "state_dict()" in message


def test_big_endian_files_are_refused(tmp_path):
    assert "big-endian" in _refusal(tmp_path, hostile_archives.zip_file(small_files.tensor(), byteorder=b"big"))
    legacy = hostile_archives.legacy_file(small_files.legacy_tensor()).replace(
        b"little_endian\x88", b"little_endian\x89"
    )
    assert "big-endian" in _refusal(tmp_path, legacy)


@pytest.mark.parametrize("name", hostile.calls("/nonexistent/canary"))
def test_nothing_is_executed(name, tmp_path):
    canary = tmp_path / "canary"
    pickled = hostile.calls(canary)[name]
    _refusal(tmp_path, small_files.torch_zip(pickled, STORAGES))
    _refusal(tmp_path, small_files.torch_zip(pickled, STORAGES, **{"constants.pkl": b""}))
    _refusal(tmp_path, small_files.torch_legacy(pickled, STORAGES))
    _refusal(tmp_path, pickled)
    assert not canary.exists()


@pytest.mark.parametrize("name", TREES)
def test_tensors_fit_their_storages(name, tmp_path):
    _refusal(tmp_path, hostile_archives.zip_file(TREES[name]))
    _refusal(tmp_path, hostile_archives.legacy_file(LEGACY_TREES[name]))


def test_tensors_cannot_share_a_storage_without_end(layout, tmp_path):
    write, tensor, storage = layout
    large = Persistent((*storage.key[:4], 2**16, *storage.key[5:]))
    tensors = [tensor(large, shape=(2**16,), strides=(1,)) for _ in range(7)]
    assert len(_load(tmp_path, write(tensors[:6], storages={"0": bytes(2**18)}))) == 6
    message = _refusal(tmp_path, write(tensors, storages={"0": bytes(2**18)}))
    assert "tensors that share their data" in message


def test_storage_within_another_is_refused(tmp_path):
    view = Persistent((*small_files.STORAGE.key, ("1", 0, 6)))
    assert "a storage within another" in _refusal(tmp_path, hostile_archives.legacy_file(small_files.tensor(view)))


@pytest.mark.parametrize("name", hostile_archives.LEGACIES)
def test_hostile_legacy_file_is_a_sentence(name, tmp_path):
    _refusal(tmp_path, hostile_archives.LEGACIES[name])


def test_file_cut_at_any_byte_is_a_sentence(layout, tmp_path):
    write, tensor, _ = layout
    data = write({"w": tensor()})
    for end in range(len(data)):
        _refusal(tmp_path, data[:end])


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80, 0xFF])
def test_file_with_any_byte_changed_is_read_or_a_sentence(mask, layout, tmp_path):
    write, tensor, _ = layout
    data = bytearray(write({"w": tensor()}))
    for place in range(len(data)):
        data[place] ^= mask
        try:
            _load(tmp_path, bytes(data))
        except ValueError as error:
            _sentence(tmp_path, str(error))
        data[place] ^= mask


def test_no_hostile_file_takes_a_gigabyte():
    subprocess.run([sys.executable, "-m", "tests.weights.files.test_torch_files"], check=True, cwd=ROOT)


def test_what_is_saved_is_loaded(tmp_path):
    arrays = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "half": np.arange(3).astype(ml_dtypes.bfloat16),
        "no axis": np.array(True),
        "no element": np.zeros((0, 3), np.float16),
    }
    tree = {"state": collections.OrderedDict(arrays), "steps": [np.float32(0.5), 3, None, "text", (1,)]}
    torch_files.save(tree, tmp_path / "net.pth")
    loaded = torch_files.load(tmp_path / "net.pth")
    assert loaded["steps"] == [0.5, 3, None, "text", (1,)] and list(loaded["state"]) == list(arrays)
    for name, array in arrays.items():
        assert loaded["state"][name].dtype == array.dtype.newbyteorder("=")
        assert loaded["state"][name].flags.c_contiguous
        np.testing.assert_array_equal(loaded["state"][name], array)


def test_saved_file_has_the_members_of_pytorch_with_aligned_data(tmp_path):
    torch_files.save({"w": DATA, "v": DATA[:1]}, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as archive:
        members = archive.infolist()
        contents = {member.filename.removeprefix("archive/"): archive.read(member) for member in members}
    assert contents.pop("data.pkl").startswith(b"\x80\x02")
    assert contents == {
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": b"little",
        "version": b"3\n",
        "data/0": DATA.tobytes(),
        "data/1": DATA[:1].tobytes(),
    }
    for member in members:
        data_begin = member.header_offset + 30 + len(member.filename) + len(member.extra)
        assert member.compress_type == zipfile.ZIP_STORED and data_begin % archives.ALIGNMENT == 0


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.zeros(2, np.uint32), np.array([None])], ids=lambda array: str(array.dtype)
)
def test_array_without_a_storage_is_not_saved_and_leaves_no_file(array, tmp_path):
    with pytest.raises(TypeError, match="no storage for arrays of"):
        torch_files.save({"w": array}, tmp_path / "net.pth")
    assert not list(tmp_path.iterdir())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cases = {**hostile_archives.ARCHIVES, **hostile_archives.LEGACIES}
        cases |= {name: hostile_archives.zip_file(tree) for name, tree in TREES.items()}
        cases |= {name: small_files.torch_zip(data, STORAGES) for name, data in hostile.too_large().items()}
        for name, data in cases.items():
            with contextlib.suppress(ValueError):
                _load(pathlib.Path(folder), data)
            if peak_kib() > MAX_RSS_KIB:
                sys.exit(f"{name}: {peak_kib()} KiB")
