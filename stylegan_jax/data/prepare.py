"""Pictures of any source to one store (data/store.py), by several processes, in shards that survive a kill."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

import numpy as np

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, pictures, shards, sources, store
from stylegan_jax.data.source import Source, hash_lines, printable

PICTURES_PER_SHARD = 256  # At least; a kill undoes what is unfinished of a shard.
MAX_SHARDS = 1024
POLL_SEC = 0.5  # Between two looks at the processes.
UNREADABLE = "unreadable.txt"
_REMEDY = (
    "Mend or remove them, or set data.on_bad_image=skip, and give the same command again: it goes on from the others, "
    "which are prepared."
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to prepare, where, and in which pieces."""

    data: Data
    model: Model
    partial: pathlib.Path  # Folder of the unfinished store and of what its finished shards say.
    length: int  # Pictures of the source.
    per_shard: int

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.length // self.per_shard)

    @property
    def store(self) -> pathlib.Path:
        """Folder that will be the store."""
        return self.partial / "store"

    def indices(self, shard: int) -> range:
        """Returns the pictures of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.length))

    def summary_path(self, shard: int) -> pathlib.Path:
        """Returns where it is written what became of a shard, once it is whole."""
        return self.partial / "shards" / f"{shard:05d}.json"


def prepare(
    data: Data,
    model: Model,
    folder: str | os.PathLike,
    progress_fn: images.ProgressFn | None = None,
    pictures_per_shard: int = PICTURES_PER_SHARD,
) -> dict[str, Any]:
    """Makes a store of the pictures of `data.source` at `model.resolution` and `model.channels`.

    It grows in FOLDER.partial, shard by shard; the same call goes on after a kill, and only a whole store is called
    FOLDER. Its bytes are a function of the pictures and the settings alone.

    Args:
        data: the source, how its pictures become squares, and the number of processes.
        model: resolution and channels.
        folder: where the store is to be: nothing, an empty folder, or a store of the same pictures and settings.
        progress_fn: called with (pictures done, pictures to do in this call).
        pictures_per_shard: at least; there are at most 1024 shards.

    Returns:
        What the store's prepared.json says.

    Raises:
        ValueError: the source cannot be opened; the folder is taken, in use or too small; or pictures cannot be read
            and data.on_bad_image is "fail": all others are prepared by then, and kept for the next call.
    """
    pictures.check_settings(model.channels, data.fit, data.background)
    folder = pathlib.Path(folder).expanduser().resolve()
    if folder.is_mount():
        raise ValueError(f"{folder} is a mount point, and a store is renamed to its place; choose a folder in it.")
    source = sources.open_source(data, model.resolution)
    with contextlib.ExitStack() as stack:
        stack.callback(source.close_fn)
        num_classes = len(source.classes.names) if source.classes else 0
        if model.num_labels not in (0, num_classes):
            raise ValueError(
                f"model.num_labels is {model.num_labels}, but data.source {data.source!r} has {num_classes} classes "
                f"with data.labels={data.labels!r}; use model.num_labels={num_classes}, or other labels."
            )
        per_shard = max(pictures_per_shard, -(-source.length // MAX_SHARDS))
        plan = Plan(data, model, folder.with_name(f"{folder.name}.partial"), source.length, per_shard)
        settings = _settings(plan, source)
        if not _is_done(folder, settings):
            stack.enter_context(_locked(plan.partial))
            _check_room(plan)
            _write_shards(plan, source, progress_fn)
            _finish(plan, source, settings)
            plan.store.rename(folder)  # Over an empty folder, too.
        shutil.rmtree(plan.partial, ignore_errors=True)  # A kill can leave it beside a whole store.
    return json.loads((folder / store.RECORD).read_bytes())


def _settings(plan: Plan, source: Source) -> dict[str, Any]:
    """Returns all that a store is a function of, as plain JSON."""
    return _square_settings(plan, source) | {
        "source": printable(plan.data.source),
        "fingerprint": source.fingerprint(),
        "class_labels": hash_lines(map(str, source.classes.labels.tolist())) if source.classes else "",
    }


def _square_settings(plan: Plan, source: Source) -> dict[str, Any]:
    """Returns what each square of a store is a function of, beside its picture."""
    return {
        "format": store.FORMAT,
        "resolution": plan.model.resolution,
        "channels": plan.model.channels,
        "fit": plan.data.fit,
        "background": list(plan.data.background),
        "min_side_px": plan.data.min_side_px,
        "class_names": list(source.classes.names) if source.classes else [],
    }


def _is_done(folder: pathlib.Path, settings: dict[str, Any]) -> bool:
    """Returns whether the folder is a store of these settings; raises ValueError if it is anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        record = json.loads((folder / store.RECORD).read_bytes())
        differing = [name for name, value in settings.items() if record.get(name) != value and name != "source"]
    except (OSError, ValueError):
        raise ValueError(f"{folder} is no folder for a store: something is in it. Choose another --workdir.") from None
    if differing:
        lines = "".join(f"\n  {name}: {record.get(name)} there, {settings[name]} now" for name in differing)
        raise ValueError(f"{folder} is a store of other pictures or settings:{lines}\nChoose another --workdir.")
    return True


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the folder against a second process that would prepare it; a lock ends with its process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise ValueError(f"cannot write in {folder} ({error.strerror}); choose another --workdir.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is preparing {folder}; wait for it, or end it.") from None
        yield


def _check_room(plan: Plan) -> None:
    """Raises ValueError if the levels alone do not fit on the disk. What a filter leaves out cannot be known here."""
    if plan.data.min_side_px or plan.data.fit == "wide":
        return
    done = sum(file.stat().st_size for file in plan.store.rglob("*.npy"))
    row_bytes = sum(size**2 * plan.model.channels for size in store.level_sizes(plan.model.resolution))
    needed, free = plan.length * row_bytes - done, shutil.disk_usage(plan.partial).free
    if needed > free:
        raise ValueError(
            f"{plan.partial.parent} has {free / images.GIB:.1f} GiB free, and the raw levels of {plan.length} pictures "
            f"need {needed / images.GIB:.1f}, beside the pictures themselves; make room, or choose another --workdir."
        )


# ---- shards


def _write_shards(plan: Plan, source: Source, progress_fn: images.ProgressFn | None) -> None:
    """Writes the shards that are missing, by `data.num_workers` processes."""
    todo = [shard for shard in range(plan.num_shards) if not _is_whole(plan, source, shard)]
    num_todo = sum(len(plan.indices(shard)) for shard in todo)
    count = min(plan.data.num_workers, len(todo))
    context = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would lose.
    counts, problems = context.RawArray("q", count), context.SimpleQueue()  # Each process has a count of its own.
    workers = [
        context.Process(target=_work, args=(plan, todo[i::count], counts, i, problems), daemon=True)
        for i in range(count)
    ]
    try:
        for worker in workers:
            worker.start()
        alive, shown = workers, -1
        while alive:
            connection.wait([worker.sentinel for worker in alive], POLL_SEC)
            alive = [worker for worker in workers if worker.exitcode is None]
            if progress_fn is not None and sum(counts) > shown:
                shown = sum(counts)
                progress_fn(shown, num_todo)
            if not problems.empty():
                raise ValueError(problems.get())
            if any(worker.exitcode not in (None, 0) for worker in workers):
                raise ValueError(
                    "a process that prepares pictures was killed, perhaps for want of memory; the same command goes on "
                    "from what is done, with fewer data.num_workers if need be."
                )
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()


def _work(plan: Plan, todo: list[int], counts: Any, place: int, problems: Any) -> None:
    """Writes some shards, in a process of its own, which ends with the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its processes.
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def count() -> None:
        counts[place] += 1

    try:
        source = sources.open_source(plan.data, plan.model.resolution)
        plan.store.mkdir(exist_ok=True)
        for shard in todo:
            _write_shard(plan, source, shard, count)
    except (OSError, RuntimeError) as error:  # The writer of array records raises RuntimeError on a full disk.
        problems.put(
            f"cannot write in {plan.partial} ({error}); make room if the disk is full. The same command goes on from "
            "what is done."
        )
    except Exception:
        problems.put(f"a process that prepares pictures failed:\n{traceback.format_exc()}")


def _write_shard(plan: Plan, source: Source, shard: int, done_fn: Callable[[], None]) -> None:
    """Writes a shard, and then what became of it; until then it counts as missing."""
    plan.summary_path(shard).unlink(missing_ok=True)  # Its files may be of other settings from now on.
    summary = shards.write(
        plan.store, shard, plan.num_shards, source, plan.indices(shard), plan.data, plan.model, done_fn
    )
    _write_json(plan.summary_path(shard), {"key": _key(plan, source, shard), **dataclasses.asdict(summary)})


def _end_with_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _key(plan: Plan, source: Source, shard: int) -> str:
    """Returns what changes if a shard's pictures or their classes, or the settings, do."""
    indices = plan.indices(shard)
    numbers = source.classes.labels[indices.start : indices.stop].tolist() if source.classes else []
    settings = [_square_settings(plan, source), shard, plan.num_shards, source.fingerprint(indices), numbers]
    return hash_lines([json.dumps(settings)])


def _is_whole(plan: Plan, source: Source, shard: int) -> bool:
    """Returns whether a shard need not be written again: none of its pictures, nor any setting, has changed.

    Where unreadable pictures are to be mended, their shards are read again.
    """
    try:
        summary = json.loads(plan.summary_path(shard).read_bytes())
    except (OSError, ValueError):
        return False
    is_bad = any(kind == "unreadable" for _, kind, _ in summary["left_out"])
    return summary["key"] == _key(plan, source, shard) and not (is_bad and plan.data.on_bad_image == "fail")


# ---- the whole


def _finish(plan: Plan, source: Source, settings: dict[str, Any]) -> None:
    """Writes what belongs to the store as a whole; raises ValueError if it must not be finished."""
    summaries = [json.loads(plan.summary_path(shard).read_bytes()) for shard in range(plan.num_shards)]
    left_out = [row for summary in summaries for row in summary["left_out"]]
    unreadable = [
        f"{printable(source.path)}/{name}: {reason}" for name, kind, reason in left_out if kind == "unreadable"
    ]
    _check_left_out(plan, unreadable, len(left_out))
    remarks: dict[str, tuple[int, list[str]]] = {}
    for summary in summaries:
        for remark, (count, names) in summary["remarks"].items():
            before, listed = remarks.get(remark, (0, []))
            remarks[remark] = (before + count, [*listed, *names][: shards.MAX_NAMES])
    _remove_strays(plan)
    with (plan.store / store.LEFT_OUT).open("w", encoding="ascii") as file:
        file.writelines(json.dumps({"name": n, "kind": k, "reason": r}) + "\n" for n, k, r in left_out)
    if source.classes:
        np.save(plan.store / store.LABELS, np.array([i for s in summaries for i in s["labels"]], np.int64))
    features = store.features(plan.model.resolution, plan.model.channels, tuple(settings["class_names"]))
    lengths, num_bytes = [s["length"] for s in summaries], sum(s["num_bytes"] for s in summaries)
    store.write_metadata(plan.store, features, lengths, num_bytes)
    record = settings | {
        "sha256": hashlib.sha256("".join(s["sha256"] for s in summaries).encode()).hexdigest(),
        "length": sum(lengths),
        "num_unreadable": len(unreadable),
        "num_filtered": len(left_out) - len(unreadable),
        "num_enlarged": sum(s["num_enlarged"] for s in summaries),
        "num_ignored": source.num_ignored,
        "remarks": {remark: {"count": count, "names": names} for remark, (count, names) in sorted(remarks.items())},
        "notes": [printable(note) for note in source.notes],
        "shard_lengths": lengths,
    }
    _write_json(plan.store / store.RECORD, record)
    for written in plan.store.iterdir():
        if written.is_file():
            shards.sync(written)


def _remove_strays(plan: Plan) -> None:
    """Removes what other pictures or settings left in the folder when they were interrupted."""
    wanted = set()
    for shard in range(plan.num_shards):
        wanted.add(store.shard_path(plan.store, shard, plan.num_shards))
        for size in store.level_sizes(plan.model.resolution):
            wanted.add(store.level_path(plan.store, size, shard, plan.num_shards))
    for file in sorted(plan.store.rglob("*"), reverse=True):  # What is in a folder before the folder.
        if file.is_file() and file not in wanted:
            file.unlink()
        elif file.is_dir() and not any(file.iterdir()):
            file.rmdir()


def _check_left_out(plan: Plan, unreadable: list[str], num_left_out: int) -> None:
    """Raises ValueError if pictures are unreadable and not to be skipped, or if none is left; lists all in a file."""
    if unreadable and (plan.data.on_bad_image == "fail" or num_left_out == plan.length):
        listing = plan.partial / UNREADABLE
        listing.write_text("".join(f"{line}\n" for line in unreadable), encoding="utf-8")
        more = [f"and {len(unreadable) - images.MAX_LISTED} more, all in {listing}"]
        lines = unreadable[: images.MAX_LISTED] + (more if len(unreadable) > images.MAX_LISTED else [])
        raise ValueError(
            f"{len(unreadable)} of {plan.length} pictures cannot be read:\n  "
            + "\n  ".join(lines)
            + "\n"
            + ("None is left." if num_left_out == plan.length else _REMEDY)
        )
    images.check_any_left(plan.data, plan.length, num_left_out)


def _write_json(file: pathlib.Path, value: Any) -> None:
    """Writes a JSON file in one piece, on disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w") as stream:
        stream.write(json.dumps(value, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
