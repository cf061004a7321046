"""A store is read by position: a file that is cut, a disk that fails, a store that is replaced each get a sentence."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, prepare, rows, sources, store
from tests import picture_files

R = 8
NUM = 120
MODEL = Model(resolution=R)
ROOT = pathlib.Path(__file__).parent.parent.parent
ALL = np.arange(NUM)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> pathlib.Path:
    """A store of NUM shards of one picture; number i is filled with i."""
    root = tmp_path_factory.mktemp("store")
    (root / "pictures").mkdir()
    for i in range(NUM):
        Image.new("RGB", (R, R), (i, i, i)).save(root / "pictures" / f"{i:03d}.png")
    prepare.make_store(Data(source=str(root / "pictures"), num_workers=1), MODEL, root / "store", None, 1)
    return root / "store"


@pytest.fixture
def folder(prepared, tmp_path) -> pathlib.Path:
    """A copy of that store, to be changed."""
    return pathlib.Path(shutil.copytree(prepared, tmp_path / "store"))


@pytest.fixture(params=["by row", "whole"])
def way(request, monkeypatch) -> None:
    """Reads levels row by row, or whole."""
    monkeypatch.setattr(store, "MAX_WHOLE_BYTES", {"by row": 0, "whole": 2**28}[request.param])


def _open(folder: pathlib.Path, **others) -> images.Images:
    return images.open_images(Data(source=str(folder), **others), MODEL)


@pytest.mark.usefixtures("way")
def test_rows_are_those_of_their_numbers_in_any_order(prepared):
    order = np.random.default_rng(0).permutation(NUM)
    for size in (4, 8):
        found = _open(prepared).images_fn(order, size)
        np.testing.assert_array_equal(found, np.broadcast_to(order[:, None, None, None], (NUM, size, size, 3)))
    assert _open(prepared).images_fn(order[:0], 4).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("max_whole_bytes", [0, 2**28])
def test_many_more_shards_than_a_process_may_open_files_are_read(prepared, max_whole_bytes):
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import numpy as np
from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, sources, store
store.MAX_WHOLE_BYTES = {max_whole_bytes}
data = Data(source={str(prepared)!r})
stored = images.open_images(data, Model(resolution={R}))
found = [stored.images_fn(np.arange({NUM}), size)[:, 0, 0, 0].tolist() for size in (4, 8)]
source = sources.open_source(data, {R})
assert found == [list(range({NUM}))] * 2 and all(source.read_fn(i)[1:4] == b"PNG" for i in range({NUM}))
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_a_level_is_read_once_by_however_many_threads_ask_for_it(prepared, monkeypatch):
    begun, counted = threading.Barrier(4), []
    read_into = rows.File.read_into

    def slow(self, offset, room):
        counted.extend([self.path] * (len(room) == R * R * 3))  # Headers are shorter or longer.
        time.sleep(0.001)  # The others ask meanwhile.
        read_into(self, offset, room)

    monkeypatch.setattr(rows.File, "read_into", slow)
    source = sources.open_source(Data(source=str(prepared)), R)

    def ask(_):
        begun.wait()
        source.read_many_fn(ALL, np.empty((NUM, R, R, 3), np.uint8))

    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert len(counted) == NUM


@pytest.mark.usefixtures("way")
def test_a_level_that_is_cut_while_it_is_in_use_is_an_error_that_names_it(folder):
    stored = _open(folder)
    file = folder / "levels" / "8" / f"00007-of-{NUM:05d}.npy"
    os.truncate(file, 200)
    with pytest.raises(OSError, match=f"the file was cut: it ends at byte 200, .*: '{file}'"):
        stored.images_fn(ALL, 8)
    assert stored.images_fn(ALL, 4).shape == (NUM, 4, 4, 3)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_read_that_fails_is_the_disks_fault_and_not_the_stores(prepared, monkeypatch, number):
    stored = _open(prepared)
    stored.images_fn(ALL, 8)

    def fail(*args) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match=f"{os.strerror(number)}: '.*/levels/4/.*npy'") as error:
        stored.images_fn(ALL, 4)
    assert error.value.errno == number and "prepare" not in str(error.value)


def test_a_file_that_may_not_be_opened_is_no_reason_to_prepare_again(prepared, monkeypatch):
    source, opened = sources.open_source(Data(source=str(prepared)), R), os.open

    def deny(path, *args, **options) -> int:
        if "array_record" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(PermissionError, match="Permission denied: .*array_record"):
        source.read_fn(0)


@pytest.mark.parametrize("byte", [0, 5, 8, 9, 10, 12, 15, 19])
def test_a_damaged_header_of_a_level_is_an_error_that_names_the_file(folder, byte):
    file = folder / "levels" / "4" / "00000-of-00120.npy"
    content = bytearray(file.read_bytes())
    content[byte] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} (is damaged|has )"):
        _open(folder).images_fn(ALL, 4)


@pytest.mark.parametrize("numbers", [[0, 1], [0, 2, 1], [0, -1, 1]], ids=["too few", "too large", "negative"])
def test_classes_that_cannot_be_those_of_the_pictures_are_refused(tmp_path, numbers):
    for name in "abc":
        (tmp_path / "pictures" / "xyx"["abc".index(name)]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (R, R)).save(tmp_path / "pictures" / "xyx"["abc".index(name)] / f"{name}.png")
    data = Data(source=str(tmp_path / "pictures"), labels="folders", num_workers=1)
    prepare.make_store(data, MODEL, tmp_path / "store")
    np.save(tmp_path / "store" / "labels.npy", np.array(numbers, np.int64))
    with pytest.raises(ValueError, match=f"store is damaged: it has {len(numbers)} labels for 3 pictures"):
        sources.open_source(Data(source=str(tmp_path / "store")), R)


def test_a_damaged_record_is_named(folder):
    file = folder / f"pictures-train.array_record-00003-of-{NUM:05d}"
    content = bytearray(file.read_bytes())
    for i in range(len(content) // 4, len(content) // 4 * 3):
        content[i] ^= 255
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} has no readable picture 3 .*; prepare the store again"):
        sources.open_source(Data(source=str(folder)), R).read_fn(3)


def test_no_file_of_a_store_is_mapped_into_memory(prepared, monkeypatch):
    monkeypatch.setattr(store, "MAX_WHOLE_BYTES", 0)
    stored = _open(prepared)
    stored.images_fn(ALL, 8)
    assert str(prepared) not in pathlib.Path("/proc/self/maps").read_text()


@pytest.mark.usefixtures("way")
def test_a_store_that_is_prepared_anew_is_noticed_at_the_next_size(folder):
    stored = _open(folder)
    stored.images_fn(ALL, 4)
    record = json.loads((folder / store.RECORD).read_text())
    (folder / store.RECORD).write_text(json.dumps(record | {"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=f"{folder} was prepared anew since this run began"):
        stored.images_fn(ALL, 8)


@pytest.mark.parametrize("part", ["record", "all"])
@pytest.mark.parametrize("read", ["level", "picture"])
def test_a_store_that_is_prepared_anew_is_noticed_at_the_first_read_of_each_shard(folder, monkeypatch, read, part):
    monkeypatch.setattr(store, "MAX_WHOLE_BYTES", 0)
    source, room = sources.open_source(Data(source=str(folder)), R), np.empty((1, R, R, 3), np.uint8)

    def read_shard(number: int) -> None:
        if read == "level":
            source.read_many_fn(np.array([number]), room)
        else:
            source.read_fn(number)

    read_shard(0)
    if part == "all":  # With fewer shards, so that no file of the former store is there.
        settings = Data(source=str(folder.with_name("pictures")), num_workers=1)
        picture_files.write(folder.with_name("pictures"), {"1.png": picture_files.png(9)}, "folder")
        shutil.rmtree(folder)
        prepare.make_store(settings, MODEL, folder)
    else:
        record = json.loads((folder / store.RECORD).read_text())
        (folder / store.RECORD).write_text(json.dumps(record | {"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=f"{folder} was prepared anew since this run began"):
        read_shard(1)
    assert not source.unchanged_fn([0])


@pytest.mark.usefixtures("way")
def test_a_store_that_is_copied_to_its_place_again_is_read_on(folder):
    source, room = sources.open_source(Data(source=str(folder)), R), np.empty((1, R, R, 3), np.uint8)
    source.read_many_fn(ALL[:1], room)
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    source.read_many_fn(ALL[7:8], room)
    assert (room == 7).all() and source.unchanged_fn([7])


def test_a_store_of_an_older_package_is_read(folder):
    before = _open(folder)
    record = json.loads((folder / store.RECORD).read_text())
    (folder / store.RECORD).write_text(json.dumps({k: v for k, v in record.items() if k != "shard_sha256"}))
    assert _open(folder).fingerprint == before.fingerprint
    np.testing.assert_array_equal(_open(folder).images_fn(ALL, 8), before.images_fn(ALL, 8))


def test_settings_that_a_store_cannot_follow_are_named_with_those_that_made_it(prepared, caplog):
    others = {"fit": "pad", "background": (0, 0, 0), "min_side_px": 9, "white_level": 4095, "max_pixels": 9}
    _open(prepared, **others)
    assert len(caplog.messages) == len(others)
    for name, value in others.items():
        made = getattr(Data(), name)
        said = f"data.{name}={value!r} has no effect: the pictures of {prepared} are squares already"
        told = "" if name == "max_pixels" else f", made with data.{name}={made!r}"  # It makes no other squares.
        assert f"{said}{told}" in caplog.messages
    caplog.clear()
    _open(prepared)
    assert not caplog.messages


def test_levels_of_rgba_in_which_hidden_colours_show_are_told(tmp_path, caplog):
    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (R, R, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pictures" / "1.png")
    folder, model = tmp_path / "store", Model(resolution=R, channels=4)
    prepare.make_store(Data(source=str(tmp_path / "pictures"), num_workers=1), model, folder)
    images.open_images(Data(source=str(folder)), model)
    assert not caplog.messages
    record = json.loads((folder / store.RECORD).read_text())
    del record["levels"]
    (folder / store.RECORD).write_text(json.dumps(record))
    images.open_images(Data(source=str(folder)), model)
    assert "hidden colours show in its levels" in caplog.text


def test_files_are_given_back_when_more_are_opened_than_are_kept(tmp_path, monkeypatch):
    for i in range(20):
        (tmp_path / str(i)).write_bytes(bytes([i]))
    monkeypatch.setattr(rows, "MOST_OPEN", 3)
    open_file, before = rows.keep_open(rows.File), len(os.listdir("/proc/self/fd"))
    assert [open_file(str(tmp_path / str(i))).read(0, 1)[0] for i in range(20)] == list(range(20))
    assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_all_files_are_given_back_and_one_is_tried_again_where_the_process_has_no_more(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    open_file, opened, refused = rows.keep_open(rows.File), os.open, []
    held = open_file(str(tmp_path / "a"))

    def refuse_once(path, *args) -> int:
        if not refused:
            refused.append(path)
            raise OSError(errno.EMFILE, "Too many open files", path)
        return opened(path, *args)

    (tmp_path / "b").write_bytes(b"b")
    monkeypatch.setattr(os, "open", refuse_once)
    assert open_file(str(tmp_path / "b")).read(0, 1) == b"b" and refused
    assert held.read(0, 1) == b"a"  # What is in use stays open.


def test_a_read_that_gives_less_than_it_was_asked_for_is_gone_on_with(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    file, preadv = rows.File(str(tmp_path / "a")), os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, room, offset: preadv(descriptor, (room[0][:7],), offset))
    found = np.empty((3, 20), np.uint8)
    rows.read_rows([file] * 3, [40, 0, 80], found)
    np.testing.assert_array_equal(found, np.arange(20) + np.array([[40], [0], [80]]))
