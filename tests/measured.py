"""Small sets of images, networks and functions of features, for tests of what measures them."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.data.images import Images
from stylegan_jax.data.labels import Classes
from stylegan_jax.data.square import box_mean
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import computation, definitions
from stylegan_jax.metrics.definitions import SetMetric
from stylegan_jax.metrics.feature_networks import KINDS, Kind, Opened
from stylegan_jax.metrics.image_sets import Generator
from tests.random_networks import random_network

PX = 16


def devices(num: int = 4) -> jax.sharding.Mesh:
    """Returns the first devices."""
    return mesh.make_mesh(jax.devices()[:num])


def pixels(n: int, seed: int = 0, px: int = PX) -> np.ndarray:
    """Returns pictures of colours and noise. uint8 [n, px, px, 3]"""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 128, (n, 1, 1, 3)) + rng.integers(0, 128, (n, px, px, 3))).astype(np.uint8)


def source(of: np.ndarray, name: str = "pictures", classes: np.ndarray | None = None, sizes: tuple = ()) -> Images:
    """Returns pictures as a source gives them, at `sizes` or at their own."""

    def read(indices: np.ndarray, size: int) -> np.ndarray:
        return np.stack([box_mean(of[i], size) for i in indices])

    named = None if classes is None else Classes(classes, tuple(f"class {i}" for i in range(classes.max() + 1)))
    return Images(name, len(of), sizes or (of.shape[1],), read, f"of {name}", named)


def features(images: np.ndarray) -> np.ndarray:
    """Returns the means of four quarters of images, 0 to 1: the features of the kind "tiny". float64 [n, 12]"""
    n, px = images.shape[:2]
    quarters = images.reshape(n, 2, px // 2, 2, px // 2, 3).astype(np.float64).mean(axis=(2, 4))
    return quarters.reshape(n, 12) / 255


def _apply(params: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
    n, px = images.shape[:2]
    quarters = images.astype(jnp.float32).reshape(n, 2, px // 2, 2, px // 2, 3).mean(axis=(2, 4))
    found = quarters.reshape(n, 12) * params / 255
    return {"features": found, "logits": 9 * found[:, :5]}


def network(num_devices: int = 4, scale: float = 1.0, kind: str = "tiny", content: str = "c" * 64) -> Opened:
    """Returns the network of the kind "tiny", whose logits are nine times its first five features."""
    params = mesh.put(np.float32(scale), mesh.replicated(devices(num_devices)))
    return Opened(kind, _apply, params, "tiny file", "f" * 64, content)


def add_tiny(monkeypatch) -> None:
    """Makes the kind "tiny" one of those that are known, with metrics of it whose formulas are the official ones."""
    monkeypatch.setitem(KINDS, "tiny", Kind(None, "means of quarters", _apply))
    for name, like, count, reals in (
        ("tiny_fd", "fid50k_full", 24, "all"),
        ("tiny_first", "fid50k", 24, "first"),
        ("tiny_kd", "kid50k_full", 24, "all"),
        ("tiny_prdc", "prdc10k5", 12, "sample"),
        ("tiny_is", "is50k", 20, "none"),
    ):
        definition: SetMetric = definitions.TABLE[like]
        values = {f: getattr(definition, f) for f in ("compute_fn", "needs_rows", "is_frechet", "is_mirrored")}
        mine = SetMetric("tiny", count, reals, what=f"as {like}", fewest=definition.fewest, **values)
        monkeypatch.setitem(definitions.TABLE, name, mine)


def tools(folder: pathlib.Path, num_devices: int = 4, cache: pathlib.Path | None = None, **others) -> computation.Tools:
    """Returns what metrics of the kind "tiny" and of pixels need."""
    usual = {"networks": {"tiny": network(num_devices)}, "distance": None, "attributes": None}
    return computation.Tools(**usual | others, devices=devices(num_devices), folder=folder, cache=cache)


def generator(num_devices: int = 4, classes: np.ndarray | None = None, **changes) -> Generator:
    """Returns a random generator of 16 px whose images differ, maybe trained at less so far."""
    resolution = changes.pop("trained_px", PX)
    made = random_network(resolution=PX, **changes)
    params = mesh.put(made.params, mesh.replicated(devices(num_devices)))
    return Generator(params, made.model, resolution, 1.0, classes)


def drained(steps) -> tuple[list, object]:
    """Returns what a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value
