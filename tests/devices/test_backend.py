"""Devices that cannot be used are told in a sentence."""

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
