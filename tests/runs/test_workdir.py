import json
import pathlib
import subprocess
import sys

import jax
import pytest

from stylegan_jax import config
from stylegan_jax.runs import workdir

ROOT = pathlib.Path(__file__).parent.parent.parent
CONFIG = {"seed": 0, "train": {"r1_gamma": 10.0, "g_loss": "wgan"}, "schedule": {"batches": ((4, 512), (8, 256))}}


def test_the_same_config_is_accepted_again_and_is_readable(tmp_path):
    for _ in range(2):
        workdir.check_config(tmp_path / "a" / "run", CONFIG)
        workdir.record_config(tmp_path / "a" / "run", CONFIG)
    file = tmp_path / "a" / "run" / "config.json"
    assert json.loads(file.read_text())["train"]["r1_gamma"] == 10.0
    assert [f.name for f in file.parent.iterdir()] == ["config.json"]


def test_another_config_is_refused_field_by_field(tmp_path):
    workdir.record_config(tmp_path, CONFIG)
    before = (tmp_path / "config.json").read_text()
    other = CONFIG | {"train": {"r1_gamma": 5.0, "g_loss": "wgan", "extra": 1}}
    with pytest.raises(ValueError, match="--workdir") as error:
        workdir.check_config(tmp_path, other)
    assert f"  train.r1_gamma: 10.0 in {tmp_path}, 5.0 now\n" in str(error.value)
    assert f"  train.extra: absent in {tmp_path}, 1 now\n" in str(error.value)
    assert "move config.json away" in str(error.value)
    assert "seed" not in str(error.value) and "schedule" not in str(error.value)
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_workdir_that_is_no_folder_is_refused(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"Cannot write in {tmp_path / folder}.*choose another --workdir"):
        workdir.check_config(tmp_path / folder, CONFIG)


def test_a_workdir_without_permission_to_write_is_refused(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(ValueError, match=r"Permission denied.*choose another --workdir"):
        workdir.check_config(tmp_path, CONFIG)


@pytest.mark.parametrize("content", [b'{"seed": ', b"[]", b"3", b"\xff\xfe"])
def test_a_broken_config_record_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        workdir.check_config(tmp_path, CONFIG)


def test_other_processes_write_no_config(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    workdir.check_config(tmp_path, CONFIG)
    workdir.record_config(tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())


def test_a_checked_folder_belongs_to_no_run_yet(tmp_path):
    workdir.check_config(tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())
    workdir.check_config(tmp_path, CONFIG | {"seed": 1})


def test_what_a_run_reports_and_keeps_can_change(tmp_path):
    workdir.record_config(tmp_path, CONFIG | {"report": {"keep_checkpoints": 2, "best_metric": "swd"}})
    workdir.check_config(tmp_path, CONFIG | {"report": {"keep_checkpoints": 5, "best_metric": "swd"}})
    with pytest.raises(ValueError, match="best_metric: swd in"):  # Kept scores would be compared with others.
        workdir.check_config(tmp_path, CONFIG | {"report": {"keep_checkpoints": 2, "best_metric": "fd_faces"}})


def test_a_run_from_before_there_was_a_setting_has_its_default(tmp_path):
    now = config.to_dict(config.Config())
    before = json.loads(json.dumps(now))
    del before["train"]["r1_interval"]
    workdir.record_config(tmp_path, before)
    workdir.check_config(tmp_path, now)
    now["train"]["r1_interval"] = 16
    with pytest.raises(ValueError, match=r"train.r1_interval: 1 in .*, 16 now"):
        workdir.check_config(tmp_path, now)


# ---- one run in a folder

HOLDER = """
import sys
from stylegan_jax.runs import workdir
with workdir.locked(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended_in_whatever_way(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "locked\n"
        message = f"another run of this machine is at work in {tmp_path}; wait for its end"
        with pytest.raises(ValueError, match=message), workdir.locked(tmp_path):
            pass
        first.kill()
    for _ in range(2):
        with workdir.locked(tmp_path):
            pass
    assert not list(tmp_path.iterdir())
