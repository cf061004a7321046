"""Settings of every test: four CPU devices, exact multiplications, and errors where JAX would guess."""

import os
import pathlib
import signal

os.environ["JAX_PLATFORMS"] = "cpu"  # Before JAX is imported; processes that a test starts inherit it.
# Tests compile more than they compute: LLVM optimizes little, unless XLA_FLAGS asks for more.
os.environ["XLA_FLAGS"] = " ".join(
    ("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true", os.environ.get("XLA_FLAGS", ""))
)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # A shell starts what is in its background so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # One core for each of pytest's processes: otherwise their threads would wait busily for one another.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(cores)]})

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_default_matmul_precision", "highest")

pytest_plugins = ["tests.goldens_report"]  # Prints the worst error of each file.


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    """Clears JAX's caches after each file: each program holds memory maps, and XLA crashes when there are no more."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def goldens() -> pathlib.Path:
    """Folder of the arrays recorded from the official code; without one the test is skipped."""
    folder = os.environ.get("STYLEGAN_GOLDENS")
    if not folder:
        pytest.skip("STYLEGAN_GOLDENS names no folder of recorded arrays")
    if not pathlib.Path(folder).is_dir():
        pytest.fail(f"STYLEGAN_GOLDENS is {folder!r}, which is no folder; unset it, or name the recorded arrays.")
    return pathlib.Path(folder)
