"""Batches prepared ahead of the training step by one thread."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Size = TypeVar("Size")
Loaded = TypeVar("Loaded")
Placed = TypeVar("Placed")

PATIENCE_SEC = 600.0  # What takes longer to read will not come.
ENDING_SEC = 10.0  # A batch that is being made may take so long after it is no longer wanted.

_END = object()  # Stands where a batch would, after the last one.


def prefetch(
    requests: Iterable[tuple[int, Size]],
    load_fn: Callable[[int, Size], Loaded],
    put_fn: Callable[[Loaded], Placed],
    depth: int = 1,
    patience_sec: float = PATIENCE_SEC,
) -> Iterator[Placed]:
    """Yields `put_fn(load_fn(nimg, n))` for each request, in order, while a thread prepares the next `depth`.

    The thread starts when the first batch is asked for and has ended when the generator has: exhausted, closed or
    collected; one that is stuck in a read is left behind. An exception in `requests`, `load_fn` or `put_fn` is raised
    here in its turn, after the batches before it, with the traceback that it had in the thread.

    Args:
        requests: (nimg, n) of each batch: images shown before it, and what `load_fn` takes to say how many it has.
        load_fn: makes a batch on the host, such as `Dataset.batch`.
        put_fn: places it on the devices.
        depth: batches ready or being prepared at any time, besides the one in use; 1 or more.
        patience_sec: longest wait for a batch.

    Raises:
        ValueError: depth is below 1; or, from the generator, no batch came in `patience_sec`, as when a network drive
            has gone.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; at least 1 batch must be prepared at a time.")
    return _prefetched(requests, load_fn, put_fn, depth, patience_sec)


def stalled(patience_sec: float) -> ValueError:
    """Returns the error that no picture came for so long."""
    return ValueError(
        f"no picture came for {patience_sec:g} s: the disk or network that data.source lies on does not answer. Mend "
        "it, and give the same command again."
    )


def _prefetched(
    requests: Iterable[tuple[int, Size]],
    load_fn: Callable[[int, Size], Loaded],
    put_fn: Callable[[Loaded], Placed],
    depth: int,
    patience_sec: float,
) -> Iterator[Placed]:
    ready = queue.SimpleQueue()  # (batch, None) for each request, then (_END, exception or None).
    free = threading.Semaphore(depth)  # Places for batches that are ready or being prepared.
    closed = threading.Event()

    def prepare() -> None:
        try:
            for nimg, n in requests:
                free.acquire()
                if closed.is_set():
                    return
                ready.put((put_fn(load_fn(nimg, n)), None))
        except BaseException as error:  # Whatever it is, the consumer must not wait for ever.
            ready.put((_END, error))
        else:
            ready.put((_END, None))

    thread = threading.Thread(target=prepare, name="prefetch", daemon=True)
    thread.start()
    is_stalled = False
    try:
        while True:
            try:
                batch, error = ready.get(timeout=patience_sec)
            except queue.Empty:
                is_stalled = True
                raise stalled(patience_sec) from None
            if error is not None:
                raise error
            if batch is _END:
                return
            free.release()
            yield batch
            del batch  # Or it would stay on the devices while the next one is waited for.
    finally:
        closed.set()
        free.release()  # Wakes the thread where it waits for a place.
        thread.join(0 if is_stalled else ENDING_SEC)
