"""The contents of programs for GPUs: as read from their text, and as recorded for an H100.

The recorded numbers come from `python -m tests.gpu_cases > tests/gpu_cases.json`.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from stylegan_jax.devices import gpu_program, topology

FOLDER = pathlib.Path(__file__).parent.parent
TOLERANCE = 0.05  # Relative error of the bytes.
CASES = json.loads((FOLDER / "gpu_cases.json").read_text())

TEXT = """HloModule jit_steps

%fused_product (p0: bf16[8,16], p1: bf16[16,4]) -> bf16[8,4] {
  %p0 = bf16[8,16]{1,0} parameter(0)
  %p1 = bf16[16,4]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,4]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (bf16[8,16], bf16[16,4])) -> (bf16[8,16], bf16[16,4]) {
  %state = (bf16[8,16]{1,0}, bf16[16,4]{1,0}) parameter(0)
  %a = bf16[8,16]{1,0} get-tuple-element(%state), index=0
  %b = bf16[16,4]{1,0} get-tuple-element(%state), index=1
  %product = bf16[8,4]{1,0} fusion(%a, %b), kind=kCustom, calls=%fused_product, metadata={op_name="jit(steps)/dot"}
  ROOT %next = (bf16[8,16]{1,0}, bf16[16,4]{1,0}) tuple(%a, %b)
}

ENTRY %main (x: bf16[2,8,8,3], k: bf16[5,3,3,3], s: (bf16[8,16], bf16[16,4])) -> bf16[2,8,8,5] {
  %x = bf16[2,8,8,3]{3,2,1,0} parameter(0)
  %k = bf16[5,3,3,3]{3,2,1,0} parameter(1)
  %s = (bf16[8,16]{1,0}, bf16[16,4]{1,0}) parameter(2)
  %loop = (bf16[8,16]{1,0}, bf16[16,4]{1,0}) while(%s), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"4"}}
  %conv = (bf16[2,8,8,5]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  ROOT %y = bf16[2,8,8,5]{3,2,1,0} get-tuple-element(%conv), index=0
}
"""  # noqa: E501 (XLA writes one instruction per line.)


def test_kernels_are_read_with_their_bytes_operations_and_numbers():
    product, conv = gpu_program.kernels(TEXT)
    assert (product.call, product.count, product.source) == ("fusion", 4, "jit(steps)/dot")
    assert product.num_bytes == 2 * (8 * 16 + 16 * 4 + 8 * 4) and product.flops == 2 * 8 * 16 * 4
    assert (conv.call, conv.count) == ("__cudnn$convForward", 1)
    assert conv.num_bytes == 2 * (2 * 64 * 3 + 5 * 27 + 2 * 64 * 5) and conv.flops == 2 * (2 * 64 * 5) * 9 * 3


def test_the_floor_is_the_longer_time_of_each_kernel():
    least = gpu_program.floor(gpu_program.kernels(TEXT), flops_per_sec=1e3, bytes_per_sec=1e3)
    product, conv = (4 * 1.024, 4 * 0.448), (34.56, 2.318)
    assert least.seconds == pytest.approx(product[0] + conv[0])
    assert least.arithmetic_seconds == pytest.approx(product[0] + conv[0])
    assert least.memory_seconds == pytest.approx(product[1] + conv[1])


@pytest.mark.parametrize(
    ("window", "is_recognized"),
    [
        ("", True),
        ("size=3x3 pad=1_1x1_1", True),
        ("size=4x4 stride=2x2 pad=1_1x1_1", True),
        ("size=4x4 pad=1_1x1_1 rhs_dilate=2x2", True),
        ("size=4x4", False),  # Over a picture enlarged with zeros.
        ("size=64x64 pad=1_1x1_1 rhs_dilate=2x2 rhs_reversal=1x1", False),  # The picture itself is the window.
    ],
)
def test_convolutions_that_are_not_what_they_should_be_are_told(window, is_recognized):
    assert gpu_program.Kernel("", "", 1, 0, 0, window, "").is_recognized == is_recognized


@pytest.fixture(scope="module")
def compiled():
    """The contents of the cases' programs, from a process of its own: the plugin needs flags before JAX begins."""
    folder = os.environ.get("STYLEGAN_GPU_COMPILER", "")
    if not folder and (how := topology.missing_packages()):
        pytest.skip(f"nothing compiles for GPUs here; {how}, or name a folder of them as STYLEGAN_GPU_COMPILER")
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.gpu_cases"]
    done = subprocess.run(command, env=environment, cwd=FOLDER.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_what_an_h100_would_run_is_as_recorded(compiled, name):
    now, recorded = compiled[name], CASES[name]
    assert now["unrecognized"] == 0
    assert now["convolutions"] == recorded["convolutions"]
    assert now["all-reduces"] == recorded["all-reduces"]  # One per network and step.
    assert now["bytes"] == pytest.approx(recorded["bytes"], rel=TOLERANCE)


def test_every_case_is_recorded(compiled):
    assert compiled.keys() == CASES.keys()
