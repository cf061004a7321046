"""Trains the attribute network behind fd_faces, or one of other labelled pictures, for linear separability.

    python experiments/attribute_network/train.py
    python experiments/attribute_network/train.py --source=SOURCE --resolution=32 --out=FILE.npz

writes the weights, and prints a table of accuracy. After the first, set WEIGHTS_SHA256 in
stylegan_jax/metrics/fd_faces.py to the digest that it prints. The second's file is for `metrics.attributes.trained`.
"""

import argparse
import csv
import functools
import hashlib
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stylegan_jax.config import Data, Model
from stylegan_jax.data import faces, sources, square
from stylegan_jax.data.images import open_images
from stylegan_jax.metrics import attributes, fd_faces

SEED = 20_181_212  # Seed of the faces; no run has it, so the network has not seen a run's faces.
NUM_FACES = 12_000  # Faces to train on.
NUM_TEST = 2048  # Pictures kept for the table; of few pictures, a fifth.
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
MAX_SHIFT_PX = 2
MAX_NOISE = 0.06  # Largest standard deviation of the noise, for images in [-1, 1].
BLUR_PROBABILITY = 0.3
UNSCALED = {"feature_scale": np.ones(fd_faces.NUM_FEATURES, np.float32)}


def draw(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `count` faces, uint8 [n, 64, 64, 3], and their attributes, bool [n, 34]."""
    indices = np.arange(first, first + count)
    chunks = np.array_split(indices, max(count // 256, 1))
    images = np.concatenate([faces.images(chunk, SEED, fd_faces.INPUT_PX) for chunk in chunks])
    return images, faces.attributes(faces.sample_factors(indices, SEED))


def labelled(
    source: str, labels: str, resolution: int, table: pathlib.Path | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Returns a source's pictures, shuffled, their attributes, and the attributes' names.

    Args:
        source: as data.source. Pictures that are no squares are cropped.
        labels: as data.labels: where classes come from. Each class is an attribute, which one of them has.
        resolution: height and width that the pictures are brought to, px; a power of two.
        table: a .csv of attributes in place of classes, see `attributes_in`.

    Returns:
        RGB, uint8 [n, resolution, resolution, 3]; bool [n, num_attributes]; names.

    Raises:
        ValueError: the source or the table cannot be read, or there are no classes.
    """
    data, model = Data(source=source, labels=labels), Model(resolution=resolution, channels=3)
    found = open_images(data, model)
    if table is not None:
        names, values = attributes_in(table, sources.open_source(data, resolution).names)
        if found.num_skipped or found.num_filtered:
            raise ValueError(f"{source} has pictures that were left out; remove them, for the table has them too.")
    elif found.classes is None:
        raise ValueError(f"{source} has no classes; name a file of them with --labels, or of attributes with --table.")
    else:
        names = found.classes.names
        values = found.classes.labels[:, None] == np.arange(len(names))[None]
    order = np.random.default_rng(SEED).permutation(found.length)
    images = found.images_fn(order, min(size for size in found.sizes if size >= resolution))
    if images.shape[1] > resolution:
        images = np.stack([square.box_mean(image, resolution) for image in images])
    return images, values[order], names


def attributes_in(table: pathlib.Path, names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the names of a table's attributes, and which of them each picture has. bool [n, num_attributes]

    Args:
        table: a .csv. Its first line is titles; each other line is a picture's path in the source, then for each
            attribute 1, or else 0 or -1.
        names: of the pictures.

    Raises:
        ValueError: a picture is missing, or a value is another.
    """
    with table.open(newline="", encoding="utf-8-sig") as file:
        titles, *rows = [row for row in csv.reader(file) if row]
    by_name = {row[0]: [value.strip() for value in row[1:]] for row in rows}
    for name in names:
        values = by_name.get(name, [])
        if len(values) != len(titles) - 1 or not {*values} <= {"1", "0", "-1"}:
            raise ValueError(f"{table} gives {name} the values {values}; give it {len(titles) - 1}, each 1, 0 or -1.")
    return tuple(titles[1:]), np.array([by_name[name] for name in names]) == "1"


def augment(key: jax.Array, images: jax.Array) -> jax.Array:
    """Returns the images shifted by up to 2 px, three in ten blurred, with a little noise. [n, 64, 64, 3]"""
    shift_key, blur_key, level_key, noise_key = jax.random.split(key, 4)
    n, h, w, c = images.shape
    padded = jnp.pad(images, ((0, 0), (MAX_SHIFT_PX, MAX_SHIFT_PX), (MAX_SHIFT_PX, MAX_SHIFT_PX), (0, 0)), mode="edge")
    corners = jax.random.randint(shift_key, (n, 2), 0, 2 * MAX_SHIFT_PX + 1)
    images = jax.vmap(lambda x, yx: jax.lax.dynamic_slice(x, (yx[0], yx[1], 0), (h, w, c)))(padded, corners)
    blurred = (images + jnp.roll(images, 1, axis=1)) / 2
    blurred = (blurred + jnp.roll(blurred, -1, axis=2)) / 2
    chosen = jax.random.bernoulli(blur_key, BLUR_PROBABILITY, (n, 1, 1, 1))
    images = jnp.where(chosen, blurred, images)
    deviation = jax.random.uniform(level_key, (n, 1, 1, 1), maxval=MAX_NOISE)
    return images + deviation * jax.random.normal(noise_key, images.shape)


def loss_fn(params: fd_faces.Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the mean binary cross-entropy of the attributes."""
    logits, _ = fd_faces.apply(params | UNSCALED, images)
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean()


def train(images: np.ndarray, labels: np.ndarray, num_epochs: int) -> fd_faces.Params:
    """Returns the parameters, all but feature_scale, after AdamW with a one-cycle learning rate."""
    steps_per_epoch = len(images) // BATCH
    optimizer = optax.adamw(
        optax.cosine_onecycle_schedule(num_epochs * steps_per_epoch, LEARNING_RATE), weight_decay=WEIGHT_DECAY
    )

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state, key, reals, labels):
        reals = augment(key, fd_faces.resize(reals))
        loss, gradients = jax.value_and_grad(loss_fn)(params, reals, labels)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    init_key, augment_key = jax.random.split(jax.random.key(SEED))
    params = fd_faces.init(init_key, labels.shape[1])
    del params["feature_scale"]  # It follows from the trained network.
    opt_state = optimizer.init(params)
    rng = np.random.default_rng(SEED)
    start = time.monotonic()
    for epoch in range(num_epochs):
        losses = []
        for k, rows in enumerate(np.split(rng.permutation(len(images))[: steps_per_epoch * BATCH], steps_per_epoch)):
            key = jax.random.fold_in(augment_key, epoch * steps_per_epoch + k)
            params, opt_state, loss = step(params, opt_state, key, images[rows], labels[rows].astype(np.float32))
            losses.append(loss)
        print(f"epoch {epoch + 1:2d}  loss {np.mean(losses):.4f}  {time.monotonic() - start:5.0f} s", flush=True)
    return params


def outputs(params: fd_faces.Params, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the network's logits and features of uint8 images."""
    forward = jax.jit(lambda batch: fd_faces.apply(params, fd_faces.resize(batch)))
    batches = [forward(images[k : k + 256]) for k in range(0, len(images), 256)]
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def as_stored(params: fd_faces.Params, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the parameters in half precision, with the feature_scale that gives features of `images` deviation 1."""
    stored = {name: np.asarray(value, np.float16) for name, value in params.items()}
    _, features = outputs(as_loaded(stored) | UNSCALED, images)
    return stored | {"feature_scale": (1 / np.maximum(features.std(axis=0), 1e-3)).astype(np.float32)}


def as_loaded(stored: dict[str, np.ndarray]) -> fd_faces.Params:
    """Returns stored parameters in single precision."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in stored.items()}


def print_accuracy(params: fd_faces.Params, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
    """Prints a table of each attribute's accuracy, beside that of always giving the most frequent answer."""
    logits, _ = outputs(params, images)
    accuracy = ((logits > 0) == labels).mean(axis=0)
    guess = np.maximum(labels.mean(axis=0), 1 - labels.mean(axis=0))
    print("| attribute | accuracy | most frequent answer |\n| --- | --- | --- |")
    rows = zip([*names, "mean"], [*accuracy, accuracy.mean()], [*guess, guess.mean()], strict=True)
    for name, right, frequent in rows:
        print(f"| {name} | {right:.3f} | {frequent:.3f} |")


def about(names: tuple[str, ...], source: str, resolution: int) -> np.ndarray:
    """Returns what `metrics.attributes.trained` wants to know, as UTF-8 of JSON. uint8 [num_bytes]"""
    text = json.dumps({"attributes": names, "trained_on": f"{source} at {resolution} px"})
    return np.frombuffer(text.encode(), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="pictures, as data.source; without it, the procedural faces of fd_faces")
    parser.add_argument("--labels", default="own", help="where their classes come from, as data.labels")
    parser.add_argument("--table", type=pathlib.Path, help=".csv of attributes in place of classes, 1 or 0 in a column")
    parser.add_argument("--resolution", type=int, default=64, help="of the generator that will be measured, px")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=pathlib.Path, help="the .npz file to write")
    args = parser.parse_args()
    if args.source and not args.out:
        parser.error("name the file to write with --out; without it, that of fd_faces would be lost.")

    start = time.monotonic()
    if args.source:
        images, labels, names = labelled(args.source, args.labels, args.resolution, args.table)
        num_test = min(NUM_TEST, len(images) // 5)
        (test_images, images), (test_labels, labels) = (np.split(x, [num_test]) for x in (images, labels))
        extra = {attributes.ABOUT: about(names, args.source, args.resolution)}
    else:
        images, labels = draw(NUM_TEST, NUM_FACES)
        test_images, test_labels = draw(0, NUM_TEST)
        names, extra = tuple(faces.ATTRIBUTES), {}
    print(f"read {len(images) + len(test_images)} pictures in {time.monotonic() - start:.0f} s", flush=True)

    out = args.out or pathlib.Path(fd_faces.__file__).with_name(fd_faces.WEIGHTS_FILE)
    stored = as_stored(train(images, labels, args.epochs), images[:4096])
    np.savez(out, **stored, **extra)
    print_accuracy(as_loaded(stored), test_images, test_labels, names)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    print(f"{out.stat().st_size} bytes, SHA-256 {digest}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
