"""Chooses 1,000 pictures of a .zip: python -m experiments.few_pictures.split --source=FILE.zip --out=FOLDER

It writes FOLDER/chosen.zip and FOLDER/others.zip, unless they are there. The choice is a function of the names.
"""

import argparse
import pathlib
import zipfile

import numpy as np

from stylegan_jax.runs import whole

NUM_CHOSEN, SEED = 1000, 0


def split(source: pathlib.Path, out: pathlib.Path, num_chosen: int = NUM_CHOSEN) -> None:
    """Writes chosen.zip, of `num_chosen` PNGs of a .zip, and others.zip, of its other PNGs.

    Raises:
        SystemExit: it has no more PNGs than that.
    """
    with zipfile.ZipFile(source) as pictures:
        names = sorted(name for name in pictures.namelist() if name.endswith(".png"))
        if len(names) <= num_chosen:
            raise SystemExit(f"{source} has {len(names)} PNGs; more than {num_chosen} are needed.")
        order = np.argsort(np.random.RandomState(SEED).random_sample(len(names)))
        out.mkdir(parents=True, exist_ok=True)
        for file, part in (("chosen.zip", order[:num_chosen]), ("others.zip", order[num_chosen:])):
            with whole.writing(out / file) as stream, zipfile.ZipFile(stream, "w") as written:
                for i in sorted(part):
                    written.writestr(zipfile.ZipInfo(names[i]), pictures.read(names[i]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", required=True, type=pathlib.Path, help=".zip of PNGs")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write to")
    arguments = parser.parse_args()
    if not all((arguments.out / file).is_file() for file in ("chosen.zip", "others.zip")):
        split(arguments.source, arguments.out)
