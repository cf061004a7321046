"""Features of pictures, each computed once and kept in a folder."""

import functools
import hashlib
import pathlib
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.metrics_ladder.scores import Measured
from stylegan_jax.metrics import fd_faces
from stylegan_jax.metrics.features import known, vgg
from stylegan_jax.runs import whole

BATCH = 32
LEAST_PX = 64  # VGG16 sees smaller pictures with repeated pixels: on CPUs, maps of 2x2 take longer than those of 4x4.
PROGRESS_SEC = 20


def measured(
    images: np.ndarray, weights: known.Weights, folder: pathlib.Path, *, are_faces: bool, name: str
) -> Measured:
    """Returns pictures with their features, and prints how fast they come.

    Args:
        images: uint8. [n, px, px, c]
        weights: of VGG16.
        folder: keeps features, by the content of pictures and weights.
        are_faces: whether the attribute network looks at them too.
        name: of the pictures, for what is printed.
    """
    digest = hashlib.sha256(weights.content_sha256.encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
    path = folder / f"{digest[:32]}.npy"
    if path.exists():
        print(f"{name}: features of {len(images)} pictures are kept in {path}", flush=True)
        features = np.load(path)
    else:
        vgg_fn = functools.partial(_stage_means, jax.device_put(dict(weights.params)))
        (features,) = _in_batches(vgg_fn, images, f"{name}: features")
        with whole.writing(path) as file:
            np.save(file, features)
    if not are_faces:
        return Measured(images, features)
    face_fn = functools.partial(_attributes, fd_faces.load())
    logits, face_features = _in_batches(face_fn, images, f"{name}: attributes")
    return Measured(images, features, face_features, logits)


@jax.jit
def _stage_means(params: vgg.Params, images: jax.Array) -> tuple[jax.Array]:
    """Returns the spatial means of the last activations of VGG16's five stages. [n, 64 + 128 + 256 + 512 + 512]"""
    for axis in (1, 2):
        images = images.repeat(max(1, LEAST_PX // images.shape[axis]), axis)
    stages = vgg.stages(params, images.astype(jnp.float32) / 127.5 - 1)
    return (jnp.concatenate([stage.mean(axis=(1, 2)) for stage in stages], axis=1),)


@jax.jit
def _attributes(params: fd_faces.Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    return fd_faces.apply(params, fd_faces.resize(images))


def _in_batches(
    batch_fn: Callable[[np.ndarray], tuple[jax.Array, ...]], images: np.ndarray, name: str
) -> list[np.ndarray]:
    """Returns the results of a function of BATCH pictures for all of them, and prints how fast they come."""
    parts, begun, printed = [], time.monotonic(), time.monotonic()
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        padded = np.pad(batch, [(0, BATCH - len(batch)), (0, 0), (0, 0), (0, 0)])  # One compilation.
        parts.append([np.asarray(part)[: len(batch)] for part in batch_fn(padded)])
        done, now = first + len(batch), time.monotonic()
        if done == len(images) or now - printed > PROGRESS_SEC:
            print(f"{name} of {done} of {len(images)} pictures, {done / (now - begun):.0f}/s", flush=True)
            printed = now
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
