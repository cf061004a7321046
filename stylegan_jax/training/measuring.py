"""The metrics of report.metrics, measured while a run trains: some batches between chunks, the rest in a thread.

The devices have the next batch while the results of the one before are taken. What holds the loop up: the programs of
a metric are compiled when a resolution's first measurement begins; where pictures are not read yet when their turn
comes, they are waited for; patches and pairs of pixels (swd16k, msssim10k) are made on the host.
"""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import distributed, mesh
from stylegan_jax.metrics import definitions, evaluate, evaluation, image_sets, results
from stylegan_jax.runs import report
from stylegan_jax.training import state

POLL_SEC = 0.2  # Time between two looks for a reason to stop, at the end of a run.

_log = logging.getLogger(__name__)


def metrics_of(config: Config) -> list[definitions.Metric]:
    """Returns the metrics of report.metrics. Raises ValueError if there is no such metric."""
    try:
        return definitions.parse(config.report.metrics) if config.report.metrics else []
    except ValueError as error:
        raise ValueError(f"report.metrics: {error}") from None


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

        Results are shown in `log`, and written to metrics.jsonl in the workdir `folder`. `weights` is the folder of the
        feature networks' weights; None for the usual one.

        Raises:
            ValueError: there is no such metric.
        """
        self._config, self._log, self._folder = config, log, folder
        self._classes = data.stored.classes.labels if config.model.num_labels else None
        self._remarks = [evaluate.labels_note(data.stored)] if config.model.num_labels else []
        self._evaluator: evaluation.Evaluator | None = None
        self._evaluations: list[tuple[int, evaluation.Steps]] = []  # By images; the first one is at work.
        self._num_done = 0  # Images of the set that is at work.
        self._computing: list[tuple[int, str, futures.Future]] = []  # Images, metric, result; in the first process.
        self._digests: dict[int, futures.Future] = {}  # Of the generators' arrays, by images.
        self._thread = futures.ThreadPoolExecutor(1)
        self._is_closed = False
        attributes = "faces" if config.data.source == "faces" else "celeba"
        reals = evaluation.Reals(data.stored, config.model.resolution, config.data.mirror)
        usable = []
        for metric in metrics_of(config):
            with _told(f"{metric.name} is not measured"):
                tools = evaluate.open_tools([metric], weights, attributes, devices)
                evaluation.Evaluator([metric], reals, tools)
                usable.append(metric)
        if usable:
            tools = evaluate.open_tools(usable, weights, attributes, devices)
            self._evaluator = evaluation.Evaluator(usable, reals, tools)

    def begin(self, train_state: state.TrainState, chunk: schedule.Chunk) -> None:
        """Begins to measure the averaged generator after `chunk`, if no other one is being measured.

        At the end of a run it is measured in any case, after the other one.
        """
        if self._evaluator is None:
            return
        nimg = chunk.end_nimg
        # As a checkpoint of as many images is read.
        phase = schedule.phase_at(nimg, self._config.schedule, self._config.model.resolution)
        if distributed.of_first(bool(self._unfinished())) and not chunk.is_last:
            self._log.log(
                f"report.metrics at {nimg / 1000:.1f} kimg are left out: those at {self._unfinished()} are still being "
                "measured. A larger report.evaluation_ticks leaves more time."
            )
            return
        with _told(f"report.metrics at {nimg / 1000:.1f} kimg are not measured"), distributed.together():
            params = jax.tree.map(jnp.copy, train_state.ema_params)  # Training gives its own arrays away.
            made = image_sets.Generator(params, self._config.model, phase.resolution, phase.alpha, self._classes)
            self._evaluations.append((nimg, self._evaluator.run(made, self._config.seed)))
            self._digests[nimg] = self._thread.submit(evaluate.digest, mesh.local(params))

    def step(self, num_images: int) -> None:
        """Shows what is computed, and gives the devices batches of `num_images` or a little more to measure.

        With as many as a chunk trains on, what takes 50,000 images is done when some 50 kimg more are trained.
        """
        while self._computing and self._computing[0][2].done():
            self._show(*self._computing.pop(0))
        if not self._evaluations:
            return
        nimg, steps = self._evaluations[0]
        with _told(f"report.metrics at {nimg / 1000:.1f} kimg are not measured"):
            try:
                while num_images > 0:
                    before, self._num_done = self._num_done, next(steps).done
                    num_images -= max(0, self._num_done - before)  # It begins again with each set of images.
                return
            except StopIteration as end:
                for one in end.value:
                    computing = self._thread.submit(one.compute_fn, self._stop_if_closed)
                    self._computing.append((nimg, one.metric.name, computing))
        del self._evaluations[0]

    def finish(self, stop_fn: Callable[[], object]) -> None:
        """Measures what has begun to its end, unless stop_fn returns a reason to stop.

        All processes come to it together, and wait for what the first one computes.
        """
        if self._unfinished():
            self._log.log(f"measuring report.metrics at {self._unfinished()} to the end; a signal leaves them out")
        while distributed.of_first(bool(self._unfinished())) and not stop_fn():
            if not self._evaluations:
                futures.wait([computing for _, _, computing in self._computing], POLL_SEC)
            self.step(1)
        self.close()

    def close(self) -> None:
        """Gives up what is not measured yet, and says so."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._unfinished():
            self._log.log(
                f"report.metrics at {self._unfinished()} are not measured to the end; --mode=evaluate does it for a "
                "checkpoint."
            )
        self._evaluations.clear()
        self._computing.clear()

    def _unfinished(self) -> str:
        """Returns at which images something is being measured, as text; empty if nothing is."""
        numbers = {nimg for nimg, *_ in self._computing} | {nimg for nimg, _ in self._evaluations}
        return " and ".join(f"{nimg / 1000:.1f} kimg" for nimg in sorted(numbers))

    def _stop_if_closed(self, done: int, total: int) -> None:
        """Ends a computation that no one waits for, where it says how far it is."""
        if self._is_closed:
            raise futures.CancelledError

    def _show(self, nimg: int, metric: str, computing: futures.Future) -> None:
        with _told(f"{metric} at {nimg / 1000:.1f} kimg is not measured"):
            result = computing.result()
            values = "  ".join(f"{name} {value:.5g}" for name, value in result.values.items())
            self._log.log(f"{nimg / 1000:.1f} kimg: {values}")
            with _told(f"{metric} at {nimg / 1000:.1f} kimg is not written"):
                results.append(self._folder, result, self._about(nimg))
                self._log.events(nimg, result.values)

    def _about(self, nimg: int) -> dict[str, Any]:
        """Returns what is written beside the numbers of the generator after `nimg` images."""
        model = self._config.model
        phase = schedule.phase_at(nimg, self._config.schedule, model.resolution)
        network = {"source": str(self._folder), "sha256_of_arrays": self._digests[nimg].result()}
        network |= {"resolution": phase.resolution, "alpha": phase.alpha}
        return {
            "network": network | {"compute_dtype": model.compute_dtype, "nimg": nimg},
            "remarks": self._remarks,
        }


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turns whatever goes wrong into a warning: a metric never ends a run."""
    try:
        yield
    except Exception as error:
        _log.warning("%s: %s", what, error)
