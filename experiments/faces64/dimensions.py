"""How many dimensions do w and the faces of a network have? python -m experiments.faces64.dimensions NETWORK..."""

import sys

import numpy as np

import stylegan_jax
from stylegan_jax.data import faces
from stylegan_jax.metrics import fd_faces

NUM_IMAGES, NUM_NEIGHBOURS = 2000, 20
FIRST_FACE = 10_000_000  # No training saw it.


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


def features(images: np.ndarray) -> np.ndarray:
    """Returns the features of fd_faces of uint8 images."""
    params = fd_faces.load()
    parts = np.array_split(images, len(images) // 100)
    return np.concatenate(
        [np.asarray(fd_faces.apply(params, part.astype(np.float32) / 127.5 - 1)[1]) for part in parts]
    )


if __name__ == "__main__":
    reals = faces.images(np.arange(NUM_IMAGES) + FIRST_FACE, 0, 64)
    print(f"real faces: {intrinsic_dimension(features(reals)):.1f} dimensions")
    for path in sys.argv[1:]:
        network = stylegan_jax.load(path)
        z = network.latents(range(NUM_IMAGES))
        w = np.asarray(network.map(z))[:, 0]
        images = np.concatenate([network(z=part, noise="random") for part in np.array_split(z, NUM_IMAGES // 50)])
        print(f"{path}: w {participation_ratio(w):.1f}, faces {intrinsic_dimension(features(images)):.1f} dimensions")
