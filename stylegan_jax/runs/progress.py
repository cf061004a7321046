"""How far something is, how fast it goes, and the line that shows it."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import rich.console
import rich.progress

from stylegan_jax.devices import distributed

PLAIN_INTERVAL_SEC = 10.0  # Time between status lines where there is no terminal.


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


def time_left(nimg: int, stages: Sequence[Any], sec_per_image: Mapping[int, float]) -> tuple[float | None, bool]:
    """Returns (seconds from `nimg` to the end of `stages`, whether every resolution ahead was measured).

    A resolution that was not measured is taken to be as slow as the slowest that was. Larger networks are slower, so
    the sum is a lower bound then.

    Args:
        nimg: real images shown so far.
        stages: rows with attributes resolution, start_nimg, end_nimg.
        sec_per_image: measured seconds an image at each resolution; if empty, the time is None.
    """
    if not sec_per_image:
        return None, False
    ahead = [(s.resolution, s.end_nimg - max(s.start_nimg, nimg)) for s in stages if s.end_nimg > nimg]
    slowest = max(sec_per_image.values())
    seconds = sum(images * sec_per_image.get(resolution, slowest) for resolution, images in ahead)
    return seconds, all(resolution in sec_per_image for resolution, _ in ahead)


def make_line(stream: TextIO, total: int, clock_fn: Callable[[], float]) -> "_TerminalLine | _PlainLine":
    """Returns a status line for `stream`, with `update(done, text, is_last)`, `log(text)` and `close()`.

    Args:
        stream: a terminal gets a live line with a bar, anything else plain lines now and then.
        total: what `done` will be at the end.
        clock_fn: returns seconds.
    """
    lasting: Any = _Lasting(stream)
    return _TerminalLine(lasting, total) if stream.isatty() else _PlainLine(lasting, clock_fn)


@contextlib.contextmanager
def counting(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function of (done, total) that prints how far something is: "pictures: 500 of 2000, 9 s left"."""
    start_sec = time.monotonic()
    with contextlib.ExitStack() as stack:
        lines: list[_TerminalLine | _PlainLine] = []

        def show(done: int, total: int) -> None:
            if distributed.process_index() > 0:
                return
            if not lines:
                lines.append(stack.enter_context(contextlib.closing(make_line(sys.stdout, total, time.monotonic))))
            left_sec = (time.monotonic() - start_sec) / done * (total - done) if done else None
            lines[0].update(done, f"{name}: {done} of {total}, {format_duration(left_sec)} left", is_last=done == total)

        yield show


class _Lasting:
    """A stream whose reader may go away: that must not end a run of days."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _TerminalLine:
    """A live line with a bar, at the bottom of the terminal."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._progress = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=16),
            rich.progress.TextColumn("{task.description}", markup=False),
            console=rich.console.Console(file=stream),
            refresh_per_second=2,
        )
        self._task = self._progress.add_task("starting", total=total)
        self._progress.start()

    def update(self, done: int, text: str, is_last: bool) -> None:
        self._progress.update(self._task, completed=done, description=text, refresh=is_last)

    def log(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class _PlainLine:
    """Lines in a file or pipe: the first and last status, and one every PLAIN_INTERVAL_SEC between them."""

    def __init__(self, stream: TextIO, clock_fn: Callable[[], float]) -> None:
        self._stream, self._clock_fn, self._printed_sec = stream, clock_fn, -math.inf

    def update(self, done: int, text: str, is_last: bool) -> None:
        now = self._clock_fn()
        if is_last or now - self._printed_sec >= PLAIN_INTERVAL_SEC:
            self._printed_sec = now
            self.log(text)

    def log(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the stream to its owner."""
