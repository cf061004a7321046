"""Devices that need not be attached: their published limits, and how programs are compiled for them."""

import importlib.metadata
import importlib.util
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from stylegan_jax.config import Model

GIB = 2**30
GPUS_PER_HOST = 8


class Limits(NamedTuple):
    """The published limits of a device."""

    memory_bytes: int
    bytes_per_sec: float  # Memory bandwidth.
    flops: Mapping[str, float]  # FLOP/s of dense products: by "bfloat16", and by model.matmul_precision for float32.
    dollars_per_hour: float

    def flops_per_sec(self, model: Model) -> float:
        """Returns the FLOP/s of products at the model's precision."""
        return self.flops["bfloat16" if model.compute_dtype == "bfloat16" else model.matmul_precision]


def _tpu(memory_gib: int, bfloat16_flops: float, bytes_per_sec: float, dollars: float) -> Limits:
    """Returns the limits of a TPU, which computes a float32 product as 1, 3 or 6 bfloat16 products."""
    flops = {"bfloat16": 1, "default": 1, "high": 3, "highest": 6}
    return Limits(memory_gib * GIB, bytes_per_sec, {k: bfloat16_flops / n for k, n in flops.items()}, dollars)


def _gpu(
    memory_bytes: int, bytes_per_sec: float, bfloat16: float, tf32: float, float32: float, dollars: float
) -> Limits:
    """Returns the limits of a GPU, which computes float32 products in TF32 unless the precision is "highest"."""
    flops = {"bfloat16": bfloat16, "default": tf32, "high": tf32, "highest": float32}
    return Limits(memory_bytes, bytes_per_sec, flops, dollars)


# Limits by jax.Device.device_kind, from the TPU versions' pages at cloud.google.com/tpu/docs and NVIDIA's data sheets
# of V100 SXM2, A100 SXM 80 GB, H100 SXM, H200 SXM and DGX B200, without sparsity. The V100 multiplies neither bfloat16
# nor TF32: XLA uses float32. Prices are of mid-2025, US regions, not looked up since: Cloud TPU pricing, and an eighth
# of Amazon EC2's on-demand p3.16xlarge, p4de.24xlarge, p5.48xlarge, p5en.48xlarge and p6-b200.48xlarge.
LIMITS = {
    "TPU v4": _tpu(32, 275e12, 1228e9, 3.22),
    "TPU v5 lite": _tpu(16, 197e12, 819e9, 1.20),
    "TPU v5": _tpu(95, 459e12, 2765e9, 4.20),
    "TPU v6 lite": _tpu(32, 918e12, 1640e9, 2.70),
    "NVIDIA V100": _gpu(16935682048, 898e9, 15.7e12, 15.7e12, 15.7e12, 3.06),
    "NVIDIA A100": _gpu(85100068864, 2039e9, 312e12, 156e12, 19.5e12, 3.43),
    "NVIDIA H100": _gpu(84942979072, 3352e9, 989e12, 494e12, 67e12, 6.88),
    "NVIDIA H200": _gpu(151397597184, 4800e9, 989e12, 494e12, 67e12, 7.91),
    "NVIDIA B200": _gpu(191514411008, 7672e9, 2250e12, 1100e12, 75e12, 14.24),
}


# Names in LIMITS of GPUs that are attached; those that are not here, H200 and B200 have them already.
_ATTACHED = {
    "Tesla V100-SXM2-16GB": "NVIDIA V100",
    "NVIDIA A100-SXM4-80GB": "NVIDIA A100",
    "NVIDIA H100 80GB HBM3": "NVIDIA H100",
}


def limits_of(device_kind: str) -> Limits | None:
    """Returns the limits of a device, attached or not; None if they are not known here."""
    return LIMITS.get(_ATTACHED.get(device_kind, device_kind))


class _Chip(NamedTuple):
    """XLA's description of a GPU: openxla/xla, xla/backends/gpu/target_config/specs."""

    capability: tuple[int, int]  # CUDA compute capability.
    num_cores: int  # Streaming multiprocessors.
    num_units_per_core: int  # Float32 units.
    shared_bytes_per_core: int
    max_shared_bytes_per_block: int
    l2_bytes: int
    clock_ghz: float


GPUS = {
    "v100": _Chip((7, 0), 80, 64, 98304, 98304, 6291456, 1.53),
    "a100": _Chip((8, 0), 108, 64, 167936, 166912, 41943040, 1.41),
    "h100": _Chip((9, 0), 132, 128, 233472, 232448, 52428800, 1.98),
    "h200": _Chip((9, 0), 132, 128, 233472, 232448, 52428800, 1.98),
    "b200": _Chip((10, 0), 148, 128, 233472, 232448, 132644864, 1.965),
}


def devices(name: str) -> list[Any]:
    """Returns the devices of a TPU slice such as "v5e:4x4", or GPUs such as "h100:8", to compile programs for.

    From then on JAX computes on this machine's CPU. XLA chooses algorithms for GPUs without trying them, because it has
    no GPU to try them on.

    Raises:
        ValueError: there is no such topology, its compiler is missing, or LIMITS lacks its devices.
    """
    name = name.strip().lower()
    is_tpu = name.startswith("v") and not name.startswith("v100")
    if name.partition(":")[0] not in GPUS and not is_tpu:
        raise ValueError(f"--topology={name}: use GPUs like h100:8 ({', '.join(GPUS)}), or a TPU slice like v5e:4x4.")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # JAX can write other devices' programs, not read them.
    found = _tpus(name) if is_tpu else _gpus(name)
    if found[0].device_kind not in LIMITS:
        raise ValueError(f"--topology={name} is of {found[0].device_kind}; use one of {', '.join(LIMITS)}.")
    return found


def _tpus(name: str) -> list[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(f"--topology={name} needs the TPU's compiler, which is not installed; pip install libtpu.")
    # Else libtpu asks a cloud's server about this machine, and claims its TPUs, which may be in use.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")  # Any type; libtpu warns if there is none.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    options: dict[str, Any] = {"chip_config_name": "megacore"} if name.lower().startswith("v4:") else {}
    if set(name.partition(":")[2].split("x")) == {"1"}:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        return list(topologies.get_topology_desc(name, "tpu", **options).devices)
    except RuntimeError as error:
        like = f"--topology={name}: use a TPU slice like v5e:4x4, v5p:2x2x1 or v6e:2x4, or GPUs like h100:8"
        raise ValueError(f"{like} ({str(error).splitlines()[0]}).") from error


def _gpus(name: str) -> list[Any]:
    kind, _, number = name.partition(":")
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"--topology={name}: say how many, as in {kind}:8.")
    count = int(number)
    if count > GPUS_PER_HOST and count % GPUS_PER_HOST:
        raise ValueError(f"--topology={name}: use up to {GPUS_PER_HOST} GPUs, or a multiple of {GPUS_PER_HOST}.")
    if how := missing_packages():
        raise ValueError(f"--topology={name} needs the compiler for NVIDIA GPUs, which is not installed; {how}.")
    nvcc, hosts = _nvcc_folder(), max(count // GPUS_PER_HOST, 1)
    flags = os.environ.get("XLA_FLAGS", ""), "--xla_gpu_autotune_level=0", f"--xla_gpu_cuda_data_dir={nvcc}"
    os.environ["XLA_FLAGS"] = " ".join(flags)
    os.environ["PATH"] = os.pathsep.join((f"{nvcc}/bin", os.environ.get("PATH", "")))
    options = {"target_config": _target_config(kind), "topology": f"1x{hosts}x{count // hosts}"}
    return list(topologies.get_topology_desc(kind, "cuda", **options).devices)


def _target_config(kind: str) -> str:
    """Returns XLA's description of a GPU: a GpuTargetConfigProto, as text."""
    gpu, name = GPUS[kind], f"NVIDIA {kind.upper()}"
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
  memory_bandwidth: {int(LIMITS[name].bytes_per_sec)}
  l2_cache_size: {gpu.l2_bytes}
  clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {LIMITS[name].memory_bytes}
  shared_memory_per_block_optin: {gpu.max_shared_bytes_per_block}
  cuda_compute_capability {{ major: {gpu.capability[0]} minor: {gpu.capability[1]} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
device_description_str: "{name}"
"""


def missing_packages() -> str | None:
    """Returns how to install the compiler for NVIDIA GPUs, or None if it is installed."""
    has_plugin = any(importlib.util.find_spec(f"jax_cuda{n}_plugin") is not None for n in (12, 13))
    if has_plugin and _nvcc_folder() is not None:
        return None
    version = importlib.metadata.version("jax")
    return (
        f"pip install --no-deps jax-cuda12-pjrt=={version} jax-cuda12-plugin=={version} 'nvidia-cuda-nvcc-cu12<13' "
        "(600 MB; no GPU is needed)"
    )


def _nvcc_folder() -> pathlib.Path | None:
    """Returns the folder of ptxas and libdevice, from the package nvidia-cuda-nvcc for CUDA 12 or 13; None without."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for folder in (pathlib.Path(root) / "cuda_nvcc", pathlib.Path(root) / "cu13"):
            if (folder / "bin/ptxas").is_file():
                return folder
    return None
