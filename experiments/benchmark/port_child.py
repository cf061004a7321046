"""One side of the comparison, in a process of its own: answers each line of stdin with a line of JSON.

    PYTHON experiments/benchmark/port_child.py CHECKOUT NUM_THREADS    the port, where torch is
    python -m experiments.benchmark.port_child                         ours

A request is {} for a description, or {"program", "resolution", "batch", "variant"} for the seconds of a batch. The
first request of a kind compiles and warms up as well.
"""

import json
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO


def answer(side: Any, requests: Iterable[str], stream: TextIO) -> None:
    """Answers `requests` on `stream` until they end."""
    ready: dict[str, tuple[Any, int, str]] = {}
    now = None
    for line in requests:
        request = json.loads(line)
        if not request:
            reply = side.about()
        else:
            programs = {key: request[key] for key in ("program", "resolution", "batch")}
            if programs != now:  # Frees the memory of the last programs.
                ready, now = {}, programs
            variant = request["variant"]
            if variant not in ready:
                ready[variant] = side.prepared(**request)
            call, num_batches, remark = ready[variant]
            start = time.perf_counter()
            call()
            reply = {"sec": (time.perf_counter() - start) / num_batches, "remark": remark}
        print(json.dumps(reply), file=stream, flush=True)


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # Other output must not be taken for an answer.
    if len(sys.argv) > 1:
        import port_torch  # From this folder: the port's Python does not find our packages.

        answer(port_torch.Side(sys.argv[1], int(sys.argv[2])), sys.stdin, answers)
    else:
        from experiments.benchmark import port_jax

        answer(port_jax.Side(), sys.stdin, answers)
