"""Which checkpoints of a run stay."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from stylegan_jax.runs import seals


@dataclasses.dataclass(frozen=True)
class Retention:
    """An orbax.checkpoint PreservationPolicy: the newest, the first of each interval, and the best stay.

    Its fields are arguments of `checkpoint.open_manager`.
    """

    directory: pathlib.Path
    keep: int
    keep_every: int
    keep_best: int

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns which of `checkpoints` to keep. The newest of them is still being written, and has no score yet."""
        steps = sorted(info.step for info in checkpoints)
        kept = set(steps[-self.keep :])
        if self.keep_every:  # The first at or after each multiple.
            rows = [step // self.keep_every for step in [0, *steps]]
            kept |= {step for step, now, before in zip(steps, rows[1:], rows[:-1], strict=True) if now > before}
        if self.keep_best:
            scores = {step: score for step in steps if (score := self._score(step)) is not None}
            kept |= set(sorted(scores, key=scores.__getitem__)[: self.keep_best])
        return [info.step in kept for info in checkpoints]

    def _score(self, step: int) -> float | None:
        """Returns the score that a checkpoint was saved with; None if it has none, or cannot be read."""
        try:
            record = json.loads((self.directory / str(step) / "record" / "metadata").read_bytes())
            score = record["record"]["score"]
            return score if record["crc"] == seals.crc_of_json(record["record"]) and math.isfinite(score) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
