"""What the page can show: networks, opened when they are first asked for, and latents that were uploaded."""

import collections
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from stylegan_jax.images import direction_files, directions, labels
from stylegan_jax.weights import hub
from stylegan_jax.weights.network import Network, NoiseMaps

MOST_OPEN = 8  # Networks that stay in memory.
MOST_LATENTS = 64
NUM_DIRECTIONS = 10
NUM_LATENTS_OF_PCA = 2000


class Opened(NamedTuple):
    """A network with the directions of its sliders."""

    name: str
    network: Network
    names: tuple[str, ...]  # Of the directions.
    directions: np.ndarray  # float32 [k, num_layers, w_size]


class Latent(NamedTuple):
    """Styles, and noise maps if they came with some, of one picture."""

    ws: np.ndarray  # float32 [1, num_layers, w_size]
    noise: NoiseMaps | None  # float32 [1, r, r, 1], two for each resolution r.
    network: str  # sha256 of the network that it was made for.


def sources_of(text: str) -> dict[str, str]:
    """Returns the networks that --network names, by the names that the page shows.

    Args:
        text: files, runs and checkpoints with commas between them; each checkpoint of a run is a network of its own.

    Raises:
        ValueError: one is named twice, does not exist, or there is none.
    """
    found: dict[str, str] = {}
    parts = [text] if os.path.exists(os.path.expanduser(text)) else [part.strip() for part in text.split(",")]
    for part in parts:
        if not part:
            raise ValueError(f"--network={text} names no network before or after a comma; name a file or a run.")
        path = pathlib.Path(os.path.expanduser(part))
        folder = path / "checkpoints"
        is_hub = part.startswith(hub.SCHEME)
        places = list(folder.iterdir()) if not is_hub and folder.is_dir() else []
        numbers = sorted((int(place.name) for place in places if place.name.isdecimal()), reverse=True)
        if not is_hub and not path.exists():
            raise ValueError(
                f"{part} does not exist; --network names files, runs and checkpoints, with commas between."
            )
        named = {f"{path.name} at {n:,} images": str(folder / str(n)) for n in numbers} or {path.name: part}
        for name, source in named.items():
            name = source if name in found else name
            if source in found.values():
                raise ValueError(f"--network={text} names {source} twice; name it once.")
            found[name] = source
    return found


class Networks:
    """The networks that the page can show. Only the thread that draws opens them."""

    def __init__(self, sources: dict[str, str], load_fn: Callable[[str], Network], files: Sequence[str] = ()) -> None:
        self.names, paths = tuple(sources), tuple(sources.values())

        def load(number: int) -> Opened:
            network = load_fn(paths[number])
            return Opened(self.names[number], network, *directions_of(network, files))

        self._opened_fn = functools.lru_cache(MOST_OPEN)(load)

    def open(self, number: int) -> Opened:
        """Returns a network by its number.

        Raises:
            ValueError: there is no such network, or it cannot be loaded.
        """
        if not 0 <= number < len(self.names):
            raise ValueError(f"there is no network {number}; there are {len(self.names)}, counted from 0.")
        return self._opened_fn(number)


def directions_of(network: Network, files: Sequence[str] = ()) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns names and directions [k, num_layers, w_size] of sliders: principal components of w, and those of files.

    A direction of a file takes the place of a component of its name.

    Raises:
        ValueError: a file is damaged, or does not fit the network.
        OSError: a file cannot be opened.
    """
    w = labels.draw_w(network, range(NUM_LATENTS_OF_PCA), range(network.model.num_labels) or (None,))
    found = [*directions.pca_directions(w, NUM_DIRECTIONS), *direction_files.chosen(files, (), network)[0]]
    vectors = {one.name: np.broadcast_to(one.vector, (network.model.num_layers, w.shape[1])) for one in found}
    return tuple(vectors), np.stack([*vectors.values()])


class Latents:
    """The latents that pages have uploaded, by names that tell what they hold; the oldest are forgotten."""

    def __init__(self) -> None:
        self._latents: collections.OrderedDict[str, Latent] = collections.OrderedDict()

    def put(self, latent: Latent) -> str:
        """Returns the name that a latent can be had by."""
        digest = hashlib.sha256()
        for array in (latent.ws, *(m for m in latent.noise or () if m is not None)):
            digest.update(np.ascontiguousarray(array))
        name = digest.hexdigest()[:16]
        self._latents[name] = latent
        self._latents.move_to_end(name)
        while len(self._latents) > MOST_LATENTS:
            self._latents.popitem(last=False)
        return name

    def get(self, name: str | None) -> Latent | None:
        """Returns a latent; None for None. Raises ValueError if it is not there any more."""
        if name is None:
            return None
        if name not in self._latents:
            raise ValueError("this page's upload is not here any more; upload the picture or the latent again.")
        return self._latents[name]


def check_alike(opened: Sequence[Opened]) -> None:
    """Raises ValueError if networks that are shown side by side do not take the same layers, classes and noise."""
    first, *others = opened
    for one in others:
        for what, field in {"layers": "num_layers", "classes": "num_labels", "noise": "use_noise"}.items():
            value, wanted = (getattr(each.network.model, field) for each in (one, first))
            if value != wanted:
                raise ValueError(
                    f"{one.name} cannot be shown beside {first.name}: their {what} differ, {value} and {wanted}; "
                    "choose one of them."
                )
