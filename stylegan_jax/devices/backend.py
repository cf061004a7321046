"""The kind of device that a program is traced for: some functions have a form that is fast on it."""

import collections
import contextlib
import contextvars
import ctypes
import importlib.util
import os
import pathlib
import tempfile
import types
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.extend.backend
from absl import logging

MOST_CPU_DEVICES = 16  # Parts that a machine's cores are taken as; each holds parameters of its own.
MIN_TRITON_CAPABILITY = (8, 0)  # Compute capability of NVIDIA's Ampere.

# Stands for devices of every kind, for `forms_for`: what is traced takes no form that one kind alone has.
PORTABLE = types.SimpleNamespace(platform="portable")

_device: contextvars.ContextVar[Any] = contextvars.ContextVar("device", default=None)


# glibc's malloc.h: parameters of mallopt, with the values that keep freed memory in the process.
_KEEPING = {-8: 1, -4: 0, -1: -1}  # M_ARENA_MAX: one heap. M_MMAP_MAX: nothing apart from it. M_TRIM_THRESHOLD: never.


@contextlib.contextmanager
def forms_for(device: Any) -> Iterator[None]:
    """Makes what is traced in the block take the forms for devices like `device`, which need not be here."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def devices() -> list[jax.Device]:
    """Returns all devices of all processes.

    Raises:
        ValueError: the platform that JAX_PLATFORMS asks for cannot be used here, or an installed one is broken.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # An AssertionError without a text: no NVIDIA GPU is visible.
        asked = _asked()
        reason = (str(error).splitlines() or ["there is no such device"])[0]
        if not asked:
            raise ValueError(f"no device can be used: {reason}") from error
        raise ValueError(
            f"JAX_PLATFORMS={asked} asks for devices that cannot be used here ({reason.partition(' (set JAX_')[0]}); "
            f"this machine has {_what_is_here()}. {_REMEDIES.get(asked, 'Name another platform')}, or unset "
            "JAX_PLATFORMS to use what is here."
        ) from error


_REMEDIES = {
    "cuda": "Use a machine with an NVIDIA GPU and its driver, and install jax[cuda13] there",
    "gpu": "Use a machine with a GPU and its driver, and install jax[cuda13], or JAX for ROCm, there",
    "tpu": "Use a machine with a TPU, and install jax[tpu] there",
}


def _asked() -> str | None:
    return jax.config.values["jax_platforms"]


def _what_is_here() -> str:
    """Returns the devices that JAX finds by itself, as text; it leaves JAX as it was."""
    asked = _asked()
    jax.config.update("jax_platforms", None)
    try:
        return describe(jax.local_devices())
    except (RuntimeError, AssertionError):
        return "none that JAX can use"
    finally:
        jax.extend.backend.clear_backends()
        jax.config.update("jax_platforms", asked)


def describe(found: Iterable[jax.Device]) -> str:
    """Returns the number and kind of devices: "8 NVIDIA H100 80GB HBM3", or "1 CPU"."""
    kinds = collections.Counter(device.device_kind for device in found)
    return ", ".join(f"{count} {'CPU' if kind == 'cpu' else kind}" for kind, count in kinds.items())


def platform() -> str:
    """Returns "cpu", "gpu" or "tpu"."""
    return _device.get().platform if _device.get() is not None else jax.default_backend()


def has_triton() -> bool:
    """Returns whether kernels in Triton can be compiled: for NVIDIA GPUs from Ampere on, as long as JAX has Triton."""
    if platform() != "gpu" or importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        return False
    capability = str(getattr(_device.get() or jax.devices()[0], "compute_capability", "")).split(".")
    if not all(part.isdecimal() for part in capability):  # AMD's GPUs have names there.
        return False
    return tuple(map(int, capability)) >= MIN_TRITON_CAPABILITY


def keep_freed_memory() -> None:
    """Makes glibc keep the memory that this process frees; another C library goes on as before.

    Otherwise the temporaries of each step on a CPU go back to the system, which zeroes them page by page for the next
    step: a third of the CPU time of the small model's step at 64 px. The price is that the process keeps the memory of
    its peak, there 1.2 GB in place of 0.8.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in _KEEPING.items():
            mallopt(parameter, value)


def cache_folder(name: str) -> pathlib.Path:
    """Returns a folder in the user's cache, below XDG_CACHE_HOME or ~/.cache; it need not exist.

    Raises:
        ValueError: there is no home.
    """
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    except RuntimeError as error:
        raise ValueError(f"this user has no folder for caches ({error}); set XDG_CACHE_HOME to one.") from None
    return cache / "stylegan_jax" / name


def keep_programs() -> None:
    """Keeps compiled programs on disk for later starts, in the user's cache or where JAX_COMPILATION_CACHE_DIR says."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder("xla")
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        logging.warning("compiled programs are not kept for later starts: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def leave_accelerators_alone() -> None:
    """Keeps JAX to the CPU, here and in processes that this one starts: accelerators may be busy, or not be here."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")


def use_all_cores() -> None:
    """Makes each core of this machine a CPU device, if it is called before JAX has any: images split over them.

    One device uses the cores together for each small layer, and leaves them idle for a third of the time.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] < 1 and "host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, MOST_CPU_DEVICES))


def find_devices() -> None:
    """Finds the devices to draw with; where those that JAX_PLATFORMS asks for cannot be used, it takes the CPU."""
    try:
        devices()
    except ValueError as error:
        logging.warning("%s Drawing on the CPU.", error)
        leave_accelerators_alone()
