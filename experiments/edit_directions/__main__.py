"""How cleanly do directions of linear support vector machines edit the 34 attributes of the procedural faces?

    python -m experiments.edit_directions --network=RUN --out=FOLDER

It labels style-mixed images and finds a direction for each attribute, as --mode=directions --find=svm_layers does.
For each attribute it then measures on other faces what two edits change. "held": the direction with all others held
(`directions.held`). "tuned": a combination of the machines' directions, resolution by resolution, whose weights begin
with the held one and are trained on what the attribute network says of edited images. It prints a table, and leaves the
edits as files for --mode=edit. The same command goes on with the edits that are not clean yet.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

import stylegan_jax
from stylegan_jax.images import direction_files, directions, find, labels
from stylegan_jax.images.directions import Direction
from stylegan_jax.metrics import attributes
from stylegan_jax.networks import sampling
from stylegan_jax.runs import progress, whole
from stylegan_jax.weights.network import Network

NUM_LABELLED = 16_000
TUNING = range(200_000, 200_512)  # Seeds of the faces that weights are trained on.
TEST = range(300_000, 300_500)  # Seeds of the faces in the table.
WANTED, ALLOWED = 0.40, 0.10  # Change of the attribute's share, and of the others'.
STRENGTH = 3.0  # Of the held direction.
STEPS, BATCH, RATE = 40, 48, 0.1  # Adam's steps, faces in each, and learning rate, in deviations of w.
AIMED = 0.45  # Change of the mean probability that training asks for.
PENALTY = 2e-4  # Of the squared length of an edit, in deviations of w, so that it does not leave the data.


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", required=True, help="network of faces: whatever stylegan_jax.load opens")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for labels, directions and results")
    parser.add_argument("--attributes", nargs="*", help="attributes to edit; all without it")
    arguments = parser.parse_args()
    network = stylegan_jax.load(arguments.network)
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = attributes.faces()
    w, logits = labelled(network, asked, arguments.out / "labels.npz")
    found = machines(network, w, logits, asked.names, arguments.out / "machines.safetensors")
    path = arguments.out / "edits.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    tuning, test = (faces(network, asked, seeds) for seeds in (TUNING, TEST))
    step = step_fn(network, asked, found)
    for name in arguments.attributes or asked.names:
        k, edit_path = asked.names.index(name), arguments.out / f"{name}.safetensors"
        if name not in results or not is_clean(results[name]["tuned"], k):
            held = scaled(directions.held(found[k], found), STRENGTH)
            (start,) = direction_files.load(edit_path, network) if edit_path.exists() else (held,)
            edits = {"held": held, "tuned": tuned(step, tuning, found, start, k)}
            results[name] = {way: measured(network, asked, test, edit) for way, edit in edits.items()}
            direction_files.save(edit_path, [edits["tuned"]])
            with whole.writing(path, "w") as file:
                json.dump(results, file, indent=1)
        for way, result in results[name].items():
            print(line(name, way, result, asked.names), flush=True)
    for way in ("held", "tuned"):
        clean = [name for name in results if is_clean(results[name][way], asked.names.index(name))]
        print(f"{way}: {len(clean)} of {len(results)} are clean: {', '.join(clean)}")


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


def scaled(direction: Direction, strength: float) -> Direction:
    """Returns a direction whose strength 1 is another's `strength`."""
    vector, normal = direction.vector * np.float32(strength), direction.normal / np.float32(strength)
    source = f"{direction.source}; strength {strength:g}"
    return dataclasses.replace(direction, vector=vector, normal=normal, source=source)


def faces(network: Network, asked: attributes.Attributes, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ws of seeds, and the logits of their images."""
    ws = network.map(network.latents(seeds))
    return ws, labels.logits_of(network, ws, asked)


def step_fn(network: Network, asked: attributes.Attributes, found: list[Direction]) -> Callable:
    """Returns the compiled loss of `tuned` and its gradient, a function of weights, target, ws and probabilities.

    The loss is 4 max(0, AIMED - the target's change)^2, plus the sum over all other attributes of their squared
    changes, plus PENALTY times the squared length of the edit; changes are those of the mean probability.
    """
    vectors = jnp.asarray(np.stack([d.vector for d in found]))[:, ::2]  # [num, num_resolutions, w_size]
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(labels.draw_w(network, range(4000)), rowvar=False)))
    noise = network.const_noise()

    def loss(weights: jax.Array, target: jax.Array, ws: jax.Array, before: jax.Array) -> jax.Array:
        vector = jnp.einsum("kr,krd->rd", weights, vectors)
        edited = ws + jnp.repeat(vector, 2, axis=0)
        images = sampling.synthesize(network.params, edited, noise, None, network.model, network.resolution)
        change = (jax.nn.sigmoid(asked.logits_fn(asked.params, images)) - before).mean(axis=0)
        aim = jnp.maximum(AIMED - change @ target, 0) ** 2
        others = jnp.sum((change * (target == 0)) ** 2)
        return 4 * aim + others + PENALTY * jnp.mean(jnp.sum((vector @ whitening.T) ** 2, axis=1))

    return jax.jit(jax.value_and_grad(loss))


def tuned(
    step: Callable, tuning: tuple[np.ndarray, np.ndarray], found: list[Direction], start: Direction, k: int
) -> Direction:
    """Returns the edit of attribute k by a combination of the machines' directions, one for each resolution.

    Adam lowers the loss of `step_fn`, beginning with `start`. An attribute that most faces have is taken away.
    """
    ws, before = tuning[0], sigmoid(tuning[1])
    target = np.zeros(len(found), np.float32)
    target[k] = 1 if before[:, k].mean() < 0.55 else -1
    vectors = np.stack([d.vector for d in found])
    edit = start.vector * np.sign(target[k] * np.sum(found[k].normal * start.vector))
    each = [np.linalg.lstsq(vectors[:, r].T, edit[r])[0] for r in range(0, len(edit), 2)]
    weights = jnp.asarray(np.stack(each, axis=1), jnp.float32)  # [num, num_resolutions]
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    state = optimizer.init(weights)
    for i in range(STEPS):
        some = np.arange(i * BATCH, (i + 1) * BATCH) % len(ws)
        value, gradient = step(weights, target, ws[some], before[some])
        changes, state = optimizer.update(gradient, state)
        weights = optax.apply_updates(weights, changes)
    vector = np.repeat(np.einsum("kr,krd->rd", weights, vectors[:, ::2]), 2, axis=0).astype(np.float32)
    normal = found[k].normal / np.sum(found[k].normal * vector)
    print(f"{found[k].name}: loss {float(value):.3f}", flush=True)
    source = f"{found[k].source}; all others held as images show; strength 1 is the whole edit"
    return Direction(found[k].name, vector, normal, source, found[k].network)


def measured(
    network: Network, asked: attributes.Attributes, test: tuple[np.ndarray, np.ndarray], edit: Direction
) -> dict:
    """Returns the shares of faces with each attribute before and after an edit, and how many others flipped."""
    before, after = test[1] > 0, labels.logits_of(network, test[0] + edit.vector, asked) > 0
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


def line(name: str, way: str, result: dict, names: tuple[str, ...]) -> str:
    """Returns a row of the table."""
    k = names.index(name)
    change = 100 * np.subtract(result["after"], result["before"])
    order = [j for j in np.argsort(-np.abs(change)) if j != k][:3]
    others = ", ".join(f"{names[j]} {change[j]:+.1f}" for j in order)
    shares = f"{100 * result['before'][k]:.1f} | {100 * result['after'][k]:.1f} | {change[k]:+.1f}"
    mark = "yes" if is_clean(result, k) else "no"
    return f"| {name} | {way} | {shares} | {others} | {100 * result['flipped']:.1f} | {result['deviations']} | {mark} |"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities."""
    return 1 / (1 + np.exp(-logits))


if __name__ == "__main__":
    main()
