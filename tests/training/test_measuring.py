"""Metrics measured while a run trains: right numbers of the right moment, and no way to end the run."""

import dataclasses
import json
import os
import pathlib
import threading
from concurrent import futures

import jax
import numpy as np
import pytest

from stylegan_jax.config import schedule
from stylegan_jax.data import dataset, images, labels
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import definitions, evaluate, evaluation, feature_networks, image_sets, results
from stylegan_jax.training import measuring, state
from tests.small import settings

N = 24  # Pictures.


class Log:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines, self.shown = [], []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def events(self, nimg: int, values: dict[str, float]) -> None:
        self.shown.append((nimg, values))


def means(params, images):
    return {"features": images.astype(np.float32).mean(axis=(1, 2))}


def distance(fakes, reals, seed):
    return {"": float(np.abs(fakes.rows.mean(axis=0) - reals.rows.mean(axis=0)).sum())}


@pytest.fixture(autouse=True)
def metric(monkeypatch, tmp_path):
    """A metric of mean colours, "colours"; few pictures at a time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_sets.batches, "MAX_IMAGES", 8)
    monkeypatch.setitem(feature_networks.KINDS, "means", feature_networks.Kind(None, "none", means))
    colours = definitions.SetMetric("means", 20, "sample", distance, "mean colours")
    monkeypatch.setitem(definitions.TABLE, "colours", colours)
    monkeypatch.setitem(definitions.TABLE, "more_colours", colours)
    return colours


class Run:
    """A run at its first image, and what measures it."""

    def __init__(self, folder: pathlib.Path, metrics=("colours",), read_fn=None, **changes) -> None:
        self.folder, self.log = folder, Log()
        self.config = settings(model={"resolution": 8} | changes, report={"metrics": metrics})
        pictures = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), np.uint8)
        classes = labels.Classes(np.arange(N) % 5 % 2, ("a", "b"))
        self.stored = images.Images("random", N, (8,), read_fn or (lambda i, size: pictures[i]), "f", classes)
        data = dataset.Dataset(self.stored, np.arange(8, N), np.arange(8), self.config.model, self.config.seed)
        self.devices = mesh.make_mesh()
        self.measuring = measuring.Measuring(self.config, data, self.devices, self.log, folder, folder / "weights")

    def begin(self, nimg: int = 1000, is_last: bool = False) -> state.TrainState:
        train_state = state.create_on(self.devices, self.config)
        self.measuring.begin(train_state, schedule.Chunk(0, nimg, None, False, 1, True, is_last))
        return train_state

    def steps(self, number: int = 100) -> None:
        """Does what the loop does, until nothing is left to be computed."""
        for _ in range(number):
            self.measuring.step(1)
            futures.wait([computing for *_, computing in self.measuring._computing])

    def written(self) -> list[dict]:
        path = self.folder / results.FILE
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_result_is_logged_shown_and_written_with_its_images(tmp_path):
    run = Run(tmp_path)
    run.begin(1200)
    run.steps()
    (found,) = run.written()
    assert len(found["network"].pop("sha256_of_arrays")) == 64
    network = {"source": str(tmp_path), "resolution": 8, "alpha": 1.0, "compute_dtype": "float32", "nimg": 1200}
    assert (found["metric"], found["network"], found["remarks"]) == ("colours", network, [])
    assert run.log.lines == [f"1.2 kimg: colours {found['values']['colours']:.5g}"]
    assert run.log.shown == [(1200, found["values"])]


def test_how_the_labels_of_a_conditional_network_are_drawn_stands_beside_the_number(tmp_path):
    run = Run(tmp_path, num_labels=2)
    run.begin()
    run.steps()
    (found,) = run.written()
    assert found["remarks"] == ["labels are those of random real pictures (fingerprint f), as StyleGAN2-ADA does"]


def test_between_chunks_as_many_images_are_measured_as_a_chunk_has(tmp_path, monkeypatch):
    asked = []

    def run_steps(self, made, seed):
        for what, count in (("real pictures", 30), ("fakes", 100)):
            for done in range(0, count + 1, 10):
                asked.append((what, done))
                yield evaluation.Progress(what, done, count)
        return []

    monkeypatch.setattr(evaluation.Evaluator, "run", run_steps)
    run = Run(tmp_path)
    run.begin()
    assert asked == []
    for last in (("real pictures", 10), ("real pictures", 20), ("real pictures", 30), ("fakes", 10)):
        run.measuring.step(1)
        assert asked[-1] == last
    run.measuring.step(32)
    assert asked[-1] == ("fakes", 50)
    run.measuring.step(100)
    assert asked[-1] == ("fakes", 100) and run.measuring._evaluations == []
    run.begin(2000)
    run.measuring.step(40)
    assert asked[-1] == ("fakes", 10)


@pytest.mark.parametrize("num_labels", [0, 2])
def test_the_generator_is_that_of_its_tick_though_training_reuses_its_arrays(tmp_path, num_labels):
    run = Run(tmp_path, num_labels=num_labels)
    train_state = run.begin()
    tools = evaluate.open_tools(measuring.metrics_of(run.config), None, "celeba", run.devices)
    reals = evaluation.Reals(run.stored, 8, False)
    classes = run.stored.classes.labels if num_labels else None
    params = jax.device_get(train_state.ema_params)
    jax.tree.map(lambda x: x.delete(), train_state)
    run.steps()
    steps = evaluation.Evaluator(measuring.metrics_of(run.config), reals, tools).run(
        image_sets.Generator(params, run.config.model, 8, 1.0, classes), run.config.seed
    )
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    (pending,) = end.value.value
    assert run.written()[0]["values"] == pending.compute_fn(None).values


def test_without_metrics_nothing_is_done(tmp_path):
    run = Run(tmp_path, metrics=())
    run.begin(is_last=True)
    run.steps(3)
    run.measuring.finish(lambda: None)
    assert run.log.lines == [] and not list(tmp_path.iterdir())


def test_a_metric_without_its_weights_is_told_once_and_the_others_are_measured(tmp_path, caplog):
    run = Run(tmp_path, metrics=("fid50k:20", "colours"))
    for nimg in (1000, 2000):
        run.begin(nimg)
        run.steps()
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("fid50k:20 is not measured: ")
    assert [found["metric"] for found in run.written()] == ["colours", "colours"]


def test_a_metric_with_too_few_images_is_told_and_left_out(tmp_path, monkeypatch, metric, caplog):
    monkeypatch.setitem(definitions.TABLE, "colours", dataclasses.replace(metric, fewest=100))
    run = Run(tmp_path)
    run.begin(is_last=True)
    run.measuring.finish(lambda: None)
    assert "colours is not measured: colours takes 100 images or more" in caplog.text and run.written() == []


def test_a_metric_that_does_not_exist_is_refused_by_the_setting():
    with pytest.raises(ValueError, match="report.metrics: there is no metric 'fid'; did you mean fid50k"):
        measuring.metrics_of(settings(report={"metrics": ("fid",)}))


def fail(*args, **kwargs):
    raise RuntimeError("it broke")


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def broken_copy(monkeypatch, run):
    monkeypatch.setattr(measuring.jnp, "copy", fail)


def broken_reals(monkeypatch, run):
    monkeypatch.setattr(image_sets.Pictures, "_read", fail)


def broken_fakes(monkeypatch, run):
    monkeypatch.setattr(image_sets.sampling, "sample", fail)


def broken_features(monkeypatch, run):
    monkeypatch.setattr(evaluation.extraction.collected.Collector, "add", fail)


def broken_computation(monkeypatch, run):
    monkeypatch.setattr(evaluation.computation, "of_sets", fail)


def broken_file(monkeypatch, run):
    (run.folder / results.FILE).mkdir()


def broken_disk(monkeypatch, run):
    monkeypatch.setattr(evaluate.results, "record", full)


def broken_events(monkeypatch, run):
    monkeypatch.setattr(run.log, "events", full)


@pytest.mark.parametrize(
    ("break_fn", "message"),
    [
        (broken_copy, "report.metrics at 1.0 kimg are not measured: it broke"),
        (broken_reals, "report.metrics at 1.0 kimg are not measured: it broke"),
        (broken_fakes, "report.metrics at 1.0 kimg are not measured: it broke"),
        (broken_features, "report.metrics at 1.0 kimg are not measured: it broke"),
        (broken_computation, "colours at 1.0 kimg is not measured: it broke"),
        (broken_file, "colours at 1.0 kimg is not written: [Errno 21]"),
        (broken_disk, "colours at 1.0 kimg is not written: [Errno 28] No space left on device"),
        (broken_events, "colours at 1.0 kimg is not written: [Errno 28] No space left on device"),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_measurement_is_sound(tmp_path, caplog, break_fn, message):
    run = Run(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        break_fn(patch, run)
        run.begin(1000)
        run.steps()
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(message)
    if (tmp_path / results.FILE).is_dir():
        (tmp_path / results.FILE).rmdir()
    run.begin(2000)
    run.steps()
    assert run.written()[-1]["network"]["nimg"] == 2000 and run.log.lines[-1].startswith("2.0 kimg: colours ")


def test_what_is_due_while_another_is_measured_is_left_out_with_a_line(tmp_path):
    run = Run(tmp_path)
    run.begin(1000)
    run.steps(1)
    run.begin(2000)
    assert run.log.lines == [
        "report.metrics at 2.0 kimg are left out: those at 1.0 kimg are still being measured. A larger "
        "report.evaluation_ticks leaves more time."
    ]
    run.steps()
    assert [found["network"]["nimg"] for found in run.written()] == [1000]


@pytest.fixture
def slow(monkeypatch):
    """An event that computations wait for."""
    event, original = threading.Event(), evaluation.computation.of_sets
    monkeypatch.setattr(evaluation.computation, "of_sets", lambda *args: event.wait(60) and original(*args))
    yield event
    event.set()


def test_what_is_due_while_another_is_computed_is_left_out_too(tmp_path, slow):
    run = Run(tmp_path)
    run.begin(1000)
    for _ in range(20):
        run.measuring.step(1)  # It never waits for the computation.
    run.begin(2000)
    assert "at 2.0 kimg are left out: those at 1.0 kimg are still being measured" in run.log.lines[-1]
    slow.set()
    run.steps()
    assert [found["network"]["nimg"] for found in run.written()] == [1000]


def test_the_end_of_a_run_is_measured_also_if_another_measurement_is_at_work(tmp_path):
    run = Run(tmp_path, metrics=("colours", "more_colours"))
    run.begin(1000)
    run.steps(1)
    run.begin(2000, is_last=True)
    run.measuring.finish(lambda: None)
    assert run.log.lines[0] == "measuring report.metrics at 1.0 kimg and 2.0 kimg to the end; a signal leaves them out"
    assert [(found["network"]["nimg"], found["metric"]) for found in run.written()] == [
        (nimg, name) for nimg in (1000, 2000) for name in ("colours", "more_colours")
    ]


LEFT = "report.metrics at 1.0 kimg are not measured to the end; --mode=evaluate does it for a checkpoint."


def test_a_signal_ends_the_measurement_at_the_end_of_a_run(tmp_path):
    run = Run(tmp_path)
    run.begin(1000, is_last=True)
    reasons = iter([None, None, "SIGTERM"])
    run.measuring.finish(lambda: next(reasons))
    assert run.log.lines[-1] == LEFT and run.written() == []


def test_a_signal_ends_the_waiting_for_a_computation(tmp_path, slow):
    run = Run(tmp_path)
    run.begin(1000, is_last=True)
    run.measuring.finish(lambda: "SIGTERM" if run.measuring._computing else None)
    assert run.log.lines[-1] == LEFT and not slow.is_set()


def test_a_run_that_is_stopped_says_what_is_not_measured_once(tmp_path):
    run = Run(tmp_path)
    run.begin(1000)
    run.steps(1)
    run.measuring.close()
    run.measuring.close()
    assert run.log.lines == [LEFT]


def test_a_computation_that_no_one_waits_for_ends_where_it_says_how_far_it_is(tmp_path, monkeypatch):
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def compute(metric, fakes, against, network, seed, progress_fn):
        progress_fn(1, 3)
        begun.set()
        go_on.wait(60)
        try:
            progress_fn(2, 3)
        except futures.CancelledError as error:
            ended.append(error)
            raise

    monkeypatch.setattr(evaluation.computation, "of_sets", compute)
    run = Run(tmp_path)
    run.begin(1000, is_last=True)
    run.measuring.finish(begun.is_set)
    computing = run.measuring._thread
    go_on.set()
    computing.shutdown(wait=True)
    assert len(ended) == 1 and run.written() == []


def test_real_pictures_are_read_once_for_all_measurements(tmp_path):
    read = []
    pictures = np.zeros((N, 8, 8, 3), np.uint8)
    run = Run(tmp_path, read_fn=lambda i, size: read.append(len(i)) or pictures[i])
    for nimg in (1000, 2000):
        run.begin(nimg)
        run.steps()
    assert sum(read) == 24 and len(run.written()) == 2  # 20 pictures, in batches of 8.
    assert os.listdir(tmp_path / "cache/stylegan_jax/features")
