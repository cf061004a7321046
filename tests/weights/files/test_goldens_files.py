"""The recorded files, read without the code that wrote them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stylegan_jax.weights.files import pickles, torch_files
from tests.weights.files import values

OPTIMIZERS = ("optimizers", "g_optimizer", "d_optimizer")  # Their arrays are not listed with the recorded files.


@pytest.mark.goldens
def test_official_pickle_is_read_as_python_reads_it(goldens):
    path = goldens / "network.pkl"
    if not path.is_file():
        pytest.skip(f"{goldens} has no network.pkl")
    with path.open("rb") as file:
        networks = pickles.load(file, {**pickles.NUMPY, **pickles.records("dnnlib.tflib.network.Network")})
    with path.open("rb") as file:
        expected = values.Unpickler(file, encoding="latin1").load()
    assert len(networks) == 3
    assert values.same(networks, expected)


@pytest.mark.goldens
def test_files_of_the_ports_give_their_arrays(goldens):
    keys = goldens / "ports" / "KEYS.txt"
    if not keys.is_file():
        pytest.skip(f"{goldens} has no ports/KEYS.txt")
    listed = _listed_arrays(keys.read_text())
    paths = [path for path in keys.parent.rglob("*") if path.suffix in (".pth", ".pt", ".model")]
    assert len(paths) == 22
    for path in paths:
        arrays = dict(_flat(torch_files.load(path)))
        assert arrays and arrays == listed[str(path.relative_to(keys.parent))], path


def _listed_arrays(text: str) -> dict[str, dict[str, tuple]]:
    """Returns type, shape and strides of each array of each file: "name  float32 [2, 3] strides [1, 2]"."""
    listed: dict[str, dict[str, tuple]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            arrays = listed.setdefault(line.split()[1], {})
        elif found := re.fullmatch(r" +(\S+)  (\w+) (\[.*?\])(?: strides (\[.*\]))?", line):
            name, dtype, shape, strides = found.groups()
            arrays[name] = (dtype, json.loads(shape), json.loads(strides) if strides else None)
    return listed


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, tuple]]:
    if isinstance(value, np.ndarray):
        strides = [stride // value.itemsize for stride in value.strides]
        yield (
            prefix.removesuffix("|"),
            (str(value.dtype), list(value.shape), None if value.flags.c_contiguous else strides),
        )
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(part, f"{prefix}{name}|") if name not in OPTIMIZERS else ()
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _flat(part, f"{prefix}[{index}]|")
