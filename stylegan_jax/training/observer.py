"""What a run shows of itself: scalars, grids of samples, distances and, at the end, the paper's figures."""

import jax
import jax.numpy as jnp
import numpy as np

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.images import figures
from stylegan_jax.metrics import quality
from stylegan_jax.runs import grid, report
from stylegan_jax.training import state

# What the keys of pictures and measurements are folded with; training's are folded with nimg.
GRID, METRICS, MIXING, TRUNCATION = range(1, 5)


class Observer:
    """What a run shows of itself at its ticks: scalars, grids, distances and, at the end, the paper's figures."""

    def __init__(
        self,
        config: Config,
        data: dataset.Dataset,
        devices: jax.sharding.Mesh,
        log: report.Report,
        stages: list[schedule.Stage],
    ) -> None:
        self._c, self._data, self._devices, self._log, self._stages = config, data, devices, log, stages
        self._reals: quality.RealStatistics | None = None
        self._seen: set[int] = set()  # Resolutions whose speed the table has.

    def start(self) -> None:
        """Writes reals.png, and measures the reals once: the distances' floor, and a bad reference."""
        report, n = self._c.report, self._c.data.num_heldout
        self._log.picture("reals", self._grid(self._data.sample_reals(report.grid_columns * report.grid_rows)))
        if report.metric_ticks:
            reals = self._data.sample_reals(n)
            self._reals = quality.real_statistics(reals, self._c.seed)
            for name, values in quality.references(reals, self._data.heldout(n), self._reals).items():
                self._log.log(f"{name}: {_as_text(values)}")

    def first(self, train_state: state.TrainState, phase: schedule.Phase) -> None:
        """Writes how a run begins: what its distances fall from."""
        if self._c.report.metric_ticks:
            self._log.scalars(0, self._distances(train_state, phase, 0))
        self._samples(train_state, phase, 0)

    def tick(self, train_state: state.TrainState, chunk: schedule.Chunk, means: dict[str, float]) -> dict[str, float]:
        """Writes what is due at the end of `chunk`; returns the distances, if they were.

        Args:
            train_state: after the chunk.
            chunk: that a tick ends with.
            means: of the tick's scalars.
        """
        c, nimg, tick = self._c, chunk.end_nimg, chunk.tick
        num_skipped = int(np.sum(jax.device_get(mesh.local(train_state.num_skipped))))
        scalars = means | {"num_skipped": num_skipped}
        scalars |= {"resolution": chunk.phase.resolution, "alpha": chunk.phase.alpha, "lr": chunk.phase.lr}
        distances = {}
        if c.report.metric_ticks and (chunk.is_last or tick % c.report.metric_ticks == 0):
            distances = self._distances(train_state, chunk.phase, nimg)
            scalars |= distances
        self._log.scalars(nimg, scalars)
        if chunk.is_last or tick % c.report.image_ticks == 0:
            self._samples(train_state, chunk.phase, nimg)
        if set(self._log.sec_per_image) != self._seen:
            self._seen = set(self._log.sec_per_image)
            self._log.log(report.schedule_text(self._stages, self._log.sec_per_image))
        if chunk.is_last:
            self._figures(train_state, chunk.phase)
        return distances

    def _distances(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> dict[str, float]:
        assert self._reals is not None, "measured by start()"
        fakes = self._fakes(train_state, phase, METRICS, self._c.data.num_heldout)
        distances = quality.quality(fakes, self._reals)
        self._log.log(f"{nimg / 1000:.1f} kimg: {_as_text(distances)}")
        return distances

    def _samples(self, train_state: state.TrainState, phase: schedule.Phase, nimg: int) -> None:
        report = self._c.report
        self._log.image(
            nimg, "fakes", self._grid(self._fakes(train_state, phase, GRID, report.grid_columns * report.grid_rows))
        )

    def _grid(self, images: np.ndarray) -> np.ndarray:
        return grid.image_grid(images, self._c.report.grid_columns, self._c.report.grid_rows)

    def _key(self, purpose: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self._c.seed), 2**31 - 1), purpose)

    def _fakes(self, train_state: state.TrainState, phase: schedule.Phase, purpose: int, n: int) -> np.ndarray:
        alpha, key = jnp.float32(phase.alpha), self._key(purpose)
        return figures.samples(train_state.ema_params, key, n, alpha, self._c.model, phase.resolution, self._devices)

    def _figures(self, train_state: state.TrainState, phase: schedule.Phase) -> None:
        model, alpha = self._c.model, jnp.float32(phase.alpha)
        params, w_avg = mesh.local((train_state.ema_params, train_state.w_avg))
        images = figures.style_mixing(params, self._key(MIXING), alpha, model, phase.resolution)
        self._log.picture("style_mixing", grid.image_grid(images, 7, 7))
        images = figures.truncation(
            params, mesh.local(train_state.w_avg), self._key(TRUNCATION), alpha, model, phase.resolution
        )
        self._log.picture("truncation", grid.image_grid(images, len(figures.TRUNCATION_PSIS)))


def _as_text(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
