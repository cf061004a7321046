"""What a source has in it, and what training would do with it."""

import dataclasses
import json
import os
import pathlib
import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from stylegan_jax.config import Config
from stylegan_jax.data import dataset, decode, images, shards, sources, square, store, survey, verification
from stylegan_jax.data.source import Source
from stylegan_jax.runs import grid
from stylegan_jax.runs.text import printable

SHEET_PX = 128  # Largest height of a picture in the contact sheet.
MAX_LINES = 10  # Rows of a table in the text; the JSON has all.
BAR = 40  # Characters of the longest bar.
MANY_EPOCHS = 1000  # Epochs after which the discriminator knows the pictures by heart.


@dataclasses.dataclass
class _Found:
    """What decoding the pictures showed. All counts are by pictures."""

    sizes: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)  # (width, height), px.
    modes: Counter[str] = dataclasses.field(default_factory=Counter)  # Pillow's modes.
    formats: Counter[str] = dataclasses.field(default_factory=Counter)
    remarks: dict[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    left_out: dict[int, survey.LeftOut] = dataclasses.field(default_factory=dict)
    num_enlarged: int = 0
    brightest: int = 0  # Largest value of pictures of deep integers; 0 if there are none.
    pictures_per_sec: float = 0.0


def inspect(config: Config, folder: str | os.PathLike, progress_fn: survey.ProgressFn | None = None) -> str:
    """Reads every picture of `data.source` once, and writes what was found to inspect.json and contact_sheet.png.

    Unreadable pictures are listed, whatever data.on_bad_image says.

    Args:
        config: settings of the training that the text foretells.
        folder: where to write; made if needed.
        progress_fn: called with (pictures done, pictures in all).

    Returns:
        The findings as text.

    Raises:
        ValueError: the source cannot be opened, or the folder cannot be written.
        OSError: the disk or network that the source lies on failed.
    """
    square.check_settings(config.model.channels, config.data.fit, config.data.background)
    source = sources.open_source(config.data, config.model.resolution)
    try:
        found = _look_at(source, config, progress_fn)
        sheet = _contact_sheet(source, found, config)
        report = _report(source, found, config)
        if pathlib.Path(source.path, store.RECORD).is_file():
            report["damage"] = verification.verify(source.path, config.data.num_workers)
    finally:
        source.close_fn()
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "inspect.json").write_text(json.dumps(report, indent=1) + "\n")
        if sheet is not None:
            grid.save_png(folder / "contact_sheet.png", sheet)
    except OSError as error:
        raise ValueError(f"cannot write in {folder} ({error.strerror}); choose another --workdir.") from error
    return _text(report, source, config)


def _look_at(source: Source, config: Config, progress_fn: survey.ProgressFn | None) -> _Found:
    found, lock, start_sec = _Found(), threading.Lock(), time.monotonic()

    def see(i: int, one: survey.Square) -> None:
        image, remarks = one.image, decode.remarks(one.image, config.model.channels)
        with lock:
            found.sizes[image.size] += 1
            found.modes[image.mode] += 1
            found.formats[image.format or "array"] += 1
            found.remarks[i] = remarks
            found.num_enlarged += one.is_enlarged
            found.brightest = max(found.brightest, one.brightest)

    found.left_out = survey.look_at_all(source, config.data, config.model, see, progress_fn)
    found.pictures_per_sec = source.length / (time.monotonic() - start_sec)
    return found


def _contact_sheet(source: Source, found: _Found, config: Config) -> np.ndarray | None:
    """Returns pictures from all over the source as training would see them, or None where none can be read."""
    readable = [i for i in range(source.length) if i not in found.left_out]
    if not readable:
        return None
    count = min(config.report.grid_columns * config.report.grid_rows, len(readable))
    chosen = [readable[k * len(readable) // count] for k in range(count)]
    found_again = [survey.square_of(source, i, config.data, config.model) for i in chosen]
    squares = [one.pixels for one in found_again if isinstance(one, survey.Square)]
    shown = [square.box_mean(pixels, min(len(pixels), SHEET_PX)) for pixels in squares]
    return grid.image_grid(np.stack(shown), config.report.grid_columns)


def _report(source: Source, found: _Found, config: Config) -> dict[str, Any]:
    """Returns the findings as plain JSON."""
    kinds = Counter(row.kind for row in found.left_out.values())
    classes = source.classes
    dark = survey.dark(found.brightest, config.data)
    notes = (*source.notes, *images.without_effect(source, config.data), *dark)
    return {
        "source": printable(source.path),
        "pictures": source.length,
        "unreadable": kinds["unreadable"],
        "filtered": kinds["filtered"],
        "enlarged": found.num_enlarged,
        "other_files": source.num_ignored,
        "fingerprint": source.fingerprint(),
        "sizes": {f"{w}x{h}": n for (w, h), n in found.sizes.most_common()},
        "modes": dict(found.modes.most_common()),
        "formats": dict(found.formats.most_common()),
        "remarks": _remarks(source, found),
        "classes": dict(zip(classes.names, classes.counts.tolist(), strict=True)) if classes else {},
        "notes": [printable(note) for note in notes],
        "left_out": [dataclasses.asdict(row) for row in found.left_out.values()],
        "decoded_per_sec": round(found.pictures_per_sec, 1),
        "training": _training(source.length - len(found.left_out), source, config),
    }


def _remarks(source: Source, found: _Found) -> dict[str, Any]:
    """Returns how many pictures each remark is about, and the names of the first."""
    about: dict[str, list[int]] = {}
    for i, said in sorted(found.remarks.items()):
        for remark in said:
            about.setdefault(remark, []).append(i)
    return {
        remark: {"count": len(of), "names": [printable(source.names[i]) for i in of[: shards.MAX_NAMES]]}
        for remark, of in sorted(about.items(), key=lambda row: -len(row[1]))
    }


def _training(num_images: int, source: Source, config: Config) -> dict[str, Any]:
    """Returns what a run with these settings would make of the pictures."""
    num_train = max(num_images - config.data.num_heldout, 0)
    needed_gib = num_images * config.model.resolution**2 * config.model.channels / images.GIB
    if images.is_stored(source, config.model):
        reading = "read as they are stored, at the size that is trained at"
    elif needed_gib <= config.data.cache_gib:
        reading = f"decoded once and kept in {needed_gib:.2g} GiB of memory"
    else:
        reading = (
            "decoded again for every batch: "
            f"{needed_gib:.3g} GiB are more than data.cache_gib={config.data.cache_gib:g}; "
            "--mode=prepare makes a store that is faster"
        )
    return {
        "images": num_train,
        "heldout": num_images - num_train,
        "epochs": round(config.schedule.total_kimg * 1000 / num_train, 2) if num_train else None,
        "reading": reading,
    }


def _text(report: dict[str, Any], source: Source, config: Config) -> str:
    model, data, training = config.model, config.data, report["training"]
    lines = [
        f"{report['source']}: {report['pictures']} pictures, {report['other_files']} other files",
        f"  {report['unreadable']} cannot be read, {report['filtered']} are left out for their size",
        *_table("sizes, px", report["sizes"]),
        *_table("modes", report["modes"]),
        *_table("formats", report["formats"]),
        *_table("remarks", {remark: said["count"] for remark, said in report["remarks"].items()}),
        *_table("classes", report["classes"]),
        *(f"  note: {note}" for note in report["notes"]),
    ]
    left_out = [survey.LeftOut(**row) for row in report["left_out"]]
    lines += [f"  {line}" for line in survey.listing(left_out, report["source"], "inspect.json")]
    if "damage" in report:
        verified = "  verified: the store has the pictures, classes and levels that were prepared"
        lines += [f"  DAMAGED: {sentence}" for sentence in report["damage"]] or [verified]
    colours = {1: "gray", 3: "RGB", 4: "RGBA"}[model.channels]
    lines += [
        "training with these settings:",
        f"  each picture becomes {model.resolution}x{model.resolution} {colours} by data.fit={data.fit!r}; "
        f"{report['enlarged']} are enlarged; all are {training['reading']}",
        f"  {training['images']} are trained on, {training['heldout']} are held out; "
        f"{config.schedule.total_kimg:g} kimg are {training['epochs']} epochs, "
        f"with{'' if data.mirror else 'out'} mirroring"
        if training["images"]
        else f"  no pictures are left to train on: {training['heldout']} are held out",
    ]
    refusal = "  it would refuse to start:"
    if report["unreadable"] and data.on_bad_image == "fail":
        lines.append(f"{refusal} mend the unreadable pictures, or set data.on_bad_image=skip")
    try:
        sources.check_classes(source, data, model.num_labels)
    except ValueError as error:
        lines.append(f"{refusal} {error}")
    if (reason := dataset.refused_split(data, training["images"] + training["heldout"])) is not None:
        lines.append(f"{refusal} {reason}")
    if (training["epochs"] or 0) > MANY_EPOCHS:
        lines.append(
            f"  that is more than {MANY_EPOCHS} epochs: so few pictures are learnt by heart. Add pictures, set "
            "data.mirror=True, or use a lower schedule.total_kimg"
        )
    lines.append(f"{report['decoded_per_sec']:g} pictures/s were decoded by {data.num_workers} threads")
    return "\n".join(lines)


def _table(title: str, counts: dict[str, int]) -> list[str]:
    """Returns the largest counts with bars."""
    rows = sorted(counts.items(), key=lambda row: -row[1])
    most = max(counts.values(), default=0)
    lines = [f"  {title}: {len(rows)}"] if rows else []
    for name, count in rows[:MAX_LINES]:
        bar = "#" * max(1, round(BAR * count / most)) if count else ""
        lines.append(f"    {printable(name):>24} {count:>9} {bar}")
    return lines + ([f"    {'and':>24} {len(rows) - MAX_LINES:>9} more"] if len(rows) > MAX_LINES else [])
