"""The kind of device that a program is traced for: some functions have a form that it is fast at."""

import contextlib
import contextvars
import importlib.util
from collections.abc import Iterator
from typing import Any

import jax

MIN_TRITON_CAPABILITY = (8, 0)  # Of NVIDIA GPUs: Ampere.

_device: contextvars.ContextVar[Any] = contextvars.ContextVar("device", default=None)


@contextlib.contextmanager
def forms_for(device: Any) -> Iterator[None]:
    """Lets what is traced here take the forms for devices like this, which may be elsewhere, whatever is at hand."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def platform() -> str:
    """Returns "cpu", "gpu" or "tpu"."""
    return _device.get().platform if _device.get() is not None else jax.default_backend()


def has_triton() -> bool:
    """Returns whether kernels in Triton can be compiled: for NVIDIA GPUs from Ampere on, as long as JAX has Triton."""
    if platform() != "gpu" or importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        return False
    capability = str(getattr(_device.get() or jax.devices()[0], "compute_capability", "")).split(".")
    if not all(part.isdecimal() for part in capability):  # As of AMD's.
        return False
    return tuple(map(int, capability)) >= MIN_TRITON_CAPABILITY
