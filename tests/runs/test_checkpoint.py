"""What is saved comes back bit for bit, whatever happens while it is written."""

import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.runs import checkpoint, restoring
from tests.checkpoints import abstract, make_state, replicated


def test_buffers_donated_right_after_save_are_saved_as_they_were(manager):
    step = jax.jit(lambda x: x * 2 + 1, donate_argnums=0)
    x = step(jax.device_put(np.arange(200_000, dtype=np.float32), replicated()))
    expected = np.array(x)
    checkpoint.save(manager, 1, {"x": x}, {})
    for _ in range(5):
        x = step(x)
    _, state, _, _ = restoring.restore(manager, abstract({"x": x}))
    np.testing.assert_array_equal(state["x"], expected)


def test_only_the_newest_checkpoints_are_kept(manager):
    for nimg in (10, 20, 30):
        checkpoint.save(manager, nimg, make_state(), {})
    checkpoint.wait(manager)
    assert sorted(int(f.name) for f in pathlib.Path(manager.directory).iterdir()) == [20, 30]


def test_saving_an_nimg_twice_keeps_the_first(manager):
    for seed in (1, 2):
        checkpoint.save(manager, 100, make_state(seed), {"seed": seed})
    assert restoring.restore(manager, abstract(make_state()))[2] == {"seed": 1}


def test_a_write_that_fails_is_raised_and_leaves_the_older_checkpoint(two_saved, monkeypatch, caplog):
    def no_space(self, directory):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint._SealingHandler, "finalize", no_space)
        checkpoint.save(two_saved, 300, make_state(3), {})
        with pytest.raises(checkpoint.CheckpointNotWritten, match="No space left.*those before it are unharmed"):
            checkpoint.wait(two_saved)
    assert not caplog.records
    assert restoring.restore(two_saved, abstract(make_state()))[0] == 200
    checkpoint.save(two_saved, 300, make_state(3), {})
    checkpoint.wait(two_saved)
    assert restoring.restore(two_saved, abstract(make_state()))[0] == 300


def test_a_process_killed_in_mid_save_leaves_the_older_checkpoint(tmp_path):
    script = """
        import os, signal, sys
        import numpy as np
        from stylegan_jax.runs import checkpoint, restoring, seals

        manager = checkpoint.open_manager(sys.argv[1], keep=2)
        checkpoint.save(manager, 1, {"x": np.arange(9.0, dtype=np.float32)}, {})
        checkpoint.wait(manager)
        checkpoint._SealingHandler.finalize = lambda self, directory: os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.save(manager, 2, {"x": np.zeros(9, np.float32)}, {})
        checkpoint.wait(manager)
    """
    root = pathlib.Path(checkpoint.__file__).parent.parent.parent
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path / "c"], cwd=root, check=False)
    assert result.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "c").iterdir())) == 2  # The good one, and what the kill left.

    manager = checkpoint.open_manager(tmp_path / "c", keep=2)
    wanted = jax.ShapeDtypeStruct((9,), jnp.float32, sharding=replicated())
    nimg, state, _, _ = restoring.restore(manager, {"x": wanted})
    checkpoint.close(manager)
    assert nimg == 1
    np.testing.assert_array_equal(state["x"], np.arange(9))
    end_sec = time.monotonic() + 60  # Orbax clears what a kill left in a thread of its own.
    while len(list((tmp_path / "c").iterdir())) > 1 and time.monotonic() < end_sec:
        time.sleep(0.1)
    assert [f.name for f in (tmp_path / "c").iterdir()] == ["1"]


def _kept(directory: pathlib.Path) -> list[int]:
    return sorted(int(place.name) for place in directory.iterdir())


def test_the_newest_the_best_and_one_in_each_interval_are_kept(tmp_path):
    scores = {90: 5.0, 110: 9.0, 130: 1.0, 190: 7.0, 210: None, 230: 8.0, 250: 9.0}
    for nimg, score in scores.items():  # Opened anew each time, as by a run that is resumed again and again.
        manager = checkpoint.open_manager(tmp_path, keep=2, keep_every=100, keep_best=1)
        checkpoint.save(manager, nimg, make_state(), {}, score)
        checkpoint.close(manager)
    assert _kept(tmp_path) == [110, 130, 210, 230, 250]


def test_a_checkpoint_whose_score_cannot_be_read_is_not_the_best(tmp_path):
    manager = checkpoint.open_manager(tmp_path, keep=1, keep_best=1)
    checkpoint.save(manager, 1, make_state(), {}, 1.0)
    checkpoint.save(manager, 2, make_state(), {}, 2.0)
    checkpoint.wait(manager)
    record = tmp_path / "1" / "record" / "metadata"
    record.write_text(record.read_text().replace('"score": 1.0', '"score": 0.5'))
    for nimg in (3, 4):
        checkpoint.save(manager, nimg, make_state(), {}, 9.0)
    checkpoint.close(manager)
    assert 1 not in _kept(tmp_path) and 4 in _kept(tmp_path)


def test_a_score_that_is_no_number_is_not_the_best(tmp_path):
    manager = checkpoint.open_manager(tmp_path, keep=1, keep_best=1)
    for nimg, score in [(1, float("nan")), (2, 5.0), (3, float("inf")), (4, 9.0)]:
        checkpoint.save(manager, nimg, make_state(), {}, score)
    checkpoint.close(manager)
    assert _kept(tmp_path) == [2, 4]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot be written to .*/file \(File exists\); mend it"):
        checkpoint.open_manager(tmp_path / "file", keep=1)

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checkpoint.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(ValueError, match="Read-only file system"):
        checkpoint.open_manager(tmp_path / "checkpoints", keep=1)


def test_a_disk_without_room_is_refused(two_saved, monkeypatch):
    checkpoint.check_room(two_saved, make_state(), 3)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(ValueError, match=r"has 9.31e-08 GiB free, and its checkpoints need .*report.keep_checkpoints"):
        checkpoint.check_room(two_saved, make_state(), 3)


def test_keeping_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep is 0"):
        checkpoint.open_manager(tmp_path, keep=0)


# ---- checkpoints that are gone


def _restart(folder: pathlib.Path) -> None:
    """Does what a run does that finds no checkpoint."""
    manager = checkpoint.open_manager(folder / "checkpoints", keep=2)
    try:
        checkpoint.check_none_missing(manager)
    finally:
        manager.close()


def _save(folder: pathlib.Path) -> None:
    manager = checkpoint.open_manager(folder / "checkpoints", keep=2)
    checkpoint.save(manager, 64, make_state(), {})
    checkpoint.close(manager)
    (folder / "scalars.jsonl").write_text('{"nimg": 64}\n')


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(tmp_path):
    _save(tmp_path)
    (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"saved checkpoints, but .*/checkpoints has none. Bring them back"):
            _restart(tmp_path)
        assert not (tmp_path / "checkpoints").exists()  # So that the old one can be moved back.
    (tmp_path / "scalars.jsonl").rename(tmp_path / "old.jsonl")  # As the message says.
    _restart(tmp_path)
    (tmp_path / "scalars.jsonl").write_text('{"nimg": 64}\n')
    _restart(tmp_path)  # Killed before its first checkpoint.


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    (tmp_path / "scalars.jsonl").write_text('{"nimg": 32}\n')
    _restart(tmp_path)
