"""Waits for pictures that end when none comes."""

import math
from collections.abc import Callable

PATIENCE_SEC = 600.0  # Longest wait: what takes longer to read will not come.
SLICE_SEC = 0.5  # Slice of a wait; at most one passes while the process is stopped (Ctrl-Z, a suspended job).


def wait(wait_fn: Callable[[float], bool]) -> None:
    """Calls `wait_fn` with seconds to wait until it returns that the wait is over.

    Raises:
        ValueError: it was not over in PATIENCE_SEC of waiting.
    """
    for _ in range(math.ceil(PATIENCE_SEC / SLICE_SEC)):
        if wait_fn(min(PATIENCE_SEC, SLICE_SEC)):
            return
    raise ValueError(
        f"no picture came for {PATIENCE_SEC:g} s: the disk or network that data.source lies on does not answer. Mend "
        "it, and give the same command again."
    )
