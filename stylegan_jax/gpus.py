"""NVIDIA GPUs that need not be here: what is published of them, and how programs are compiled for them without one."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
from typing import Any

import jax
from jax.experimental import topologies

DEVICES_PER_HOST = 8


@dataclasses.dataclass(frozen=True)
class GPU:
    """One model. XLA's compiler wants to know its size; rates are dense, in products' operations a second."""

    name: str
    capability: tuple[int, int]  # Of CUDA.
    num_cores: int  # Streaming multiprocessors.
    num_units_per_core: int  # That compute in float32.
    shared_bytes_per_core: int
    max_shared_bytes_per_block: int
    l2_bytes: int
    clock_ghz: float
    memory_bytes: int
    bytes_per_sec: float
    bfloat16_flops: float
    tf32_flops: float
    float32_flops: float
    dollars_per_hour: float


# Sizes: openxla/xla, xla/backends/gpu/target_config/specs. Rates: NVIDIA's data sheets of V100 SXM2, A100 SXM 80 GB,
# H100 SXM, H200 SXM and DGX B200, without sparsity. The V100 multiplies neither bfloat16 nor TF32; XLA takes float32.
# Prices: Amazon EC2 on demand, US regions, an eighth of p3.16xlarge, p4de.24xlarge, p5.48xlarge, p5en.48xlarge and
# p6-b200.48xlarge, as of mid-2025 and not looked up since.
_HOPPER = ((9, 0), 132, 128, 233472, 232448, 52428800, 1.98)
GPUS = {
    "v100": GPU(
        "NVIDIA V100", (7, 0), 80, 64, 98304, 98304, 6291456, 1.53,
        16935682048, 0.898e12, 15.7e12, 15.7e12, 15.7e12, 3.06,
    ),
    "a100": GPU(
        "NVIDIA A100", (8, 0), 108, 64, 167936, 166912, 41943040, 1.41,
        85100068864, 2.039e12, 312e12, 156e12, 19.5e12, 3.43,
    ),
    "h100": GPU("NVIDIA H100", *_HOPPER, 84942979072, 3.352e12, 989e12, 494e12, 67e12, 6.88),
    "h200": GPU("NVIDIA H200", *_HOPPER, 151397597184, 4.8e12, 989e12, 494e12, 67e12, 7.91),
    "b200": GPU(
        "NVIDIA B200", (10, 0), 148, 128, 233472, 232448, 132644864, 1.965,
        191514411008, 7.672e12, 2250e12, 1100e12, 75e12, 14.24,
    ),
}  # fmt: skip


def target_config(gpu: GPU) -> str:
    """Returns what XLA's compiler is told of a GPU: its GpuTargetConfigProto, as text."""
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared_bytes_per_core}
  threads_per_core_limit: 2048
  core_count: {gpu.num_cores}
  fpus_per_core: {gpu.num_units_per_core}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {int(gpu.bytes_per_sec)}
  l2_cache_size: {gpu.l2_bytes}
  clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {gpu.memory_bytes}
  shared_memory_per_block_optin: {gpu.max_shared_bytes_per_block}
  cuda_compute_capability {{ major: {gpu.capability[0]} minor: {gpu.capability[1]} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "{gpu.name}"
"""


def missing_packages() -> str | None:
    """Returns how to install what compiles for NVIDIA GPUs, or None if it is here."""
    has_plugin = any(importlib.util.find_spec(f"jax_cuda{n}_plugin") is not None for n in (12, 13))
    if has_plugin and _nvcc_folder() is not None:
        return None
    version = importlib.metadata.version("jax")
    return (
        f"pip install --no-deps jax-cuda12-pjrt=={version} jax-cuda12-plugin=={version} 'nvidia-cuda-nvcc-cu12<13' "
        "(600 MB; no GPU is needed)"
    )


def _nvcc_folder() -> pathlib.Path | None:
    """Returns where ptxas and libdevice lie: of the package nvidia-cuda-nvcc, for CUDA 12 or 13."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for folder in (pathlib.Path(root) / "cuda_nvcc", pathlib.Path(root) / "cu13"):
            if (folder / "bin/ptxas").is_file():
                return folder
    return None


def topology_devices(name: str) -> list[Any]:
    """Returns GPUs to compile for, such as of "h100:8"; from then on JAX computes on the CPU of this machine.

    XLA then chooses its algorithms without trying any, for there is nothing to try them on.

    Raises:
        ValueError: there is no such topology, or what compiles for it is missing.
    """
    kind, _, number = name.partition(":")
    if kind not in GPUS or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"--topology={name}: use a GPU and how many of them, like h100:8; GPUs are {', '.join(GPUS)}.")
    count = int(number)
    if count > DEVICES_PER_HOST and count % DEVICES_PER_HOST:
        raise ValueError(f"--topology={name}: use up to {DEVICES_PER_HOST}, or a multiple of {DEVICES_PER_HOST}.")
    if how := missing_packages():
        raise ValueError(f"--topology={name} needs the compiler for NVIDIA GPUs, which is not installed; {how}.")
    nvcc = _nvcc_folder()
    flags = os.environ.get("XLA_FLAGS", ""), "--xla_gpu_autotune_level=0", f"--xla_gpu_cuda_data_dir={nvcc}"
    os.environ["XLA_FLAGS"] = " ".join(flags)
    os.environ["PATH"] = os.pathsep.join((f"{nvcc}/bin", os.environ.get("PATH", "")))
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # JAX can write there what is not for here, but not read.
    num_hosts = max(count // DEVICES_PER_HOST, 1)
    topology = f"1x{num_hosts}x{count // num_hosts}"
    found = topologies.get_topology_desc(kind, "cuda", target_config=target_config(GPUS[kind]), topology=topology)
    return list(found.devices)
