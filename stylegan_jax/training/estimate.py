"""How much a compiled program needs of a device, how fast it can be at best, and how fast pictures are read."""

import concurrent.futures
import math
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from stylegan_jax.config import Config, Model
from stylegan_jax.data import decode, shards, sources, store
from stylegan_jax.devices import gpu_program, topology

READING_SEC = 0.3  # Time to measure how fast pictures are decoded.


def memory_bytes(device: Any, is_here: bool) -> int:
    """Returns the memory of a device, bytes: what it says itself if it is here, else what is published."""
    if not is_here:
        return topology.LIMITS[device.device_kind].memory_bytes
    host_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit", host_bytes)  # CPUs say nothing, and share the machine's.


class Work(NamedTuple):
    """What a program does for one image."""

    flops: float
    num_bytes: float  # Bytes read and written.
    kernels: Sequence[gpu_program.Kernel]  # Kernels of a call on a GPU; empty elsewhere.
    num_images: float  # Images that the kernels make.


def program_work(program: jax.stages.Compiled, device: Any, num_images: int, num_loops: int) -> Work:
    """Returns the work of a program: by its kernels on a GPU, else by the compiler's count.

    Args:
        program: the compiled program.
        device: device that it is for.
        num_images: images of a call, on one device.
        num_loops: parts that the call computes one after another. XLA counts the body of a loop once.
    """
    if device.platform == "gpu":
        found = gpu_program.kernels(program.as_text())
        flops, num_bytes = (sum(k.count * getattr(k, name) for k in found) for name in ("flops", "num_bytes"))
        return Work(flops / num_images, num_bytes / num_images, found, num_images)
    cost, images = program.cost_analysis() or {}, num_images / num_loops
    return Work(cost.get("flops", 0.0) / images, cost.get("bytes accessed", 0.0) / images, (), images)


def floor(work: Work, model: Model, device: Any) -> gpu_program.Floor:
    """Returns the least time of an image on a device, by its published limits; NaN if topology.LIMITS lacks it.

    On a GPU it is the sum over kernels. On a TPU it is the time of all operations or that of all bytes, whichever is
    longer; the compiler's bytes include those in fast memory.
    """
    limits = topology.limits_of(device.device_kind)
    if limits is None:
        return gpu_program.Floor(math.nan, math.nan, math.nan)
    rates = limits.flops_per_sec(model), limits.bytes_per_sec
    if work.kernels:
        least = gpu_program.floor(work.kernels, *rates)
        return gpu_program.Floor(*(seconds / work.num_images for seconds in least))
    arithmetic, memory = work.flops / rates[0], work.num_bytes / rates[1]
    return gpu_program.Floor(max(arithmetic, memory), arithmetic, memory)


def reading_speed(config: Config, size: int) -> float | None:
    """Returns how many pictures of `size` px this host decodes a second in data.num_workers threads, from a store.

    None for sizes that a store keeps raw, and for procedural pictures.
    """
    if size <= store.MAX_LEVEL_PX or config.data.source in sources.PROCEDURAL:
        return None
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 200, size)[:, None, None] + np.linspace(0, 40, size)[None, :, None]
    noise = rng.normal(0, 4, (size, size, config.model.channels))  # It makes files about as large as FFHQ's.
    encoded = shards.encode(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    done, start_sec = list[float](), time.perf_counter()

    def read(_: int) -> None:
        while not done or time.perf_counter() < start_sec + READING_SEC:
            decode.load(encoded)
            done.append(time.perf_counter())

    with concurrent.futures.ThreadPoolExecutor(config.data.num_workers) as pool:
        list(pool.map(read, range(config.data.num_workers)))
    return len(done) / (max(done) - start_sec)
