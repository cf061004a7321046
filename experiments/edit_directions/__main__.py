"""How cleanly can one fixed direction edit an attribute of the procedural faces?

    python -m experiments.edit_directions --network=NET --out=FOLDER

For each attribute it trains an edit, a vector for each resolution that is added to ws, by gradient through the
generator and the attribute network: the attribute's share of the faces is to change, and that of the others is not.
Other faces decide when training ends, and yet other ones show what the edit changes. It prints a table, and leaves
the edits as files for --mode=edit. The same command goes on where it stopped.

Source: Jahanian et al. 2020 (steerability of GANs) train a walk in latent space through the generator; Zhuang et al.
2021 (Enjoy Your Editing) train directions on the answers of a regressor, other attributes held.
Differs: they hold the attributes of each face; here the mean over the faces is held.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

import stylegan_jax
from stylegan_jax.images import direction_files, labels
from stylegan_jax.images.directions import Direction
from stylegan_jax.metrics import attributes
from stylegan_jax.networks import sampling
from stylegan_jax.runs import progress, whole
from stylegan_jax.weights.network import Network

EDITED = (  # Frequent and rare enough that 40 points are possible, and not implied by others.
    ("smiling", "long_nose", "light_hair", "mouth_open", "light_eyes", "bright_background", "lit_from_right")
    + ("dark_skin", "close_up", "facing_right", "wide_nose", "rosy_cheeks")
)
TRAINING = range(200_000, 202_048)  # Seeds of the faces that edits are trained on,
VALIDATION = range(250_000, 251_000)  # that decide when training ends,
TEST = range(600_000, 600_500)  # and that are in the table.
WANTED, ALLOWED = 0.40, 0.10  # Change of the attribute's share, and of the others'.
ROUNDS, ENOUGH = 5, 0.03  # Rounds of training at most; it ends early where `margin` is that.
STEPS, BATCH, RATE = 50, 32, 0.02  # Adam's steps in a round, faces in each, and learning rate, in deviations of w.
AIMED, RISE = 0.47, 20  # Change of the share that training asks for, after so many steps; less before them.
WEIGHT = 3.0  # Of the attribute's squared error; 1 is that of another.
SHARPNESS = 2.0  # Factor of logits, by which the mean of their sigmoid is near the share of those above 0.
MEMORY = 0.8  # Part of the running mean of changes that a step keeps.


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", required=True, help="network of faces: whatever stylegan_jax.load opens")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for edits and results")
    parser.add_argument("--attributes", nargs="*", default=EDITED, help="attributes to edit")
    arguments = parser.parse_args()
    network, asked = stylegan_jax.load(arguments.network), attributes.faces()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "edits.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    training, validation, test = (faces(network, asked, seeds) for seeds in (TRAINING, VALIDATION, TEST))
    root = np.linalg.cholesky(np.cov(labels.draw_w(network, range(8000)), rowvar=False))  # From deviations to w.
    step = step_fn(network, asked, root)
    for name in arguments.attributes:
        k = asked.names.index(name)
        if name not in results:
            vector = first_clean(
                rounds(step, training, root, k),
                lambda vector, k=k: margin(shares(network, asked, validation, vector), k),
            )
            results[name] = shares(network, asked, test, vector) | {"deviations": deviations(vector, root)}
            direction_files.save(arguments.out / f"{name}.safetensors", [direction(network, name, vector)])
            with whole.writing(path, "w") as file:
                json.dump(results, file, indent=1)
        print(line(name, results[name], asked.names), flush=True)
    clean = [name for name in results if margin(results[name], asked.names.index(name)) >= 0]
    print(f"{len(clean)} of {len(results)} are clean: {', '.join(clean)}")


def faces(network: Network, asked: attributes.Attributes, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ws of seeds, and the logits of their images."""
    ws = network.map(network.latents(seeds))
    with progress.counting("faces") as progress_fn:
        return ws, labels.logits_of(network, ws, asked, progress_fn)


def step_fn(network: Network, asked: attributes.Attributes, root: np.ndarray) -> Callable:
    """Returns the compiled gradient of weights @ changes, a function of the edit, weights, ws and shares before.

    The edit is in deviations of w [num_resolutions, w_size]; changes [num_attributes] are those of the shares, which
    the function returns too.
    """
    noise, matrix = network.const_noise(), jnp.asarray(root.T, jnp.float32)

    def weighted(edit: jax.Array, weights: jax.Array, ws: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
        edited = ws + jnp.repeat(edit @ matrix, 2, axis=0)
        images = sampling.synthesize(network.params, edited, noise, None, network.model, network.resolution)
        after = jax.nn.sigmoid(SHARPNESS * asked.logits_fn(asked.params, images))
        changes = jnp.mean(after - before, axis=0)
        return weights @ changes, changes

    return jax.jit(jax.grad(weighted, has_aux=True))


def rounds(step: Callable, training: tuple[np.ndarray, np.ndarray], root: np.ndarray, k: int) -> Iterator[np.ndarray]:
    """Yields the edit of attribute k after each round. float32 [num_layers, w_size]

    Adam lowers WEIGHT (aim - the attribute's change)^2 + the sum over all others of their squared changes, beginning
    with no edit. In the gradient the changes are running means: those of a batch are mostly chance. An attribute that
    half of the faces have is taken away.
    """
    ws, logits = training
    before = np.asarray(jax.nn.sigmoid(SHARPNESS * logits))
    aim, pull = np.zeros((2, before.shape[1]), np.float32)
    aim[k], pull[:], pull[k] = AIMED if np.mean(logits[:, k] > 0) < 0.5 else -AIMED, 1, WEIGHT
    edit, changes, done = jnp.zeros((ws.shape[1] // 2, ws.shape[2])), np.zeros_like(aim), 0
    for number in range(1, ROUNDS + 1):
        optimizer = optax.adam(optax.cosine_decay_schedule(RATE / number, STEPS), b1=0.8)
        state = optimizer.init(edit)
        for _ in range(STEPS):
            some, done = np.arange(done * BATCH, (done + 1) * BATCH) % len(ws), done + 1
            error = changes - aim * min(1, done / RISE)
            gradient, seen = step(edit, 2 * pull * error, ws[some], before[some])
            updates, state = optimizer.update(gradient, state)
            edit = optax.apply_updates(edit, updates)
            changes = MEMORY * changes + (1 - MEMORY) * np.asarray(seen)
        yield np.repeat(np.asarray(edit) @ root.T, 2, axis=0).astype(np.float32)


def first_clean(edits: Iterable[np.ndarray], margin_fn: Callable[[np.ndarray], float]) -> np.ndarray:
    """Returns the first edit whose margin is ENOUGH; without one, that with the largest margin."""
    tried: list[tuple[float, np.ndarray]] = []
    for edit in edits:
        tried.append((margin_fn(edit), edit))
        if tried[-1][0] >= ENOUGH:
            break
    return max(tried, key=lambda pair: pair[0])[1]


def direction(network: Network, name: str, vector: np.ndarray) -> Direction:
    """Returns an edit as --mode=edit reads it."""
    source = "trained on what the attribute network says of edited faces, the shares of all others held; for strength 1"
    return Direction(name, vector, vector / np.sum(vector**2), source, network.sha256)


def deviations(vector: np.ndarray, root: np.ndarray) -> float:
    """Returns the length of an edit in standard deviations of w, root mean square over the layers."""
    return round(float(np.sqrt(np.mean(np.sum(np.linalg.solve(root, vector.T) ** 2, axis=0)))), 2)


def shares(
    network: Network, asked: attributes.Attributes, some: tuple[np.ndarray, np.ndarray], edit: np.ndarray
) -> dict:
    """Returns the shares of faces with each attribute before and after an edit, and of decisions that flip."""
    before, after = some[1] > 0, labels.logits_of(network, some[0] + edit, asked) > 0
    found = {"before": before, "after": after, "flipped": before != after}
    return {name: x.mean(axis=0).round(4).tolist() for name, x in found.items()}


def margin(result: dict, k: int) -> float:
    """Returns by how much an edit is clean: the least distance to WANTED and to ALLOWED; not clean below 0."""
    change = np.abs(np.subtract(result["after"], result["before"])).round(4)  # Shares have as many places.
    return min(change[k] - WANTED, ALLOWED - 1e-9 - np.delete(change, k).max())


def line(name: str, result: dict, names: tuple[str, ...]) -> str:
    """Returns a row of the table."""
    k = names.index(name)
    change = 100 * np.subtract(result["after"], result["before"])
    order = [j for j in np.argsort(-np.abs(change)) if j != k][:3]
    others = ", ".join(f"{names[j]} {change[j]:+.1f}" for j in order)
    numbers = f"{100 * result['before'][k]:.1f} | {100 * result['after'][k]:.1f} | {change[k]:+.1f}"
    flipped, mark = 100 * np.delete(result["flipped"], k).mean(), "yes" if margin(result, k) >= 0 else "no"
    return f"| {name} | {numbers} | {others} | {flipped:.1f} | {result['deviations']} | {mark} |"


if __name__ == "__main__":
    main()
