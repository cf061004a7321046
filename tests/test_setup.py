"""What is installed has all that is run."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
KINDS = ("py", "npz", "safetensors", "html", "js")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    """Returns a folder with the packages as a wheel has them."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def test_configs_are_in_the_package(built):
    names = {file.name for file in (ROOT / "configs").glob("*.py")}
    assert names and {file.name for file in (built / "stylegan_jax/configs").glob("*.py")} == names


def test_every_module_and_data_file_is_in_the_package(built):
    package = ROOT / "stylegan_jax"
    wanted = {file.relative_to(package) for kind in KINDS for file in package.rglob(f"*.{kind}")}
    assert wanted <= {file.relative_to(built / "stylegan_jax") for file in (built / "stylegan_jax").rglob("*")}


def test_an_installed_config_is_found_by_its_name(built, tmp_path):
    script = "from stylegan_jax.config import named; print(named.find(['main', '--config=ffhq:8'])[1])"
    command = [sys.executable, "-c", script]
    environment = {"PYTHONPATH": str(built), "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.stdout == f"--config={built}/stylegan_jax/configs/ffhq.py:8\n", result.stderr
