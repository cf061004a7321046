"""Trains the attribute network behind fd_faces, and writes its weights and a table of its accuracy.

    python experiments/attribute_network/train.py

Then set WEIGHTS_SHA256 in stylegan_jax/metrics/fd_faces.py to the digest that it prints.
"""

import argparse
import functools
import hashlib
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from stylegan_jax.data import faces
from stylegan_jax.metrics import fd_faces

SEED = 20_181_212  # Seed of the faces; no run has it, so the network has not seen a run's faces.
NUM_TEST = 2048  # Faces kept for the table.
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
    params = fd_faces.init(init_key)
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


def print_accuracy(params: fd_faces.Params, images: np.ndarray, labels: np.ndarray) -> None:
    """Prints a table of each attribute's accuracy, beside that of always giving the most frequent answer."""
    logits, _ = outputs(params, images)
    accuracy = ((logits > 0) == labels).mean(axis=0)
    guess = np.maximum(labels.mean(axis=0), 1 - labels.mean(axis=0))
    print("| attribute | accuracy | most frequent answer |\n| --- | --- | --- |")
    rows = zip([*faces.ATTRIBUTES, "mean"], [*accuracy, accuracy.mean()], [*guess, guess.mean()], strict=True)
    for name, right, frequent in rows:
        print(f"| {name} | {right:.3f} | {frequent:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=12_000, help="faces to train on")
    parser.add_argument("--epochs", type=int, default=8)
    default_out = pathlib.Path(fd_faces.__file__).with_name(fd_faces.WEIGHTS_FILE)
    parser.add_argument("--out", type=pathlib.Path, default=default_out, help="the .npz file to write")
    args = parser.parse_args()

    start = time.monotonic()
    images, labels = draw(NUM_TEST, args.faces)
    test_images, test_labels = draw(0, NUM_TEST)
    print(f"drew {args.faces + NUM_TEST} faces in {time.monotonic() - start:.0f} s", flush=True)

    stored = as_stored(train(images, labels, args.epochs), images[:4096])
    np.savez(args.out, **stored)
    print_accuracy(as_loaded(stored), test_images, test_labels)
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    print(f"{args.out.stat().st_size} bytes, SHA-256 {digest}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
