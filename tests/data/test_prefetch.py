"""Batches come in order from one thread, which ends with the generator whatever happens."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback

import pytest

from stylegan_jax.data import prefetch, waiting

PATIENCE_SEC = 20.0  # Until a thread that should act is called stuck.


def _requests(count: int | None = None):
    return ((4 * k, 4) for k in (itertools.count() if count is None else range(count)))


def _threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def _await_no_thread() -> None:
    deadline = time.monotonic() + PATIENCE_SEC
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert _threads() == 0


def test_batches_are_loaded_and_placed_in_order():
    batches = prefetch.prefetch(_requests(5), lambda nimg, n: (nimg, n), lambda loaded: ("placed", *loaded))
    assert list(batches) == [("placed", 4 * k, 4) for k in range(5)]


def test_no_requests_give_no_batches():
    assert list(prefetch.prefetch([], lambda nimg, n: nimg, lambda loaded: loaded)) == []


def test_loading_and_placing_happen_in_another_thread():
    names = list(
        prefetch.prefetch(
            _requests(2),
            lambda nimg, n: threading.current_thread().name,
            lambda loaded: (loaded, threading.current_thread().name),
        )
    )
    assert names == [("prefetch", "prefetch")] * 2


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_exactly_depth_batches_are_prepared_ahead(depth):
    loaded = []
    full = threading.Event()

    def load(nimg: int, n: int) -> int:
        loaded.append(nimg)
        if len(loaded) == 1 + depth:
            full.set()
        return nimg

    batches = prefetch.prefetch(_requests(), load, lambda batch: batch, depth)
    assert not loaded  # Nothing starts before it is asked for.
    assert next(batches) == 0
    assert full.wait(PATIENCE_SEC)
    threading.Event().wait(0.05)  # Time to overrun, if it would.
    assert len(loaded) == 1 + depth
    batches.close()


@pytest.mark.parametrize("failing", ["requests", "load", "put"])
def test_an_exception_reaches_the_consumer_after_the_batches_before_it(failing):
    def break_at_8(place: str, nimg: int) -> int:
        if place == failing and nimg == 8:
            raise OSError("the disk is gone")
        return nimg

    requests = ((break_at_8("requests", nimg), n) for nimg, n in _requests())
    batches = prefetch.prefetch(
        requests, lambda nimg, n: break_at_8("load", nimg), lambda nimg: break_at_8("put", nimg)
    )
    received = []
    with pytest.raises(OSError, match="the disk is gone") as error:
        for batch in batches:
            received.append(batch)
    assert received == [0, 4]
    assert "break_at_8" in [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
    assert list(batches) == []


def test_a_stop_iteration_in_loading_is_an_error_and_no_end():
    def load(nimg: int, n: int) -> int:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(prefetch.prefetch(_requests(2), load, lambda batch: batch))


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_ends_the_thread(taken):
    batches = prefetch.prefetch(_requests(), lambda nimg, n: nimg, lambda batch: batch)
    assert [next(batches) for _ in range(taken)] == [4 * k for k in range(taken)]
    assert _threads() == min(taken, 1)
    batches.close()
    assert _threads() == 0
    with pytest.raises(StopIteration):
        next(batches)


def test_forgetting_the_generator_ends_the_thread():
    batches = prefetch.prefetch(_requests(), lambda nimg, n: nimg, lambda batch: batch)
    next(batches)
    del batches
    assert _threads() == 0


def test_an_error_in_the_consumer_ends_the_thread():
    def consume() -> None:
        for _ in prefetch.prefetch(_requests(), lambda nimg, n: nimg, lambda batch: batch):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()


def test_a_batch_is_not_kept_while_the_next_is_awaited():
    gone = threading.Event()

    class Placed:
        def __init__(self, nimg: int):
            pass

        def __del__(self):
            gone.set()

    def load(nimg: int, n: int) -> int:
        assert nimg == 0 or gone.wait(PATIENCE_SEC), "the first batch is still alive"
        return nimg

    batches = prefetch.prefetch(_requests(2), load, Placed, depth=1)
    next(batches)
    assert not gone.is_set()
    next(batches)
    batches.close()


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="depth is 0"):
        prefetch.prefetch(_requests(), lambda nimg, n: nimg, lambda batch: batch, depth=0)


def test_a_loader_that_stalls_ends_in_a_message(monkeypatch):
    release = threading.Event()

    def load(nimg, n):
        if nimg:
            release.wait(100)
        return nimg

    monkeypatch.setattr(waiting, "PATIENCE_SEC", 0.2)
    batches = prefetch.prefetch(_requests(3), load, lambda x: x)
    assert next(batches) == 0
    with pytest.raises(ValueError, match=r"no picture came for 0.2 s: the disk or network .* does not answer"):
        next(batches)
    release.set()
    _await_no_thread()


def test_a_process_that_was_stopped_for_longer_than_the_patience_goes_on(tmp_path):
    code = """
import time
from stylegan_jax.data import prefetch, waiting
waiting.PATIENCE_SEC = 4.0
def load(nimg, n):
    if nimg:
        print("waiting", flush=True)
        time.sleep(2)
    return nimg
print(list(prefetch.prefetch([(0, 1), (1, 1)], load, lambda x: x)))
"""
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parent.parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waiting\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "[0, 1]\n"


def test_a_loader_that_stalls_does_not_keep_one_that_has_had_enough(monkeypatch):
    release, begun = threading.Event(), threading.Event()

    def load(nimg, n):
        if nimg:
            begun.set()
            release.wait(100)
        return nimg

    monkeypatch.setattr(prefetch, "ENDING_SEC", 0.1)
    batches = prefetch.prefetch(_requests(3), load, lambda x: x)
    assert next(batches) == 0 and begun.wait(20)
    batches.close()  # As after a second Ctrl-C.
    assert _threads() == 1
    release.set()
    _await_no_thread()
