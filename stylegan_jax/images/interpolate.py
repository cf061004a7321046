"""Walks between latents: the frames of a film whose frame at a key is the key's still, bit for bit."""

from collections.abc import Iterator, Sequence

import numpy as np

from stylegan_jax.images import styles
from stylegan_jax.weights import classes
from stylegan_jax.weights.network import Network


def lerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Returns (1 - t) a + t b."""
    return np.float32(1 - t) * a + np.float32(t) * b


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Returns the point at t on the great circle from a to b, whose lengths may differ (Shoemake 1985).

        sin((1 - t) omega) / sin(omega) a + sin(t omega) / sin(omega) b

    Args:
        a: latent. [d]
        b: latent. [d]
        t: 0 gives a, 1 gives b.

    Returns:
        float32 [d]
    """
    cosine = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    omega = float(np.arccos(np.clip(cosine, -1, 1)))
    if np.sin(omega) < 1e-4:  # They point the same way, or opposite ways, between which no circle is the nearest.
        return lerp(a, b, t)
    return np.float32(np.sin((1 - t) * omega) / np.sin(omega)) * a + np.float32(np.sin(t * omega) / np.sin(omega)) * b


def walk(
    network: Network,
    seeds: Sequence[int],
    num_frames: int,
    space: str = "w",
    is_loop: bool = False,
    layers: Sequence[int] | None = None,
    labels: Sequence[int] | None = None,
    psi: float = 1.0,
    cutoff: int | None = None,
) -> Iterator[np.ndarray]:
    """Returns an iterator over the ws of each frame. float32 [num_layers, w_size]

    Args:
        network: network that the film is of.
        seeds: numbers of the images that it goes through: its keys.
        num_frames: frames from one key to the next.
        space: "w": straight lines in w. "z": great circles in z; a mixture of classes is straight.
        is_loop: whether it goes back to the first key. A loop's last frame is the one before its first.
        layers: layers that move; the others keep the first key's styles. None: all.
        labels: class of all keys, or one each.
        psi: truncation of the keys, and of each frame in z.
        cutoff: number of layers that psi acts on; None: all.

    Raises:
        ValueError: the network does not take these.
    """
    num_layers = network.model.num_layers
    if space not in ("w", "z"):
        raise ValueError(f"space is {space!r}; use 'w' or 'z'.")
    if len(seeds) < 2:
        raise ValueError(f"a walk needs two seeds at least, and there is {len(seeds)}.")
    if num_frames < 1:
        raise ValueError(f"there are {num_frames} frames from one key to the next; use 1 or more.")
    if not network.model.use_styles and (space == "w" or layers is not None):
        raise ValueError("this network has no styles to walk between; use space 'z', and no layers.")
    if layers is not None and not set(layers) <= set(range(num_layers)):
        raise ValueError(f"this network's layers are 0 to {num_layers - 1}; found {min(layers)} to {max(layers)}.")
    styles.check_trained(network, layers)
    moving = np.isin(np.arange(num_layers), range(num_layers) if layers is None else layers)[:, None]
    z = network.latents(seeds)
    rows = classes.rows(labels, len(z), network.class_names, network.model.num_labels)
    keys = network.map(z, rows, psi, cutoff)

    def frames() -> Iterator[np.ndarray]:
        for first in range(len(z) - 1 + is_loop):
            second = (first + 1) % len(z)
            for t in np.arange(num_frames) / num_frames:
                if space == "w":
                    ws = lerp(keys[first], keys[second], t)
                else:
                    row = None if rows is None else lerp(rows[first], rows[second], t)[None]
                    (ws,) = network.map(slerp(z[first], z[second], t)[None], row, psi, cutoff)
                yield np.where(moving, ws, keys[0])
        if not is_loop:
            yield np.where(moving, keys[-1], keys[0])

    return frames()


def length(num_seeds: int, num_frames: int, is_loop: bool) -> int:
    """Returns the number of frames of a walk."""
    return num_frames * (num_seeds - 1 + is_loop) + (not is_loop)
