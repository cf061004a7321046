"""The kernels of a program that XLA compiled for a GPU, the bytes that they move, and a floor of their time.

All of it is read from the compiled program's text, without a GPU. Bytes are those of whole operands and results: an
array counts in full even if a kernel reads a part of it, and again even if it is still in the cache.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_SHAPE = re.compile(rf"({'|'.join(BYTES)})\[([0-9,]*)\]")
_COMPUTATION = re.compile(r"(ENTRY )?%(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%(\S+) = (.*?) ([a-z\-]+)\(([^)]*)\)")
NO_KERNELS = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "while", "call"}
MAX_WINDOW = 4  # Largest window of a convolution that XLA recognized, px; see `Kernel.is_recognized`.


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One operation on the device."""

    name: str
    call: str  # "fusion", or the target of a call: "__cudnn$convForward".
    count: int  # Calls in a run of the program.
    num_bytes: int  # Bytes read and written, per call.
    flops: float  # 2 x multiply-adds of convolutions and matrix products, per call.
    window: str  # A convolution's window, as XLA writes it: "size=4x4 stride=2x2 pad=1_1x1_1"; else "".
    source: str  # The operation of JAX that it comes from.

    @property
    def is_recognized(self) -> bool:
        """False for a convolution that XLA failed to see as strided, or as the gradient of a strided one.

        Such a convolution has a window as large as the picture, or runs over a picture enlarged with zeros.
        """
        if not self.window:
            return True
        size, is_strided = max(_window_size(self.window)), "stride=2x2" in self.window or "rhs_dilate" in self.window
        return size <= MAX_WINDOW and (size < MAX_WINDOW or is_strided)


class Floor(NamedTuple):
    """The least time that a device's published limits allow for kernels one after another."""

    seconds: float
    arithmetic_seconds: float  # Time of the arithmetic alone.
    memory_seconds: float  # Time of the bytes alone.


def kernels(text: str) -> list[Kernel]:
    """Returns the kernels in the text of a compiled program (jax.stages.Compiled.as_text), with counts of loops."""
    computations = dict(_computations(text))
    (entry,) = (name for name in computations if name.startswith("ENTRY "))
    return list(_kernels_of(entry, computations, 1))


def floor(found: Sequence[Kernel], flops_per_sec: float, bytes_per_sec: float) -> Floor:
    """Returns the time of kernels that each take the longer of their times for arithmetic and for bytes."""
    arithmetic = [kernel.count * kernel.flops / flops_per_sec for kernel in found]
    memory = [kernel.count * kernel.num_bytes / bytes_per_sec for kernel in found]
    return Floor(sum(map(max, arithmetic, memory)), sum(arithmetic), sum(memory))


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = None, list[str]()
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name, lines = (match[1] or "") + match[2], []
        elif line.startswith("}") and name is not None:
            yield name, lines
            name = None
        elif name is not None:
            lines.append(line)


def _kernels_of(name: str, computations: Mapping[str, list[str]], count: int) -> Iterator[Kernel]:
    shapes: dict[str, str] = {}
    for line in computations[name]:
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        instruction, shape, operation, text = match.groups()
        shapes[instruction] = shape
        operands = [shapes.get(o.strip().split("%")[-1], "") for o in text.split(",") if "%" in o]
        called = re.search(r"(?:body|to_apply|calls)=%([^\s,]+)", line)
        if operation in ("while", "call") and called:
            times = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line) if operation == "while" else None
            yield from _kernels_of(called[1], computations, count * (int(times[1]) if times else 1))
        if operation in NO_KERNELS or operation.endswith("-done"):
            continue
        target = re.search(r'custom_call_target="([^"]+)"', line)
        window = re.search(r"window={([^}]*)}", line) if target and "cudnn" in target[1] else None
        source = re.search(r'op_name="([^"]*)"', line)
        flops = 0.0
        if target and window:
            flops = _convolution_flops(target[1], line, window[1], [_dims(o) for o in operands[:2]], _dims(shape))
        elif operation == "fusion" and called:
            flops = sum(_product_flops(computations.get(called[1], ())))
        elif target and "gemm" in target[1]:
            flops = _gemm_flops(line, _dims(operands[0]), _dims(shape))
        yield Kernel(
            name=instruction,
            call=target[1] if target else operation,
            count=count,
            num_bytes=sum(map(shape_bytes, operands)) + shape_bytes(shape),
            flops=flops,
            window=window[1] if window else "",
            source=source[1] if source else "",
        )


def shape_bytes(shape: str) -> int:
    """Returns the bytes of all arrays in the text of a shape, which may be a tuple."""
    return sum(BYTES[dtype] * int(np.prod(_ints(dims), dtype=np.int64)) for dtype, dims in _SHAPE.findall(shape))


def _dims(shape: str) -> list[int]:
    """Returns the sizes of the first array in the text of a shape."""
    match = _SHAPE.search(shape)
    return _ints(match[2]) if match else []


def _ints(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _window_size(window: str) -> list[int]:
    match = re.search(r"size=(\d+)x(\d+)", window)
    return [int(size) for size in match.groups()] if match else [0, 0]


def _convolution_flops(
    target: str, line: str, window: str, operands: Sequence[Sequence[int]], result: Sequence[int]
) -> float:
    """Returns 2 x multiply-adds of a call of cuDNN, from its window and the order of its axes."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line)
    if labels is None or len(operands) < 2:
        return 0.0
    lhs, rhs, _ = labels.groups()
    taps = float(np.prod(_window_size(window)))
    if "BackwardFilter" in target:  # (input, gradient of the output) -> gradient of the kernel
        return 2 * taps * np.prod(operands[1], dtype=float) * operands[0][lhs.index("f")]
    outputs = operands[0] if "BackwardInput" in target else result
    return 2 * taps * np.prod(outputs, dtype=float) * operands[1][rhs.index("i")]


def _product_flops(lines: Sequence[str]) -> Iterator[float]:
    """Yields 2 x multiply-adds of each matrix product in a fused computation."""
    shapes: dict[str, str] = {}
    for line in lines:
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        instruction, shape, operation, text = match.groups()
        shapes[instruction] = shape
        if operation == "dot":
            lhs = _dims(shapes.get(text.split(",")[0].strip().split("%")[-1], "") or text)
            yield _gemm_flops(line, lhs, _dims(shape))


def _gemm_flops(line: str, lhs: Sequence[int], result: Sequence[int]) -> float:
    axes = re.search(r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d,"]*)', line)
    contracted = [lhs[int(axis)] for axis in re.findall(r"\d+", axes[1])] if axes and lhs else []
    return 2 * float(np.prod(result, dtype=float) * np.prod(contracted, dtype=float))
