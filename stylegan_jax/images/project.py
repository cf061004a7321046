"""Projection: the styles, and maybe the noise, whose image is most like a picture.

Sources: Abdal et al. 2019 (Image2StyleGAN), for a style of its own in each layer (w+); Karras et al. 2020 (StyleGAN2),
Sec. 5 and D, for the ramps of the learning rate and the regularization of noise. Differs: the steps are taken in
coordinates in which the ws of the mapping network have unit variance, so that one learning rate suits all networks;
they begin at the most similar of some random images; and no noise is added to styles on the way, which costs accuracy.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from stylegan_jax.devices import mesh
from stylegan_jax.images import likeness, mapped, projection_steps
from stylegan_jax.images.likeness import Likeness
from stylegan_jax.images.mapped import MappedStyles
from stylegan_jax.images.styles import check_styles, trained_sizes
from stylegan_jax.metrics.features import vgg
from stylegan_jax.networks import ops, sampling
from stylegan_jax.weights.network import Network, NoiseMaps

SPACES = {
    "w": "one style for all layers",
    "w+": "a style for each layer",
    "w+noise": "a style for each layer, and the noise maps",
}
STEPS = 400
MOST_STEPS = 2**31 - 1  # They are counted in int32.
SAMPLES_PER_GRADIENT = 8  # A gradient takes as much memory as this many samples.


@dataclasses.dataclass(frozen=True)
class Projection:
    """Pictures as a network makes them.

    Attributes:
        ws: their styles. float32 [n, num_layers, w_size]
        noise: their noise maps, two for each resolution up to the trained one; None: the network's constant noise.
            float32 [n, r, r, 1]
        images: what the network makes of these. uint8 [n, model.resolution, model.resolution, channels]
        psnr: peak signal-to-noise ratios of the images, dB.  [n]
        lpips: perceptual distances of the images; None without weights. [n]
        distance: distances of the styles from the mean style; 1 is typical of random styles. See
            `MappedStyles.distance`. [n]
        novelty: how unlike the network's random images the pictures are, in percent; see `MappedStyles.nearest`. [n]
        space: of SPACES.
    """

    ws: np.ndarray
    noise: NoiseMaps | None
    images: np.ndarray
    psnr: np.ndarray
    lpips: np.ndarray | None
    distance: np.ndarray
    novelty: np.ndarray
    space: str


def project(
    network: Network,
    images: np.ndarray,
    space: str = "w+",
    *,
    labels: Any = None,
    steps: int = STEPS,
    seed: int = 0,
    vgg_params: Mapping[str, Array] | None = None,
    start: Projection | None = None,
    styles: MappedStyles | None = None,
    batch: int | None = None,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> Projection:
    """Returns the styles, and maybe the noise, whose images are most like the pictures.

    A picture's result does not depend on the other pictures.

    Args:
        network: a network with styles.
        images: the pictures. uint8 [n, model.resolution, model.resolution, channels]
        space: "w", "w+" or "w+noise": see SPACES.
        labels: class that random styles are drawn of, in a conditional network; None: of all.
        steps: of the optimization, for each picture.
        seed: decides about the random styles.
        vgg_params: VGG16 with the heads of LPIPS, from vgg.read; None: the discriminator's features take its place, or
            pixels alone if there is no discriminator.
        start: a projection of the same pictures to go on from; None: the most similar of random images.
        styles: those of the mapping network, from mapped.styles_of; None: they are drawn.
        batch: pictures at a time; None: one on a CPU, elsewhere as many as memory allows.
        progress_fn: called with (steps done, steps of all pictures).

    Raises:
        ValueError: the network has no styles, or an argument is of another kind or shape.
    """
    images = _checked(network, images, space, steps, start)
    styles = mapped.styles_of(network, labels, seed) if styles is None else styles
    compared, size = likeness_of(network, vgg_params), batch or batch_of(network)
    found: list[dict[str, np.ndarray]] = []
    for first in range(0, len(images), size):
        places = np.minimum(np.arange(first, first + size), len(images) - 1)  # The last one fills up.
        begun = _begin(network, images[places], space, styles, start and picked(start, places))

        def report(done: int, first: int = first) -> None:
            progress_fn(min(first * steps + done * size, len(images) * steps), len(images) * steps)

        variables = projection_steps.optimize(network, images[places], begun, styles, compared, steps, report)
        found += [jax.tree.map(lambda x, i=i: x[i : i + 1], variables) for i in range(min(size, len(images) - first))]
    variables = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    ws = np.asarray(styles.from_units(variables["u"]))
    ws = np.broadcast_to(ws, (len(images), network.model.num_layers, network.model.w_size)).copy()
    noise = tuple(variables["noise"]) or None
    return measured(network, images, ws, noise, space, styles, vgg_params)


def picked(projection: Projection, places: Sequence[int]) -> Projection:
    """Returns the projection of some of the pictures."""
    values = dataclasses.asdict(projection)
    space = values.pop("space")
    return Projection(**jax.tree.map(lambda x: x[places], values), space=space)


def measured(
    network: Network,
    images: np.ndarray,
    ws: np.ndarray,
    noise: NoiseMaps | None,
    space: str,
    styles: MappedStyles,
    vgg_params: Mapping[str, Array] | None = None,
) -> Projection:
    """Returns what the network makes of styles and noise, and how unlike the pictures that is; arguments as above."""
    made = render(network, ws, noise)
    errors = np.square(made.astype(np.float64) - images).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255**2 / errors)
    distances = None
    if vgg_params is not None:
        pairs = zip(made, images, strict=True)
        distances = np.concatenate([_lpips(vgg_params, a[None], b[None]) for a, b in pairs])
    novelty = np.array([styles.nearest(image)[1] for image in images])
    return Projection(ws, noise, made, psnr, distances, styles.distance(ws), novelty, space)


def render(network: Network, ws: np.ndarray, noise: NoiseMaps | None) -> np.ndarray:
    """Returns the images of a projection. uint8 [n, model.resolution, model.resolution, channels]"""
    return network.images(ws, "const" if noise is None else noise)


@jax.jit
def _lpips(params: Any, first: Array, second: Array) -> Array:
    images = (likeness.lpips_size(ops.process_reals(x, None, None)) for x in (first, second))
    return vgg.lpips(params, *images)


# ---- what is made small


def likeness_of(network: Network, vgg_params: Mapping[str, Array] | None) -> Likeness:
    """Returns what pictures are compared by: LPIPS, else the discriminator's features, else pixels alone."""
    if vgg_params is not None:
        return likeness.by_lpips(vgg_params)
    if network.d_params is None:
        return Likeness()
    alpha = None if network.alpha == 1 else np.float32(network.alpha)
    return likeness.by_discriminator(jax.device_put(network.d_params), alpha, network.model, network.resolution)


def _begin(
    network: Network, images: np.ndarray, space: str, styles: MappedStyles, start: Projection | None
) -> dict[str, Any]:
    """Returns the variables that the steps begin with: styles in their units, and noise maps."""
    n, model = len(images), network.model
    if start is None:
        ws = np.stack([styles.nearest(image)[0] for image in images])[:, None]  # [n, 1, w_size]
    else:
        ws = start.ws
    if space == "w":
        ws = ws.mean(axis=1, keepdims=True)
    else:
        ws = np.broadcast_to(ws, (n, model.num_layers, model.w_size))
    noise: tuple = ()
    if space == "w+noise":
        maps = network.const_noise() if start is None or start.noise is None else start.noise
        noise = jax.tree.map(lambda m: np.broadcast_to(m, (n, *m.shape[1:])), maps[: len(trained_sizes(network))])
    return {"u": styles.to_units(ws), "noise": noise}


# ---- arguments


def check_settings(network: Network, space: str, steps: int) -> None:
    """Raises ValueError unless pictures can be projected into a space of a network in so many steps."""
    check_styles(network)
    if space not in SPACES:
        raise ValueError(f"space is {space!r}; use one of {', '.join(SPACES)}.")
    if space == "w+noise" and not network.model.use_noise:
        raise ValueError("this network takes no noise, so there is no space 'w+noise'; use 'w+'.")
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps is {steps!r}; use a whole number from 1 to {MOST_STEPS}.")


def _checked(network: Network, images: np.ndarray, space: str, steps: int, start: Projection | None) -> np.ndarray:
    """Returns the pictures. Raises ValueError for what cannot be projected."""
    model, images = network.model, np.asarray(images)
    size = (model.resolution, model.resolution, model.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != size or not len(images):
        wanted = ", ".join(map(str, ("n", *size)))
        raise ValueError(f"images is {images.dtype} {list(images.shape)}; this network takes uint8 [{wanted}].")
    check_settings(network, space, steps)
    if start is not None and len(start.ws) != len(images):
        raise ValueError(f"start has {len(start.ws)} pictures, and images {len(images)}; give those of the same.")
    return images


def batch_of(network: Network) -> int:
    """Returns how many pictures are projected at a time: as many gradients as fit into a quarter of the memory."""
    if jax.local_devices()[0].platform == "cpu":
        return 1
    one = mesh.make_mesh(jax.local_devices()[:1])
    return max(1, sampling.sample_batch(network.model, network.resolution, one) // SAMPLES_PER_GRADIENT)
