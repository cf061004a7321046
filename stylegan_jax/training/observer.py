"""What a run shows of itself: scalars, grids of samples, distances and, at the end, the paper's figures."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.images import figures
from stylegan_jax.metrics import batches, quality
from stylegan_jax.networks import sampling, streams
from stylegan_jax.networks.streams import Stream
from stylegan_jax.runs import grid, report
from stylegan_jax.training import measuring, state
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network

LARGE_SCORE = 1e4  # Scores of a discriminator that trains well are far smaller.
LARGE_TICKS = 3  # Ticks of large scores before the user is told.


class Observer:
    """What a run shows of itself at its ticks."""

    def __init__(
        self,
        config: Config,
        data: dataset.Dataset,
        devices: jax.sharding.Mesh,
        log: report.Report,
        stages: list[schedule.Stage],
        measuring: measuring.Measuring,
    ) -> None:
        self._measuring = measuring
        self._config, self._data, self._devices, self._log, self._stages = config, data, devices, log, stages
        self._reals: quality.Statistics | None = None
        self._seen: set[int] = set()  # Resolutions whose speed the table has.
        self._num_large, self._has_warned = 0, False  # Ticks with large scores, up to now.

    def start(self) -> None:
        """Writes reals.png, measures the reals once, and logs the distances of held-out and of bad images."""
        config, data, n = self._config, self._data, self._config.data.num_heldout
        num_shown = config.report.grid_columns * config.report.grid_rows
        self._log.picture("reals", self._grid(data.sample_reals(num_shown)))
        if not config.report.metric_ticks:
            return
        colours: list[np.ndarray] = []  # Small, and so kept for all images.

        def noted_reals() -> Iterator[np.ndarray]:
            for images in self._read(data.sample_reals, n):
                colours.append(quality.colours(images))
                yield images

        self._reals = quality.statistics(noted_reals(), n, config.seed)
        size = config.model.resolution // colours[0].shape[1]
        bad = (small.repeat(size, axis=1).repeat(size, axis=2) for small in colours)
        for name, images in {"floor": self._read(data.heldout, n), "bad": bad}.items():
            found = quality.statistics(images, n, config.seed)
            self._log.log(f"{name}: {_as_text(quality.distances(found, self._reals))}")

    def first(self, train_state: state.TrainState, phase: schedule.Phase) -> None:
        """Writes the distances and the samples that a run begins with."""
        if self._config.report.metric_ticks:
            self._log.scalars(0, self._distances(train_state, phase, 0))
        self._samples(train_state, phase, 0)

    def tick(self, train_state: state.TrainState, chunk: schedule.Chunk, means: dict[str, float]) -> dict[str, float]:
        """Writes what is due at the end of `chunk`; returns the distances, or an empty dict if they were not due.

        A tick, whose scalars have these means, ends with the chunk.
        """
        every, nimg, tick = self._config.report, chunk.end_nimg, chunk.tick
        g_num_skipped, d_num_skipped = jax.device_get(mesh.local(train_state.num_skipped)).tolist()
        scalars = means | {"g_num_skipped": g_num_skipped, "d_num_skipped": d_num_skipped}
        scalars |= {"resolution": chunk.phase.resolution, "alpha": chunk.phase.alpha, "lr": chunk.phase.lr}
        distances = {}
        if every.metric_ticks and (chunk.is_last or tick % every.metric_ticks == 0):
            distances = self._distances(train_state, chunk.phase, nimg)
            scalars |= distances
        self._log.scalars(nimg, scalars)
        self._watch_scores(nimg, means)
        if chunk.is_last or tick % every.image_ticks == 0:
            self._samples(train_state, chunk.phase, nimg)
        if set(self._log.sec_per_image) != self._seen:
            self._seen = set(self._log.sec_per_image)
            self._log.log(report.schedule_text(self._stages, self._log.sec_per_image))
        if chunk.is_last or (every.figure_ticks and tick % every.figure_ticks == 0):
            self._figures(train_state, chunk.phase)
        if chunk.is_last or tick % every.evaluation_ticks == 0:
            self._measuring.begin(train_state, chunk)
        return distances

    def _watch_scores(self, nimg: int, means: dict[str, float]) -> None:
        """Warns once of a discriminator whose scores have been huge for some ticks: training seldom recovers."""
        scores = [means[name] for name in ("real_scores", "fake_scores") if name in means]
        is_large = any(not abs(score) <= LARGE_SCORE for score in scores)  # NaN counts as large.
        self._num_large = self._num_large + 1 if is_large else 0
        if self._num_large == LARGE_TICKS and not self._has_warned:
            self._has_warned = True
            self._log.log(
                f"warning: training diverges: the mean scores of the last {LARGE_TICKS} ticks, up to {nimg / 1000:g} "
                f"kimg, exceed {LARGE_SCORE:g} in size ({', '.join(f'{score:.3g}' for score in scores)}). Stop, and go "
                "on from an earlier checkpoint, or begin anew, with a lower schedule.lr or more train.r1_gamma."
            )

    def _distances(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> dict[str, float]:
        assert self._reals is not None, "measured by start()"
        n, classes = self._config.data.num_heldout, None
        if self._config.model.num_labels:
            # As many samples of each class as the held-out images, from which the floor is measured.
            classes = self._data.stored.classes.labels[self._data.heldout_indices]
        fakes = self._fakes(train_state, phase, Stream.METRICS, n, classes)
        distances = quality.distances(quality.statistics(fakes, n, self._config.seed), self._reals)
        self._log.log(f"{nimg / 1000:.1f} kimg: {_as_text(distances)}")
        return distances

    def _samples(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> None:
        n = self._config.report.grid_columns * self._config.report.grid_rows
        images = self._fakes(train_state, phase, Stream.GRID, n, self._present_classes())
        self._log.image(nimg, "fakes", self._grid(np.concatenate(list(images))))

    def _fakes(
        self, train_state: state.TrainState, phase: schedule.Phase, stream: Stream, n: int, classes: np.ndarray | None
    ) -> Iterator[np.ndarray]:
        """Yields `n` samples in batches; see sampling.sample_batches."""
        params, alpha, model = train_state.ema_params, jnp.float32(phase.alpha), self._config.model
        key = streams.key_for(self._config.seed, stream)
        return sampling.sample_batches(params, key, n, alpha, model, phase.resolution, self._devices, classes)

    def _figures(self, train_state: state.TrainState, phase: schedule.Phase) -> None:
        params, w_avg = mesh.local((train_state.ema_params, train_state.w_avg))
        network = Network(
            self._config.model, params, Info("this run", "run"), w_avg=w_avg if self._config.model.use_styles else None,
            resolution=phase.resolution, alpha=float(phase.alpha),
        )  # fmt: skip
        present = self._present_classes()
        classes = [] if present is None else present.tolist()
        for name in ("style_mixing", "truncation") if self._config.model.use_styles else ():
            self._log.picture(name, figures.FIGURES[name](network, classes, lambda done, total: None))

    def _present_classes(self) -> np.ndarray | None:
        """Returns the classes that training images have, for grids in which they take turns."""
        counts = self._data.class_counts
        return None if counts is None else np.flatnonzero(counts)

    def _read(self, read_fn: Callable[[int, int], np.ndarray], n: int) -> Iterator[np.ndarray]:
        """Yields `n` images in batches."""
        for part in batches.slices(n, self._config.model.resolution):
            yield read_fn(part.stop, part.start)

    def _grid(self, images: np.ndarray) -> np.ndarray:
        return grid.image_grid(images, self._config.report.grid_columns, self._config.report.grid_rows)


def _as_text(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
