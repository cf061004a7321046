"""When and with what a run's state is saved."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stylegan_jax.config import Config
from stylegan_jax.data import dataset
from stylegan_jax.devices import distributed
from stylegan_jax.runs import checkpoint, report
from stylegan_jax.training import state

CHUNKS_BETWEEN_AGREEMENTS = 32  # Chunks until processes agree again whether a checkpoint is due.


class Saver:
    """Saves a run's checkpoints, and knows how long ago the last one was."""

    def __init__(
        self, manager: Any, config: Config, data: dataset.Dataset, clock_fn: Callable[[], float] = time.monotonic
    ) -> None:
        self._manager, self._data, self._clock_fn = manager, data, clock_fn
        self._interval_sec, self._saved_sec = 60 * config.report.checkpoint_minutes, clock_fn()
        self._num_asked = 0

    def is_late(self) -> bool:
        """Returns whether report.checkpoint_minutes are over since the last checkpoint.

        All processes must call it equally often: they get the answer of process 0, and some calls wait for it.
        """
        self._num_asked += 1
        is_late = 0 < self._interval_sec <= self._clock_fn() - self._saved_sec
        if distributed.process_count() == 1 or not self._interval_sec:
            return is_late
        if self._num_asked % CHUNKS_BETWEEN_AGREEMENTS:
            return False
        return distributed.of_first(is_late)

    def save(
        self, nimg: int, train_state: state.TrainState, averages: report.Averages, score: float | None = None
    ) -> None:
        """Begins to write a checkpoint at `nimg`; see checkpoint.save. All processes must call it together."""
        meta = {
            "fingerprint": self._data.stored.fingerprint,
            "class_names": list(self._data.class_names),
            "class_counts": [] if self._data.class_counts is None else self._data.class_counts.tolist(),
            "averages": averages.kept(),
        }
        checkpoint.save(self._manager, nimg, train_state, meta, score)
        self._saved_sec = self._clock_fn()

    def wait(self) -> None:
        """Waits until the last checkpoint is on disk."""
        checkpoint.wait(self._manager)


def check_meta(meta: Mapping[str, Any], config: Config, data: dataset.Dataset) -> None:
    """Raises ValueError if a checkpoint is of other pictures or classes than `data`."""

    def named(classes: Sequence[str]) -> str:
        return ", ".join(classes) or "none"

    before, now = meta.get("class_names", []), list(data.class_names)
    if before != now:
        raise ValueError(
            f"data.source={config.data.source!r} has other classes than this run began with: now {named(now)}, before "
            f"{named(before)}. Restore them, or start in another --workdir."
        )
    if meta["fingerprint"] != data.stored.fingerprint:
        raise ValueError(
            f"the pictures of data.source={config.data.source!r} are not those that this run began with (fingerprint "
            f"{data.stored.fingerprint}, not {meta['fingerprint']}). Restore them, or start in another --workdir."
        )
