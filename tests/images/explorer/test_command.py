"""--mode=explore on the command line: what is wrong is said before anything is served."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.random_networks import random_network

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> pathlib.Path:
    return random_network(resolution=8).save(tmp_path_factory.mktemp("network") / "a.safetensors")


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stylegan_jax.main", "--mode=explore", *flags]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--network=NETWORK", "--out=x"], "--out is for"),
        (["--network=NETWORK", "--directions=nowhere.npy"], "nowhere.npy"),
        (["--network=NETWORK", "--checkpoint=5"], "--checkpoint is for"),
        ([], "--network is missing, which --mode=explore needs"),
        (["--network=nowhere.pkl"], "nowhere.pkl does not exist"),
        (["--network=NETWORK,nowhere.pkl"], "nowhere.pkl does not exist"),
        (["--network=NETWORK", "--host=no.such.host.example"], "cannot be served at --host=no.such.host.example"),
        (["--network=NETWORK", "--port=70000"], "port"),
    ],
)
def test_a_wrong_flag_ends_in_one_line(network, flags, message):
    result = run(*[flag.replace("NETWORK", str(network)) for flag in flags])
    assert result.returncode == 1 and message in result.stderr and len(result.stderr.splitlines()) == 1
    assert "open http" not in result.stdout


def test_a_port_that_is_taken_is_said_in_one_line(network):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run(f"--network={network}", f"--port={taken.getsockname()[1]}")
    assert result.returncode == 1 and "cannot be served at --host=127.0.0.1" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_message_that_is_no_utf8_closes_its_socket_and_leaves_no_traceback(network):
    command = [sys.executable, "-m", "stylegan_jax.main", "--mode=explore", f"--network={network}", "--port=0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, **pipes) as process:
        address = process.stdout.readline().split()[1].replace("http", "ws")
        with connect(f"{address}/draw") as page:
            page.send(b"\xff\xff", text=True)
            with pytest.raises(ConnectionClosedError, match="1007"):
                page.recv(timeout=60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert errors == ""
