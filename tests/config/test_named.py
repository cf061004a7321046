"""A config is found by its name."""

import pathlib

import pytest

from stylegan_jax.config import named

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["--config=demo"], [f"--config={ROOT}/configs/demo.py"]),
        (["--config=ffhq:8"], [f"--config={ROOT}/configs/ffhq.py:8"]),
        (["-config", "ffhq:1", "--mode=plan"], ["-config", f"{ROOT}/configs/ffhq.py:1", "--mode=plan"]),
        (["--config=configs/ffhq.py:8"], ["--config=configs/ffhq.py:8"]),
        (["--config=nowhere.py"], ["--config=nowhere.py"]),
        (["--config=configs/nowhere"], ["--config=configs/nowhere"]),
        (["--config="], ["--config="]),
        (["--config.seed=1", "--workdir=demo"], ["--config.seed=1", "--workdir=demo"]),
    ],
)
def test_a_config_is_found_by_its_name(given, found):
    assert named.find(["main", *given]) == ["main", *found]


def test_a_file_here_comes_before_a_config_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").touch()
    assert named.find(["main", "--config=demo"]) == ["main", "--config=demo"]


@pytest.mark.parametrize(
    ("name", "message"), [("fhq:8", r"--config=fhq:8: there is no such config; did you mean ffhq"), ("x", "celebahq")]
)
def test_a_config_that_does_not_exist_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        named.find(["main", f"--config={name}"])
