"""What a run shows and writes: the schedule, a status line, scalars.jsonl, TensorBoard, grids of pictures.

Files in the workdir:
    scalars.jsonl                         one JSON object a line: {"nimg": 160000, "loss_g": 0.7, ...}
    <name>.png, <name><kimg>.png          pictures, once or again and again
    tensorboard/                          the same scalars and pictures for TensorBoard
    scalars-after-<nimg>.jsonl            lines that a run which goes back would lose: see `keep_lines_after`

A run that was interrupted and resumed leaves the same scalars.jsonl as one that was not, if it writes the scalars of
an nimg before the checkpoint of that nimg: on resuming, later lines are dropped, and written again. In a run of many
processes only the first one prints and writes.
"""

import contextlib
import errno
import json
import logging
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TextIO

import numpy as np
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from stylegan_jax.config import schedule
from stylegan_jax.devices import distributed
from stylegan_jax.runs import grid, progress, whole


def schedule_text(stages: Sequence[Any], sec_per_image: Mapping[int, float] | None = None) -> str:
    """Returns the whole schedule as a table of aligned text, a row for each stage.

    Args:
        stages: rows with attributes resolution, fading, start_nimg, end_nimg, batch, lr.
        sec_per_image: seconds an image at each resolution, as far as they are known.
    """
    known = sec_per_image or {}
    rows = [("resolution", "stage", "from kimg", "to kimg", "batch", "lr", "time")]
    for s in stages:
        seconds = (s.end_nimg - s.start_nimg) * known[s.resolution] if s.resolution in known else None
        name, span = "fade in" if s.fading else "stable", (f"{s.start_nimg / 1000:g}", f"{s.end_nimg / 1000:g}")
        size = f"{s.resolution}x{s.resolution}"
        rows.append((size, name, *span, str(s.batch), f"{s.lr:g}", progress.format_duration(seconds)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


class Averages:
    """Means of scalars since the last tick. A checkpoint within a tick keeps them: a resumed run has the same means."""

    def __init__(self, kept: Mapping[str, Sequence[float]] | None = None) -> None:
        """Begins with what `kept` returned before."""
        self._sums = {name: (float(total), int(count)) for name, (total, count) in (kept or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        """Adds the values of some steps; each call is to have the same number of steps."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + float(value), count + 1

    def take(self) -> dict[str, float]:
        """Returns the mean of each scalar over the calls that gave it, and begins anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def kept(self) -> dict[str, list[float]]:
        """Returns what to begin with after a restart, as plain JSON values."""
        return {name: [total, count] for name, (total, count) in self._sums.items()}


class Report:
    """The status line, scalars and pictures of one run; a context manager.

    Args:
        workdir: folder of the run; made if needed.
        total_nimg: real images at the end of the run.
        start_nimg: where this start of the run begins; what was logged after it is dropped.
        stages: the schedule, for the time left: rows with attributes resolution, start_nimg, end_nimg. Without it, the
            rest of the run is taken to be at the present resolution.
        stream: where to print; sys.stdout by default.
        clock_fn: returns seconds.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        total_nimg: int,
        start_nimg: int = 0,
        stages: Sequence[Any] = (),
        stream: TextIO | None = None,
        clock_fn: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._stages, self._clock_fn = total_nimg, stages, clock_fn
        self._last_nimg, self._last_sec = start_nimg, clock_fn()
        self._measured: dict[int, tuple[int, float]] = {}  # Of each resolution: images, and seconds.
        self._writes = distributed.process_index() == 0
        if not self._writes:
            return
        stream = stream or sys.stdout
        self._workdir = workdir = pathlib.Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        first_nimg = start_nimg + 1 if start_nimg > 0 else 0  # A run that begins writes a line at 0, too.
        _drop_lines_from(workdir / "scalars.jsonl", first_nimg)
        with contextlib.ExitStack() as stack:
            self._scalars = stack.enter_context((workdir / "scalars.jsonl").open("ab", buffering=0))
            # It warns of each NaN, without a name.
            logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
            (workdir / "tensorboard").mkdir(exist_ok=True)
            # tensorboardX.SummaryWriter would wait for ever after a full disk, which ends its thread. The suffix tells
            # two starts within a second apart.
            self._events = event_file_writer.EventsWriter(str(workdir / "tensorboard" / "events"), f".{start_nimg}")
            stack.callback(self._events.close)
            # From this event on, TensorBoard hides what it has at this step and later.
            started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write_events(first_nimg, session_log=started)
            self._line = stack.enter_context(contextlib.closing(progress.make_line(stream, total_nimg, clock_fn)))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writes:
            self._stack.close()

    @property
    def sec_per_image(self) -> dict[int, float]:
        """Seconds an image at each resolution, measured since the start."""
        return {r: seconds / images for r, (images, seconds) in self._measured.items() if images}

    def progress(self, nimg: int, resolution: int, **fields: float | str) -> None:
        """Shows how far the run is; call it when the images up to `nimg` are done.

        Args:
            nimg: real images shown so far.
            resolution: resolution of the images since the last call, px.
            **fields: what else to show, as name value.
        """
        now = self._clock_fn()
        images, seconds = nimg - self._last_nimg, max(now - self._last_sec, 1e-9)
        if not self._writes or images <= 0:
            return
        self._last_nimg, self._last_sec = nimg, now
        if resolution in self._measured:
            old_images, old_seconds = self._measured[resolution]
            self._measured[resolution] = (images + old_images, seconds + old_seconds)
        else:  # The first interval does not count: it includes the compilation.
            self._measured[resolution] = (0, 0.0)
        stages = self._stages or [schedule.Stage(resolution, False, 0, self._total, 0, 0.0)]
        left_sec, is_measured = progress.time_left(nimg, stages, self.sec_per_image)
        parts = [f"{nimg / 1000:.1f} of {self._total / 1000:g} kimg", f"{resolution}x{resolution}"]
        if resolution in self.sec_per_image:
            speed = 1 / self.sec_per_image[resolution]
            parts.append(f"{speed:.3g} images/s" if speed < 1000 else f"{speed:.0f} images/s")
        if left_sec is not None:
            parts.append(f"{'' if is_measured else 'at least '}{progress.format_duration(left_sec)} left")
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
        encoded = (json.dumps(line) + "\n").encode()
        if self._scalars.write(encoded) < len(encoded):  # One write: all of a line, or an error.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.events(nimg, numbers)

    def events(self, nimg: int, values: Mapping[str, float]) -> None:
        """Writes scalars to TensorBoard alone: those that come later than the lines of scalars.jsonl around them."""
        for name, value in values.items() if self._writes else ():
            self._write_events(nimg, summary=summary.scalar(name, value))

    def image(self, nimg: int, name: str, picture: np.ndarray) -> None:
        """Writes a picture of the run as it is, uint8 [h, w, c], to <name><kimg, six digits>.png and to TensorBoard."""
        if not self._writes:
            return
        self.picture(f"{name}{nimg // 1000:06d}", picture)
        shown = grid.visible_channels(picture)
        shown = summary.image(name, shown, dataformats="HW" if shown.ndim == 2 else "HWC")
        self._write_events(nimg, summary=shown)

    def _write_events(self, nimg: int, **content: Any) -> None:
        self._events.write_event(event_pb2.Event(step=nimg, wall_time=time.time(), **content))
        self._events.flush()

    def picture(self, name: str, picture: np.ndarray) -> None:
        """Writes a picture, uint8 [h, w, c], to <name>.png."""
        if self._writes:
            grid.save_png(self._workdir / f"{name}.png", picture)


def keep_lines_after(workdir: pathlib.Path, nimg: int) -> pathlib.Path | None:
    """Copies the lines of scalars.jsonl beyond `nimg` to a file of their own, for a run that goes back or begins anew.

    A run that resumes at its newest checkpoint writes the same lines again, and needs no copy.

    Returns:
        The new file's path, scalars-after-<nimg>.jsonl or the same with a number; None if there was no such line.
    """
    later = [line for line, at in _lines(workdir / "scalars.jsonl") if at > nimg]
    if not later or distributed.process_index() > 0:
        return None
    target = workdir / f"scalars-after-{nimg}.jsonl"
    count = len(list(workdir.glob(f"{target.stem}*")))
    target = target.with_stem(f"{target.stem}-{count + 1}") if count else target
    with whole.writing(target) as stream:
        stream.write(b"".join(later))
    return target


def _drop_lines_from(file: pathlib.Path, nimg: int) -> None:
    """Rewrites a JSONL file, in one piece, without lines at `nimg` and beyond and without torn ones."""
    kept = b"".join(line for line, at in _lines(file) if at < nimg)
    if file.exists() and len(kept) < file.stat().st_size:
        with whole.writing(file) as stream:
            stream.write(kept)


def _lines(file: pathlib.Path) -> list[tuple[bytes, int]]:
    """Returns the whole lines of a JSONL file, each with its nimg; none where there is no file."""

    def nimg(line: bytes) -> int | None:
        try:
            return json.loads(line)["nimg"] if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError):
            return None

    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [(line, at) for line in lines if isinstance(at := nimg(line), int)]
