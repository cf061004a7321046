"""The work of the page that takes time: it opens networks, draws, and projects, each in one thread."""

import concurrent.futures
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from stylegan_jax.images import project, projection_files, styles
from stylegan_jax.images.explorer import gallery, uploads
from stylegan_jax.images.explorer import state as states
from stylegan_jax.images.explorer.gallery import Latent, Latents, Networks, Opened
from stylegan_jax.images.explorer.state import State
from stylegan_jax.runs import grid
from stylegan_jax.weights.network import NoiseMaps

# Every pixel as it is, and faster than JPEG-like.
WEBP = {"format": "WEBP", "lossless": True, "method": 0, "quality": 0}


class Studio:
    """Networks, latents, and the two threads that use them: drawing goes on while an upload is projected."""

    def __init__(self, networks: Networks) -> None:
        self.networks, self.latents = networks, Latents()
        self.drawing = concurrent.futures.ThreadPoolExecutor(1, "drawing")
        self.projecting = concurrent.futures.ThreadPoolExecutor(1, "projecting")
        self._are_warm: set[int] = set()

    # ---- in the thread that draws

    def about(self, number: int) -> dict[str, Any]:
        """Returns what the page has to know of a network; the first time, its programs are compiled."""
        opened = self.networks.open(number)
        if number not in self._are_warm:
            look = {"networks": (number,), "psi": 1.0 if opened.network.w_avg is None else 0.7}
            for noise_seed in (None, 0):
                self.draw(State(noise_seed=noise_seed, **look))
            self._are_warm.add(number)
        network, model = opened.network, opened.network.model
        return {
            "name": opened.name,
            "resolution": model.resolution,
            "trained_px": network.resolution,
            "layers_px": [r for r in model.resolutions for _ in range(2)],
            "num_layers": model.num_layers,
            "bounds": styles.style_bounds(network),
            "classes": list(network.class_names) or [str(i) for i in range(model.num_labels)],
            "directions": list(opened.names),
            "has_mean": network.w_avg is not None,
            "noise_layers": [i for i, r in enumerate(model.noise_sizes) if r],
            "has_own_noise": network.noise is not None,
            "notes": list(network.info.notes),
        }

    def pictures(self, state: State) -> list[np.ndarray]:
        """Returns the picture of each network of a state. uint8 [r, r, channels]"""
        latent, chosen = self._chosen(state)
        return [project.render(one.network, *self._inputs(one, state, latent))[0] for one in chosen]

    def draw(self, state: State) -> tuple[dict[str, Any], list[bytes]]:
        """Returns the times that a state's pictures took, ms, and the pictures as webp."""
        begin_sec = time.perf_counter()
        images = self.pictures(state)
        drawn_sec = time.perf_counter()
        encoded = [_encoded(image, **WEBP) for image in images]
        times = {"draw_ms": drawn_sec - begin_sec, "encode_ms": time.perf_counter() - drawn_sec}
        return {name: round(1000 * seconds, 1) for name, seconds in times.items()}, encoded

    def png(self, state: State) -> bytes:
        """Returns the pictures of a state, side by side, as a PNG."""
        images = self.pictures(state)
        shapes = sorted({image.shape for image in images})
        if len(shapes) > 1:
            raise ValueError(f"pictures of {shapes} do not fit in one; save those of one network.")
        return _encoded(grid.image_grid(np.stack(images), rows=1), format="PNG")

    def latent_file(self, state: State) -> bytes:
        """Returns the file of the latent that the first network of a state draws."""
        latent, (first, *_) = self._chosen(state)
        return projection_files.encoded(first.network, *self._inputs(first, state, latent))

    def keep_latent_file(self, number: int, content: bytes) -> str:
        """Returns the name of the latent in an uploaded file."""
        return self.latents.put(uploads.read_latent_file(content, self.networks.open(number).network))

    def _chosen(self, state: State) -> tuple[Latent | None, list[Opened]]:
        """Returns the latent and the networks of a state, checked."""
        latent, chosen = self.latents.get(state.latent), [self.networks.open(number) for number in state.networks]
        gallery.check_alike(chosen)
        for one in chosen:
            states.check_fits(state, one, latent)
        return latent, chosen

    @staticmethod
    def _inputs(one: Opened, state: State, latent: Latent | None) -> tuple[np.ndarray, NoiseMaps | None]:
        return states.ws_of(one, state, latent), states.noise_of(one.network, state, latent)

    # ---- in the thread that projects

    def project(self, opened: Opened, content: bytes, progress_fn: Callable[[int, int], None]) -> str:
        """Returns the name of a latent whose picture is like an uploaded one."""
        image = uploads.read_picture(content, opened.network)
        return self.latents.put(uploads.project_upload(opened.network, image, progress_fn))


def _encoded(image: np.ndarray, **how: Any) -> bytes:
    file = io.BytesIO()
    shown = Image.fromarray(grid.visible_channels(image))
    (shown.convert("RGB") if shown.mode == "L" and how["format"] == "WEBP" else shown).save(file, **how)
    return file.getvalue()
