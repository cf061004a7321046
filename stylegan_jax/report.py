"""What a run shows and writes: the schedule, a status line, scalars.jsonl, TensorBoard, grids of pictures.

Files in the workdir:
    scalars.jsonl                         one JSON object a line: {"nimg": 160000, "loss_g": 0.7, ...}
    <name>.png, <name><kimg>.png          pictures, once or again and again
    tensorboard/                          the same scalars and pictures for TensorBoard

A run that was interrupted and resumed leaves the same scalars.jsonl as one that was not, if it writes the scalars of
an nimg before the checkpoint of that nimg: on resuming, later lines are dropped, and written again. In a run of many
processes the first one alone prints and writes.
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TextIO

import jax
import numpy as np
import rich.console
import rich.progress
import tensorboardX

from stylegan_jax import grid

PLAIN_INTERVAL_SEC = 10.0  # Between status lines where there is no terminal.

# ---- times


def format_duration(seconds: float | None) -> str:
    """Returns "45 s", "3 min 20 s", "1 h 02 min" or "2 d 03 h"; "-" for None."""
    if seconds is None:
        return "-"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h:02d} h"
    if hours:
        return f"{hours} h {m:02d} min"
    return f"{m} min {s:02d} s" if m else f"{s} s"


def time_left(nimg: int, phases: Sequence[Any], sec_per_image: Mapping[int, float]) -> tuple[float | None, bool]:
    """Returns (seconds from `nimg` to the end of `phases`, whether every resolution ahead was measured).

    A resolution that was not measured is taken to be as slow as the slowest that was. Larger networks are slower, so
    the sum is then a lower bound.

    Args:
        nimg: real images shown so far.
        phases: rows with attributes resolution, start_nimg, end_nimg.
        sec_per_image: measured seconds an image at each resolution; if empty, the time is None.
    """
    if not sec_per_image:
        return None, False
    ahead = [(p.resolution, p.end_nimg - max(p.start_nimg, nimg)) for p in phases if p.end_nimg > nimg]
    slowest = max(sec_per_image.values())
    seconds = sum(images * sec_per_image.get(resolution, slowest) for resolution, images in ahead)
    return seconds, all(resolution in sec_per_image for resolution, _ in ahead)


def schedule_text(phases: Sequence[Any], sec_per_image: Mapping[int, float] | None = None) -> str:
    """Returns the whole schedule as a table of aligned text, a row for each phase.

    Args:
        phases: rows with attributes resolution, fading, start_nimg, end_nimg, batch, lr.
        sec_per_image: seconds an image at each resolution, as far as they are known.
    """
    known = sec_per_image or {}
    rows = [("resolution", "stage", "from kimg", "to kimg", "batch", "lr", "time")]
    for p in phases:
        seconds = (p.end_nimg - p.start_nimg) * known[p.resolution] if p.resolution in known else None
        stage, span = "fade in" if p.fading else "stable", (f"{p.start_nimg / 1000:g}", f"{p.end_nimg / 1000:g}")
        size = f"{p.resolution}x{p.resolution}"
        rows.append((size, stage, *span, str(p.batch), f"{p.lr:g}", format_duration(seconds)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


class _Speed:
    """Seconds an image at each resolution. The first interval does not count: it has the compilation."""

    def __init__(self) -> None:
        self._measured: dict[int, tuple[int, float]] = {}  # resolution: (images, seconds)

    def add(self, resolution: int, images: int, seconds: float) -> None:
        if resolution in self._measured:
            old_images, old_seconds = self._measured[resolution]
            images, seconds = images + old_images, seconds + old_seconds
        else:
            images, seconds = 0, 0.0
        self._measured[resolution] = (images, seconds)

    def sec_per_image(self) -> dict[int, float]:
        return {r: seconds / images for r, (images, seconds) in self._measured.items() if images}


# ---- the run's log


class Report:
    """The status line, scalars and pictures of one run; a context manager.

    Args:
        workdir: folder of the run; made if needed.
        total_nimg: real images at the end of the run.
        start_nimg: where this start of the run begins; what was logged after it is dropped.
        phases: the schedule, for the time left: rows with attributes resolution, start_nimg, end_nimg. Without it, all
            that is ahead is taken to be at the present resolution.
        stream: where to print; sys.stdout by default.
        clock_fn: returns seconds.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        total_nimg: int,
        start_nimg: int = 0,
        phases: Sequence[Any] = (),
        stream: TextIO | None = None,
        clock_fn: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._phases, self._clock_fn = total_nimg, phases, clock_fn
        self._last_nimg, self._last_sec, self._speed = start_nimg, clock_fn(), _Speed()
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        stream = stream or sys.stdout
        self._workdir = workdir = pathlib.Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        _drop_lines_after(workdir / "scalars.jsonl", start_nimg or -1)  # A run at 0 begins its log anew.
        with contextlib.ExitStack() as stack:
            self._scalars = stack.enter_context((workdir / "scalars.jsonl").open("ab", buffering=0))
            # One warning for each NaN, without its name.
            logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
            # TensorBoard hides what it has at purge_step and later. The suffix keeps a restart within a second apart.
            self._tensorboard = tensorboardX.SummaryWriter(
                str(workdir / "tensorboard"), purge_step=start_nimg and start_nimg + 1, filename_suffix=f".{start_nimg}"
            )
            stack.callback(self._tensorboard.close)
            line = _TerminalLine(stream, total_nimg) if stream.isatty() else _PlainLine(stream, clock_fn)
            self._line = stack.enter_context(contextlib.closing(line))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writes:
            self._stack.close()

    @property
    def sec_per_image(self) -> dict[int, float]:
        """Seconds an image at each resolution, measured since the start."""
        return self._speed.sec_per_image()

    def progress(self, nimg: int, resolution: int, **fields: float | str) -> None:
        """Shows how far the run is; call it when the images up to `nimg` are done.

        Args:
            nimg: real images shown so far.
            resolution: of the images since the last call, px.
            **fields: what else to show, as name value.
        """
        now = self._clock_fn()
        images, seconds = nimg - self._last_nimg, max(now - self._last_sec, 1e-9)
        if not self._writes or images <= 0:
            return
        self._last_nimg, self._last_sec = nimg, now
        self._speed.add(resolution, images, seconds)
        phases = self._phases or [_Phase(resolution, self._total)]
        left_sec, is_measured = time_left(nimg, phases, self.sec_per_image)
        parts = [f"{nimg / 1000:.1f} of {self._total / 1000:g} kimg", f"{resolution}x{resolution}"]
        if resolution in self.sec_per_image:
            speed = 1 / self.sec_per_image[resolution]
            parts.append(f"{speed:.3g} images/s" if speed < 1000 else f"{speed:.0f} images/s")
        if left_sec is not None:
            parts.append(f"{'' if is_measured else 'at least '}{format_duration(left_sec)} left")
        parts += [f"{k} {v}" if isinstance(v, str) else f"{k} {float(v):.4g}" for k, v in fields.items()]
        self._line.update(nimg, "  ".join(parts), is_last=nimg >= self._total)

    def log(self, text: str) -> None:
        """Prints a line of its own, above the status line of a terminal."""
        if self._writes:
            self._line.log(text)

    def scalars(self, nimg: int, values: Mapping[str, float]) -> None:
        """Writes one line of scalars.jsonl, and the same to TensorBoard.

        JSON has no NaN and no infinities: they are written as the strings "nan", "inf" and "-inf", which float() reads.
        """
        if not self._writes:
            return
        numbers = {name: float(value) for name, value in values.items()}
        line = {"nimg": int(nimg)} | {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}
        self._scalars.write((json.dumps(line) + "\n").encode())  # One write: all of a line, or none.
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, nimg)
        self._tensorboard.flush()

    def image(self, nimg: int, name: str, picture: np.ndarray) -> None:
        """Writes a picture of the run as it is, uint8 [h, w, c], to <name><kimg, six digits>.png and to TensorBoard."""
        if not self._writes:
            return
        self.picture(f"{name}{nimg // 1000:06d}", picture)
        shown = grid.visible_channels(picture)
        self._tensorboard.add_image(name, shown, nimg, dataformats="HW" if shown.ndim == 2 else "HWC")
        self._tensorboard.flush()

    def picture(self, name: str, picture: np.ndarray) -> None:
        """Writes a picture, uint8 [h, w, c], to <name>.png."""
        if self._writes:
            grid.save_png(self._workdir / f"{name}.png", picture)


@contextlib.contextmanager
def counting(
    name: str, stream: TextIO | None = None, clock_fn: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Yields a function of (done, total) that shows how far something is: "pictures: 500 of 2000, 9 s left".

    Args:
        name: of what is counted.
        stream: where to print; sys.stdout by default.
        clock_fn: returns seconds.
    """
    stream, start_sec = stream or sys.stdout, clock_fn()
    with contextlib.ExitStack() as stack:
        lines: list[_TerminalLine | _PlainLine] = []

        def show(done: int, total: int) -> None:
            if jax.process_index() > 0:
                return
            if not lines:
                line = _TerminalLine(stream, total) if stream.isatty() else _PlainLine(stream, clock_fn)
                lines.append(stack.enter_context(contextlib.closing(line)))
            left_sec = (clock_fn() - start_sec) / max(done, 1) * (total - done)
            lines[0].update(done, f"{name}: {done} of {total}, {format_duration(left_sec)} left", is_last=done == total)

        yield show


@dataclasses.dataclass(frozen=True)
class _Phase:
    """All that is left of a run whose schedule is unknown."""

    resolution: int
    end_nimg: int
    start_nimg: int = 0


class _TerminalLine:
    """A live line with a bar, at the bottom of the terminal."""

    def __init__(self, stream: TextIO, total_nimg: int) -> None:
        self._progress = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=16),
            rich.progress.TextColumn("{task.description}", markup=False),
            console=rich.console.Console(file=stream),
            refresh_per_second=2,
        )
        self._task = self._progress.add_task("starting", total=total_nimg)
        self._progress.start()

    def update(self, nimg: int, text: str, is_last: bool) -> None:
        self._progress.update(self._task, completed=nimg, description=text, refresh=is_last)

    def log(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class _PlainLine:
    """Lines in a file or pipe: the first and last status, and one each PLAIN_INTERVAL_SEC between them."""

    def __init__(self, stream: TextIO, clock_fn: Callable[[], float]) -> None:
        self._stream, self._clock_fn, self._printed_sec = stream, clock_fn, -math.inf

    def update(self, nimg: int, text: str, is_last: bool) -> None:
        del nimg  # It is in the text.
        now = self._clock_fn()
        if is_last or now - self._printed_sec >= PLAIN_INTERVAL_SEC:
            self._printed_sec = now
            self.log(text)

    def log(self, text: str) -> None:
        with contextlib.suppress(OSError):  # A reader that went away must not end a run of days.
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the stream to its owner."""


def _drop_lines_after(file: pathlib.Path, nimg: int) -> None:
    """Rewrites a JSONL file, in one piece, without lines beyond `nimg` and without torn ones."""
    if not file.exists():
        return

    def is_kept(line: bytes) -> bool:
        try:
            return line.endswith(b"\n") and json.loads(line)["nimg"] <= nimg
        except (ValueError, KeyError, TypeError):
            return False

    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if is_kept(line)]
    if len(kept) < len(lines):
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_bytes(b"".join(kept))
        temporary.replace(file)
