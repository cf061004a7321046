"""What a run shows: distances of like from like, and a word when training diverges."""

import types

import jax
import numpy as np
import pytest

from stylegan_jax.config import schedule
from stylegan_jax.data import dataset, images, labels
from stylegan_jax.devices import mesh
from stylegan_jax.images import figures
from stylegan_jax.networks import sampling
from stylegan_jax.training import observer
from tests.small import settings

N = 400  # Pictures, a tenth of them of class 1; class 2 has none.


def pictures(classes: np.ndarray, seed: int) -> np.ndarray:
    """Returns random pictures: dark ones of class 0, bright stripes of class 1. uint8 [n, 16, 16, 3]"""
    rng = np.random.default_rng(seed)
    dark = rng.integers(20, 90, (len(classes), 8, 8, 3)).repeat(2, axis=1).repeat(2, axis=2)
    stripes = 120 + rng.integers(20, 90, (len(classes), 1, 16, 3)).repeat(16, axis=1)
    return np.where((classes == 0)[:, None, None, None], dark, stripes).astype(np.uint8)


class Log:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines, self.pictures, self.sec_per_image, self.measured = [], {}, {}, []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def picture(self, name: str, picture: np.ndarray) -> None:
        self.pictures[name] = picture

    def image(self, nimg: int, name: str, picture: np.ndarray) -> None:
        self.pictures[name] = picture

    def scalars(self, nimg: int, values: dict[str, float]) -> None:
        self.values = values


def opened(**changes) -> tuple[observer.Observer, Log, dataset.Dataset]:
    usual = {"model": {"num_labels": 3}, "data": {"num_heldout": 150}, "report": {"metric_ticks": 1}}
    config = settings(**usual | changes)
    classes = np.where(np.arange(N) % 10 == 0, 1, 0)
    all_pictures = pictures(classes, 0)
    stored = images.Images(
        "unequal", N, (16,), lambda i, size: all_pictures[i], "f", labels.Classes(classes, ("a", "b", "c"))
    )
    train, heldout = np.arange(config.data.num_heldout, N), np.arange(config.data.num_heldout)
    data, log = dataset.Dataset(stored, train, heldout, config.model, config.seed), Log()
    measuring = types.SimpleNamespace(begin=lambda train_state, chunk: log.measured.append(chunk.end_nimg))
    return observer.Observer(config, data, mesh.make_mesh(), log, [], measuring), log, data


STATE = types.SimpleNamespace(ema_params=None)
PHASE = schedule.Phase(16, 1.0, 8, 1e-3, 1.0)


def perfect(params, key, n, alpha, model, resolution, devices, classes):
    """Makes pictures of the classes that it is asked for, in batches; classes take turns if they are too few."""
    for first in range(0, n, 64):
        count = min(64, n - first)
        yield pictures(classes[(first + np.arange(count)) % len(classes)], 1000 + first)


def test_a_perfect_generator_of_unequal_classes_is_at_the_floor(monkeypatch):
    monkeypatch.setattr(sampling, "sample_batches", perfect)
    watcher, log, _ = opened()
    watcher.start()
    found = watcher._distances(STATE, PHASE, 0)
    floor, bad = (dict(zip(line.split()[1::2], map(float, line.split()[2::2]), strict=True)) for line in log.lines[:2])
    for name in ("fd_faces", "swd"):
        assert found[name] < 1.5 * floor[name] < 0.6 * bad[name]
    # Classes in turn are far from it.
    monkeypatch.setattr(sampling, "sample_batches", lambda *args: perfect(*args[:-1], np.asarray([0, 1])))
    assert watcher._distances(STATE, PHASE, 0)["fd_faces"] > 3 * floor["fd_faces"]


def test_the_grid_shows_classes_that_have_pictures_in_turn(monkeypatch):
    asked = []
    monkeypatch.setattr(sampling, "sample_batches", lambda *args: asked.append(args[-1].tolist()) or perfect(*args))
    watcher, log, _ = opened()
    watcher._samples(STATE, PHASE, 0)
    assert asked == [[0, 1]] and "fakes" in log.pictures


def test_without_metrics_no_held_out_images_are_needed():
    watcher, log, data = opened(data={"num_heldout": 0}, report={"metric_ticks": 0})
    watcher.start()
    assert log.lines == [] and "reals" in log.pictures and len(data.train_indices) == N


@pytest.mark.parametrize(
    ("ticks", "warned_at"),
    [
        ([2e4, -3e4, 1e5], [2]),
        ([2e4] * 9, [2]),
        ([2e4, 2e4, 5.0, 2e4, 2e4], []),
        ([9e3] * 9, []),
        ([np.nan] * 4, [2]),
        ([5.0, 2e4, 2e4, 2e4, 5.0, 2e4, 2e4, 2e4], [3]),
    ],
)
def test_scores_that_stay_huge_are_told_once(ticks, warned_at):
    watcher, log, _ = opened()
    warned = []
    for tick, score in enumerate(ticks):
        before = len(log.lines)
        watcher._watch_scores(1000 * tick, {"real_scores": 1.0, "fake_scores": score, "d_loss": 1e9})
        warned += [tick] * (len(log.lines) - before)
    assert warned == warned_at
    assert all("training diverges" in line and "schedule.lr" in line for line in log.lines)


def test_metrics_are_measured_every_kth_tick_and_at_the_end(monkeypatch):
    monkeypatch.setattr(observer.Observer, "_figures", lambda self, *args: None)
    watcher, log, _ = opened(report={"metric_ticks": 0, "image_ticks": 1000, "evaluation_ticks": 2})
    monkeypatch.setattr(watcher, "_samples", lambda *args: None)
    at_start = types.SimpleNamespace(
        ema_params=None, num_skipped=mesh.put(np.zeros(2), mesh.replicated(mesh.make_mesh()))
    )
    for tick in range(1, 6):
        watcher.tick(at_start, schedule.Chunk(0, 100 * tick, PHASE, False, tick, True, tick == 5), {})
    assert log.measured == [200, 400, 500]


def test_figures_are_drawn_at_the_end_and_every_figure_ticks_of_the_classes_that_have_pictures(monkeypatch):
    drawn = []

    def draw(name):
        return lambda network, classes, progress_fn: drawn.append((name, network.resolution, network.alpha, classes))

    for name in figures.FIGURES:
        monkeypatch.setitem(figures.FIGURES, name, draw(name))
    state = types.SimpleNamespace(
        ema_params=jax.numpy.zeros(1), w_avg=jax.numpy.zeros(16), num_skipped=jax.numpy.zeros(2)
    )
    both = [(name, 16, 0.5, [0, 1]) for name in ("style_mixing", "truncation")]
    for figure_ticks, expected in ((0, [[], [], [], both]), (2, [[], both, [], both])):
        watcher, _, _ = opened(report={"metric_ticks": 0, "image_ticks": 10, "figure_ticks": figure_ticks})
        monkeypatch.setattr(watcher, "_samples", lambda *args: None)
        phase = schedule.Phase(16, 0.5, 8, 1e-3, 1.0)
        for tick in range(1, 5):
            watcher.tick(state, types.SimpleNamespace(end_nimg=tick, tick=tick, phase=phase, is_last=tick == 4), {})
            assert drawn == expected[tick - 1], (figure_ticks, tick)
            drawn.clear()
