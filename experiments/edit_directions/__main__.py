"""How cleanly do directions of linear support vector machines edit the 34 attributes of the procedural faces?

    python -m experiments.edit_directions --network=RUN --out=FOLDER

It labels style-mixed images, finds a direction for each attribute (`directions.svm_direction` on a w for each
resolution), holds all other attributes, measures what edits change, and sets the conditions of the held attributes
anew until they stay where they are. Then it measures the edits on other faces, and prints a table. What is in the
folder is not made again.
"""

import argparse
import json
import pathlib

import numpy as np

import stylegan_jax
from stylegan_jax.images import direction_files, find, labels
from stylegan_jax.images.directions import Direction
from stylegan_jax.metrics import attributes
from stylegan_jax.runs import progress, whole
from stylegan_jax.weights.network import Network

NUM_LABELLED = 16_000
CALIBRATION = range(200_000, 200_256)  # Seeds of the faces on which conditions are set.
TEST = range(300_000, 300_500)  # Seeds of the faces in the table.
ROUNDS = 8
WANTED, ALLOWED = 0.40, 0.10  # Change of the attribute's share, and of the others'.
AIMED = 0.46  # Change at which the strength is no longer raised.
FIRST, MOST = 2.5, 8.0  # Change of the machine's score that a direction begins with, and the largest, in deviations.


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", required=True, help="network of faces: whatever stylegan_jax.load opens")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for labels, directions and results")
    arguments = parser.parse_args()
    network = stylegan_jax.load(arguments.network)
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = attributes.faces()
    w, logits = labelled(network, asked, arguments.out / "labels.npz")
    found = machines(network, w, logits, asked.names, arguments.out / "machines.safetensors")
    slopes = np.array([slope(w, logits[:, k], found[k]) for k in range(len(found))])
    path = arguments.out / "edits.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for k, direction in enumerate(found):
        if direction.name not in results:
            edit, rounds = corrected(network, asked, found, slopes, k)
            results[direction.name] = measured(network, asked, edit) | {"held": rounds[0], "rounds": len(rounds)}
            direction_files.save(arguments.out / f"{direction.name}.safetensors", [edit])
            with whole.writing(path, "w") as file:
                json.dump(results, file, indent=1)
        print(line(direction.name, results[direction.name], asked.names), flush=True)
    passed = [name for name, result in results.items() if is_clean(result, asked.names.index(name))]
    print(f"{len(passed)} of {len(found)} are clean: {', '.join(passed)}")


def labelled(network: Network, asked: attributes.Attributes, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns w [n, num_resolutions, w_size] and logits [n, num_attributes] of style-mixed images."""
    if not path.exists():
        w = labels.draw_mixed_w(network, range(NUM_LABELLED))
        with progress.counting("labelled images") as progress_fn:
            logits = labels.logits_of(network, np.repeat(w, 2, axis=1), asked, progress_fn)
        with whole.writing(path) as file:
            np.savez(file, w=w, logits=logits)
    arrays = np.load(path)
    return arrays["w"], arrays["logits"]


def machines(
    network: Network, w: np.ndarray, logits: np.ndarray, names: tuple[str, ...], path: pathlib.Path
) -> list[Direction]:
    """Returns the direction of each attribute, for all layers."""
    if not path.exists():
        found, notes = find.of_machines(network, w, dict(zip(names, logits.T > 0, strict=True)))
        if notes:
            raise ValueError(f"{notes[0]} All attributes are held, and need a direction.")
        direction_files.save(path, found)
    return direction_files.load(path, network)


def slope(w: np.ndarray, logits: np.ndarray, direction: Direction) -> float:
    """Returns how much an attribute's probability rises with its machine's score."""
    scores = np.einsum("nld,ld->n", np.repeat(w, 2, axis=1), direction.normal)
    return float(np.cov(scores, sigmoid(logits))[0, 1] / scores.var())


def corrected(
    network: Network, asked: attributes.Attributes, found: list[Direction], slopes: np.ndarray, k: int
) -> tuple[Direction, list]:
    """Returns the edit of attribute k, of strength 1, and the largest changes of the share of others in each round.

    The edit is the least move, counted in deviations of w, that changes the machines' scores by given amounts. These
    are 0 for held attributes at first, which is `directions.held`. Since images are not linear in w, their attributes
    change nevertheless; each round takes what has changed off the amounts.
    """
    vectors, normals = (np.stack([getattr(d, part).ravel() for d in found]) for part in ("vector", "normal"))
    inverse = np.linalg.inv(normals @ vectors.T)
    ws = network.map(network.latents(CALIBRATION))
    before = sigmoid(labels.logits_of(network, ws, asked))
    sign = 1 if before[:, k].mean() < 0.55 else -1  # Nearly all faces have it already: it is taken away.
    amounts = np.zeros(len(found))
    amounts[k] = sign * FIRST
    best, rounds = None, []
    for _ in range(ROUNDS):
        vector = (inverse @ amounts) @ vectors
        edited = sigmoid(
            labels.logits_of(network, ws + vector.reshape(found[k].vector.shape).astype(np.float32), asked)
        )
        change = (edited - before).mean(axis=0)
        gain, worst = sign * change[k], np.abs(np.delete(change, k)).max()
        rounds.append([round(float(gain), 3), round(float(worst), 3)])
        badness = max(AIMED - gain, 0) + worst
        if best is None or badness < best[0]:
            best = badness, vector, amounts.copy()
        amounts -= 0.7 * np.where(np.arange(len(found)) == k, 0, change) / slopes
        if gain < AIMED:
            amounts[k] = sign * min(abs(amounts[k]) * 1.2, MOST)
    vector = best[1].reshape(found[k].vector.shape).astype(np.float32)
    source = f"{found[k].source}; all others held by what images show; score {best[2][k]:+.1f}"
    normal = found[k].normal / np.sum(found[k].normal * vector)
    return Direction(found[k].name, vector, normal, source, found[k].network), rounds


def measured(network: Network, asked: attributes.Attributes, edit: Direction) -> dict:
    """Returns the shares of faces with each attribute before and after an edit, and how many others flipped."""
    ws = network.map(network.latents(TEST))
    before, after = (labels.logits_of(network, x, asked) > 0 for x in (ws, ws + edit.vector))
    k = asked.names.index(edit.name)
    flipped = np.delete(before != after, k, axis=1).mean()
    return {
        "before": before.mean(axis=0).round(4).tolist(),
        "after": after.mean(axis=0).round(4).tolist(),
        "flipped": round(float(flipped), 4),
        "deviations": round(float(np.sqrt(deviations_squared(network, edit.vector))), 2),
    }


def deviations_squared(network: Network, vector: np.ndarray) -> float:
    """Returns the mean over layers of the squared length of a vector, counted in standard deviations of w."""
    w = labels.draw_w(network, range(4000)).astype(np.float64)
    return float(np.mean(np.sum(vector * np.linalg.solve(np.cov(w, rowvar=False), vector.T).T, axis=1)))


def is_clean(result: dict, k: int) -> bool:
    """Whether an attribute's share changes by at least WANTED, and that of every other by less than ALLOWED."""
    change = np.abs(np.subtract(result["after"], result["before"]))
    return change[k] >= WANTED and np.delete(change, k).max() < ALLOWED


def line(name: str, result: dict, names: tuple[str, ...]) -> str:
    """Returns a row of the table."""
    k = names.index(name)
    change = 100 * np.subtract(result["after"], result["before"])
    order = [j for j in np.argsort(-np.abs(change)) if j != k][:3]
    others = ", ".join(f"{names[j]} {change[j]:+.1f}" for j in order)
    shares = f"{100 * result['before'][k]:.1f} | {100 * result['after'][k]:.1f} | {change[k]:+.1f}"
    mark = "yes" if is_clean(result, k) else "no"
    return f"| {name} | {shares} | {others} | {100 * result['flipped']:.1f} | {result['deviations']} | {mark} |"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities."""
    return 1 / (1 + np.exp(-logits))


if __name__ == "__main__":
    main()
