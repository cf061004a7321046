"""Batches prepared ahead of the training step by one thread."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from stylegan_jax.data import waiting

Size = TypeVar("Size")
Loaded = TypeVar("Loaded")
Placed = TypeVar("Placed")

ENDING_SEC = 10.0  # Seconds that a batch has to be finished once it is no longer wanted.

_END = object()  # Stands where a batch would, after the last one.


def prefetch(
    requests: Iterable[tuple[int, Size]],
    load_fn: Callable[[int, Size], Loaded],
    put_fn: Callable[[Loaded], Placed],
    depth: int = 1,
) -> Iterator[Placed]:
    """Yields `put_fn(load_fn(nimg, n))` for each request, in order, while a thread prepares the next `depth`.

    The thread starts when the first batch is asked for, and ends with the generator, be it exhausted, closed or
    collected; one that is stuck in a read is left behind. An exception in `requests`, `load_fn` or `put_fn` is raised
    here in its turn, after the batches before it, with the traceback that it had in the thread.

    Args:
        requests: (nimg, n) of each batch: images shown before it, and what `load_fn` takes to say how many it has.
        load_fn: makes a batch on the host, such as `Dataset.batch`.
        put_fn: places it on the devices.
        depth: batches ready or being prepared at any time, besides the one in use; 1 or more.

    Raises:
        ValueError: depth is below 1; or, from the generator, no batch came in waiting.PATIENCE_SEC, such as when a
            network drive has gone.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; at least 1 batch must be prepared at a time.")
    return _prefetched(requests, load_fn, put_fn, depth)


def _prefetched(
    requests: Iterable[tuple[int, Size]],
    load_fn: Callable[[int, Size], Loaded],
    put_fn: Callable[[Loaded], Placed],
    depth: int,
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
            ready.put((_END, None))
        except BaseException as error:  # Whatever it is, the consumer must not wait for ever.
            ready.put((_END, error))

    thread = threading.Thread(target=prepare, name="prefetch", daemon=True)
    thread.start()
    come: list[tuple] = []

    def has_come(sec: float) -> bool:
        with contextlib.suppress(queue.Empty):
            come.append(ready.get(timeout=sec))
        return bool(come)

    is_stalled = False
    try:
        while True:
            try:
                waiting.wait(has_come)
            except ValueError:
                is_stalled = True
                raise
            batch, error = come.pop()
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
