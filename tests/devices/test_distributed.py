"""Several processes train as one: the same images, one set of files, and no process waits for a dead one."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import jax
import numpy as np
import pytest

from stylegan_jax.config import Config, to_dict
from stylegan_jax.devices import distributed
from stylegan_jax.runs import checkpoint, restoring
from stylegan_jax.training import state
from stylegan_jax.weights import save
from tests import random_networks
from tests.small import settings

ROOT = pathlib.Path(__file__).parent.parent.parent
PATIENCE_SEC = 400
STEPS = 10
CONFIG = """
from stylegan_jax import config
def get_config():
    settings = config.default()
    settings.update({values})
    return settings
"""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", None, None), "give all three"),
        (("host:1", 2, None), "give all three"),
        ((None, 2, 0), "give all three"),
        (("host:1", 2, 2), "--process_id is 2; of 2 processes use 0 to 1"),
        (("host:1", 2, -1), "--process_id is -1"),
        (("host:1", 0, 0), "--num_processes is 0; use 1 or more"),
        (("host", 2, 0), "--coordinator is 'host'; use HOST:PORT of process 0"),
        (("host:99999", 2, 0), "--coordinator is 'host:99999'; use HOST:PORT of process 0"),
        ((":8482", 2, 0), "--coordinator is ':8482'; use HOST:PORT of process 0"),
    ],
)
def test_flags_that_make_no_sense_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        distributed.start(*given)


def test_alone_nothing_is_started():
    distributed.start(None, 1, None)
    assert (distributed.process_index(), distributed.process_count()) == (0, 1)
    distributed.check_same("settings", "anything")


def test_who_this_process_is_needs_no_devices():
    script = "from stylegan_jax.devices import distributed as d; print(d.process_index(), d.process_count())"
    environment = os.environ | {"JAX_PLATFORMS": "nonsense"}
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("0 1\n", 0), result.stderr


# Joins a run that others do not come to, and ends as main does.
WAITING = """
import functools
from stylegan_jax import main
from stylegan_jax.command_line import flags, options
from stylegan_jax.devices import distributed
distributed.NOTICE_SEC = 0.5
distributed.start = functools.partial(distributed.start, wait_sec={wait_sec})
main.app.run(main.main, flags_parser=options.parse_flags)
"""


@pytest.mark.parametrize(
    ("process", "whom"), [(0, "1 other process at 127.0.0.1:{}"), (1, "process 0 and all others at 127.0.0.1:{}")]
)
def test_a_process_that_never_comes_is_waited_for_and_then_named(tmp_path, process, whom):
    port = _free_port()
    script = WAITING.format(wait_sec=1.5)
    flags = ["--config=digits", f"--workdir={tmp_path / 'run'}", f"--coordinator=127.0.0.1:{port}"]
    command = [sys.executable, "-c", script, *flags, "--num_processes=2", f"--process_id={process}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SEC)
    whom = whom.format(port)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"waiting for {whom}, for 1.5 s at most",
        f"error: {whom} did not come within 1.5 s. Start the same command on all hosts, or --num_processes=1 for this "
        "one alone.",
    ]
    assert not (tmp_path / "run").exists()


def test_an_interrupt_ends_the_waiting(tmp_path):
    flags = ["--config=digits", f"--workdir={tmp_path}", f"--coordinator=127.0.0.1:{_free_port()}"]
    command = [sys.executable, "-m", "stylegan_jax.main", *flags, "--num_processes=2", "--process_id=0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("waiting for 1 other process at 127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SEC) == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_a_reason_to_stop_and_the_old_handlers_come_back(number):
    before = signal.getsignal(number)
    with distributed.stop_requests() as stop_fn:
        assert stop_fn() is None
        os.kill(os.getpid(), number)
        assert stop_fn() == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_the_first_signal_is_answered_at_once(capfd):
    with distributed.stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert capfd.readouterr().err == "\nSIGINT: saving ... (Ctrl-C once more ends at once, without saving)\n"


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As under nohup.
    try:
        with distributed.stop_requests() as stop_fn:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop_fn() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_ends_at_once():
    with distributed.stop_requests(), pytest.raises(KeyboardInterrupt):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)


def _settings(steps: int) -> Config:
    """Returns settings with a checkpoint after every step of 8 images."""
    return settings(
        model={"resolution": 8},
        schedule={"refresh_steps": 1, "total_kimg": 0.008 * steps, "tick_kimg": 0.008, "stable_kimg": 10.0},
        report={"metric_ticks": 0, "checkpoint_ticks": 1, "keep_checkpoints": 100, "image_ticks": 1000},
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(
    folder: pathlib.Path,
    processes: int,
    devices: int,
    steps: int = STEPS,
    of_second: Sequence[str] = (),
    of_all: Sequence[str] = (),
) -> list[subprocess.Popen]:
    """Starts a run of several processes with some devices each."""
    folder.mkdir(exist_ok=True)
    config_file = folder / "config_of_test.py"
    config_file.write_text(CONFIG.format(values=to_dict(_settings(steps))))
    port = _free_port()
    command = [sys.executable, "-m", "stylegan_jax.main", f"--config={config_file}", f"--workdir={folder}", *of_all]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": "",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    }
    started = []
    for i in range(processes):
        others = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={processes}", f"--process_id={i}"]
        others += of_second if i == 1 else []
        output = (folder / f"process{i}.log").open("w")
        started.append(
            subprocess.Popen(
                command + (others if processes > 1 else []),
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        )
        output.close()
    return started


def _finish(processes: list[subprocess.Popen], patience_sec: float = PATIENCE_SEC) -> list[int]:
    """Returns the exit codes of all processes; leaves none running."""
    deadline = time.monotonic() + patience_sec
    try:
        return [process.wait(max(0.0, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _await(place: pathlib.Path, processes: list[subprocess.Popen]) -> None:
    """Waits until a file or folder is there."""
    deadline = time.monotonic() + PATIENCE_SEC
    while not place.exists():
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes), place
        time.sleep(0.02)


def _log(folder: pathlib.Path, process: int = 0) -> str:
    return (folder / f"process{process}.log").read_text()


def _saved(folder: pathlib.Path) -> list[int]:
    return sorted(int(place.name) for place in (folder / "checkpoints").iterdir() if place.name.isdigit())


def _moments(folder: pathlib.Path, nimg: int) -> dict[str, np.ndarray]:
    """Returns the magnitudes of both networks' gradients, from the moments of a checkpoint after one step."""
    kept = folder / "only"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    shutil.copytree(folder / "checkpoints" / str(nimg), kept / str(nimg))
    manager = checkpoint.open_manager(kept, 1)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    restored = restoring.restore(manager, state.abstract(_settings(STEPS), sharding)).state
    manager.close()
    return jax.tree.map(np.sqrt, {"g": restored.g_opt.nu, "d": restored.d_opt.nu})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> pathlib.Path:
    """Returns the folder of a run of 2 processes with 2 devices each, ended by SIGTERM to the second of them."""
    folder = tmp_path_factory.mktemp("two")
    processes = _start(folder, processes=2, devices=2, steps=10_000)
    _await(folder / "checkpoints" / "24", processes)
    processes[1].send_signal(signal.SIGTERM)
    assert _finish(processes) == [0, 0], _log(folder, 0) + _log(folder, 1)
    return folder


@pytest.mark.slow
def test_a_signal_to_one_process_saves_in_all_at_the_same_image(stopped):
    newest = _saved(stopped)[-1]
    assert f"stopped by a signal or preemption notice and saved at {newest} images" in _log(stopped)
    lines = [json.loads(line) for line in (stopped / "scalars.jsonl").read_text().splitlines()]
    assert [line["nimg"] for line in lines] == list(range(8, newest + 1, 8))  # One process wrote each line, once.
    assert "kimg" not in _log(stopped, 1) and "stopped" not in _log(stopped, 1)  # Only one process prints.


@pytest.mark.slow
def test_two_processes_make_the_gradients_of_one(stopped, tmp_path):
    assert _finish(_start(tmp_path / "one", processes=1, devices=4)) == [0], _log(tmp_path / "one")
    ours, theirs = _moments(stopped, 8), _moments(tmp_path / "one", 8)
    for network in ("g", "d"):
        largest = max(x.max() for x in jax.tree.leaves(theirs[network]))
        for a, b in zip(jax.tree.leaves(ours[network]), jax.tree.leaves(theirs[network]), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * largest)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (1, 1), (1, 4)])
def test_a_run_goes_on_with_other_processes_and_devices(stopped, tmp_path, processes, devices):
    folder = tmp_path / "again"
    shutil.copytree(stopped, folder)
    newest = _saved(folder)[-1]
    (folder / "config.json").unlink()  # It records another length.
    assert _finish(_start(folder, processes, devices, steps=newest // 8 + 3)) == [0] * processes, _log(folder)
    assert f"starting at {int(newest) / 1000:g} kimg" in _log(folder)
    assert _saved(folder)[-1] == newest + 24


@pytest.mark.slow
def test_processes_begin_with_the_same_network(stopped, tmp_path):
    init_from = [f"--init_from={stopped}"]
    assert _finish(_start(tmp_path / "two", 2, 2, steps=1, of_all=init_from)) == [0, 0], _log(tmp_path / "two", 1)
    assert _finish(_start(tmp_path / "one", 1, 4, steps=1, of_all=init_from)) == [0]
    assert [_log(tmp_path / "two", i).count("beginning with") for i in (0, 1)] == [1, 0]
    names = [(tmp_path / name / "init_from.json").read_text() for name in ("one", "two")]
    assert names[0] == names[1] and str(stopped) in names[0]
    ours, theirs = _moments(tmp_path / "two", 8), _moments(tmp_path / "one", 8)
    for network in ("g", "d"):
        largest = max(x.max() for x in jax.tree.leaves(theirs[network]))
        for a, b in zip(jax.tree.leaves(ours[network]), jax.tree.leaves(theirs[network]), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * largest)


@pytest.mark.slow
def test_hosts_with_other_networks_are_refused(stopped, tmp_path):
    processes = _start(tmp_path, processes=2, devices=1, of_second=[f"--init_from={stopped}"])
    assert _finish(processes) == [1, 1]
    assert "networks (--init_from) of process 1 differ from those of process 0" in _log(tmp_path, 0)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 0])
def test_a_killed_process_ends_the_other_with_a_message_within_a_minute(tmp_path, killed):
    processes = _start(tmp_path, processes=2, devices=2, steps=10_000)
    _await(tmp_path / "checkpoints" / "16", processes)
    processes[killed].kill()
    start_sec = time.monotonic()
    code = _finish(processes, patience_sec=60)[1 - killed]
    assert code not in (0, None) and time.monotonic() - start_sec < 60
    # The second message is JAX's own, if no collective operation fails before the heartbeat is missed.
    messages = "another process of this run has ended", "This most likely indicates that another task died"
    text = _log(tmp_path, 1 - killed)
    assert any(message in text for message in messages), text


@pytest.mark.slow
def test_hosts_with_other_settings_are_refused(tmp_path):
    processes = _start(tmp_path, processes=2, devices=1, of_second=["--config.train.r1_gamma=5.0"])
    assert _finish(processes) == [1, 1]
    assert "settings (--config) of process 1 differ from those of process 0" in _log(tmp_path, 0)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_hosts_without_a_common_folder_are_refused(tmp_path):
    processes = _start(tmp_path, processes=2, devices=1, of_second=[f"--workdir={tmp_path / 'other'}"])
    assert _finish(processes) == [1, 1]
    for process in (0, 1):
        assert "of process 1 is not that of process 0; name one folder that all hosts share" in _log(tmp_path, process)
    assert not (tmp_path / "checkpoints").exists()


# ---- what processes agree on, and metrics over all of them

# Says what each function gives in a process; "second" makes the second one fail.
AGREEING = """
import sys, time
import jax
from stylegan_jax.devices import distributed
port, index = sys.argv[1], int(sys.argv[2])
distributed.start(f"127.0.0.1:{port}", 2, index)
print("of first", distributed.of_first(index == 0), distributed.of_first(index == 1))

def attempt(name, fn):
    try:
        print(name, fn())
    except Exception as error:
        print(name, type(error).__name__, error)

def together(failing):
    with distributed.together():
        if index in failing:
            raise OSError(f"the disk of {index}")
    return "passed"

def work():
    time.sleep(1)
    return f"worked in {index}"

attempt("none fails", lambda: together(()))
attempt("second fails", lambda: together((1,)))
attempt("both fail", lambda: together((0, 1)))
attempt("alone", lambda: distributed.alone(work))
attempt("alone fails", lambda: distributed.alone(lambda: 1 // 0))
jax.distributed.shutdown()
"""


def _own_lines(text: str) -> list[str]:
    """Returns lines but for those that XLA's collectives print."""
    return [line for line in text.splitlines() if "[Gloo]" not in line]


@pytest.mark.slow
def test_processes_agree_and_fail_together(tmp_path):
    port = _free_port()
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", AGREEING, str(port), str(i)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for i in (0, 1)
    ]  # fmt: skip
    outputs = [_own_lines(process.communicate(timeout=PATIENCE_SEC)[0]) for process in started]
    assert outputs == [
        [
            "of first True False",
            "none fails passed",
            "second fails ValueError process 1 failed; its own message says why.",
            "both fail OSError the disk of 0",
            "alone worked in 0",
            "alone fails ZeroDivisionError integer division or modulo by zero",
        ],
        [
            "of first True False",
            "none fails passed",
            "second fails OSError the disk of 1",
            "both fail OSError the disk of 1",
            "alone None",
            "alone fails ValueError process 0 failed; its own message says why.",
        ],
    ]


def test_alone_everything_is_as_without_agreeing():
    assert distributed.of_first(True) and not distributed.of_first(False)
    assert distributed.alone(lambda: 3) == 3
    with pytest.raises(OSError, match="the disk"), distributed.together():
        raise OSError("the disk")


# Measures or trains as main does. Path lengths take mean colours, not VGG16, which is not at hand.
MEASURING = """
import sys
import jax.numpy as jnp
import numpy as np
from stylegan_jax import main
from stylegan_jax.command_line import flags, options
from stylegan_jax.devices import mesh
from stylegan_jax.metrics import feature_networks, image_sets
from stylegan_jax.metrics.features import vgg
image_sets.batches.MAX_IMAGES = 16

def open_distance(metric, folder, devices):
    params = mesh.put({"scale": np.ones((), np.float32)}, mesh.replicated(devices))
    return feature_networks.Opened("vgg", None, params, "colours", "0", "0")

feature_networks.open_distance = open_distance
vgg.lpips = lambda params, a, b: params["scale"] * jnp.square(a - b).mean(axis=(1, 2, 3))
def broken(*args):
    raise OSError("the disk is gone")

if "--unreadable" in sys.argv:
    image_sets.Pictures._read = broken
if "--without_weights" in sys.argv:
    feature_networks.open_kinds = broken
sys.argv = [word for word in sys.argv if word not in ("--unreadable", "--without_weights")]
main.app.run(main.main, flags_parser=options.parse_flags)
"""
MEASURED = ["fd_faces10k:48", "swd16k:48", "msssim10k:48", "ppl_wend:40", "ppl_zfull:40", "ls_w:60", "ls_z_exact:60"]


def _measure(folder: pathlib.Path, processes: int, devices: int, *flags: str, of_second: Sequence[str] = ()) -> None:
    """Runs MEASURING in some processes; leaves their outputs in a folder."""
    folder.mkdir(exist_ok=True)
    port = _free_port()
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": "",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    started = []
    for i in range(processes):
        others = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={processes}", f"--process_id={i}"]
        command = [sys.executable, "-c", MEASURING, f"--workdir={folder}", *flags, *(of_second if i == 1 else ())]
        with (folder / f"process{i}.log").open("w") as output:
            command += others if processes > 1 else []
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output))
    codes = _finish(started)
    assert codes == [0] * processes, "".join(_log(folder, i) for i in range(processes))


def _measured(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _assert_same_numbers(ours: list[dict], theirs: list[dict]) -> None:
    assert [line["metric"] for line in ours] == [line["metric"] for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        for name in ("values", "floor", "reals", "weights", "seed"):
            if name in ("values", "floor"):
                assert a[name] == pytest.approx(b[name], rel=1e-4), a["metric"]
            else:
                assert a.get(name) == b.get(name), a["metric"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Files of networks, one of them conditional."""
    folder = tmp_path_factory.mktemp("networks")
    paths = {}
    for name, num_labels in (("free", 0), ("labelled", 10)):
        paths[name] = folder / f"{name}.npz"
        save.save(random_networks.random_network(num_labels=num_labels, channels=1 if num_labels else 3), paths[name])
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("name", ["free", "labelled"])
def test_two_processes_measure_what_one_measures(networks, tmp_path, name):
    reals = {"free": ["--reals=faces", "--attributes=faces"], "labelled": ["--reals=digits"]}[name]
    metrics = MEASURED if name == "free" else ["swd16k:48", "ppl_wend:40"]
    flags = [f"--network={networks[name]}", "--mode=evaluate", f"--metrics={','.join(metrics)}", "--seeds=0,1", *reals]
    _measure(tmp_path / "two", 2, 2, *flags)
    _measure(tmp_path / "one", 1, 4, *flags)
    ours = _measured(tmp_path / "two")
    assert len(ours) == 3 * len(metrics)  # Of each of two seeds, and of their spread, a line that is written once.
    _assert_same_numbers(ours, _measured(tmp_path / "one"))
    assert _log(tmp_path / "two", 0).count("written to") == 1 and "metric" not in _log(tmp_path / "two", 1)


def _train_measured(folder: pathlib.Path, of_second: Sequence[str] = ()) -> None:
    """Trains in two processes, and measures at 96 images, the end."""
    config = dataclasses.replace(
        _settings(12), report=dataclasses.replace(_settings(12).report, metrics=("fd_faces10k:48", "ls_w_exact:40"))
    )
    folder.mkdir()
    (folder / "config_of_test.py").write_text(CONFIG.format(values=to_dict(config)))
    _measure(folder, 2, 2, f"--config={folder / 'config_of_test.py'}", of_second=of_second)
    assert _saved(folder)[-1] == 96 and "complete at 0.096 kimg" in _log(folder)


@pytest.mark.slow
def test_two_processes_that_train_are_measured_as_their_checkpoint_in_one(tmp_path):
    _train_measured(tmp_path / "two")
    flags = [f"--network={tmp_path / 'two'}", "--mode=evaluate", "--metrics=fd_faces10k:48,ls_w_exact:40"]
    _measure(tmp_path / "one", 1, 4, *flags, "--attributes=faces")
    _assert_same_numbers(_measured(tmp_path / "two"), _measured(tmp_path / "one"))
    assert [line["network"]["nimg"] for line in _measured(tmp_path / "two")] == [96, 96]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "what"),
    [
        ("--unreadable", "report.metrics at 0.1 kimg are not measured"),
        ("--without_weights", "fd_faces10k:48 is not measured"),
    ],
)
def test_what_one_process_cannot_measure_none_measures_and_all_train_to_the_end(tmp_path, flag, what):
    _train_measured(tmp_path / "run", of_second=[flag])
    assert f"{what}: process 1 failed; its own message says why." in _log(tmp_path / "run", 0)
    assert f"{what}: the disk is gone" in _log(tmp_path / "run", 1)
