"""How near does projection come to pictures of the data, and does it find the styles of generated ones again?

    python -m experiments.projection --network=NET --out=FOLDER

NET is a network of the procedural faces. It prints a table, and writes it and a sheet of pictures to the folder.
"""

import argparse
import pathlib
import time

import numpy as np
from PIL import Image

import stylegan_jax
from stylegan_jax.data import faces
from stylegan_jax.images import mapped, project, project_folder
from stylegan_jax.images.mapped import MappedStyles
from stylegan_jax.runs import grid, whole
from stylegan_jax.weights.network import Network

HELD_OUT = 1_000_000  # Number of the first face that no training has seen.
GENERATED = 5000  # Seed of the first generated picture.
PAIRS = range(10_000, 10_512), range(11_000, 11_512)  # Seeds of random styles, whose distance others are relative to.
NUM_ALARMS = 256  # Pictures of each kind that are asked about being far from the data.
SHOWN = 8  # Pictures of each kind on the sheet.


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", required=True, help="network of faces: whatever stylegan_jax.load opens")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the table and the sheet")
    parser.add_argument("--pictures", type=int, default=32, help="pictures in each row of the table")
    arguments = parser.parse_args()
    network, n = stylegan_jax.load(arguments.network), arguments.pictures
    arguments.out.mkdir(parents=True, exist_ok=True)
    begin_sec = time.time()
    styles = mapped.styles_of(network)
    lines = [f"random styles: {time.time() - begin_sec:.1f} s"]
    lines += [f"{share:.1%} of {what} are told to be far" for what, share in alarms(network, styles).items()]
    print(*lines, sep="\n", flush=True)
    held = faces.images(np.arange(n) + HELD_OUT, faces.SEED, network.model.resolution)
    ws = network.map(network.latents(range(GENERATED, GENERATED + n)))
    made, rows = network.images(ws), []
    for name, images, space, known, steps in (
        ("held-out", held, "w+", None, project.STEPS),
        ("generated", made, "w+", ws, project.STEPS),
        ("generated", made, "w", ws, project.STEPS),
        ("generated", made, "w", ws, 8 * project.STEPS),
    ):
        begin_sec = time.time()
        found = project.project(network, images, space, steps=steps, styles=styles)
        line = row(f"{name}, {space}, {steps} steps", found, known, network, (time.time() - begin_sec) / n)
        print(line, flush=True)
        lines.append(line)
        if steps == project.STEPS:
            rows += [images[:SHOWN], found.images[:SHOWN]]
    with whole.writing(arguments.out / "table.txt", "w") as file:
        file.write("\n".join(lines) + "\n")
    sheet = Image.fromarray(grid.image_grid(np.concatenate(rows), columns=len(rows[0])))
    sheet.save(arguments.out / "sheet.jpg", quality=90)


def row(name: str, found: project.Projection, known: np.ndarray | None, network: Network, seconds: float) -> str:
    """Returns a line of the table."""
    psnr = f"PSNR {found.psnr.mean():.1f} dB, least {found.psnr.min():.1f}"
    text = f"{name}: {psnr}; distance {found.distance.mean():.2f}"
    if known is not None:
        first, second = (network.map(network.latents(seeds)) for seeds in PAIRS)
        away = lengths(found.ws - known) / lengths(first - second).mean()
        text += f"; from the true w {away.mean():.3f}, median {np.median(away):.3f}, most {away.max():.3f}"
    return f"{text}; {seconds:.1f} s a picture"


def lengths(differences: np.ndarray) -> np.ndarray:
    """Returns the mean length over layers. [n]"""
    return np.linalg.norm(differences, axis=-1).mean(axis=-1)


def alarms(network: Network, styles: MappedStyles) -> dict[str, float]:
    """Returns which part of the pictures of each kind is told to be far from what the network makes."""
    r, rng = network.model.resolution, np.random.default_rng(0)
    held = faces.images(np.arange(NUM_ALARMS) + HELD_OUT, faces.SEED, r)
    kinds = {
        "held-out renders": held,
        "generated pictures": network(range(GENERATED, GENERATED + NUM_ALARMS)),
        "renders upside down": held[:, ::-1],
        "negatives": 255 - held,
        "renders at twice the size": held[:, r // 4 : -r // 4, r // 4 : -r // 4].repeat(2, axis=1).repeat(2, axis=2),
        "plain colours": np.broadcast_to(rng.integers(0, 256, (NUM_ALARMS, 1, 1, 3), np.uint8), held.shape),
        "white noise": rng.integers(0, 256, held.shape, np.uint8),
    }
    return {
        what: float(np.mean([styles.nearest(image)[1] >= project_folder.FAR for image in images]))
        for what, images in kinds.items()
    }


if __name__ == "__main__":
    main()
