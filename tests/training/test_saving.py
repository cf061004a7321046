"""Checkpoints come by time too, alike in all processes, and only go on with their own pictures."""

import types

import numpy as np
import pytest

from stylegan_jax.runs import checkpoint, report
from stylegan_jax.training import saving
from tests.devices import test_distributed
from tests.small import settings
from tests.training.test_feed import Clock

STORED = types.SimpleNamespace(fingerprint="f")
DATA = types.SimpleNamespace(stored=STORED, class_names=("a", "b"), class_counts=np.asarray([5, 3]))


def saver(clock: Clock, minutes: float = 20.0) -> saving.Saver:
    return saving.Saver(None, settings(report={"checkpoint_minutes": minutes}), DATA, clock)


def test_a_checkpoint_is_due_when_its_minutes_are_over_since_the_last(monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda *args: saved.append(args))
    clock = Clock()
    found = saver(clock)
    clock.sec = 1199.0
    assert not found.is_late()
    clock.sec = 1200.0
    assert found.is_late()
    found.save(64, "state", report.Averages({"d_loss": [2.0, 1]}), 0.5)
    meta = {"fingerprint": "f", "class_names": ["a", "b"], "class_counts": [5, 3], "averages": {"d_loss": [2.0, 1]}}
    assert saved == [(None, 64, "state", meta, 0.5)]
    clock.sec = 2399.0
    assert not found.is_late()


def test_without_minutes_only_the_ticks_count():
    clock = Clock()
    found = saver(clock, 0.0)
    clock.sec = 1e9
    assert not found.is_late()


@pytest.mark.parametrize("first", [False, True])
def test_several_processes_take_the_answer_of_the_first_now_and_then(monkeypatch, first):
    asked = []
    monkeypatch.setattr(saving.distributed, "process_count", lambda: 2)
    monkeypatch.setattr(saving.distributed, "of_first", lambda x: asked.append(x) or first)
    clock = Clock()
    found = saver(clock)
    clock.sec = 1e9
    answers = [found.is_late() for _ in range(2 * saving.CHUNKS_BETWEEN_AGREEMENTS)]
    assert asked == [True, True]
    assert np.flatnonzero(answers).tolist() == [31, 63] * first


@pytest.mark.slow
def test_two_processes_save_together_when_time_is_up(tmp_path, monkeypatch):
    changes = {"checkpoint_minutes": 1e-9, "checkpoint_ticks": 1000, "image_ticks": 1000}
    schedule = {"refresh_steps": 1, "total_kimg": 0.32, "tick_kimg": 0.008, "stable_kimg": 10.0}
    config = settings(model={"resolution": 8}, schedule=schedule, report=changes)
    monkeypatch.setattr(test_distributed, "_settings", lambda steps: config)
    processes = test_distributed._start(tmp_path / "two", processes=2, devices=1)
    assert test_distributed._finish(processes) == [0, 0], test_distributed._log(tmp_path / "two", 1)
    assert test_distributed._saved(tmp_path / "two") == [8 * saving.CHUNKS_BETWEEN_AGREEMENTS, 320]


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"fingerprint": "f", "class_names": ["a"]}, "has other classes than this run began with: now a, b, before a"),
        ({"fingerprint": "f"}, "now a, b, before none"),
        ({"fingerprint": "g", "class_names": ["a", "b"]}, r"\(fingerprint f, not g\). Restore them"),
    ],
)
def test_other_pictures_or_classes_in_mid_run_are_refused(meta, message):
    with pytest.raises(ValueError, match=message):
        saving.check_meta(meta, settings(), DATA)
