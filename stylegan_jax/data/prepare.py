"""Makes one store (data/store.py) of any source's pictures, by several processes, in shards that survive a kill."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from stylegan_jax.config import Data, Model
from stylegan_jax.data import images, records, shards, sources, square, store, survey, workers
from stylegan_jax.data.shards import Plan
from stylegan_jax.data.source import Source
from stylegan_jax.runs import locks
from stylegan_jax.runs.text import printable

PICTURES_PER_SHARD = 256  # Least number of pictures in a shard; a kill loses unfinished shards.
MAX_SHARDS = 1024
UNREADABLE = "unreadable.txt"
OURS = {"lock", "shards", "store", UNREADABLE}  # Names of all that is in the folder of an unfinished store.
_REMEDY = ", and give the same command again: it goes on from the others, which are prepared"


def make_store(
    data: Data,
    model: Model,
    folder: str | os.PathLike,
    progress_fn: survey.ProgressFn | None = None,
    pictures_per_shard: int = PICTURES_PER_SHARD,
) -> dict[str, Any]:
    """Makes a store of the pictures of `data.source` at `model.resolution` and `model.channels`.

    It grows in FOLDER.partial, shard by shard; the same call goes on after a kill, and only a whole store is called
    FOLDER. Its bytes are a function of the pictures and the settings alone.

    Args:
        data: the source, how its pictures become squares, and the number of processes.
        model: resolution and channels.
        folder: path of the store; an empty folder, or a store of the same pictures and settings, may be there.
        progress_fn: called with (pictures done, pictures to do in this call).
        pictures_per_shard: least number of pictures in a shard; there are at most 1024 shards.

    Returns:
        What the store's prepared.json says.

    Raises:
        ValueError: the source cannot be opened; the folder is taken or in use, or its disk is too small; or pictures
            cannot be read and data.on_bad_image is "fail": all others are prepared by then, and kept for the next call.
    """
    square.check_settings(model.channels, data.fit, data.background)
    folder = pathlib.Path(folder).expanduser().resolve()
    if folder.is_mount():
        raise ValueError(f"{folder} is a mount point, and a store is renamed to its place; choose a folder in it.")
    source = sources.open_source(data, model.resolution)
    with contextlib.ExitStack() as stack:
        stack.callback(source.close_fn)
        sources.check_classes(source, data, model.num_labels)
        per_shard = max(pictures_per_shard, -(-source.length // MAX_SHARDS))
        plan = Plan(data, model, folder.with_name(f"{folder.name}.partial"), source.length, per_shard)
        printed = {"source": printable(data.source)}
        settings = workers.square_settings(plan, source) | printed | workers.content_settings(source)
        if not _is_done(folder, settings, data):
            _check_partial(plan.partial)
            _lock(plan.partial, stack)
            _check_room(plan)
            workers.write_shards(plan, source, progress_fn)
            _finish(plan, source, settings)
            plan.store.rename(folder)  # Over an empty folder, too.
        if _is_ours(plan.partial):  # A kill can leave it beside a whole store.
            shutil.rmtree(plan.partial, ignore_errors=True)
    return store.read_record(folder)


def _is_done(folder: pathlib.Path, settings: dict[str, Any], data: Data) -> bool:
    """Returns whether the folder is a store of these settings; raises ValueError if it is anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        record = json.loads((folder / store.RECORD).read_bytes())
        names = dict.fromkeys((*settings, *workers.YOUNGER))
        differing = [name for name in names if record.get(name) != settings.get(name) and name != "source"]
        num_unreadable = record.get("num_unreadable", 0)
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        raise ValueError(f"{folder} is not a store, and is not empty. Choose another --workdir.") from None
    if differing:
        lines = "".join(f"\n  {name}: {record.get(name)} there, {settings.get(name)} now" for name in differing)
        raise ValueError(f"{folder} is a store of other pictures or settings:{lines}\nChoose another --workdir.")
    if num_unreadable and data.on_bad_image == "fail":
        raise ValueError(
            f"{folder} was prepared without {num_unreadable} pictures that could not be read, listed in "
            f"{store.LEFT_OUT}, and data.on_bad_image is 'fail'. Set data.on_bad_image=skip to take it as it is; or "
            "mend the pictures, remove the store, and give the same command again."
        )
    return True


def _is_ours(partial: pathlib.Path) -> bool:
    """Returns whether a folder is what an unfinished preparation leaves, which begins with its lock."""
    names = {file.name for file in partial.iterdir()} if partial.is_dir() else set()
    return (partial / "lock").is_file() and names <= OURS


def _check_partial(partial: pathlib.Path) -> None:
    """Raises ValueError if the place where the store is to grow has something else in it."""
    is_free = not partial.exists() or (partial.is_dir() and not any(partial.iterdir()))
    if not is_free and not _is_ours(partial):
        raise ValueError(
            f"{partial}, where the store is to grow, is not what an unfinished preparation leaves: move it away, or "
            "choose another --workdir."
        )


def _lock(folder: pathlib.Path, stack: contextlib.ExitStack) -> None:
    """Holds the folder against a second process that would prepare it, until the stack closes."""
    try:
        stack.enter_context(locks.exclusive(folder / "lock"))
    except BlockingIOError:
        raise ValueError(f"another process is preparing {folder}; wait for it, or end it.") from None
    except OSError as error:
        raise ValueError(f"cannot write in {folder} ({error.strerror}); choose another --workdir.") from error


def _check_room(plan: Plan) -> None:
    """Raises ValueError if the levels alone do not fit on the disk; it cannot tell where a filter leaves some out."""
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


def _finish(plan: Plan, source: Source, settings: dict[str, Any]) -> None:
    """Writes what belongs to the store as a whole; raises ValueError if it must not be finished."""
    summaries = [workers.read_summary(plan, source, shard) for shard in range(plan.num_shards)]
    if None in summaries:
        raise workers.changed(plan.data)
    left_out = [survey.LeftOut(*row) for summary in summaries for row in summary["left_out"]]
    unreadable = [row for row in left_out if row.kind == "unreadable"]
    listing = plan.partial / UNREADABLE
    if unreadable:
        lines = (f"{printable(source.path)}/{row.name}: {row.reason}\n" for row in unreadable)
        listing.write_text("".join(lines), encoding="utf-8")
    survey.check(left_out, source, plan.data, str(listing), _REMEDY)
    _remove_strays(plan)
    with (plan.store / store.LEFT_OUT).open("w", encoding="ascii") as file:
        file.writelines(json.dumps(dataclasses.asdict(row)) + "\n" for row in left_out)
    if source.classes:
        np.save(plan.store / store.LABELS, np.array([i for s in summaries for i in s["labels"]], np.int64))
    features = records.features(plan.model.resolution, plan.model.channels, tuple(settings["class_names"]))
    lengths, num_bytes = [s["length"] for s in summaries], sum(s["num_bytes"] for s in summaries)
    records.write_metadata(plan.store, features, lengths, num_bytes)
    dark = survey.dark(max(s.get("brightest", 0) for s in summaries), plan.data)
    hashes = [s["sha256"] for s in summaries]
    record = settings | {
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "length": sum(lengths),
        "num_unreadable": len(unreadable),
        "num_filtered": len(left_out) - len(unreadable),
        "num_enlarged": sum(s["num_enlarged"] for s in summaries),
        "num_ignored": source.num_ignored,
        "remarks": _remarks(summaries),
        "notes": [printable(note) for note in (*source.notes, *dark)],
        "shard_lengths": lengths,
        "shard_sha256": hashes,
    }
    workers.write_json(plan.store / store.RECORD, record)
    for written in plan.store.iterdir():
        if written.is_file():
            shards.sync(written)


def _remarks(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how many pictures each remark is about, and the names of the first."""
    remarks: dict[str, tuple[int, list[str]]] = {}
    for summary in summaries:
        for remark, (count, names) in summary["remarks"].items():
            before, listed = remarks.get(remark, (0, []))
            remarks[remark] = (before + count, [*listed, *names][: shards.MAX_NAMES])
    return {remark: {"count": count, "names": names} for remark, (count, names) in sorted(remarks.items())}


def _remove_strays(plan: Plan) -> None:
    """Removes what other pictures or settings left in the folder when they were interrupted."""
    wanted = set()
    for shard in range(plan.num_shards):
        wanted.add(records.shard_path(plan.store, shard, plan.num_shards))
        for size in store.level_sizes(plan.model.resolution):
            wanted.add(store.level_path(plan.store, size, shard, plan.num_shards))
    for file in sorted(plan.store.rglob("*"), reverse=True):  # What is in a folder before the folder.
        if file.is_file() and file not in wanted:
            file.unlink()
        elif file.is_dir() and not any(file.iterdir()):
            file.rmdir()
