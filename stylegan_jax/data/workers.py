"""The shards of a store that is being prepared, and the processes that write them."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from typing import Any

from stylegan_jax.config import Data
from stylegan_jax.data import shards, sources, store, survey, waiting
from stylegan_jax.data.shards import Plan
from stylegan_jax.data.source import Source, hash_lines
from stylegan_jax.runs import whole

YOUNGER = ("max_pixels", "white_level")  # Settings of config.Data that are younger than the format of stores.
ENDING_SEC = 10.0  # Seconds that a process has to end; one that is stuck in a read is left behind.
NOT_BEGUN = -1  # Stands for the number of pictures done until a process has opened the source.


def square_settings(plan: Plan, source: Source) -> dict[str, Any]:
    """Returns what each square of a store is a function of, beside its picture, as plain JSON."""
    settings = {
        "format": store.FORMAT,
        "resolution": plan.model.resolution,
        "channels": plan.model.channels,
        "fit": plan.data.fit,
        "background": list(plan.data.background),
        "min_side_px": plan.data.min_side_px,
        "class_names": list(source.classes.names) if source.classes else [],
    }
    # A setting that older packages lacked is left out at its default: their shards are still good.
    younger = {name: getattr(plan.data, name) for name in YOUNGER if getattr(plan.data, name) != getattr(Data(), name)}
    return settings | younger | ({"levels": store.LEVELS_OF_RGBA} if plan.model.channels == 4 else {})


def content_settings(source: Source) -> dict[str, str]:
    """Returns hashes that change if the pictures of a source or their classes do."""
    numbers = hash_lines(map(str, source.classes.labels.tolist())) if source.classes else ""
    return {"fingerprint": source.fingerprint(), "class_labels": numbers}


def key(plan: Plan, source: Source, shard: int) -> str:
    """Returns a hash that changes if a shard's pictures, their classes or the settings do."""
    indices = plan.indices(shard)
    numbers = source.classes.labels[indices.start : indices.stop].tolist() if source.classes else []
    settings = [square_settings(plan, source), shard, plan.num_shards, source.fingerprint(indices), numbers]
    return hash_lines([json.dumps(settings)])


def read_summary(plan: Plan, source: Source, shard: int) -> dict[str, Any] | None:
    """Returns the summary of a shard; None if it is not whole, or if one of its pictures or a setting has changed."""
    try:
        summary = json.loads(plan.summary_path(shard).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return summary if summary["key"] == key(plan, source, shard) else None


def is_whole(plan: Plan, source: Source, shard: int) -> bool:
    """Returns whether a shard need not be written again; one whose unreadable pictures are to be mended must be."""
    summary = read_summary(plan, source, shard)
    is_bad = summary is not None and any(kind == "unreadable" for _, kind, _ in summary["left_out"])
    return summary is not None and not (is_bad and plan.data.on_bad_image == "fail")


def changed(data: Data) -> ValueError:
    """Returns the error that says that the pictures are not those that the preparation began with."""
    return ValueError(
        f"data.source {data.source!r} changed while it was prepared. Wait until nothing is added or removed, and give "
        "the same command again: it goes on from the shards that are still right."
    )


def write_shards(plan: Plan, source: Source, progress_fn: survey.ProgressFn | None) -> None:
    """Writes the shards that are missing, by `data.num_workers` processes, which end with this one.

    Raises:
        ValueError: the source changed or cannot be read, a process was killed or cannot write, or no picture came for
            long.
    """
    todo = [shard for shard in range(plan.num_shards) if not is_whole(plan, source, shard)]
    num_todo = sum(len(plan.indices(shard)) for shard in todo)
    count = min(plan.data.num_workers, len(todo))
    context = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would lose.
    counts = context.RawArray("q", [NOT_BEGUN] * count)  # Each process has a count of its own.
    problems = context.SimpleQueue()
    content = content_settings(source)
    workers = [
        context.Process(target=_work, args=(plan, content, todo[i::count], counts, i, problems), daemon=True)
        for i in range(count)
    ]
    alive, shown = workers, 0

    def has_news(sec: float) -> bool:
        """Waits for a process to end or for pictures; returns whether either came, or a process has yet to begin."""
        nonlocal alive
        before = sum(counts)
        ended = connection.wait([worker.sentinel for worker in alive], sec)
        for worker in alive:
            if worker.sentinel in ended:
                worker.join()  # Its exit code comes a moment after its end.
        alive = [worker for worker in alive if worker.exitcode is None]
        return bool(ended) or sum(counts) > before or NOT_BEGUN in counts

    try:
        with _interrupts_deferred():
            for worker in workers:
                worker.start()
        while alive:
            waiting.wait(has_news)
            done = sum(max(number, 0) for number in counts)
            if progress_fn is not None and done > shown:
                progress_fn(done, num_todo)
                shown = done
            _check(workers, problems)
    finally:
        started = [worker for worker in workers if worker.pid is not None]
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.join(ENDING_SEC)


def _check(workers: list[Any], problems: Any) -> None:
    """Raises ValueError if a process has told of a problem, or was killed."""
    if not problems.empty():
        raise ValueError(problems.get())
    if any(worker.exitcode not in (None, 0) for worker in workers):
        raise ValueError(
            "a process that prepares pictures was killed, perhaps for want of memory; the same command goes on from "
            "what is done, with fewer data.num_workers if need be."
        )


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Keeps Ctrl-C from processes that start in the block, and raises it after."""
    if threading.current_thread() is not threading.main_thread():  # Python gives it to the main thread.
        yield
        return
    come: list[int] = []
    resource_tracker.ensure_running()  # It lifts the mask when it starts.
    handler = signal.signal(signal.SIGINT, lambda number, frame: come.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Processes inherit it.
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if come:
        raise KeyboardInterrupt


def _work(plan: Plan, content: dict[str, str], todo: list[int], counts: Any, place: int, problems: Any) -> None:
    """Writes some shards, in a process of its own, which ends with the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its processes.
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def count() -> None:
        counts[place] += 1

    try:
        try:
            source = sources.open_source(plan.data, plan.model.resolution)
        except (OSError, ValueError) as error:
            raise survey.SourceFailed(f"{changed(plan.data)} It can no longer be opened: {error}") from error
        if content_settings(source) != content:
            raise survey.SourceFailed(str(changed(plan.data)))
        counts[place] = 0
        plan.store.mkdir(exist_ok=True)
        for shard in todo:
            write_shard(plan, source, shard, count)
    except survey.SourceFailed as error:
        problems.put(str(error))
    except (OSError, RuntimeError) as error:  # The writer of array records raises RuntimeError on a full disk.
        problems.put(
            f"cannot write in {plan.partial} ({error}); make room if the disk is full. The same command goes on from "
            "what is done."
        )
    except Exception:
        problems.put(f"a process that prepares pictures failed:\n{traceback.format_exc()}")


def write_shard(plan: Plan, source: Source, shard: int, done_fn: Callable[[], None]) -> None:
    """Writes a shard, and then what became of it; until then it counts as missing.

    Raises:
        survey.SourceFailed: a picture could not be read, though it may be sound, or the pictures changed.
        OSError, RuntimeError: the files cannot be written.
    """
    plan.summary_path(shard).unlink(missing_ok=True)  # Its files may be of other settings from now on.
    summary = shards.write(plan, source, shard, done_fn)
    if not source.unchanged_fn(plan.indices(shard)):
        raise survey.SourceFailed(str(changed(plan.data)))
    write_json(plan.summary_path(shard), {"key": key(plan, source, shard), **dataclasses.asdict(summary)})


def _end_with_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def write_json(file: pathlib.Path, value: Any) -> None:
    """Writes a JSON file in one piece, on disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole.writing(file, "w", is_durable=True) as stream:
        stream.write(json.dumps(value, indent=1) + "\n")
