"""How many dimensions do w and the faces of a network have, and what do the faces lack?

Run python -m experiments.faces64.dimensions NETWORK...
"""

import sys

import numpy as np

import stylegan_jax
from stylegan_jax.data import faces
from stylegan_jax.metrics import fd_faces

NUM_IMAGES, NUM_NEIGHBOURS = 2000, 20
FIRST_FACE = 10_000_000  # No training saw it.
NUM_SHOWN = 6  # Attributes.


def participation_ratio(x: np.ndarray) -> float:
    """Returns how many principal axes of `x` [n, d] count: (sum of variances)^2 / sum of squared variances."""
    variances = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    return variances.sum() ** 2 / np.sum(variances**2)


def intrinsic_dimension(x: np.ndarray) -> float:
    """Returns the dimension by the distances of rows of `x` [n, d] to their neighbours (Levina and Bickel 2004)."""
    squares = np.sum(x * x, axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0))
    near = np.sort(distances, axis=1)[:, 1 : NUM_NEIGHBOURS + 1]
    return 1 / np.mean(np.log(near[:, -1:] / near[:, :-1]))


def seen(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits [n, 34] and features [n, d] of uint8 images, by the network of fd_faces."""
    params = fd_faces.load()
    parts = np.array_split(images, len(images) // 100)
    found = [fd_faces.apply(params, part.astype(np.float32) / 127.5 - 1) for part in parts]
    return np.concatenate([logits for logits, _ in found]), np.concatenate([features for _, features in found])


if __name__ == "__main__":
    logits, real_features = seen(faces.images(np.arange(NUM_IMAGES) + FIRST_FACE, 0, 64))
    real_shares = np.mean(logits > 0, axis=0)
    print(f"real faces: {intrinsic_dimension(real_features):.1f} dimensions")
    for path in sys.argv[1:]:
        network = stylegan_jax.load(path)
        z = network.latents(range(NUM_IMAGES))
        w = np.asarray(network.map(z))[:, 0]
        images = np.concatenate([network(z=part, noise="random") for part in np.array_split(z, NUM_IMAGES // 50)])
        logits, features = seen(images)
        variance = features.var(axis=0).sum() / real_features.var(axis=0).sum()
        print(f"{path}: w {participation_ratio(w):.1f}, faces {intrinsic_dimension(features):.1f} dimensions")
        print(f"  their features vary {variance:.0%} as much as those of real faces; what differs most in frequency:")
        shares = np.mean(logits > 0, axis=0)
        for i in np.argsort(-np.abs(shares - real_shares))[:NUM_SHOWN]:
            print(f"  {list(faces.ATTRIBUTES)[i]}: {shares[i]:.1%}, real faces {real_shares[i]:.1%}")
