"""A generator as one program that runs without this package: latents in, images out, weights inside.

This file writes StableHLO, which JAX reads back; onnx_graph writes ONNX. Both take the same inputs by the same names:

    z        unit Gaussian latents. float32 [b, z_size]
    labels   one-hot classes, if the model is conditional. float32 [b, num_labels]
    psi      truncation, if the network has w_avg: 1 leaves w as it is, 0 gives the mean image. float32 []
    noise0, noise1, ...   unit Gaussian maps, two a resolution, if they are inputs; StyleGAN2 has no noise0.
             float32 [b, r, r, 1]

Both return images: float32 [b, resolution, resolution, channels], around [-1, 1] and not clipped. ops.to_uint8 makes
pictures of them. The batch b is free, and nothing in a program is random.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array

from stylegan_jax.config import Model
from stylegan_jax.devices import backend
from stylegan_jax.networks import generator, sampling
from stylegan_jax.runs import whole

PLATFORMS = ("cpu", "cuda", "tpu")


def input_shapes(
    model: Model, resolution: int, has_psi: bool, has_noise_inputs: bool
) -> dict[str, tuple[str | int, ...]]:
    """Returns the shape of each input by its name; "b" stands for the batch."""
    shapes: dict[str, tuple[str | int, ...]] = {"z": ("b", model.z_size)}
    if model.num_labels:
        shapes["labels"] = ("b", model.num_labels)
    if has_psi:
        shapes["psi"] = ()
    if has_noise_inputs:
        shapes |= {f"noise{i}": ("b", r, r, 1) for i, r in enumerate(model.noise_sizes) if r and r <= resolution}
    return shapes


def check(
    model: Model,
    w_avg: np.ndarray | None,
    noise: Sequence[np.ndarray] | None,
    resolution: int,
    alpha: float,
    cutoff: int | None,
    has_noise_inputs: bool,
) -> None:
    """Raises ValueError if there is no such program; the arguments are those of `stablehlo`."""
    if resolution not in model.resolutions:
        raise ValueError(f"resolution is {resolution}; the network has {', '.join(map(str, model.resolutions))} px.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; use 0 to 1, the weight of the resolution.")
    if cutoff is not None and w_avg is None:
        raise ValueError(f"cutoff is {cutoff}, but a network without w_avg has no truncation; leave cutoff out.")
    if cutoff is not None and cutoff < 0:
        raise ValueError(f"cutoff is {cutoff}; use a number of layers (all are {model.num_layers}), or None for all.")
    if has_noise_inputs and not model.use_noise:
        raise ValueError("has_noise_inputs is True, but the model has no noise (use_noise=False); leave it out.")
    if model.use_noise and noise is None and not has_noise_inputs:
        raise ValueError("the network has noise, but no stored maps; give noise, or make it an input: has_noise_inputs")
    if noise is not None and not has_noise_inputs and model.use_noise:
        sizes = model.noise_sizes[: 2 * sum(r <= resolution for r in model.resolutions)]
        found = [each if each is None else np.shape(each) for each in noise[: len(sizes)]]
        if found != [r and (1, r, r, 1) for r in sizes]:
            raise ValueError(f"noise has maps of {found}; expected [1, r, r, 1] for each r of {sizes}.")


def stablehlo(
    params: Mapping[str, Any],
    model: Model,
    w_avg: np.ndarray | None,
    noise: Sequence[np.ndarray] | None,
    resolution: int,
    alpha: float = 1.0,
    *,
    cutoff: int | None = None,
    has_noise_inputs: bool = False,
) -> jax.export.Exported:
    """Returns the generator as StableHLO for CPUs, NVIDIA GPUs and TPUs; its precision is the model's.

    It takes the forms that every device has, so a CPU runs it slower than the network here.

    Args:
        params: the generator's parameters, {"mapping": ..., "synthesis": ...}.
        model: the model.
        w_avg: mean of w; None: the program has no psi. [w_size]
        noise: maps, two a resolution; None if the model has no noise, or if noise is an input. [1, r, r, 1]
        resolution: px, of the images.
        alpha: weight of `resolution` in a fade, 0..1; the rest is the next lower one, enlarged.
        cutoff: number of layers that psi truncates; None: all.
        has_noise_inputs: whether the program takes noise0, noise1, ... in place of `noise`.

    Raises:
        ValueError: the network has no such program: it lacks noise, w_avg or the resolution.
    """
    check(model, w_avg, noise, resolution, alpha, cutoff, has_noise_inputs)
    model = dataclasses.replace(model, remat=False)  # It acts on gradients alone.
    constant_maps = noise if model.use_noise else (None,) * 2 * len(model.resolutions)

    def images(z: Array, labels: Array | None = None, psi: Array | None = None, **maps: Array) -> Array:
        # The barrier leaves what follows from weights and stored maps alone to the program: computed now, maps times
        # strengths would treble the file, and XLA would take twice as long to compile the rest.
        weights, stored = jax.lax.optimization_barrier((params, constant_maps))
        w = sampling.map_latents(weights, z, labels, model)
        ws = jnp.broadcast_to(w[:, None, :], (w.shape[0], model.num_layers, w.shape[1]))
        if psi is not None:
            ws = generator.truncate(ws, w_avg, psi, cutoff)
        given = [maps.get(f"noise{i}") for i in range(len(model.noise_sizes))] if maps else stored
        return sampling.synthesize(weights, ws, given, None if alpha == 1 else alpha, model, resolution)

    shapes = input_shapes(model, resolution, w_avg is not None, has_noise_inputs)
    (b,) = jax.export.symbolic_shape("b")
    inputs = {
        name: jax.ShapeDtypeStruct(tuple(b if size == "b" else size for size in shape), jnp.float32)
        for name, shape in shapes.items()
    }
    with backend.forms_for(backend.PORTABLE), _without_source_paths():
        return jax.export.export(jax.jit(images), platforms=PLATFORMS)(**inputs)


@contextlib.contextmanager
def _without_source_paths() -> Iterator[None]:
    """Keeps the paths of this machine's source files out of what is lowered in the block."""
    setting = "jax_traceback_in_locations_limit"
    before = jax.config.values[setting]
    jax.config.update(setting, 0)
    try:
        yield
    finally:
        jax.config.update(setting, before)


def save_stablehlo(path: str | os.PathLike, program: jax.export.Exported) -> None:
    """Writes a program that jax.export.deserialize(bytearray(content)).call(z=..., psi=...) runs.

    JAX promises to read a file for six months after the release of the JAX that wrote it: weights are kept in
    safetensors.
    """
    with whole.writing(path) as file:
        file.write(program.serialize())
