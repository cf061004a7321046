"""Uploads to the page, a picture or a latent, and the files of latents that the page gives."""

import io
import json
from collections.abc import Callable

import numpy as np
import safetensors.numpy
from PIL import Image

from stylegan_jax.data import decode, square
from stylegan_jax.images import project
from stylegan_jax.images.explorer.gallery import Latent
from stylegan_jax.weights.network import Network

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 30_000_000
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
    """Returns a latent whose picture is like `image`: styles for each layer, by `images.project.project`.

    Args:
        network: network that draws.
        image: uint8 [resolution, resolution, channels]
        progress_fn: called with the number of steps that are done, and of all; what it raises ends the projection.
    """
    found = project.project(network, image[None], progress_fn=progress_fn)
    return Latent(found.ws, found.noise, network.sha256)


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
