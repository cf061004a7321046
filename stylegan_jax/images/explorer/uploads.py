"""Uploads to the page: a picture or a latent."""

import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from stylegan_jax.data import decode, square
from stylegan_jax.images import mapped, project, projection_files
from stylegan_jax.images.explorer.gallery import Latent
from stylegan_jax.weights.network import Network

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 30_000_000
STEPS = 150  # Of the projection, for which someone waits: --mode=project takes more.
WHAT = "upload a picture (PNG, JPEG, WebP) or a .safetensors of this page or of --mode=project"


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


def project_upload(network: Network, image: np.ndarray, progress_fn: Callable[[int, int], None]) -> Latent:
    """Returns a latent whose picture is like `image`: styles for each layer, by `images.project.project`.

    Args:
        network: network that draws.
        image: uint8 [resolution, resolution, channels]
        progress_fn: called with the number of steps that are done, and of all; what it raises ends the projection.
    """
    progress_fn(0, STEPS)
    styles = _styles_of(network)
    found = project.project(network, image[None], steps=STEPS, styles=styles, progress_fn=progress_fn)
    return Latent(found.ws, found.noise, network.sha256)


_styles_of = functools.lru_cache(maxsize=1)(mapped.styles_of)  # They take as long as the steps.


def read_latent_file(content: bytes, network: Network) -> Latent:
    """Returns the latent of a file that was saved on the page, or of --mode=project.

    Raises:
        ValueError: it is damaged, of another code, or was made with another network.
    """
    ws, noise, _ = projection_files.decoded(content, network, "the upload")
    return Latent(ws, noise, network.sha256)
