"""A network as one uses it: images from seeds, latents or styles, and where each of its arrays came from."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.networks import discriminator, generator, ops, sampling
from stylegan_jax.weights import arguments, classes, trees
from stylegan_jax.weights.info import Info, one_line
from stylegan_jax.weights.layouts import official

NoiseMaps = tuple[np.ndarray | None, ...]  # None where a layer has no noise.
Noise = str | Sequence[np.ndarray | None]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A generator, and its discriminator if the file has one. Underneath are the pure functions of `networks`.

    Image number s is a function of the seed s alone, to the bit on one kind of device: images are computed one by one,
    so neither the other seeds nor their number matter. Its latent is that of NVIDIA's scripts,
    numpy.random.RandomState(s).randn(z_size).

    The first call copies the parameters to the device: to change them, make another network by dataclasses.replace.
    """

    model: Model
    params: Any  # Of the averaged generator: {"mapping": ..., "synthesis": ...}; None in a discriminator's file.
    info: Info
    g_params: Any = None  # Of the generator in training, if the file has it apart.
    d_params: Any = None
    w_avg: np.ndarray | None = None  # Mean of w; None without styles. [w_size]
    # Stored maps [1, r, r, 1] for model.noise_sizes, None where there is no noise, if the file has any.
    noise: NoiseMaps | None = None
    class_names: tuple[str, ...] = ()
    resolution: int = 0  # Resolution that it is trained at, px; images are enlarged to model.resolution.
    alpha: float = 1.0  # Weight of `resolution` while it fades in.
    # Of the generator in training, where they differ from the average's; official training copies them to the average.
    g_w_avg: np.ndarray | None = None  # [w_size]
    g_noise: tuple[np.ndarray, ...] | None = None

    def __repr__(self) -> str:
        return f"Network({self.model.resolution} px, {one_line(self.info.layout)}, from {self.info.source!r})"

    # ---- images

    def __call__(
        self,
        seeds: Iterable[int] | int | None = None,
        z: np.ndarray | None = None,
        labels: Any = None,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
        noise_seed: int = 0,
    ) -> np.ndarray:
        """Returns images. uint8 [n, model.resolution, model.resolution, channels]

        Args:
            seeds: number of each image, 0 to 2**32 - 1.
            z: latents, in place of seeds. [n, z_size]
            labels: classes of a conditional model: one name or number for all images, or one each; or rows of
                weights [n, num_labels].
            psi: scale of the styles about their mean (truncation); 1 leaves them as they are.
            cutoff: number of layers that psi acts on; None: all.
            noise: "const": the stored maps, or, where there are none, one set of maps for all images, drawn from
                noise_seed. "random": maps of its own for each image, drawn from noise_seed and the image's seed, or
                its place in z. "none": zeros. Or maps [1 or n, r, r, 1] for each r of model.noise_sizes.
            noise_seed: seed of the noise that is drawn.

        Raises:
            ValueError: an argument that this network cannot take.
        """
        seeds, z = self._latents(seeds, z)
        ws = self.map(z, labels, psi, cutoff)
        return self._images(ws, self._noise_fn(noise, noise_seed, seeds), _to_uint8)

    def map(self, z: np.ndarray, labels: Any = None, psi: float = 1.0, cutoff: int | None = None) -> np.ndarray:
        """Returns the styles of latents, one w for all layers. float32 [n, num_layers, w_size]

        Args:
            z: latents. [n, z_size]
            labels: as in a call.
            psi: as in a call.
            cutoff: as in a call.
        """
        params, z = self._generator["mapping"], arguments.floats("z", z, (self.model.z_size,))
        num_layers = self.model.num_layers
        arguments.check_truncation(psi, cutoff, num_layers)
        if psi != 1 and self.w_avg is None:
            raise ValueError(f"psi={psi} needs a mean of w to truncate to, and this network has none; leave it out.")
        if psi == 1 and cutoff is not None:
            raise ValueError(f"cutoff={cutoff} has no effect with psi=1; give both, such as psi=0.7, cutoff=8.")
        rows = classes.rows(labels, len(z), self.class_names, self.model.num_labels)
        each = [
            sampling.draw_ws(
                {"mapping": params}, z[i : i + 1], None if rows is None else rows[i : i + 1], model=self.model
            )
            for i in range(len(z))
        ]
        if psi != 1:
            each = [_truncate(ws, self.w_avg, psi, num_layers if cutoff is None else cutoff) for ws in each]
        return np.concatenate([np.asarray(ws) for ws in each])

    def latents(self, seeds: Iterable[int] | int) -> np.ndarray:
        """Returns the latents z of seeds. float32 [n, z_size]"""
        return self._latents(seeds, None)[1]

    def images(self, ws: np.ndarray, noise: Noise = "const", noise_seed: int = 0) -> np.ndarray:
        """Returns the images of styles. uint8 [n, model.resolution, model.resolution, channels]

        Those of `map` are a call's, to the bit.

        Args:
            ws: styles. [n, num_layers, w_size]
            noise: as in a call; "random" counts the images from 0.
            noise_seed: as in a call.
        """
        ws = arguments.floats("ws", ws, (self.model.num_layers, self.model.w_size))
        return self._images(ws, self._noise_fn(noise, noise_seed, np.arange(len(ws))), _to_uint8)

    def synthesize(self, ws: np.ndarray, noise: Noise = "const", noise_seed: int = 0) -> np.ndarray:
        """Returns images, around [-1, 1] and not clipped. float32 [n, model.resolution, model.resolution, channels]

        Args:
            ws: styles. [n, num_layers, w_size]
            noise: as in `images`.
            noise_seed: as in a call.
        """
        ws = arguments.floats("ws", ws, (self.model.num_layers, self.model.w_size))
        return self._images(ws, self._noise_fn(noise, noise_seed, np.arange(len(ws))), np.asarray)

    def score(self, images: np.ndarray, labels: Any = None) -> np.ndarray:
        """Returns the discriminator's scores of images: higher is more real. float32 [n]

        Minibatch standard deviation makes the scores of a batch depend on each other; its groups are those of the
        official code.

        Args:
            images: uint8, or float in [-1, 1]. [n, model.resolution, model.resolution, channels]
            labels: as in a call.
        """
        model = self.model
        if self.d_params is None:
            raise ValueError(f"{self.info.source} has no discriminator that can be used, and so no scores.")
        size = (model.resolution, model.resolution, model.channels)
        values = np.asarray(images)
        if values.dtype.kind in "iu" and values.dtype != np.uint8:
            raise ValueError(f"images is {values.dtype}; give uint8, or float in [-1, 1].")
        values = arguments.floats(
            "images", values.astype(np.float32) / 127.5 - 1 if values.dtype == np.uint8 else values, size
        )
        n, group = len(values), min(model.stddev_group or 1, len(values))
        if n % group:
            raise ValueError(f"{n} images are no multiple of the groups of {group} that are scored together.")
        order, rows = official.image_order(n, group), classes.rows(labels, n, self.class_names, model.num_labels)
        scores = _scores(
            self._discriminator,
            values[order],
            None if rows is None else rows[order],
            None if self.alpha == 1 else np.float32(self.alpha),
            model=model,
            resolution=self.resolution,
        )
        return np.asarray(scores)[np.argsort(order)]

    # ---- elsewhere

    def in_training(self) -> "Network":
        """Returns the network whose images are of the generator in training, in place of its average."""
        if self.g_params is None:
            raise ValueError(f"{self.info.source} has no generator in training apart from its average.")
        w_avg = self.w_avg if self.g_w_avg is None else self.g_w_avg
        noise = self.noise if self.g_noise is None else self.g_noise
        none = dict.fromkeys(("g_params", "g_w_avg", "g_noise"))
        return dataclasses.replace(self, params=self.g_params, w_avg=w_avg, noise=noise, **none)

    def const_noise(self, noise_seed: int = 0) -> NoiseMaps:
        """Returns the maps of noise="const": the stored ones, or those drawn from noise_seed. Each [1, r, r, 1]"""
        if self.noise is not None:
            return self.noise
        return jax.device_get(_draw_noise(noise_seed, np.uint32(0), model=self.model, resolution=self.model.resolution))

    def save(self, path: str | pathlib.Path, **how: Any) -> pathlib.Path | str:
        """Writes the network; the name's end tells the layout: see `weights.save.save`, which takes **how."""
        from stylegan_jax.weights import save  # It needs this module.

        return save.save(self, path, **how)

    @functools.cached_property
    def sha256(self) -> str:
        """A digest of all that decides which image a latent or ws has: the same for any two files of one network."""
        arrays = trees.flat(jax.device_get(self.params or {})) | {"trained": np.asarray([self.resolution, self.alpha])}
        arrays |= {f"noise{i}": noise for i, noise in enumerate(self.noise or ()) if noise is not None}
        return trees.sha256(arrays if self.w_avg is None else arrays | {"w_avg": self.w_avg})

    # ---- parts

    @functools.cached_property
    def _generator(self) -> Any:
        """The generator's parameters on the default device."""
        if self.params is None:
            raise ValueError(
                f"{self.info.source} holds a discriminator alone, which makes no images; load the generator."
            )
        return jax.device_put(self.params)

    @functools.cached_property
    def _discriminator(self) -> Any:
        return jax.device_put(self.d_params)

    def _latents(self, seeds: Iterable[int] | int | None, z: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a number [n] and a latent [n, z_size] for each image."""
        if (seeds is None) == (z is None):
            raise ValueError("give seeds, such as seeds=[1, 2, 3], or latents z: one of the two.")
        if z is not None:
            z = arguments.floats("z", z, (self.model.z_size,))
            return np.arange(len(z)), z
        numbers = arguments.seeds(seeds)
        z = np.stack([np.random.RandomState(seed).randn(self.model.z_size) for seed in numbers])
        return numbers, z.astype(np.float32)

    def _noise_fn(self, noise: Noise, noise_seed: int, numbers: np.ndarray) -> Callable[[int], tuple]:
        """Returns a function from an image's place to its noise maps [1, r, r, 1], up to the trained resolution."""
        model, every = self.model, self.model.noise_sizes
        sizes = every[: 2 * sum(r <= self.resolution for r in model.resolutions)]
        kind = noise if isinstance(noise, str) else "maps"
        noise_seed = arguments.noise_seed(noise_seed)
        if noise_seed and kind != "random" and (kind != "const" or self.noise is not None):
            raise ValueError(
                f"noise_seed={noise_seed} has no effect: no noise is drawn; use noise='random', or leave it out."
            )
        if not model.use_noise:
            if kind not in ("const", "none"):
                raise ValueError("this network takes no noise; leave the argument out.")
            return lambda i: (None,) * len(sizes)
        if kind == "random":
            return lambda i: _draw_noise(noise_seed, np.uint32(numbers[i]), model=model, resolution=self.resolution)
        if kind == "const":
            maps = self.const_noise(noise_seed)
        elif kind == "none":
            maps = [r and np.zeros((1, r, r, 1), np.float32) for r in sizes]
        elif kind != "maps" or not isinstance(noise, Iterable):
            raise ValueError(f"noise is {noise!r}; use 'const', 'random', 'none' or a list of maps.")
        else:
            noise = list(noise)
            given = [m if m is None else np.shape(m) for m in noise]
            fits = [m is None if r is None else m and m[1:] == (r, r, 1) for m, r in zip(given, every, strict=False)]
            if len(given) not in (len(sizes), len(every)) or not all(fits):
                raise ValueError(f"noise has maps of {given}; this network takes [1 or n, r, r, 1] for r in {sizes}.")
            maps = [s and arguments.floats(f"noise map {i}", noise[i], s[1:]) for i, s in enumerate(given)]
            n = len(numbers)
            if any(s and s[0] not in (1, n) for s in given):
                raise ValueError(f"noise has maps of {given} for {n} images; give 1 or {n} of each.")
        return lambda i: tuple(m if m is None or len(m) == 1 else m[i : i + 1] for m in maps[: len(sizes)])

    def _images(self, ws: np.ndarray, noise_fn: Callable[[int], tuple], convert: Callable) -> np.ndarray:
        """Returns the images of ws, one by one, each converted and enlarged."""
        params, alpha = {"synthesis": self._generator["synthesis"]}, None if self.alpha == 1 else np.float32(self.alpha)
        enlargement, images = self.model.resolution // self.resolution, []
        for i in range(len(ws)):
            image = _synthesize(params, ws[i : i + 1], noise_fn(i), alpha, model=self.model, resolution=self.resolution)
            images.append(np.asarray(convert(image)).repeat(enlargement, axis=1).repeat(enlargement, axis=2))
        return np.concatenate(images)


_synthesize = jax.jit(sampling.synthesize, static_argnames=("model", "resolution"))
_truncate = jax.jit(generator.truncate)
_to_uint8 = jax.jit(ops.to_uint8)


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def _draw_noise(noise_seed: int, number: int, *, model: Model, resolution: int) -> tuple[Array | None, ...]:
    """Returns the noise maps of one image. [1, r, r, 1]"""
    return generator.make_noise(jax.random.fold_in(jax.random.key(noise_seed), number), 1, model, resolution)


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def _scores(
    params: Any, images: Array, labels: Array | None, alpha: Array | None, *, model: Model, resolution: int
) -> Array:
    """Returns scores [n] of full-resolution images, which are brought to `resolution` first."""
    images = ops.downscale(jnp.asarray(images), model.resolution // resolution)
    return discriminator.discriminator(model).apply({"params": params}, images, labels, alpha, resolution=resolution)
