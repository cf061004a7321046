"""`--mode=evaluate` as a command: what it prints and writes, and how it ends."""

import json
import os
import pathlib
import socket
import subprocess
import sys
from concurrent import futures

import numpy as np
import pytest

from tests.measured import pixels
from tests.random_networks import random_network

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> pathlib.Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/stylegan_jax"


@pytest.fixture
def reals(tmp_path) -> str:
    np.save(tmp_path / "reals.npy", pixels(24, seed=1))
    return str(tmp_path / "reals.npy")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stylegan_jax.main", "--mode=evaluate", *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_a_file_is_measured_from_the_command_line(tmp_path, reals, cache):
    network = random_network(resolution=16).save(tmp_path / "random.safetensors")
    result = run(
        "--metrics=fd_faces10k:12,kd_faces10k:12", f"--network={network}", f"--reals={reals}", "--seeds=0-1",
        f"--workdir={tmp_path / 'out'}",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    written = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [(line["metric"], line["seed"]) for line in written] == [
        (name, seed) for seed in (0, 1, [0, 1]) for name in ("fd_faces10k:12", "kd_faces10k:12")
    ]
    assert "spread over seeds" in result.stdout
    assert result.stdout.endswith(f"written to {tmp_path / 'out/metrics.jsonl'}\n")
    assert sorted(path.suffix for path in (cache / "features").iterdir()) == [".npy", ".npy", ".npz"]


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_write_them_once(tmp_path, reals):
    network = random_network(resolution=16, num_labels=3).save(tmp_path / "random.safetensors")
    given = [
        "--metrics=fd_faces10k:20,swd16k:14,msssim10k:22", f"--network={network}", f"--reals={reals}",
    ]  # fmt: skip
    assert run(*given, f"--workdir={tmp_path / 'one'}").returncode == 0
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    joint = [*given, f"--workdir={tmp_path / 'two'}", f"--coordinator={coordinator}", "--num_processes=2"]
    with futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda i: run(*joint, f"--process_id={i}"), (0, 1)))
    assert [result.returncode for result in found] == [0, 0], found
    assert "fd_faces10k:20" in found[0].stdout and "fd_faces10k:20" not in found[1].stdout
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        assert a["metric"] == b["metric"] and a["values"] == pytest.approx(b["values"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics=fid50"], "there is no metric 'fid50'; did you mean fid50k?"),
        (["--metrics=fd_faces10k", "--seeds=3-1"], "--seeds=3-1: '3-1' is no range"),
        (["--metrics=fid50k", "--network=x", "--weights=nowhere"], "fid50k needs FID's Inception of 2015, and "),
        (["--metrics=fd_faces10k", "--fakes=nowhere", "--reals=x"], "nowhere"),
        (["--metrics=fd_faces10k", "--classes=1"], "--classes is for --mode=generate"),
        ([], "no metric is asked for; use one or more of fid50k"),
    ],
)
def test_what_cannot_be_measured_ends_in_one_line(tmp_path, arguments, message):
    result = run(*arguments, f"--workdir={tmp_path / 'out'}")
    assert result.returncode == 1 and result.stderr.startswith("error: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out/metrics.jsonl").exists()
