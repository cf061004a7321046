"""Changes small files of weights at random, led by the code they reach, and keeps those that break a promise.

The promises of the readers: nothing but ValueError comes out, within two seconds of a processor and a gigabyte.
"""

import argparse
import hashlib
import io
import pathlib
import resource
import sys
import time
import traceback
import warnings
from typing import Any

import atheris

with atheris.instrument_imports(include=["stylegan_jax.weights", "pickletools", "zipfile"]):
    import numpy as np

    from experiments.fuzz_weights import seeds
    from stylegan_jax.weights.files import pickles, torch_files
    from stylegan_jax.weights.files.pickle_machine import MAX_DEPTH, MAX_NODES, Global, Record

MAX_INPUT_BYTES = 4096
MAX_SEC = 2.0  # Of a processor, for one input.
MAX_BYTES = 2**30
REPORT_INPUTS = 20000
ALLOWED = {
    **pickles.NUMPY,
    **pickles.records("dnnlib.tflib.network.Network"),
    "collections.OrderedDict": pickles.make_dict,
}


class Fuzzer:
    """Reads inputs one after another, and keeps those that break a promise."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.begin_sec = time.time()
        self.num_inputs = self.num_loaded = 0
        self.reasons: set[str] = set()

    def __call__(self, data: bytes) -> None:
        self.num_inputs += 1
        begin_sec = time.process_time()
        try:
            self.num_loaded += self.is_loaded(data)
        except BaseException as error:
            self.keep(data, f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1].line}")
        if time.process_time() - begin_sec > MAX_SEC:
            self.keep(data, "slow")
        if self.num_inputs % REPORT_INPUTS == 0:
            self.report()

    def is_loaded(self, data: bytes) -> bool:
        """Whether the input is read. Raises whatever should not come out of a reader."""
        kind = data[0] % 7 if data else 0
        file = seeds.file_of(kind, data[1:])
        try:
            if kind in (seeds.PICKLE, seeds.OPCODES):
                value = pickles.load(io.BytesIO(file), ALLOWED, name="input")
            else:
                path = self.folder / "input"
                path.unlink(missing_ok=True)
                path.write_bytes(file)
                value = torch_files.load(path)
        except ValueError as error:
            message = str(error)
            assert type(error) is ValueError and message.endswith(".") and "\n" not in message, message
            assert "MemoryError" not in message and "allocate" not in message, message
            return False
        num_nodes, _ = _walk(value, 1)
        assert num_nodes <= MAX_NODES + 1
        return True

    def keep(self, data: bytes, reason: str) -> None:
        if reason in self.reasons:
            return
        self.reasons.add(reason)
        name = hashlib.sha256(data).hexdigest()[:16]
        (self.folder / "finds" / name).write_bytes(data)
        (self.folder / "finds" / f"{name}.txt").write_text(f"{reason}\n{traceback.format_exc()}")
        print(f"FIND {name}: {reason}", flush=True)

    def report(self) -> None:
        seconds = time.time() - self.begin_sec
        print(
            f"{seconds:.0f} s, {self.num_inputs} inputs, {self.num_loaded} read, {len(self.reasons)} finds", flush=True
        )


def _walk(value: Any, depth: int) -> tuple[int, int]:
    """Returns the number of nodes and the depth. Reads every array to its last byte."""
    assert depth <= MAX_DEPTH + 1
    if isinstance(value, Record):
        parts = [value.args, value.state]
    elif type(value) is dict:
        assert all(type(key) in (str, int) for key in value)
        parts = list(value.values())
    elif type(value) in (list, tuple):
        parts = list(value)
    else:
        assert value is None or isinstance(
            value, bool | int | float | str | bytes | np.ndarray | np.generic | np.dtype | Global
        )
        if isinstance(value, np.ndarray):
            assert value.dtype.kind != "O" and value.nbytes <= 2**28
            value.tobytes()
        parts = []
    walked = [_walk(part, depth + 1) for part in parts]
    return 1 + sum(nodes for nodes, _ in walked), 1 + max((part_depth for _, part_depth in walked), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.fuzz_weights", description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where inputs and finds are kept")
    parser.add_argument("--seconds", type=int, default=2400, help="how long to go on")
    options = parser.parse_args()
    corpus = options.folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (options.folder / "finds").mkdir(exist_ok=True)
    for kind, data in seeds.seeds():
        (corpus / hashlib.sha256(bytes([kind]) + data).hexdigest()[:16]).write_bytes(bytes([kind]) + data)
    warnings.simplefilter("error")
    used_bytes = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MAX_BYTES, resource.RLIM_INFINITY))
    settings = [
        f"-max_total_time={options.seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        "-timeout=60",
        "-rss_limit_mb=2048",
    ]
    settings += ["-print_final_stats=1", f"-artifact_prefix={options.folder}/finds/"]
    atheris.Setup([sys.argv[0], *settings, str(corpus)], Fuzzer(options.folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
