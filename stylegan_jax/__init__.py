"""StyleGAN (Karras et al. 2019) in JAX and Flax.

    import stylegan_jax as sg
    network = sg.load("karras2019stylegan-ffhq-1024x1024.pkl")
    images = network(seeds=[1, 2, 3], psi=0.7)  # uint8 [3, 1024, 1024, 3]

What is named here is what notebooks need; each name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylegan_jax.config import Model as Model
    from stylegan_jax.images.alignment import align_face as align_face
    from stylegan_jax.images.directions import Direction as Direction
    from stylegan_jax.images.directions import held as held
    from stylegan_jax.images.directions import pca_directions as pca_directions
    from stylegan_jax.images.directions import sefa_directions as sefa_directions
    from stylegan_jax.images.directions import svm_direction as svm_direction
    from stylegan_jax.images.edit import edit as edit
    from stylegan_jax.images.edit import transfer as transfer
    from stylegan_jax.images.project import Projection as Projection
    from stylegan_jax.images.project import project as project
    from stylegan_jax.networks.generator import mix_styles as mix_styles
    from stylegan_jax.networks.generator import truncate as truncate
    from stylegan_jax.networks.ops import to_uint8 as to_uint8
    from stylegan_jax.networks.sampling import map_latents as map_latents
    from stylegan_jax.networks.sampling import synthesize as synthesize
    from stylegan_jax.weights.load import load as load
    from stylegan_jax.weights.network import Network as Network

_NAMES = {
    "config": ("Model",),
    "images.alignment": ("align_face",),
    "images.directions": ("Direction", "held", "pca_directions", "sefa_directions", "svm_direction"),
    "images.edit": ("edit", "transfer"),
    "images.project": ("Projection", "project"),
    "networks.generator": ("mix_styles", "truncate"),
    "networks.ops": ("to_uint8",),
    "networks.sampling": ("map_latents", "synthesize"),
    "weights.load": ("load",),
    "weights.network": ("Network",),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [
    "Direction", "Model", "Network", "Projection", "align_face", "edit", "held", "load", "map_latents", "mix_styles",
    "pca_directions", "project", "sefa_directions", "svm_direction", "synthesize", "to_uint8", "transfer", "truncate",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"stylegan_jax has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"stylegan_jax.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
