"""The styles that a mapping network makes: where they lie, and whether a style lies among them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.data import square
from stylegan_jax.images import likeness, styles
from stylegan_jax.networks import sampling
from stylegan_jax.weights import classes
from stylegan_jax.weights.network import Network

NUM_STYLES = 4096
NUM_CANDIDATES = 256  # Of them, at most so many are drawn as images, which pictures are compared with,
MIN_CANDIDATES, CANDIDATE_PIXELS = 32, 2**22  # and as many as have these pixels, but not fewer than the first number.
MAX_CANDIDATE_PX = 64  # Larger images are compared at this size.
MIN_VARIANCE = 1e-4  # Of a direction, relative to the largest: below it, styles hardly differ.


@dataclasses.dataclass(frozen=True)
class MappedStyles:
    """Random styles of a network."""

    center: np.ndarray  # Their mean, or the network's w_avg. float32 [w_size]
    # Matrix from units to styles, w = center + u spread; the u of random styles have unit variance in every direction.
    spread: np.ndarray  # float32 [w_size, w_size]
    distances: np.ndarray  # `distance` of each, ascending. [m]
    candidates: np.ndarray  # Some of the styles. float32 [k, w_size]
    images: np.ndarray  # Their images, at MAX_CANDIDATE_PX at most. uint8 [k, r, r, channels]
    gaps: np.ndarray  # How unlike each of these is to the most similar of the others, ascending. [k]

    def from_units(self, u: np.ndarray) -> np.ndarray:
        """Returns styles of units. [..., w_size]"""
        return np.float32(self.center + u.astype(np.float64) @ self.spread)

    def to_units(self, w: np.ndarray) -> np.ndarray:
        """Returns units of styles. [..., w_size]"""
        return np.float32((w - self.center) @ np.linalg.inv(self.spread.astype(np.float64)))

    def distance(self, ws: np.ndarray) -> np.ndarray:
        """Returns how far styles are from the mean, relative to random styles: the root mean square of their units.

        1 is typical of styles that the mapping network makes. It is the Mahalanobis distance over sqrt(w_size).

        Args:
            ws: [n, num_layers, w_size]

        Returns:
            Mean over the layers. [n]
        """
        return np.sqrt(np.square(self.to_units(ws)).mean(axis=-1)).mean(axis=-1)

    def percentile(self, distance: float) -> float:
        """Returns how many of the random styles are nearer to the mean than this, in percent."""
        return 100 * float(np.mean(self.distances < distance))

    def nearest(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns the candidate [w_size] whose image is most like a picture, and how many candidates have a likeness.

        The number says how far a picture is from what the network makes: the part of the candidates, in percent, that
        are more like another candidate than the picture is like any of them. It is about 50 for the network's own
        images, and 100 for a picture of something else.

        Args:
            image: uint8 [model.resolution, model.resolution, channels]
        """
        errors = np.asarray(_errors(self.images, square.box_mean(image, self.images.shape[1])[None]))
        place = int(np.argmin(errors))
        return self.candidates[place], 100 * float(np.mean(self.gaps < errors[place]))


@jax.jit
def _errors(first: Any, second: Any) -> Any:
    """Returns `likeness.pixel_error` of uint8 images."""
    return likeness.pixel_error(*(x.astype(jnp.float32) / 127.5 - 1 for x in (first, second)))


def styles_of(network: Network, labels: Any = None, seed: int = 0) -> MappedStyles:
    """Returns random styles of a network.

    Args:
        network: a network with styles.
        labels: name or number of their class, in a conditional network; None: of all, in turns.
        seed: decides which they are.

    Raises:
        ValueError: the network has no styles, or no such class.
    """
    styles.check_styles(network)
    model = network.model
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((NUM_STYLES, model.z_size), np.float32)
    if model.num_labels and labels is None:
        rows = classes.one_hot(np.arange(NUM_STYLES) % model.num_labels, model.num_labels)
    else:
        rows = classes.rows(labels, NUM_STYLES, network.class_names, model.num_labels)
    w = np.asarray(sampling.draw_ws({"mapping": network.params["mapping"]}, z, rows, model=model)[:, 0])
    is_own_mean = network.w_avg is None or (model.num_labels and labels is not None)
    center = w.mean(axis=0) if is_own_mean else network.w_avg
    variances, directions = np.linalg.eigh(np.cov(w.T.astype(np.float64)))
    variances = np.maximum(variances, MIN_VARIANCE * variances[-1])
    spread = np.float32(np.sqrt(variances)[:, None] * directions.T)
    candidates = w[: min(NUM_CANDIDATES, max(MIN_CANDIDATES, CANDIDATE_PIXELS // network.resolution**2))]
    ws = np.broadcast_to(candidates[:, None], (len(candidates), model.num_layers, model.w_size))
    px = min(model.resolution, MAX_CANDIDATE_PX)
    images = np.concatenate([square.box_mean(network.images(one[None])[0], px)[None] for one in ws])
    errors = np.stack([np.asarray(_errors(images, image[None])) for image in images])  # [k, k]
    np.fill_diagonal(errors, np.inf)
    found = MappedStyles(np.float32(center), spread, np.zeros(0), candidates, images, np.sort(errors.min(axis=0)))
    return dataclasses.replace(found, distances=np.sort(found.distance(w[:, None])))
