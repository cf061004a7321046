import json
import pathlib

import jax
import pytest

from stylegan_jax import workdir

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


def test_a_broken_config_record_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
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
