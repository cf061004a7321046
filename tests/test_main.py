import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stylegan_jax.main", *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.train.r1_gama=5", "did you mean --config.train.r1_gamma?"),
        ("--config.train.r1_gamma=ten", "r1_gamma"),
        ("--config.model.resolution=48", "model.resolution is 48; use 8, 16"),
        ("--config.data.source=nowhere.zip", "nowhere.zip"),
        ("stray", "stray: not understood"),
    ],
)
def test_a_wrong_argument_ends_in_one_line(tmp_path, argument, message):
    result = run("--config=configs/demo.py", f"--workdir={tmp_path / 'run'}", argument)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_config_file_ends_in_one_line(tmp_path):
    result = run("--config=configs/nowhere.py", f"--workdir={tmp_path}")
    assert result.returncode == 1 and "nowhere.py" in result.stderr and "Traceback" not in result.stderr
