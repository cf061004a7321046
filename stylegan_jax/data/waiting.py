"""Waits for pictures that end when none comes."""

import math
from collections.abc import Callable

PATIENCE_SEC = 600.0  # Longest wait: what takes longer to read will not come.
SLICE_SEC = 0.5  # Slice of a wait; at most one passes while the process is stopped (Ctrl-Z, a suspended job).


def wait(wait_fn: Callable[[float], bool], patience_sec: float) -> None:
    """Calls `wait_fn` with seconds to wait until it returns that the wait is over.

    Raises:
        ValueError: it was not over in `patience_sec` of waiting.
    """
    for _ in range(math.ceil(patience_sec / SLICE_SEC)):
        if wait_fn(min(patience_sec, SLICE_SEC)):
            return
    raise ValueError(
        f"no picture came for {patience_sec:g} s: the disk or network that data.source lies on does not answer. Mend "
        "it, and give the same command again."
    )
