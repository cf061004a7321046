"""The chunks that the devices are at work on, and what the finished ones add up to."""

import collections
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from stylegan_jax.config import Config, schedule
from stylegan_jax.runs import report
from stylegan_jax.training import losses

MAX_SKIPPED_CHUNKS = 25  # Chunks without an update of a network before the run is given up: 100 steps.
NETWORKS = ("generator", "discriminator")  # In the order of TrainState.num_skipped.


class Pending:
    """Chunks whose metrics are still to come, in the order in which the devices were given them.

    Attributes:
        averages: averages of the metrics since the last tick.
    """

    def __init__(self, config: Config, averages: report.Averages, num_skipped: np.ndarray) -> None:
        """Begins with the averages and the TrainState.num_skipped so far."""
        self.averages, self._num_steps = averages, config.schedule.refresh_steps
        self._running = collections.deque[tuple[schedule.Chunk, list[losses.Metrics]]]()
        self._skipped = collections.deque([np.asarray(num_skipped)], maxlen=MAX_SKIPPED_CHUNKS + 1)

    def add(self, chunk: schedule.Chunk, metrics: list[losses.Metrics]) -> None:
        """Takes a chunk that the devices have been given, and the metrics of each call, before they are computed."""
        self._running.append((chunk, metrics))

    def finish(self, num_left: int = 0) -> Iterator[schedule.Chunk]:
        """Waits until the devices have done all but the last `num_left` chunks; yields each when it is counted.

        Raises:
            ValueError: a network had no update in any of the last MAX_SKIPPED_CHUNKS chunks.
        """
        while len(self._running) > num_left:
            chunk, metrics = self._running.popleft()
            values = jax.device_get(metrics)
            self._skipped.append(values[-1]["num_skipped"])
            for value in values:
                self.averages.add({name: v for name, v in value.items() if name != "num_skipped"})
            yield chunk
            self._check(chunk.end_nimg)

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """Returns the means since the last tick of those of `names` that were measured."""
        kept = self.averages.kept()
        return {name: kept[name][0] / kept[name][1] for name in names if name in kept}

    def is_stuck(self) -> bool:
        """Returns whether a network had no update in the last chunk that is finished."""
        return bool(self._stuck()[-1:].any())

    def _stuck(self) -> np.ndarray:
        """Returns whether each network had no update, in each of the last chunks. bool [k, 2]"""
        return np.diff(np.stack(self._skipped), axis=0) >= self._num_steps

    def _check(self, nimg: int) -> None:
        is_stuck = self._stuck()
        names = [name for name, stuck in zip(NETWORKS, is_stuck.all(axis=0), strict=True) if stuck]
        if len(is_stuck) == MAX_SKIPPED_CHUNKS and names:
            raise ValueError(
                f"the {' and the '.join(names)} had no update in the last {MAX_SKIPPED_CHUNKS * self._num_steps} steps "
                f"up to image {nimg}, because gradients were not finite. Use a lower schedule.lr, "
                "model.compute_dtype=float32, model.matmul_precision=highest or more train.r1_gamma, and go on from an "
                "earlier checkpoint."
            )
