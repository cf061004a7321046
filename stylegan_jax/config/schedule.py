"""Progressive growing: how a run of `total_kimg` images proceeds, in plain Python.

The whole run is a list of chunks known from the start; where it stands is a function of nimg alone.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator

from stylegan_jax.config import Schedule

# Official train.py's global minibatches, by the number of GPUs: (by resolution, at all other resolutions).
_OFFICIAL_BATCHES = {
    "1": (((4, 128), (8, 128), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8), (512, 4)), 4),
    "2": (((4, 256), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16), (256, 8)), 8),
    "4": (((4, 512), (8, 256), (16, 128), (32, 64), (64, 32), (128, 16)), 16),
    "8": (((4, 512), (8, 256), (16, 128), (32, 64), (64, 32)), 32),
}


def official_batches(num_devices: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """Returns the official schedule.batch_by_resolution and schedule.batch for that many GPUs.

    Args:
        num_devices: "1", "2", "4" or "8": what follows the colon in --config configs/ffhq.py:8.

    Raises:
        ValueError: the official code has no schedule for that many.
    """
    if num_devices not in _OFFICIAL_BATCHES:
        raise ValueError(f":{num_devices}: the official schedules are for {', '.join(_OFFICIAL_BATCHES)} devices.")
    return _OFFICIAL_BATCHES[num_devices]


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a training step needs to know about the schedule."""

    resolution: int  # px
    alpha: float  # Weight of this resolution while it fades in; 1 when it is stable.
    batch: int  # Global batch size.
    lr: float
    tick_kimg: float


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The run's unit of work: a few steps with one phase."""

    start_nimg: int
    end_nimg: int
    phase: Phase
    is_reset: bool  # The growth state is new: forget the optimizers' moments first.
    tick: int  # Ticks completed at the end.
    is_tick: bool  # A tick ends here.
    is_last: bool


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the run with one growth state, for tables."""

    resolution: int
    fading: bool
    start_nimg: int
    end_nimg: int
    batch: int
    lr: float


def phase_at(nimg: int, schedule: Schedule, resolution: int) -> Phase:
    """Returns the phase in force after `nimg` images (official training_loop.training_schedule).

    A level lasts stable_kimg, then the next fades in for fade_kimg: resolution, batch and learning rate switch at the
    start of the fade. The `resolution` is the model's, px.
    """
    kimg = nimg / 1000
    length = schedule.stable_kimg + schedule.fade_kimg
    level = math.floor(kimg / length) if length > 0 else 0
    faded_kimg = max(kimg - level * length - schedule.stable_kimg, 0)
    fade = faded_kimg / schedule.fade_kimg if schedule.fade_kimg > 0 else 0
    # Number of levels below full resolution, the official "lod"; its fraction is the weight of the lower level.
    missing = max(math.log2(resolution) - math.floor(math.log2(schedule.initial_resolution)) - level - fade, 0)
    current = resolution >> math.floor(missing)
    rampup = min(kimg / schedule.lr_rampup_kimg, 1) if schedule.lr_rampup_kimg > 0 else 1
    batch, lr, tick_kimg = _values_at(schedule, current)
    return Phase(current, 1 - (missing - math.floor(missing)), batch, lr * rampup, tick_kimg)


@functools.lru_cache
def _values_at(schedule: Schedule, resolution: int) -> tuple[int, float, float]:
    """Returns (batch, lr, tick_kimg). Cached, because a run asks a million times."""
    batch = schedule.batch_at(resolution)
    lr = dict(schedule.lr_by_resolution).get(resolution, schedule.lr)
    return batch, lr, dict(schedule.tick_kimg_by_resolution).get(resolution, schedule.tick_kimg)


def chunks(schedule: Schedule, resolution: int, start_nimg: int = 0) -> Iterator[Chunk]:
    """Yields the whole run, from image 0 to the last (official training_loop.training_loop).

    The phase is looked up every refresh_steps steps. A tick ends with the first chunk that brings it tick_kimg images.

    Args:
        schedule: settings.
        resolution: the model's resolution, px.
        start_nimg: images after which a run goes on: a chunk begins there. If the batch was changed in mid-run, the
            chunk before it is cut short.
    """
    nimg, tick, tick_start, growth = 0, 0, 0, None
    total = round(schedule.total_kimg * 1000)  # 0.072 * 1000 is above 72.
    while nimg < total:
        phase = phase_at(nimg, schedule, resolution)
        end = nimg + schedule.refresh_steps * phase.batch
        end = start_nimg if nimg < start_nimg < end else end
        is_last = end >= total
        is_tick = is_last or end >= tick_start + round(phase.tick_kimg * 1000)
        tick += is_tick
        before, growth = growth, (phase.resolution, phase.alpha < 1)
        yield Chunk(nimg, end, phase, growth != before, tick, is_tick, is_last)
        nimg = end
        tick_start = end if is_tick else tick_start


def full_kimg(schedule: Schedule, resolution: int) -> float:
    """Returns when the model's `resolution`, px, begins to fade in, kimg; 0 if training starts there."""
    levels = (resolution // schedule.initial_resolution).bit_length() - 1
    return levels * (schedule.stable_kimg + schedule.fade_kimg) - schedule.fade_kimg if levels else 0.0


def stages(run: Iterable[Chunk]) -> list[Stage]:
    """Returns the run as parts of one growth state each, with the learning rate at its end."""
    result: list[Stage] = []
    for chunk in run:
        phase = chunk.phase
        start = chunk.start_nimg if chunk.is_reset else result.pop().start_nimg
        result.append(Stage(phase.resolution, phase.alpha < 1, start, chunk.end_nimg, phase.batch, phase.lr))
    return result
