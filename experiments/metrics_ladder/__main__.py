"""Shows which metric sees which fault of a generator: python -m experiments.metrics_ladder [--flags]."""

import functools
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags, logging

from experiments.benchmark import options
from experiments.metrics_ladder import faults, features, picture, scores, sets, table
from stylegan_jax.metrics.features import shelf, vgg

VGG = flags.DEFINE_string("vgg", None, "File of VGG16's weights; by default that of --mode=weights.")
EMOJI = flags.DEFINE_string("emoji", None, "Zip of emoji, PNGs named emoji_uCODE.png; without it that set is left out.")
FASHION = flags.DEFINE_string("fashion", None, "Folder of Fashion-MNIST's .gz files; without it that set is left out.")
COUNT = flags.DEFINE_integer("count", 890, "Pictures compared with as many others.", lower_bound=faults.NUM_MEMORISED)
SPLITS = flags.DEFINE_integer("splits", 10, "Comparisons of reals with reals, which give the floor.", lower_bound=5)
SEED = flags.DEFINE_integer("seed", 0, "Seed of every choice.")
OUT = flags.DEFINE_string("out", "runs/metrics_ladder", "Folder for the numbers, the picture, and features to keep.")


def ladder(
    pool: sets.Pool, count: int, measure_fn: Callable[..., scores.Measured], rng: np.random.Generator
) -> table.Ladder:
    """Returns the scores of all rungs of a pool.

    Args:
        pool: the pictures.
        count: pictures to compare.
        measure_fn: gives images their features; a function of them, and of name= and are_faces=.
        rng: draws the floor's choices and the faults' noise.
    """
    measure_fn = functools.partial(measure_fn, are_faces=pool.name == "faces")
    rungs = faults.rungs(pool, count, rng)
    reals, begun = measure_fn(pool.images, name=f"{pool.name}, unchanged"), time.monotonic()
    floors = []
    for k in range(SPLITS.value):
        rung = faults.floor(len(pool.images), count, rng)
        floors.append(scores.scores(reals[rung.fakes], reals[rung.reals]))
        print(f"{pool.name}, floor {k + 1} of {SPLITS.value}: {time.monotonic() - begun:.0f} s", flush=True)
    found, samples = {}, {}
    for rung in rungs:
        fakes = reals[rung.fakes]
        if rung.change:
            fakes = measure_fn(rung.change(fakes.images, rng), name=f"{pool.name}, {rung.name}")
        found[rung.name] = scores.scores(fakes, reals[rung.reals])
        samples[rung.name] = fakes.images[: picture.NUM_SAMPLES]
        print(f"{pool.name}, {rung.name}: {time.monotonic() - begun:.0f} s", flush=True)
    return table.Ladder(pool.name, count, floors, found, samples)


def pools() -> list[tuple[sets.Pool, np.random.Generator]]:
    """Returns the sets that the flags name, and for each a generator of its own: no set changes another's numbers."""
    count = COUNT.value
    found = [(sets.procedural_faces(count), np.random.default_rng(SEED.value))]
    for name, open_fn, place in (("emoji", sets.emoji, EMOJI.value), ("fashion", sets.fashion, FASHION.value)):
        if place:
            rng = np.random.default_rng(SEED.value)
            found.append((open_fn(place, count, rng), rng))
        else:
            print(f"{name}: left out, since --{name} is not set", flush=True)
    return found


def main(argv: list[str]) -> None:
    """Measures the sets that the flags name, prints their tables, and draws them."""
    logging.set_verbosity(logging.WARNING)
    try:
        options.check_no_arguments(argv)
        folder = shelf.default_folder()
        weights = vgg.read(VGG.value) if VGG.value else shelf.read_vgg(folder, "the ladder")
        out = pathlib.Path(OUT.value)
        (out / "features").mkdir(parents=True, exist_ok=True)
        measure_fn = functools.partial(features.measured, weights=weights, folder=out / "features")
        for note in weights.notes:
            print(note)
        ladders: list[table.Ladder] = []
        for pool, rng in pools():
            ladders.append(ladder(pool, COUNT.value, measure_fn, rng))
            print(f"\n{table.markdown(ladders[-1])}\n", flush=True)
            options.write_json(out / "scores.json", {found.name: table.numbers(found) for found in ladders})
        picture.draw(ladders).save(out / "ladder.png", optimize=True)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {out / 'scores.json'} and {out / 'ladder.png'}")


if __name__ == "__main__":
    app.run(main, flags_parser=options.parse_flags)
