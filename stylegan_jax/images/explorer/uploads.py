"""Uploads to the page, a picture or a latent, and the files of latents that the page gives."""

import io
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from PIL import Image

from stylegan_jax.data import decode, square
from stylegan_jax.images.explorer.gallery import Latent
from stylegan_jax.networks import ops, sampling
from stylegan_jax.weights.network import Network

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 30_000_000
NUM_STEPS, LEARNING_RATE = 300, 0.05  # Of the projection.
WHAT = "upload a picture (PNG, JPEG, WebP) or a .safetensors of this page"

Progress = Callable[[int, int], None]


# ---- pictures


def read_picture(content: bytes, network: Network) -> np.ndarray:
    """Returns an uploaded picture as the network's are. uint8 [resolution, resolution, channels]

    Raises:
        ValueError: it is no picture, damaged or too large, in a sentence.
    """
    try:
        with Image.open(io.BytesIO(content), formats=decode.FORMATS) as image:  # Decodes nothing yet.
            width, height = image.size
    except Exception:  # Pillow's readers raise a dozen unrelated types at damaged bytes.
        raise ValueError(f"the upload is no picture of a known format; {WHAT}.") from None
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"the picture has {width} x {height} pixels, and at most {MOST_PIXELS // 10**6} million are read; make it "
            "smaller."
        )
    try:
        return square.to_square(decode.load(content), network.model.resolution, network.model.channels)
    except ValueError as error:
        raise ValueError(f"the picture cannot be read ({error}); {WHAT}.") from None


def project_upload(network: Network, image: np.ndarray, progress_fn: Progress) -> Latent:
    """Returns a latent whose picture is like `image`: Adam on the styles of all layers, from the mean of w.

    It minimizes the mean squared difference of pixels at full resolution and at each half of it down to 8 px.

    Args:
        network: network that draws.
        image: uint8 [resolution, resolution, channels]
        progress_fn: called with the number of steps that are done, and of all; what it raises ends the projection.
    """
    model, resolution = network.model, network.resolution
    target = ops.downscale(jnp.float32(image)[None] / 127.5 - 1, model.resolution // resolution)
    params = {"synthesis": jax.device_put(network.params["synthesis"])}
    num_maps = 2 * sum(r <= resolution for r in model.resolutions)
    noise = network.const_noise()[:num_maps] if model.use_noise else (None,) * num_maps
    alpha = None if network.alpha == 1 else np.float32(network.alpha)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, NUM_STEPS))

    def difference(ws: jax.Array) -> jax.Array:
        error, total = sampling.synthesize(params, ws, noise, alpha, model, resolution) - target, 0.0
        while True:
            total += jnp.mean(error**2)
            if error.shape[1] <= 8:
                return total
            error = ops.downscale(error, 2)

    @jax.jit
    def step(ws: jax.Array, moments: optax.OptState) -> tuple[jax.Array, optax.OptState]:
        updates, moments = optimizer.update(jax.grad(difference)(ws), moments)
        return optax.apply_updates(ws, updates), moments

    ws = jnp.array(_start(network))
    moments = optimizer.init(ws)
    for i in range(NUM_STEPS):
        progress_fn(i, NUM_STEPS)
        ws, moments = jax.block_until_ready(step(ws, moments))
    return Latent(np.asarray(ws), None, network.sha256)


def _start(network: Network) -> np.ndarray:
    """Returns the mean of w in all layers, or that of 500 latents where the network has none."""
    model, w = network.model, network.w_avg
    if w is None:
        label = 0 if model.num_labels else None
        w = network.map(network.latents(range(500)), label)[:, 0].mean(axis=0)
    return np.broadcast_to(w, (1, model.num_layers, model.w_size))


# ---- files of latents


def latent_file(latent: Latent) -> bytes:
    """Returns a .safetensors of a latent: the arrays ws, noise0, noise1, ..., and in its metadata the network."""
    arrays = {"ws": latent.ws} | {f"noise{i}": np.ascontiguousarray(m) for i, m in enumerate(latent.noise or ())}
    return safetensors.numpy.save(arrays, metadata={"network": latent.network})


def is_latent_file(content: bytes) -> bool:
    """Returns whether an upload is a .safetensors."""
    return content[8:9] == b"{"


def read_latent_file(content: bytes, network: Network) -> Latent:
    """Returns the latent of a file.

    Raises:
        ValueError: it is damaged, of another code, or was made for another network.
    """
    model = network.model
    try:
        arrays = safetensors.numpy.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        made_for = header["__metadata__"]["network"]
        ws = arrays.pop("ws")
        noise = tuple(arrays.pop(f"noise{i}") for i in range(len(arrays))) or None
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError):
        raise ValueError("the upload is no latent of this page: it has no ws, or no digest of its network.") from None
    if made_for != network.sha256:
        raise ValueError("the latent was made for another network than the one that is shown; choose that one first.")
    shapes = [(1, r, r, 1) for r in model.resolutions for _ in range(2)] if model.use_noise else []
    found = (ws, *(noise or ()))
    wanted = [(1, model.num_layers, model.w_size), *(shapes if noise else [])]
    if [a.shape for a in found] != wanted or any(a.dtype != np.float32 or not np.isfinite(a).all() for a in found):
        raise ValueError("the latent does not fit its network: its arrays have other shapes, or are not finite.")
    return Latent(ws, noise, made_for)
