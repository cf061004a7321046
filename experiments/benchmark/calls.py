"""The training step and the sampling as a run calls them, on one device, with arrays to call them on."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Config, Model
from stylegan_jax.devices import mesh
from stylegan_jax.networks import sampling
from stylegan_jax.training import programs, state, step

SEED = 0
LEARNING_RATE = 0.001


class Program(NamedTuple):
    """A jitted function and its arguments."""

    jitted: Any
    args: tuple[Any, ...]  # Arrays.
    static: dict[str, Any]  # Static arguments.
    carries_state: bool  # Whether its first argument is donated and comes back as its first result.
    compiler_options: dict[str, Any] | None
    num_steps: int = 1  # Batches in a call.

    def compile(self) -> jax.stages.Compiled:
        """Returns the compiled program, a function of the arrays."""
        return self.jitted.lower(*self.args, **self.static).compile(self.compiler_options)


def at_precision(config: Config, precision: str) -> Config:
    """Returns `config` with features and convolutions computed in "float32" or "bfloat16"."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, compute_dtype=precision))


def new_state(config: Config) -> state.TrainState:
    """Returns the state of a run at its beginning, on the device."""
    return jax.jit(state.create, static_argnums=1)(jax.random.key(SEED), config)


def labels_of(model: Model, n: int) -> jax.Array | None:
    """Returns one-hot labels of n images, whose classes take turns; None for a model without. [n, num_labels]"""
    return jax.nn.one_hot(jnp.arange(n) % model.num_labels, model.num_labels) if model.num_labels else None


def train_program(config: Config, train_state: state.TrainState, resolution: int, batch: int) -> Program:
    """Returns the training step on random images that are on the device, already at `resolution`.

    Args:
        config: settings.
        train_state: state to copy; the step overwrites the copy.
        resolution: px.
        batch: images.
    """
    devices = mesh.make_mesh(jax.devices()[:1])
    num_steps = programs.steps_per_call(config, devices)
    shape = (num_steps, batch, resolution, resolution, config.model.channels)
    images = jax.device_put(np.random.default_rng(SEED).integers(0, 256, shape, np.uint8))
    labels = labels_of(config.model, num_steps * batch)
    labels = None if labels is None else labels.reshape(num_steps, batch, -1)
    alpha = np.float32(1) if programs.has_fade(1.0, devices) else None
    args = (jax.tree.map(jnp.copy, train_state), images, labels, alpha, np.float32(LEARNING_RATE))
    options = programs.COMPILER_OPTIONS.get(mesh.platform_of(devices))
    return Program(step.train_steps, args, {"config": config, "resolution": resolution}, True, options, num_steps)


def sample_program(config: Config, train_state: state.TrainState, resolution: int, batch: int) -> Program:
    """Returns the program that samples a batch of uint8 images from the averaged generator, noise included."""
    args = (train_state.ema_params, jax.random.key(SEED), jnp.int32(0), labels_of(config.model, batch), None)
    return Program(sampling.sample, args, {"model": config.model, "n": batch, "resolution": resolution}, False, None)


PROGRAMS: dict[str, Callable[[Config, state.TrainState, int, int], Program]] = {
    "train": train_program,
    "sample": sample_program,
}


def caller(compiled_fn: Callable[..., Any], program: Program) -> Callable[[], Any]:
    """Returns a function that calls the program on the state that the last call returned."""
    args = list(program.args)

    def call() -> Any:
        result = compiled_fn(*args)
        if program.carries_state:
            args[0] = result[0]
        return result

    return call
