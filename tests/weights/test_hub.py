"""Networks go to the hub and come back by name, and nothing but weights and a card with them."""

import os
import subprocess
import sys

import pytest

from stylegan_jax.weights import hub
from tests.hub_server import serving

FILES = {"model.safetensors": b"weights", "README.md": b"---\nlicense: mit\n---\n"}


def run(server, folder, code):
    """Returns a process that ran `code`, in which `hub` asks the server and keeps what it gets in `folder`."""
    # huggingface_hub reads these once, when it is imported.
    environment = os.environ | {"HF_ENDPOINT": server.address, "HF_HOME": str(folder / "home"), "HF_TOKEN": "hf_test"}
    command = [sys.executable, "-c", f"from stylegan_jax.weights import hub\n{code}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_download_is_the_weights_and_the_card_alone(tmp_path):
    with serving({"someone/faces": FILES | {"network.pkl": b"a program"}}) as server:
        result = run(server, tmp_path, "print(hub.download('someone/faces'))")
    assert result.returncode == 0, result.stderr
    path = result.stdout.strip()
    with open(path, "rb") as file:
        assert file.read() == b"weights"
    assert sorted(os.listdir(os.path.dirname(path))) == ["README.md", "model.safetensors"]
    assert not any("network.pkl" in asked for _, asked in server.requests)


def test_a_network_without_a_card_is_downloaded(tmp_path):
    with serving({"someone/faces": {"model.safetensors": b"weights"}}) as server:
        result = run(server, tmp_path, "print(hub.download('someone/faces').name)")
    assert result.stdout == "model.safetensors\n", result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'someone/other'", "ValueError: the hub has no model someone/other, or it is private"),
        ("'someone/faces', 'v9'", "ValueError: the hub has someone/faces, but no revision 'v9' of it."),
        ("'someone/pickles'", "ValueError: someone/pickles has no model.safetensors, the one file of weights"),
    ],
)
def test_what_is_not_there_is_said(arguments, message, tmp_path):
    with serving({"someone/faces": FILES, "someone/pickles": {"network.pkl": b"a program"}}) as server:
        result = run(server, tmp_path, f"hub.download({arguments})")
    assert result.returncode == 1 and message in result.stderr.splitlines()[-1]


def test_an_upload_is_the_weights_and_the_card_alone(tmp_path):
    for name, content in (FILES | {"network.pkl": b"a program"}).items():
        (tmp_path / name).write_bytes(content)
    with serving({}) as server:
        result = run(server, tmp_path, f"print(hub.upload({str(tmp_path)!r}, 'someone/faces'))")
    assert result.stdout == f"{server.address}/someone/faces\n", result.stderr
    assert server.models == {"someone/faces": FILES}


@pytest.mark.parametrize("missing", FILES)
def test_an_incomplete_folder_is_not_uploaded(missing, tmp_path):
    for name in set(FILES) - {missing}:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"has no {missing}; an upload is"):
        hub.upload(tmp_path, "someone/faces")


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install huggingface_hub"):
        hub.download("someone/faces")
