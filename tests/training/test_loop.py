import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from stylegan_jax.config import schedule, to_dict
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import evaluate, image_sets, results
from stylegan_jax.runs import checkpoint
from stylegan_jax.training import loop, pending, programs, saving
from tests.small import settings

ROOT = pathlib.Path(__file__).parent.parent.parent
# Trains in a process of its own, on as many devices as this one, until told to stop or killed.
RUN = """
import json, pathlib, sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
from stylegan_jax.config import from_dict
from stylegan_jax.training import loop
loop.train(from_dict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


def assert_equal(first, second):
    paths = zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True)
    different = [jax.tree_util.keystr(path) for (path, a), b in paths if not np.array_equal(a, b)]
    assert not different


def logged(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "scalars.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def compiled():
    """Names of the functions that were compiled since the first test."""
    names = []

    def note(event: str, seconds: float, **details) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, compiled):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, loop.train(settings(), workdir)


def test_a_run_compiles_one_training_program_a_resolution(undisturbed, compiled):
    assert sum("train_step" in name for name in compiled) == 2


def test_a_run_leaves_its_pictures_scalars_and_checkpoints(undisturbed):
    workdir, last = undisturbed
    assert {"reals.png", "fakes000000.png", "style_mixing.png", "truncation.png", "config.json", "tensorboard"} <= set(
        os.listdir(workdir)
    )
    assert [line["nimg"] for line in logged(workdir)] == list(range(32, 257, 32))
    assert {"d_loss", "g_loss", "r1", "g_num_skipped", "d_num_skipped", "resolution", "alpha", "lr"} <= set(
        logged(workdir)[0]
    )
    assert int(last.nimg) == 256


@pytest.mark.slow
def test_a_run_of_four_steps_a_call_is_that_of_single_calls(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "steps_per_call", lambda config, devices: config.schedule.refresh_steps)
    last = loop.train(settings(), tmp_path)
    assert int(last.nimg) == int(undisturbed[1].nimg) and last.num_skipped.tolist() == [0, 0]
    ours, single = logged(tmp_path), logged(undisturbed[0])
    assert [line.keys() for line in ours] == [line.keys() for line in single]
    # Later ones differ more: sums in another order, whose errors Adam makes as large as steps.
    assert ours[0]["d_loss"] == pytest.approx(single[0]["d_loss"], rel=1e-4)


def test_a_finished_run_starts_no_more_training_and_says_so(undisturbed, capsys):
    workdir, last = undisturbed
    assert_equal(last, loop.train(settings(), workdir))
    assert capsys.readouterr().out.splitlines()[-1] == "complete at 0.256 kimg"


def test_a_run_that_is_beyond_a_shorter_schedule_says_so_and_keeps_its_settings(undisturbed, tmp_path, capsys):
    folder = shutil.copytree(undisturbed[0], tmp_path / "copy")
    before = (folder / "config.json").read_text()
    assert_equal(undisturbed[1], loop.train(settings(schedule={"total_kimg": 0.064}), folder))
    said = capsys.readouterr().out
    assert "nothing to train: the run is at 0.256 kimg, and schedule.total_kimg is 0.064" in said
    assert "the run ends" not in said and (folder / "config.json").read_text() == before


def test_a_chunk_refuses_batches_that_are_not_on_the_devices():
    devices = mesh.make_mesh()
    chunk = next(schedule.chunks(settings().schedule, 16))
    train = jax.jit(lambda s, images, labels, alpha, lr: (s, {"alpha": alpha + images.sum()}))
    lazy_r1 = jax.jit(lambda s, images, labels, alpha, lr: (s, {"r1": images.sum()}))
    program, config = programs.Programs(train, ((4, lazy_r1),)), settings()
    images = np.ones((1, 8), np.uint8)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        loop._run_chunk(None, chunk, [dataset.Batch(images, None)], program, devices, config)
    batch = dataset.Batch(mesh.put(images, mesh.split_stack(devices)), None)
    _, metrics = loop._run_chunk(None, chunk, [batch, batch], program, devices, config)
    assert metrics == [{"r1": 8}, {"alpha": 9}, {"alpha": 9}]
    _, metrics = loop._run_chunk(None, chunk, [batch, batch], programs.Programs(train, ()), devices, config)
    assert metrics == [{"alpha": 9}, {"alpha": 9}]


def test_on_a_gpu_programs_are_made_when_they_are_due_and_the_device_is_idle(monkeypatch):
    events, config, devices = [], settings(), mesh.make_mesh()
    monkeypatch.setattr(mesh, "platform_of", lambda devices: "gpu")
    monkeypatch.setattr(programs, "make", lambda config, state, devices, *request: events.append(request) or request)
    data = types.SimpleNamespace(stored=types.SimpleNamespace(size=lambda resolution: 16))
    chunks = list(schedule.chunks(config.schedule, 16))
    made = loop._programs(chunks, config, data, devices, 4, lambda: events.append("idle"))
    assert events == [] and next(made) == (8, 8, 16, 4, False)
    assert list(made)[-1] == (16, 8, 16, 4, False)
    assert events == ["idle", (8, 8, 16, 4, False), "idle", (16, 8, 16, 4, True), "idle", (16, 8, 16, 4, False)]


def test_a_lazy_step_comes_before_every_kth_iteration():
    config = settings(schedule={"batch_by_resolution": ((16, 16),), "total_kimg": 1.0})
    chunks = [chunk for chunk in schedule.chunks(config.schedule, 16) if chunk.phase.batch == 16]
    iterations = [chunk.start_nimg // 16 for chunk in chunks if loop._is_due(8, chunk, config)]
    assert len(iterations) > 2 and np.all(np.diff(iterations) == 8)


@pytest.mark.slow
def test_a_run_with_lazy_r1_logs_it(tmp_path):
    loop.train(settings(train={"r1_interval": 4}, schedule={"total_kimg": 0.064}), tmp_path)
    assert all(line["r1"] > 0 for line in logged(tmp_path))


@pytest.mark.slow
def test_scalars_are_means_of_the_tick_also_if_it_was_interrupted(tmp_path, monkeypatch):
    config = settings(schedule={"stable_kimg": 1.0, "total_kimg": 0.256, "tick_kimg": 0.128})
    loop.train(config, tmp_path / "whole")
    calls = iter([None] * 2 + ["a signal"] + [None] * 100)
    monkeypatch.setattr(loop.distributed, "stop_requests", lambda: contextlib.nullcontext(lambda: next(calls)))
    loop.train(config, tmp_path / "interrupted")
    assert [int(place.name) for place in (tmp_path / "interrupted/checkpoints").iterdir()] == [96]
    loop.train(config, tmp_path / "interrupted")
    assert logged(tmp_path / "interrupted") == logged(tmp_path / "whole")
    each = settings(schedule={"stable_kimg": 1.0, "total_kimg": 0.256})
    loop.train(each, tmp_path / "each")  # A tick a chunk.
    losses = [line["d_loss"] for line in logged(tmp_path / "each")]
    assert [line["d_loss"] for line in logged(tmp_path / "whole")] == pytest.approx(
        [np.mean(losses[:4]), np.mean(losses[4:])]
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(
    "stop_nimg", [32, 96, 128], ids=["before the resolution changes", "in mid-fade", "before the fade ends"]
)
def test_resumed_equals_uninterrupted_bit_for_bit(undisturbed, tmp_path, number, stop_nimg):
    config = settings()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    command = [sys.executable, "-c", RUN, json.dumps(to_dict(config)), str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (tmp_path / "checkpoints" / str(stop_nimg)).exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(120)
    resumed = loop.train(config, tmp_path)
    assert_equal(undisturbed[1], resumed)
    assert logged(tmp_path) == logged(undisturbed[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_saves_where_the_run_is_and_ends_it_well(tmp_path, number):
    config = settings(schedule={"stable_kimg": 1e6, "total_kimg": 1e5, "tick_kimg": 1e4})
    command = [sys.executable, "-c", RUN, json.dumps(to_dict(config)), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert any(" of 100000 kimg" in line for line in process.stdout)  # It trains, and no tick is near.
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    (nimg,) = (int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert 0 < nimg < 1e7
    assert f"stopped by {number.name} and saved at {nimg} images" in output


def test_a_start_that_fails_leaves_the_folder_to_other_settings(tmp_path):
    with pytest.raises(ValueError, match="absent.zip"):
        loop.train(settings(data={"source": str(tmp_path / "absent.zip")}), tmp_path / "run")
    assert not list((tmp_path / "run").glob("[!.]*"))


def test_batches_that_do_not_divide_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="divide among 4 devices"):
        loop.train(settings(schedule={"batch": 6}, model={"stddev_group": 3}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_for_the_checkpoints_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda place: types.SimpleNamespace(free=10_000))
    with pytest.raises(ValueError, match="make room"):
        loop.train(settings(data={"num_faces": 64}), tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_hosts_compare_their_settings_and_pictures_before_checkpoints_are_opened(tmp_path, monkeypatch):
    compared = {}
    monkeypatch.setattr(loop.distributed, "check_same", compared.__setitem__)
    (tmp_path / "checkpoints").touch()  # It ends there.
    config = settings()
    with pytest.raises(ValueError, match="checkpoints cannot be written"):
        loop.train(config, tmp_path)
    assert json.loads(compared["settings (--config)"])["train"]["r1_gamma"] == config.train.r1_gamma
    data = dataset.open_dataset(config.data, config.model, config.seed)
    assert compared["pictures (data.source)"] == data.stored.fingerprint


def test_hosts_may_read_their_pictures_from_places_of_their_own():
    first, second = (settings(data={"source": source, "num_workers": n}) for source, n in (("/a", 1), ("/b", 2)))
    assert loop._shared_settings(first) == loop._shared_settings(second)
    other = settings(report={"metric_ticks": 3}, model={"remat": True})  # Programs, and when they are called.
    assert loop._shared_settings(first).keys() == to_dict(first).keys()
    for group in ("report", "model"):
        assert loop._shared_settings(other)[group] != loop._shared_settings(first)[group]


@pytest.mark.slow
@pytest.mark.parametrize("num_skipped", [0, 4], ids=["sound", "stuck"])
def test_what_ends_the_reading_of_pictures_is_raised_after_saving(tmp_path, monkeypatch, capsys, num_skipped):
    """Deleted pictures, a drive that does not answer, too many open files."""
    original, fails_at = dataset.Dataset.batch, 96 + 8

    def batch(self, nimg, n, resolution, part):
        if nimg == fails_at:
            raise OSError(24, "Too many open files")
        return original(self, nimg, n, resolution, part)

    config = settings(schedule={"tick_kimg": 1.0})  # No checkpoint is due before.
    monkeypatch.setattr(dataset.Dataset, "batch", batch)
    monkeypatch.setattr(pending.Pending, "is_stuck", lambda self: bool(num_skipped))
    with pytest.raises(OSError, match="Too many open files"):
        loop.train(config, tmp_path)
    saved = [int(place.name) for place in (tmp_path / "checkpoints").iterdir()]
    assert saved == ([] if num_skipped else [96])
    assert ("is saved at 96 images; the same command goes on" in capsys.readouterr().out) != bool(num_skipped)
    if not num_skipped:
        fails_at = None
        resumed = loop.train(config, tmp_path)
        assert_equal(resumed, loop.train(config, tmp_path / "undisturbed"))
        assert logged(tmp_path) == logged(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_program_that_does_not_fit_ends_the_run_after_saving(tmp_path, monkeypatch):
    def make(config, state, devices, resolution, *how):
        if resolution == 16:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return original(config, state, devices, resolution, *how)

    original = programs.make
    monkeypatch.setattr(programs, "make", make)
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        loop.train(settings(schedule={"tick_kimg": 1.0}), tmp_path)
    assert [int(place.name) for place in (tmp_path / "checkpoints").iterdir()] == [96]


def test_what_cannot_be_saved_in_its_turn_does_not_hide_why_training_ended(caplog):
    broken = types.SimpleNamespace(finish=lambda: iter(()), is_stuck=lambda: 1 / 0)
    with pytest.raises(OSError, match="the drive is gone"), loop._saving_on_failure(96, 0, None, broken, None, None):
        raise OSError("the drive is gone")
    assert "could not be saved: division by zero" in caplog.text


def test_one_of_several_processes_says_that_it_cannot_save_alone(monkeypatch, caplog):
    monkeypatch.setattr(loop.jax, "process_count", lambda: 2)
    running = types.SimpleNamespace(finish=lambda: iter(()))
    with pytest.raises(OSError, match="the drive is gone"), loop._saving_on_failure(96, 0, None, running, None, None):
        raise OSError("the drive is gone")
    assert "with several processes nothing is saved now" in caplog.text


@pytest.mark.slow
def test_a_run_whose_batch_is_changed_keeps_one_clock(tmp_path, monkeypatch, capsys):
    shown = []
    original = dataset.Dataset.batch

    def batch(self, nimg, n, resolution, part):
        shown.append((nimg, nimg + n))
        return original(self, nimg, n, resolution, part)

    monkeypatch.setattr(dataset.Dataset, "batch", batch)
    how = {"stable_kimg": 1.0, "total_kimg": 0.096}
    loop.train(settings(schedule=how), tmp_path)
    assert "complete at 0.096 kimg" in capsys.readouterr().out
    (tmp_path / "config.json").unlink()
    last = loop.train(settings(schedule=how | {"batch": 12, "total_kimg": 0.16}), tmp_path)
    assert int(last.nimg) == 192 == max(int(place.name) for place in (tmp_path / "checkpoints").iterdir())
    shown.sort()
    assert [start for start, _ in shown[1:]] == [end for _, end in shown[:-1]] and shown[0][0] == 0


@pytest.mark.slow
def test_a_checkpoint_is_written_when_time_is_up_and_holds_the_averages_up_to_it(tmp_path, monkeypatch):
    answers = iter([False, True] + [False] * 9)
    monkeypatch.setattr(saving.Saver, "is_late", lambda self: next(answers))
    loop.train(settings(schedule={"tick_kimg": 1.0}, report={"keep_checkpoints": 9}), tmp_path)
    assert sorted(int(place.name) for place in (tmp_path / "checkpoints").iterdir()) == [64, 256]
    record = json.loads((tmp_path / "checkpoints/64/record/metadata").read_text())["record"]
    assert record["meta"]["averages"]["d_loss"][1] == 8  # Steps.


def test_a_folder_that_another_run_is_in_is_refused(tmp_path):
    with (
        loop.owner.owning(tmp_path),
        pytest.raises(ValueError, match="another run on this machine .* is at work"),
    ):
        loop.train(settings(), tmp_path)
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.slow
def test_a_run_that_goes_back_comes_to_the_same_end_and_keeps_what_it_left(undisturbed, tmp_path):
    config = settings(report={"keep_checkpoints": 100})
    whole = loop.train(config, tmp_path)
    lines = logged(tmp_path)
    assert_equal(undisturbed[1], whole)
    assert_equal(whole, loop.train(config, tmp_path, back_to_nimg=96))
    assert logged(tmp_path) == lines
    kept = [json.loads(line)["nimg"] for line in (tmp_path / "scalars-after-96.jsonl").read_text().splitlines()]
    assert kept == list(range(128, 257, 32))
    assert sorted(int(place.name) for place in (tmp_path / "checkpoints/after-96").iterdir()) == kept
    with pytest.raises(ValueError, match="Leave --checkpoint out to go on"):
        loop.train(config, tmp_path, back_to_nimg=96)
    with pytest.raises(ValueError, match="has no checkpoint of image 100; it has: 32, 64"):
        loop.train(config, tmp_path, back_to_nimg=100)


@pytest.mark.slow
def test_a_run_whose_checkpoints_are_gone_is_refused_and_its_log_stays(tmp_path):
    config = settings(schedule={"total_kimg": 0.064})
    loop.train(config, tmp_path)
    (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")
    before = (tmp_path / "scalars.jsonl").read_bytes()
    with pytest.raises(ValueError, match="saved checkpoints, but .* has none. Bring them back"):
        loop.train(config, tmp_path)
    assert (tmp_path / "scalars.jsonl").read_bytes() == before
    (tmp_path / "elsewhere").rename(tmp_path / "checkpoints")
    longer = settings(schedule={"total_kimg": 0.128})
    assert int(loop.train(longer, tmp_path).nimg) == 128
    assert json.loads((tmp_path / "config.json").read_text())["schedule"]["total_kimg"] == 0.128


def test_settings_say_which_checkpoints_are_kept(tmp_path, monkeypatch):
    class Opened(Exception):
        """It has come so far."""

    def open_manager(*args):
        raise Opened(*args)

    monkeypatch.setattr(checkpoint, "open_manager", open_manager)
    report = {"keep_checkpoints": 3, "keep_every_kimg": 1.5, "keep_best": 2, "metric_ticks": 1}
    with pytest.raises(Opened) as opened:
        loop.train(settings(report=report), tmp_path)
    assert opened.value.args == (tmp_path / "checkpoints", 3, 1500, 2)


@pytest.mark.slow
def test_checkpoints_have_the_score_that_was_measured_and_none_is_made_without_updates(tmp_path, monkeypatch):
    config = settings(
        schedule={"stable_kimg": 1.0, "total_kimg": 0.096},
        report={"metric_ticks": 1, "keep_best": 1, "keep_checkpoints": 1, "best_metric": "fd_faces"},
    )
    loop.train(config, tmp_path / "run")
    scores = {line["nimg"]: line["fd_faces"] for line in logged(tmp_path / "run") if line["nimg"]}
    kept = {int(place.name) for place in (tmp_path / "run/checkpoints").iterdir()}
    assert len(scores) == 3 and kept == {96, min((32, 64), key=scores.__getitem__)}
    for nimg in kept:
        record = json.loads((tmp_path / f"run/checkpoints/{nimg}/record/metadata").read_text())
        assert record["record"]["score"] == pytest.approx(scores[nimg])
    monkeypatch.setattr(pending.Pending, "is_stuck", lambda self: True)
    loop.train(config, tmp_path / "stuck")
    assert not list((tmp_path / "stuck/checkpoints").iterdir())


def test_another_configuration_on_the_same_folder_is_refused(tmp_path):
    loop.workdir.record_config(tmp_path, to_dict(settings()))
    with pytest.raises(ValueError, match=r"train\.r1_gamma: 10\.0 in .*, 5\.0 now"):
        loop.train(settings(train={"r1_gamma": 5.0}), tmp_path)


@pytest.mark.slow
def test_other_pictures_in_mid_run_are_refused(tmp_path):
    source = tmp_path / "pictures"
    source.mkdir()
    from PIL import Image

    for i in range(9):
        Image.new("RGB", (16, 16), (i, i, i)).save(source / f"{i}.png")
    config = settings(data={"source": str(source), "num_heldout": 2}, schedule={"total_kimg": 0.032})
    loop.train(config, tmp_path / "run")
    (source / "0.png").unlink()
    with pytest.raises(ValueError, match="are not those that this run began with"):
        loop.train(config, tmp_path / "run")


@pytest.mark.slow
def test_a_run_begins_with_another_network_and_goes_on_without_it(undisturbed, tmp_path, capsys, caplog):
    how = {"model": {"resolution": 8}, "data": {"source": "digits"}}
    loop.train(settings(**how, schedule={"total_kimg": 0.032}), tmp_path, init_from=str(undisturbed[0]))
    assert "dropped: g_params/b16, " in capsys.readouterr().out and (tmp_path / "init_from.json").exists()
    values = json.loads((tmp_path / "config.json").read_text())
    del values["train"]["freeze_d"]  # A run from before there was this setting.
    (tmp_path / "config.json").write_text(json.dumps(values))
    last = loop.train(settings(**how, schedule={"total_kimg": 0.064}), tmp_path, init_from="no longer there")
    assert int(last.nimg) == 64
    assert "--init_from=no longer there has no effect" in caplog.text


# ---- report.metrics

MEASURED = {"report": {"metrics": ("fd_faces10k:64",), "evaluation_ticks": 4, "keep_checkpoints": 100}}


def measured(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / results.FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def with_metrics(tmp_path_factory):
    """The folder of a run that is measured every third tick, and its last state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        workdir = tmp_path_factory.mktemp("measured")
        yield workdir, loop.train(settings(**MEASURED), workdir)


@pytest.mark.slow
def test_a_run_that_is_measured_is_the_same_run_bit_for_bit(undisturbed, with_metrics):
    assert (with_metrics[0] / "scalars.jsonl").read_bytes() == (undisturbed[0] / "scalars.jsonl").read_bytes()
    assert_equal(undisturbed[1], with_metrics[1])


@pytest.mark.slow
def test_what_is_measured_in_training_is_what_evaluate_gives_for_the_checkpoint(with_metrics, tmp_path):
    assert_as_evaluated(with_metrics[0], tmp_path, [128, 256])  # At the end of a fade, and of the run.


def assert_as_evaluated(workdir: pathlib.Path, folder: pathlib.Path, nimgs: list[int]) -> None:
    """Fails unless a run was measured at `nimgs`, and --mode=evaluate gives the same numbers for those checkpoints."""
    found = {line["network"]["nimg"]: line for line in measured(workdir)}
    assert set(nimgs) <= found.keys()
    for nimg, in_training in ((nimg, found[nimg]) for nimg in nimgs):
        evaluate.evaluate(evaluate.Request(["fd_faces10k:64"], network=str(workdir), checkpoint=nimg), folder)
        alone = measured(folder)[-1]
        assert alone["network"]["nimg"] == nimg
        for name in ("values", "floor", "reals", "seed", "num_images"):
            assert in_training[name] == alone[name], name


@pytest.mark.slow
def test_what_is_measured_in_training_is_in_tensorboard(with_metrics):
    (events,) = (with_metrics[0] / "tensorboard").iterdir()
    assert events.read_bytes().count(b"fd_faces10k_64_kid") == 2


@pytest.mark.slow
def test_a_measured_run_that_is_stopped_and_goes_on_is_the_same_run(undisturbed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = settings(report=MEASURED["report"] | {"evaluation_ticks": 1})
    reasons = iter([None] * 1 + ["a signal"] + [None] * 1000)
    with monkeypatch.context() as patch:
        patch.setattr(loop.distributed, "stop_requests", lambda: contextlib.nullcontext(lambda: next(reasons)))
        (tmp_path / "evaluated").mkdir()
        loop.train(config, tmp_path)  # It stops at 64 images.
    said = capsys.readouterr().out
    assert "report.metrics at 0.0 kimg are not measured to the end; --mode=evaluate does it for a checkpoint." in said
    assert not (tmp_path / results.FILE).exists()
    assert_equal(undisturbed[1], loop.train(config, tmp_path))
    assert logged(tmp_path) == logged(undisturbed[0])
    assert_as_evaluated(tmp_path, tmp_path / "evaluated", [96, 256])  # Amid a fade, and at the end.


@pytest.mark.slow
def test_a_run_whose_metrics_all_fail_ends_as_ever(undisturbed, tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_sets.Pictures, "_read", lambda *args: 1 / 0)
    last = loop.train(settings(report={"metrics": ("fid50k", "fd_faces10k:64")}), tmp_path, weights=tmp_path / "none")
    assert_equal(undisturbed[1], last)
    assert capsys.readouterr().out.splitlines()[-1] == "complete at 0.256 kimg"
    without_weights, failed = caplog.messages
    assert without_weights.startswith("fid50k is not measured: ") and str(tmp_path / "none") in without_weights
    assert failed == "report.metrics at 0.3 kimg are not measured: division by zero"


def test_a_metric_that_does_not_exist_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="report.metrics: there is no metric 'fid50'; did you mean fid50k"):
        loop.train(settings(report={"metrics": ("fid50",)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_signal_at_the_end_of_a_run_leaves_its_measurement_out(tmp_path, monkeypatch):
    """The computation would take an hour."""
    patch = "import time; from stylegan_jax.metrics import computation; "
    patch += "computation.of_sets = lambda *args: time.sleep(3600)"
    config = settings(report={"metrics": ("fd_faces10k:64",)}, schedule={"stable_kimg": 1.0, "total_kimg": 0.032})
    command = [sys.executable, "-c", patch + RUN + "import os; os._exit(0)", json.dumps(to_dict(config)), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert any("to the end; a signal leaves them out" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "report.metrics at 0.0 kimg are not measured to the end; --mode=evaluate does it" in output
    assert output.splitlines()[-1] == "complete at 0.032 kimg" and not (tmp_path / results.FILE).exists()
