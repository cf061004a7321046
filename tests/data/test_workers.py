"""Processes that prepare a store refuse a source that changes, tell whose fault an error is, and end quietly."""

import dataclasses
import io
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, prepare, shards, sources, survey, waiting, workers
from tests import picture_files

R = 8
MODEL = Model(resolution=R)
ROOT = pathlib.Path(__file__).parent.parent.parent


def _data(root: pathlib.Path, num: int = 6, **others) -> Data:
    (root / "pictures").mkdir()
    for i in range(num):
        Image.new("RGB", (R, R), (i, i, i)).save(root / "pictures" / f"{i}.png")
    return Data(source=str(root / "pictures"), num_workers=2, **others)


def _encoded(value: int, ending: str, size: int = R) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(file, ending)
    return file.getvalue()


def _prepare(data: Data, folder: pathlib.Path) -> dict:
    return prepare.make_store(data, MODEL, folder, pictures_per_shard=2)


@pytest.mark.parametrize("change", ["added", "removed", "another", "all removed"])
def test_a_source_that_changes_while_processes_start_is_refused_and_right_with_the_same_command_again(
    tmp_path, monkeypatch, change
):
    data, open_source = _data(tmp_path), sources.open_source
    first = tmp_path / "pictures" / "0.png"

    def open_and_change(*args):
        found = open_source(*args)
        if change == "added":
            Image.new("RGB", (R, R), (99, 99, 99)).save(tmp_path / "pictures" / "0_added.png")
        elif change == "another":
            Image.new("RGB", (R, 3 * R), (98, 98, 98)).save(first)
        else:
            for file in (tmp_path / "pictures").iterdir() if change == "all removed" else [first]:
                file.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(prepare.sources, "open_source", open_and_change)
        with pytest.raises(ValueError, match="changed while it was prepared.* give the same command again"):
            _prepare(data, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    if change == "all removed":
        return
    record = _prepare(data, tmp_path / "store")
    assert record["length"] == len(list((tmp_path / "pictures").iterdir()))
    stored = images.open_images(dataclasses.replace(data, source=str(tmp_path / "store")), MODEL)
    decoded = images.open_images(data, MODEL)
    everything = range(record["length"])
    assert (stored.images_fn(list(everything), R) == decoded.images_fn(list(everything), R)).all()


@pytest.mark.parametrize("kind", ["folder", "bmp", "zip", "tar"])
def test_a_shard_of_pictures_that_changed_after_the_listing_counts_as_missing(tmp_path, kind):
    ending = "bmp" if kind == "bmp" else "png"
    contents = {f"{i}.{ending}": _encoded(i, ending) for i in range(4)}
    path = picture_files.write(tmp_path / "set", contents, kind.replace("bmp", "folder"))
    data = Data(source=path, on_bad_image="skip")
    source, others = sources.open_source(data, R), {f"{i}.{ending}": _encoded(9 - i, ending) for i in range(4)}
    plan = shards.Plan(data, MODEL, tmp_path / "partial", source.length, 2)
    workers.write_shard(plan, source, 0, lambda: None)
    if ending == "bmp":
        (tmp_path / "set" / "2.bmp").write_bytes(others["2.bmp"])  # As long as before.
    elif kind == "folder":
        (tmp_path / "set" / "2.png").write_bytes(_encoded(2, "png", 3 * R))
    else:
        pathlib.Path(path).unlink()
        picture_files.write(tmp_path / "set", others, kind)
    with pytest.raises(survey.SourceFailed, match="changed while it was prepared.* give the same command again"):
        workers.write_shard(plan, source, 1, lambda: None)
    assert [workers.is_whole(plan, source, shard) for shard in (0, 1)] == [True, False]


def test_a_shard_of_another_key_is_not_taken_into_the_store(tmp_path, monkeypatch):
    data, write_shards = _data(tmp_path), workers.write_shards

    def write_and_change(plan, *args):
        write_shards(plan, *args)
        text = plan.summary_path(1).read_text()
        plan.summary_path(1).write_text(text.replace('"key": "', '"key": "0'))

    monkeypatch.setattr(workers, "write_shards", write_and_change)
    with pytest.raises(ValueError, match="changed while it was prepared"):
        _prepare(data, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_process_that_makes_no_picture_for_long_is_not_waited_for(tmp_path, monkeypatch):
    data = _data(tmp_path)
    monkeypatch.setattr(waiting, "PATIENCE_SEC", 0.01)  # Before the first picture a process loads TFDS.
    with pytest.raises(ValueError, match=r"no picture came for 0.01 s: the disk or network"):
        _prepare(data, tmp_path / "store")


def test_an_interrupt_while_processes_start_is_raised_after_and_reaches_none_of_them():
    with pytest.raises(KeyboardInterrupt), workers._interrupts_deferred():
        os.kill(os.getpid(), signal.SIGINT)
        code = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2); print('alive')"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (ran.stdout, ran.stderr) == ("alive\n", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("delay_sec", [0.0, 0.4, 1.5])
def test_ctrl_c_prints_no_traceback_of_a_process(tmp_path, delay_sec):
    data = _data(tmp_path)
    script = tmp_path / "run.py"
    script.write_text(f"""
import sys
from stylegan_jax.config import Data, Model
from stylegan_jax.data import prepare
if __name__ == "__main__":
    try:
        prepare.make_store(Data(source={data.source!r}, num_workers=4), Model(resolution={R}),
                        {str(tmp_path / "store")!r}, None, 1)
    except KeyboardInterrupt:
        sys.exit(130)
""")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "store.partial" / "lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay_sec)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, 0) and said == ""
