"""The batches of a run, prepared ahead, and how long the devices waited for them."""

import time
from collections.abc import Callable, Generator, Sequence

import jax
import numpy as np

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset, prefetch
from stylegan_jax.devices import mesh


class Feed:
    """The batches of `chunks`, on the devices, each stacked by `num_steps`.

    While a chunk's batches are in use, a thread prepares those of the next.
    """

    def __init__(
        self,
        chunks: Sequence[schedule.Chunk],
        config: Config,
        data: dataset.Dataset,
        devices: jax.sharding.Mesh,
        num_steps: int,
        clock_fn: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_calls = config.schedule.refresh_steps // num_steps  # Batches of a chunk.
        self._num_made, self._num_taken = 0, 0
        self._clock_fn, self._start_sec, self._waited_sec = clock_fn, clock_fn(), 0.0
        requests = (
            (chunk.start_nimg + i * num_steps * chunk.phase.batch, chunk.phase)
            for chunk in chunks
            for i in range(self._num_calls)
        )
        part = (jax.process_index(), jax.process_count())

        def load(nimg: int, phase: schedule.Phase) -> dataset.Batch:
            n, resolution = phase.batch, phase.resolution
            batches = [data.batch(nimg + i * n, n, resolution, part) for i in range(num_steps)]
            if num_steps == 1:  # Without a copy.
                return jax.tree.map(lambda x: x[None], batches[0])
            return jax.tree.map(lambda *x: np.stack(x), *batches)

        def put(batch: dataset.Batch) -> dataset.Batch:
            placed = mesh.put(batch, mesh.split_stack(devices))
            self._num_made += 1
            return placed

        self._batches: Generator[dataset.Batch, None, None] = prefetch.prefetch(
            requests, load, put, depth=self._num_calls
        )

    def take(self, wait_fn: Callable[[], object]) -> list[dataset.Batch]:
        """Returns all batches of the next chunk. An error in reading pictures is raised here.

        Args:
            wait_fn: returns when the devices have done what they were given. It is called if a batch is not ready yet:
                the devices wait for it only from then on.
        """
        taken = []
        for _ in range(self._num_calls):
            is_ready = self._num_made > self._num_taken
            if not is_ready:
                wait_fn()
            asked_sec = self._clock_fn()
            taken.append(next(self._batches))
            self._waited_sec += 0.0 if is_ready else self._clock_fn() - asked_sec
            self._num_taken += 1
        return taken

    def waiting_share(self) -> float:
        """Returns the share of the time since `restart_clock` that the devices waited for pictures, 0..1."""
        return self._waited_sec / max(self._clock_fn() - self._start_sec, 1e-9)

    def restart_clock(self) -> None:
        """Begins to measure the waiting anew."""
        self._start_sec, self._waited_sec = self._clock_fn(), 0.0

    def close(self) -> None:
        """Ends the thread."""
        self._batches.close()
