"""Ends a run in every bad way, again and again, and compares its outcome with that of an undisturbed run.

python -m experiments.chaos --workdir=/tmp/chaos
"""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

from absl import app, flags

from experiments.chaos import endings, places
from experiments.chaos.endings import PATIENCE_SEC, POLL_SEC, Run
from stylegan_jax.config import from_dict

ROUNDS = flags.DEFINE_integer("rounds", 30, "Times that the run is ended.")
WORKDIR = flags.DEFINE_string("workdir", "runs/chaos", "Folder for both runs; an earlier experiment there is deleted.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the random moments.")

TMPFS_MIB = 24  # Size of the small disk: room for some checkpoints, until a ballast takes it.

# 8 to 16 px with a fade, and a checkpoint every tick of 64 images: longer than 30 rounds, which end in the fade.
SETTINGS = {
    "model": {
        "resolution": 16,
        "fmap_base": 128,
        "fmap_max": 16,
        "z_size": 16,
        "w_size": 16,
        "mapping_fmaps": 16,
        "mapping_layers": 2,
    },
    "data": {"num_faces": 256, "num_heldout": 32},
    "schedule": {
        "stable_kimg": 0.512,
        "fade_kimg": 2.048,
        "total_kimg": 3.072,
        "batch": 8,
        "batch_by_resolution": (),
        "tick_kimg": 0.064,
        "tick_kimg_by_resolution": (),
    },
    "report": {"metric_ticks": 0, "checkpoint_ticks": 1, "image_ticks": 1000, "keep_checkpoints": 3},
}


def moments(chance: random.Random) -> dict[str, Callable[[Run, int], bool]]:
    """Returns the moments to kill at: functions of the run and of the checkpoint that it began at."""
    delay_sec = chance.uniform(0.2, 8.0)
    begun = time.monotonic()
    fade_begins = 1000 * SETTINGS["schedule"]["stable_kimg"]
    return {
        "any time": lambda run, began: time.monotonic() - begun > delay_sec,
        "in the data": lambda run, began: "pictures: " in run.text(),
        "in the first compile": lambda run, began: "starting at" in run.text(),
        "in a save": lambda run, began: run.is_saving() and run.newest() > began,
        "just after a save": lambda run, began: run.newest() > began,
        "in the fade": lambda run, began: run.newest() > max(began, fade_begins),
    }


# Moments of SIGKILL, and ways that let the run save, in turn.
WAYS = (
    "any time",
    "in the data",
    signal.SIGTERM,
    "in the first compile",
    "in a save",
    signal.SIGHUP,
    "just after a save",
    "in the fade",
    signal.SIGINT,
    "a closed terminal",
    "a closed terminal, SIGHUP ignored",
    signal.SIGUSR1,
)


def end(run: Run, way: str | signal.Signals, chance: random.Random) -> str:
    """Starts the run, ends it in one of WAYS, and returns what happened."""
    if isinstance(way, signal.Signals):
        return endings.send(run, way, chance)
    if "terminal" in way:
        return endings.close_terminal(run, is_ignored="ignored" in way)
    began, is_due = run.newest(), moments(chance)[way]
    return endings.kill(run, way, lambda: is_due(run, began), chance)


def flip_a_byte(file: pathlib.Path, chance: random.Random) -> None:
    """Changes one byte of a file."""
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[pathlib.Path, random.Random], None]] = {
    "a flipped byte": flip_a_byte,
    "a truncated file": lambda file, chance: os.truncate(file, chance.randrange(file.stat().st_size)),
    "a deleted file": lambda file, chance: file.unlink(),
}


def damage_newest(run: Run, name: str, chance: random.Random) -> str:
    """Damages a random file of the newest checkpoint, and returns which."""
    newest = run.folder / "checkpoints" / str(run.newest())
    files = sorted(f for f in newest.rglob("*") if f.is_file() and f.stat().st_size)
    file = chance.choice(files)
    DAMAGE[name](file, chance)
    return f"{name}: {file.relative_to(run.folder)}"


def fill_the_disk(run: Run) -> str:
    """Fills the run's disk after a save, and returns how the run ended: with a message, and its checkpoints whole."""
    before, process = run.newest(), run.start()
    deadline = time.monotonic() + PATIENCE_SEC
    while process.poll() is None and run.newest() <= before and time.monotonic() < deadline:
        time.sleep(POLL_SEC)
    ballast = run.folder.with_name("ballast")
    with ballast.open("ab", buffering=0) as file:
        while process.poll() is None and time.monotonic() < deadline:  # It also takes what the run frees meanwhile.
            with contextlib.suppress(OSError):
                file.write(bytes(2**16))
                continue
            time.sleep(POLL_SEC)
    process.kill()  # If it has not ended by itself.
    code = process.wait()
    ballast.unlink()
    message = next((line for line in run.text().splitlines() if line.startswith("error")), "no message")
    assert code == 1 and message != "no message", run.text()
    return f"full disk: exit {code}, from {before} to {run.newest()}: {message}"


def main(argv: list[str]) -> None:
    """Makes both runs, prints what happened in each round, and compares them."""
    del argv
    place = places.claim(pathlib.Path(WORKDIR.value))
    from_dict(SETTINGS)
    peaceful = Run(place / "undisturbed", place / "cache", SETTINGS)
    start_sec = time.monotonic()
    assert peaceful.start().wait(PATIENCE_SEC) == 0, peaceful.text()
    print(f"undisturbed: {time.monotonic() - start_sec:.0f} s, to {peaceful.newest()} images", flush=True)

    chance = random.Random(SEED.value)
    disk = place / "disk"
    disk.mkdir()
    is_mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", disk], check=False).returncode == 0
    )
    run = Run(disk / "run", place / "cache_of_chaos", SETTINGS)
    try:
        for i in range(ROUNDS.value):
            way = WAYS[i % len(WAYS)]
            if run.newest() > peaceful.newest() - 768:  # The next round could finish the run.
                finish_and_compare(run, peaceful)
                shutil.rmtree(run.folder)
            if way == "in the first compile":
                shutil.rmtree(run.cache, ignore_errors=True)
            say(i, end(run, way, chance))
            if i % 3 == 2 and len(run.saved()) > 1:
                say(i, damage_newest(run, list(DAMAGE)[i // 3 % len(DAMAGE)], chance))
            if i % 10 == 9 and is_mounted:
                say(i, fill_the_disk(run))
        finish_and_compare(run, peaceful)
        if not is_mounted:
            print("no small disk could be mounted here (that takes root): the full disk was not tried")
    finally:
        if is_mounted:
            subprocess.run(["umount", disk], check=False)


def finish_and_compare(run: Run, peaceful: Run) -> None:
    """Lets the run finish, and compares its last state and its log with the undisturbed run's."""
    code = run.start().wait(PATIENCE_SEC)
    print(f"left in peace at last: exit {code}, to {run.newest()} images", flush=True)
    assert code == 0, run.text()
    assert run.newest() == peaceful.newest()
    differing = [name for name, leaf in peaceful.leaves().items() if run.leaves()[name] != leaf]
    names = ", ".join(differing) or "none"
    print(f"of {len(peaceful.leaves())} arrays differ from the undisturbed run's: {names}", flush=True)
    assert not differing
    scalars, wanted = ((r.folder / "scalars.jsonl").read_text() for r in (run, peaceful))
    print(f"of {len(wanted.splitlines())} lines of scalars.jsonl {'none' if scalars == wanted else 'some'} differ")
    assert scalars == wanted


def say(number: int, what: str) -> None:
    """Prints what a round did."""
    print(f"{number + 1:>3}  {what}", flush=True)


if __name__ == "__main__":
    app.run(main)
