"""Kills `--mode=prepare` again and again while its pictures change, and compares the store with an undisturbed one.

python -m experiments.chaos.prepare --workdir=/tmp/chaos_prepare
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image

from experiments.chaos import endings, places

NUM_PICTURES = 2048  # Eight shards.
SIDE_PX = 96
CHANGES = ("nothing", "a picture is added", "a picture is removed")


def make_pictures(folder: pathlib.Path, seed: int) -> None:
    """Writes pictures that differ: two colours with a border between them at a random place."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(NUM_PICTURES):
        pixels = np.broadcast_to(rng.integers(0, 256, 3, np.uint8), (SIDE_PX, SIDE_PX, 3)).copy()
        pixels[rng.integers(SIDE_PX) :, rng.integers(SIDE_PX) :] = rng.integers(0, 256, 3, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.png")


def start(pictures: pathlib.Path, store: pathlib.Path, log: pathlib.Path) -> subprocess.Popen:
    """Starts to prepare a store, or goes on with it."""
    command = [sys.executable, "-m", "stylegan_jax.main", "--mode=prepare", "--config=demo", f"--workdir={store}"]
    settings = [f"--config.data.source={pictures}", "--config.data.num_workers=2"]
    with log.open("w") as output:
        return subprocess.Popen([*command, *settings], cwd=endings.ROOT, stdout=output, stderr=subprocess.STDOUT)


def change(pictures: pathlib.Path, what: str, chance: random.Random) -> tuple[pathlib.Path, pathlib.Path] | None:
    """Changes the source; returns (path that is there now, path that it goes back to), or None."""
    file = pictures / f"{chance.randrange(NUM_PICTURES):05d}.png"
    if what == "a picture is added":
        added = file.with_stem(f"{file.stem}_added")
        added.write_bytes(file.read_bytes())
        return added, pictures.with_name("of_no_use.png")
    if what == "a picture is removed":
        away = pictures.with_name("away.png")
        file.rename(away)
        return away, file
    return None


def kill_once(pictures: pathlib.Path, store: pathlib.Path, log: pathlib.Path, what: str, chance: random.Random) -> str:
    """Starts to prepare, changes the source at a random moment, kills, and restores the source."""
    partial = store.with_name(f"{store.name}.partial")
    process = start(pictures, store, log)
    begins_at = chance.choice((partial, partial / "store", partial / "shards"))
    endings.await_moment(process, begins_at.exists)
    time.sleep(chance.uniform(0, 0.3))
    undo = change(pictures, what, chance)
    deadline = time.monotonic() + chance.uniform(0, 3.0)
    endings.await_moment(process, lambda: time.monotonic() > deadline)
    process.send_signal(signal.SIGKILL)
    code = process.wait()
    if undo:
        os.replace(*undo)
    lines = log.read_text(errors="replace").splitlines()
    said = next((line for line in lines if line.startswith("error")), "")
    assert code in (-signal.SIGKILL, 0, 1) and (code != 1 or said), "\n".join(lines)
    num_done = len(list((partial / "shards").glob("*.json"))) if partial.exists() else "all"
    return f"{what}; {'killed' if code < 0 else f'exit {code}'}, {num_done} shards are whole {said[:120]}"


def content(store: pathlib.Path) -> dict[str, bytes]:
    """Returns the bytes of each file of a store."""
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def main() -> None:
    """Makes both stores, prints what happened at each kill, and compares them."""
    parser = argparse.ArgumentParser(prog="python -m experiments.chaos.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=12, help="times that preparing is killed")
    parser.add_argument("--workdir", default="runs/chaos_prepare", help="folder; an earlier experiment is deleted")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pictures and of the random moments")
    arguments = parser.parse_args()
    place, chance = places.claim(pathlib.Path(arguments.workdir)), random.Random(arguments.seed)
    pictures, log = place / "pictures", place / "log"
    make_pictures(pictures, arguments.seed)
    start_sec = time.monotonic()
    assert start(pictures, place / "undisturbed", log).wait(endings.PATIENCE_SEC) == 0, log.read_text()
    wanted = content(place / "undisturbed")
    print(f"undisturbed: {time.monotonic() - start_sec:.0f} s, {len(wanted)} files", flush=True)
    for i in range(arguments.kills):
        store = place / "disturbed"
        print(f"{i + 1:>3}  {kill_once(pictures, store, log, CHANGES[i % len(CHANGES)], chance)}", flush=True)
        if store.exists():  # It had come to its end; the next one begins anew.
            compare(content(store), wanted)
            store.rename(place / f"disturbed{i}")
    code = start(pictures, place / "disturbed", log).wait(endings.PATIENCE_SEC)
    print(f"left in peace at last: exit {code}", flush=True)
    assert code == 0, log.read_text()
    compare(content(place / "disturbed"), wanted)
    print(f"of {len(wanted)} files none differ from the undisturbed store's")


def compare(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """Ends with an error that names what differs."""
    differing = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    assert not differing, f"these files differ from the undisturbed store's: {', '.join(differing)}"


if __name__ == "__main__":
    main()
