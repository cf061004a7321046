"""The metrics of report.metrics, measured while a run trains: a batch between chunks, the rest in a thread."""

import contextlib
import logging
import pathlib
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import distributed
from stylegan_jax.metrics import definitions, evaluate, evaluation, image_sets
from stylegan_jax.runs import report
from stylegan_jax.training import state

_log = logging.getLogger(__name__)


class Measuring:
    """Measures averaged generators of a run; whatever goes wrong with that is told, and training goes on."""

    def __init__(
        self,
        config: Config,
        data: dataset.Dataset,
        devices: jax.sharding.Mesh,
        log: report.Report,
        folder: pathlib.Path,
        weights: pathlib.Path | None,
    ) -> None:
        """Opens the feature networks that report.metrics needs; a metric without its weights is left out.

        Args:
            config: the run's settings.
            data: its pictures.
            devices: all devices.
            log: where results are shown.
            folder: the workdir, where metrics.jsonl is written.
            weights: folder of the feature networks' weights; None for the usual one.

        Raises:
            ValueError: there is no such metric.
        """
        self._config, self._log, self._folder = config, log, folder
        self._classes = data.stored.classes.labels if config.model.num_labels else None
        self._evaluator: evaluation.Evaluator | None = None
        self._steps: evaluation.Steps | None = None
        self._nimg = 0
        self._thread = futures.ThreadPoolExecutor(1)
        self._computing: list[tuple[int, futures.Future]] = []
        if not config.report.metrics:
            return
        metrics = definitions.parse(config.report.metrics)
        attributes = "faces" if config.data.source == "faces" else "celeba"
        reals = evaluation.Squares(data.stored, config.model.resolution, config.data.mirror)
        usable = []
        for metric in metrics:
            with self._told(f"{metric.name} is not measured"):
                tools = evaluate.open_tools([metric], weights, attributes, devices)
                evaluation.Evaluator([metric], reals, tools)
                usable.append(metric)
        if usable:
            tools = evaluate.open_tools(usable, weights, attributes, devices)
            self._evaluator = evaluation.Evaluator(usable, reals, tools)

    def begin(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> None:
        """Begins to measure the averaged generator, unless the one before is still being measured."""
        if self._evaluator is None:
            return
        if self._steps is not None:
            self._log.log(
                f"report.metrics at {nimg / 1000:.1f} kimg are left out: those at {self._nimg / 1000:.1f} kimg are "
                "still being measured. A larger report.evaluation_ticks leaves more time."
            )
            return
        params = jax.tree.map(jnp.copy, train_state.ema_params)  # Training gives its own arrays away.
        made = image_sets.Generator(params, self._config.model, phase.resolution, phase.alpha, self._classes)
        self._steps, self._nimg = self._evaluator.run(made, self._config.seed), nimg

    def step(self) -> None:
        """Gives the devices one more batch, if something is being measured, and shows what is computed."""
        if self._steps is not None:
            with self._told(f"report.metrics at {self._nimg / 1000:.1f} kimg are not measured"):
                try:
                    next(self._steps)
                    return
                except StopIteration as end:
                    for one in end.value:
                        self._computing.append(
                            (self._nimg, self._thread.submit(one.compute_fn, lambda done, total: None))
                        )
            self._steps = None
        while self._computing and self._computing[0][1].done():
            self._show(*self._computing.pop(0))

    def finish(self, stop_fn: Callable[[], object]) -> None:
        """Measures what has begun to its end, unless stop_fn returns a reason to stop; closes the thread."""
        while self._steps is not None and not stop_fn():
            self.step()
        if self._steps is not None:
            self._log.log(
                f"report.metrics at {self._nimg / 1000:.1f} kimg were not measured to the end; --mode=evaluate does it."
            )
            self._steps = None
        for nimg, computing in self._computing:
            self._show(nimg, computing)
        self._thread.shutdown(wait=False)

    def _show(self, nimg: int, computing: futures.Future) -> None:
        with self._told(f"a metric at {nimg / 1000:.1f} kimg is not measured"):
            result = computing.result()
            values = "  ".join(f"{name} {value:.5g}" for name, value in result.values.items())
            self._log.log(f"{nimg / 1000:.1f} kimg: {values}")
            self._log.events(nimg, result.values)
            evaluate.write(self._folder, result, {"network": {"source": str(self._folder), "nimg": nimg}})

    @contextlib.contextmanager
    def _told(self, what: str) -> Any:
        """Turns whatever goes wrong into a warning: a metric never ends a run."""
        try:
            yield
        except Exception as error:
            if distributed.process_index() == 0:
                _log.warning("%s: %s", what, error)
            self._steps = None
