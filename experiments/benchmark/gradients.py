"""Gradients of the training programs on a device, to be compared with those of another."""

import jax
import numpy as np
from jax import Array

from experiments.benchmark import calls
from stylegan_jax.config import Config
from stylegan_jax.devices import mesh
from stylegan_jax.training import programs, state
from stylegan_jax.weights import trees

SPREAD = 0.1  # Standard deviation of what is added to each parameter: some begin at 0, and would hide errors.


def start_of(config: Config) -> state.TrainState:
    """Returns a state near the beginning of a run, on the CPU, with every parameter off its initial value."""
    begun = state.create_on(mesh.make_mesh(jax.devices("cpu")[:1]), config)
    rng = np.random.default_rng(config.seed)

    def moved(x: Array) -> np.ndarray:
        return np.asarray(x) + SPREAD * rng.standard_normal(x.shape, np.float32)

    g_params, d_params = jax.tree.map(moved, (begun.g_params, begun.d_params))
    return jax.device_get(begun).replace(g_params=g_params, d_params=d_params)


def squared_gradients(
    config: Config, start: state.TrainState, device: jax.Device, resolution: int, batch: int
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the moving averages of squared gradients after one update, by the program's interval and the array."""
    devices = mesh.make_mesh([device])
    abstract = state.abstract(config, mesh.replicated(devices))
    made = programs.make(config, abstract, devices, resolution, batch, resolution, 1, False)
    shape = (1, batch, resolution, resolution, config.model.channels)
    images, labels = np.random.default_rng(config.seed).integers(0, 256, shape, np.uint8), None
    if config.model.num_labels:
        labels = np.asarray(calls.labels_of(config.model, batch))[None]
    found = {}
    for interval, program in ((1, made.train), *made.lazy):
        begun = jax.device_put(start, mesh.replicated(devices))
        given = jax.device_put((images, labels), mesh.split_stack(devices))
        after, _ = program(begun, *given, None, np.float32(calls.LEARNING_RATE))
        found[str(interval)] = jax.device_get(trees.flat({"G": after.g_opt.nu, "D": after.d_opt.nu}))
    return found


def errors(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the distance of each array from the expected one, relative to this; arrays of zeros are left out."""
    norms = {name: np.linalg.norm(x.astype(np.float64)) for name, x in expected.items()}
    return {
        name: float(np.linalg.norm(found[name].astype(np.float64) - expected[name]) / norm)
        for name, norm in norms.items()
        if norm > 0
    }
