"""Our side of the comparison with the PyTorch port."""

from collections.abc import Callable

import jax
from absl import logging

from experiments.benchmark import calls
from stylegan_jax.config import Config


class Side:
    """One side of the comparison: a description, and functions without arguments to time."""

    def __init__(self) -> None:
        logging.set_verbosity(logging.WARNING)
        self._device = jax.devices()[0].platform
        self._precision = "float32" if self._device == "cpu" else "bfloat16"
        self._config = calls.at_precision(Config(), self._precision)
        self._state = calls.new_state(self._config)

    def about(self) -> dict[str, str]:
        """Returns the device and the version."""
        device = "cuda" if self._device == "gpu" else self._device
        return {"device": device, "version": f"jax {jax.__version__}, {self._precision}"}

    def prepared(self, program: str, resolution: int, batch: int, variant: str) -> tuple[Callable[[], None], int, str]:
        """Returns the warmed-up function to time, the number of batches in a call, and a remark on how it was made.

        Args:
            program: "train" or "sample".
            resolution: px.
            batch: images.
            variant: not used; there is only one.
        """
        del variant
        made = calls.PROGRAMS[program](self._config, self._state, resolution, batch)
        call_fn = calls.caller(made.compile(), made)

        def call() -> None:
            jax.block_until_ready(call_fn())

        for _ in range(2):
            call()
        return call, made.num_steps, "" if made.num_steps == 1 else f"{made.num_steps} steps in a call"
