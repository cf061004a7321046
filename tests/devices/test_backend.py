"""Devices that cannot be used are told in a sentence; a CPU's memory is kept."""

import platform
import subprocess
import sys
import types

import jax
import pytest

from stylegan_jax.devices import backend


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            "cuda",
            AssertionError(),  # What JAX 0.10 has for it.
            "JAX_PLATFORMS=cuda asks for devices that cannot be used here (there is no such device); this machine has "
            "4 CPU. Use a machine with an NVIDIA GPU and its driver, and install jax[cuda13] there, or unset "
            "JAX_PLATFORMS to use what is here.",
        ),
        (
            "tpu",
            RuntimeError("no libtpu.so (set JAX_PLATFORMS='' to automatically choose an available backend)\nmore"),
            "JAX_PLATFORMS=tpu asks for devices that cannot be used here (no libtpu.so); this machine has 4 CPU. Use a "
            "machine with a TPU, and install jax[tpu] there, or unset JAX_PLATFORMS to use what is here.",
        ),
        ("", RuntimeError("cuda is broken"), "no device can be used: cuda is broken"),
    ],
)
def test_devices_that_are_not_here_are_named_with_those_that_are_and_a_remedy(monkeypatch, asked, error, message):
    def refuse():
        raise error

    monkeypatch.setattr(jax, "devices", refuse)
    monkeypatch.setattr(backend, "_asked", lambda: asked)
    updates = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: updates.append(value))
    monkeypatch.setattr(jax.extend.backend, "clear_backends", lambda: updates.append("cleared"))
    with pytest.raises(ValueError) as raised:
        backend.devices()
    assert str(raised.value) == message
    assert updates == ([None, "cleared", asked] if asked else [])


def test_devices_are_told_by_number_and_kind():
    assert backend.describe(jax.devices()) == "4 CPU"
    kinds = ["NVIDIA H100 80GB HBM3"] * 2 + ["NVIDIA A100"]
    devices = [types.SimpleNamespace(device_kind=kind) for kind in kinds]
    assert backend.describe(devices) == "2 NVIDIA H100 80GB HBM3, 1 NVIDIA A100"


FAULTS = """
import resource, sys
import numpy as np
from stylegan_jax.devices import backend
if sys.argv[1] == "keep":
    backend.keep_freed_memory()
def num_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    for _ in range(4):
        np.ones(2**25, np.uint8)
step()
before = num_faults()
step()
print(num_faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_freed_memory_is_kept_for_the_next_step():
    found = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("keep", "free")
    }
    # Huge pages, where the system makes them, are few faults.
    assert found["keep"] < found["free"] / 2
