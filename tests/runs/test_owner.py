"""One run at a time in a folder, whatever container or host the others are of."""

import json
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest

from stylegan_jax.runs import locks, owner

ROOT = pathlib.Path(__file__).parent.parent.parent
HOLDER = """
import pathlib, sys
from stylegan_jax.runs import owner
with owner.owning(pathlib.Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.read()
"""
OTHER = {"host": "elsewhere", "boot": "another", "pid": 7}


def _hold(folder: pathlib.Path, *before: str) -> subprocess.Popen:
    command = [*before, sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "owned\n"
    return process


def _record(folder: pathlib.Path, age_sec: float = 0.0) -> None:
    """Leaves the record of another host's run."""
    (folder / owner.RECORD).write_text(json.dumps(OTHER | {"time": time.time() - age_sec}))


def _own(folder: pathlib.Path, watch_sec: float = 0.1) -> list[str]:
    """Owns the folder for a moment; returns what was told."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "WATCH_SEC", watch_sec)
        patch.setattr(owner.logging, "warning", lambda text, *values: told.append(text % values))
        with owner.owning(folder):
            record = json.loads((folder / owner.RECORD).read_text())
            assert record["boot"] == owner._boot() and record["time"] <= time.time()
    return told


def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended_in_whatever_way(tmp_path):
    with _hold(tmp_path) as first:
        message = rf"another run on this machine \(process {first.pid}\) is at work in {tmp_path}; wait until it ends"
        with pytest.raises(ValueError, match=message):
            _own(tmp_path)
        first.kill()
        first.wait()
    for _ in range(2):
        assert _own(tmp_path) == []


def test_a_run_in_another_container_of_this_machine_is_seen(tmp_path):
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("this user cannot make namespaces, of which containers are made")
    with _hold(tmp_path, *apart) as first:
        with pytest.raises(ValueError, match="another run on this machine"):
            _own(tmp_path)
        first.kill()


def test_a_run_that_ends_leaves_no_record(tmp_path):
    _own(tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == [owner.LOCK]


def test_a_run_of_another_host_that_gives_signs_of_life_is_not_disturbed(tmp_path):
    _record(tmp_path)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.01):
            _record(tmp_path)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(ValueError, match=r"another run on host elsewhere \(process 7\) is at work"):
            _own(tmp_path, watch_sec=60.0)
    finally:
        ended.set()
        thread.join()
    assert json.loads((tmp_path / owner.RECORD).read_text())["host"] == "elsewhere"


def test_the_folder_of_a_host_that_gives_no_sign_of_life_is_taken_over_and_that_is_told(tmp_path):
    _record(tmp_path)
    watching, taking = _own(tmp_path)
    assert "was just in use by a run on host elsewhere; watching for 0.1 s" in watching
    assert taking == f"The run on host elsewhere gave no sign of life for 0.1 s; taking {tmp_path} over."


def test_an_old_record_needs_no_watching(tmp_path):
    _record(tmp_path, age_sec=7200.0)
    (line,) = _own(tmp_path, watch_sec=1e6)
    assert line == f"A run on host elsewhere was cut off in {tmp_path} 2 h 00 min ago; taking it over."


def test_a_lock_that_a_drive_keeps_for_a_dead_host_does_not_bar_the_folder(tmp_path):
    _record(tmp_path)
    with locks.exclusive(tmp_path / owner.LOCK):
        assert len(_own(tmp_path)) == 2


def test_a_drive_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    (line,) = _own(tmp_path)
    assert "this drive has no locks (Function not implemented)" in line


def test_signs_of_life_come_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "BEAT_SEC", 0.01)
    with owner.owning(tmp_path):
        first, deadline = owner._read(tmp_path), time.monotonic() + 60
        while owner._read(tmp_path) == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_run_that_was_taken_over_says_so_and_leaves_the_record_of_the_other(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(owner, "BEAT_SEC", 0.01)
    with owner.owning(tmp_path):
        _record(tmp_path)
        deadline = time.monotonic() + 60
        while not caplog.records:
            assert time.monotonic() < deadline
            _record(tmp_path)  # Again: a sign of life may have come in between.
            time.sleep(0.01)
    assert caplog.records[0].getMessage().startswith(f"a run on host elsewhere took {tmp_path} over from this one")
    assert owner._read(tmp_path)["host"] == "elsewhere"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host"'])
def test_a_broken_record_bars_nobody(tmp_path, content):
    (tmp_path / owner.RECORD).write_text(content)
    assert _own(tmp_path) == []
