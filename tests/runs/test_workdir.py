import json
import os
import pathlib

import pytest

from stylegan_jax.config import Config, from_dict, to_dict
from stylegan_jax.devices import distributed
from stylegan_jax.runs import workdir

CONFIG = {"seed": 0, "train": {"r1_gamma": 10.0, "g_loss": "wgan"}, "schedule": {"batches": ((4, 512), (8, 256))}}


def test_the_same_config_is_accepted_again_and_is_readable(tmp_path):
    for _ in range(2):
        workdir.check_writable(tmp_path / "a" / "run")
        assert workdir.check_config(tmp_path / "a" / "run", CONFIG) == []
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
    with pytest.raises(ValueError, match=f"Cannot write the folder {tmp_path / folder}.*choose another --workdir"):
        workdir.check_writable(tmp_path / folder)


def test_a_workdir_without_permission_to_write_is_refused(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(ValueError, match=r"Permission denied.*choose another --out"):
        workdir.check_writable(tmp_path, "--out")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"seed": ', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "has no settings in it"),
        (b"3", "has no settings in it"),
    ],
)
def test_a_broken_config_record_is_named(tmp_path, content, problem):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json {problem}"):
        workdir.check_config(tmp_path, CONFIG)


def test_other_processes_write_no_config(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "process_index", lambda: 1)
    workdir.check_writable(tmp_path)
    workdir.check_config(tmp_path, CONFIG)
    workdir.record_config(tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())


def test_a_checked_folder_belongs_to_no_run_yet(tmp_path):
    workdir.check_writable(tmp_path)
    workdir.check_config(tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())
    workdir.check_config(tmp_path, CONFIG | {"seed": 1})


def test_what_a_run_reports_and_keeps_can_change(tmp_path):
    workdir.record_config(tmp_path, CONFIG | {"report": {"keep_checkpoints": 2, "best_metric": "swd"}})
    workdir.check_config(tmp_path, CONFIG | {"report": {"keep_checkpoints": 5, "best_metric": "swd"}})
    with pytest.raises(ValueError, match="best_metric: swd in"):  # Kept scores would be compared with others.
        workdir.check_config(tmp_path, CONFIG | {"report": {"keep_checkpoints": 2, "best_metric": "fd_faces"}})


@pytest.mark.parametrize(
    ("group", "name", "default", "other"),
    [
        ("train", "r1_interval", 1, 16),
        ("train", "freeze_d", 0, 1),
        ("model", "instance_norm_epsilon", 1e-8, 1e-5),
        ("model", "bias_before_blur", False, True),
    ],
)
def test_a_run_from_before_there_was_a_setting_has_its_default(tmp_path, group, name, default, other):
    now = to_dict(Config())
    before = json.loads(json.dumps(now))
    del before[group][name]
    workdir.record_config(tmp_path, before)
    assert workdir.check_config(tmp_path, now) == []
    assert from_dict(workdir.read_config(tmp_path)) == Config()
    now[group][name] = other
    with pytest.raises(ValueError, match=rf"{group}.{name}: {default} in .*, {other} now"):
        workdir.check_config(tmp_path, now)


def test_settings_are_compared_without_writing(tmp_path):
    workdir.check_config(tmp_path / "nowhere", CONFIG)
    assert not list(tmp_path.iterdir())


def test_a_run_can_be_made_longer_and_its_record_says_how_long_it_is(tmp_path):
    short, long = (CONFIG | {"schedule": {"total_kimg": kimg, "batches": [[4, 512]]}} for kimg in (100.0, 200.0))
    workdir.record_config(tmp_path, short)
    (line,) = workdir.check_config(tmp_path, long)
    assert line == f"The length of the run changes: schedule.total_kimg: 100.0 in {tmp_path}, 200.0 now."
    workdir.record_config(tmp_path, long)
    assert workdir.read_config(tmp_path) == long
    assert workdir.check_config(tmp_path, long) == []


def test_the_record_keeps_what_a_run_began_with_but_for_its_length(tmp_path):
    before = CONFIG | {"schedule": {"total_kimg": 100.0}, "report": {"grid_rows": 1}}
    workdir.record_config(tmp_path, before)
    workdir.record_config(tmp_path, CONFIG | {"schedule": {"total_kimg": 200.0}, "report": {"grid_rows": 2}})
    kept = workdir.read_config(tmp_path)
    assert kept["report"] == {"grid_rows": 1} and kept["schedule"] == {"total_kimg": 200.0}


def test_a_folder_without_a_run_has_no_settings(tmp_path):
    assert workdir.read_config(tmp_path) is None


# ---- names of folders


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--workdir is empty; name a folder"),
        ("  ", "--workdir is empty"),
        ("gs://bucket/run", "--workdir=gs://bucket/run is not a folder of this machine"),
        ("s3:/bucket/run", "is not a folder of this machine"),
        ("file:///tmp/run", "is not a folder of this machine"),
        ("~nosuchuser/run", "--workdir=~nosuchuser/run: this machine has no such user"),
    ],
)
def test_what_names_no_folder_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        workdir.resolve(text, "--workdir")


def test_a_home_that_does_not_exist_is_not_made(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    with pytest.raises(ValueError, match=r"--workdir=~/run: the home folder .*nobody does not exist"):
        workdir.resolve("~/run", "--workdir")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert workdir.resolve("~/run", "--workdir") == tmp_path / "run"


def test_a_folder_is_where_its_name_says():
    assert workdir.resolve("runs/a:b", "--workdir") == pathlib.Path("runs/a:b")
    assert workdir.resolve("~/run", "--workdir") == pathlib.Path(os.path.expanduser("~")) / "run"
