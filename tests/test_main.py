import errno
import os
import pathlib
import re
import subprocess
import sys
import types

import jax
import pytest

from stylegan_jax import main
from stylegan_jax.command_line import flags, options
from stylegan_jax.devices import distributed
from stylegan_jax.runs import checkpoint
from stylegan_jax.weights import load
from tests.random_networks import assert_same_weights, random_network

ROOT = pathlib.Path(__file__).parent.parent


# Settings of a run of seconds.
SMALL = {
    "model.resolution": 8,
    "model.fmap_max": 8,
    "data.num_faces": 16,
    "data.num_heldout": 4,
    "schedule.total_kimg": 0.1,
    "report.metric_ticks": 0,
}
# Training that ends, or is interrupted, while a program is being made.
ENDING = """
import logging, threading
from absl import app
from stylegan_jax.training import loop, programs
from stylegan_jax import main
from stylegan_jax.command_line import options
begun = threading.Event()
def train(config, folder, *others):
    programs.make_ahead([8], lambda request: begun.set() or threading.Event().wait(100))
    begun.wait()
    logging.warning("one %s", "thing")
    if {is_interrupted}:
        raise KeyboardInterrupt
    print("all is saved")
loop.train = train
app.run(main.main, flags_parser=options.parse_flags)
"""


# Training that ends while a thread is stuck in a read.
STUCK = """
import concurrent.futures, threading
from absl import app
from stylegan_jax.training import loop
from stylegan_jax import main
from stylegan_jax.command_line import options
def train(config, folder, *others):
    concurrent.futures.ThreadPoolExecutor().submit(threading.Event().wait)
    print("begun")
    {end}
loop.train = train
app.run(main.main, flags_parser=options.parse_flags)
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> pathlib.Path:
    """The folder of compiled programs."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/stylegan_jax/xla"


def run(*arguments: str, platforms: str = "cpu") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stylegan_jax.main", *arguments]
    environment = os.environ | {"JAX_PLATFORMS": platforms}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.train.r1_gama=5", "did you mean --config.train.r1_gamma?"),
        ("--config.train.r1_gamma=ten", "r1_gamma"),
        ("--config.model.resolution=48", "model.resolution is 48; use 8, 16"),
        ("--config.data.source=nowhere.zip", "nowhere.zip"),
        ("--config.data.source=~nosuchuser/x", "~nosuchuser/x"),
        ("stray", "stray: not understood"),
        ("--config=digits", "--config is given twice"),
    ],
)
def test_a_wrong_argument_ends_in_one_line(tmp_path, argument, message):
    result = run("--config=configs/demo.py", f"--workdir={tmp_path / 'run'}", argument)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_number_can_be_set_to_none_where_a_setting_can_be_none(tmp_path):
    numbers = ["model.conv_clamp", "model.embed_size", "train.ema_rampup"]
    given = [f"--config.{name}=None" for name in (*numbers, "train.r1_gamma")]
    result = run("--config=stylegan2:cifar", f"--workdir={tmp_path / 'run'}", *given)
    assert result.stderr == "error: train.r1_gamma is None of type NoneType; it must be float.\n"


def test_a_config_file_without_get_config_is_named_as_one(tmp_path):
    (tmp_path / "empty.py").touch()
    result = run(f"--config={tmp_path / 'empty.py'}")
    assert result.stderr == "error: --config names a file without a function get_config; see configs/demo.py.\n"


def test_a_setting_without_a_config_is_named():
    with pytest.raises(SystemExit, match="error: --config.seed changes a setting of --config, which is missing."):
        options.parse_flags(["main", "--mode=evaluate", "--config.seed=5"])


def test_a_config_that_does_not_exist_ends_in_one_line():
    with pytest.raises(SystemExit, match="error: --config=fhq:8: there is no such config; did you mean ffhq"):
        options.parse_flags(["main", "--config=fhq:8"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out is missing, which --mode=export needs"),
        (["--out=x.h5"], "the name's end tells the layout"),
        (["--out=nowhere/x.pkl"], "nowhere is no folder"),
        (["--out=x.pkl"], "does not exist; name a file of weights"),
    ],
)
def test_an_export_that_cannot_be_done_ends_in_one_line(tmp_path, arguments, message):
    result = run("--mode=export", f"--network={tmp_path / 'run'}", *arguments)
    assert result.returncode == 1 and message in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_file_of_weights_is_exported_to_another(tmp_path):
    network = random_network(resolution=8, fmap_base=32)
    network.save(tmp_path / "network.pkl")
    result = run(
        "--mode=export", f"--network={tmp_path / 'network.pkl'}", f"--out={tmp_path / 'new.safetensors'}",
        "--license=CC BY 4.0",
    )  # fmt: skip
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert "official pickle of StyleGAN; " in result.stdout and result.stdout.endswith("new.safetensors\n")
    back = load.load(tmp_path / "new.safetensors")
    assert_same_weights(network, back)
    assert back.info.license == "CC BY 4.0"
    assert "Licence of the weights: CC BY 4.0." in (tmp_path / "new.safetensors.md").read_text()


def test_a_network_that_is_not_there_ends_in_one_line_before_pictures_are_looked_at(tmp_path):
    result = run("--config=demo", f"--workdir={tmp_path / 'run'}", f"--init_from={tmp_path / 'nowhere.pkl'}")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'nowhere.pkl'} does not exist") and not result.stdout


def test_a_missing_config_file_ends_in_one_line(tmp_path):
    result = run("--config=configs/nowhere.py", f"--workdir={tmp_path}")
    assert result.returncode == 1 and "nowhere.py" in result.stderr and "Traceback" not in result.stderr


def train(workdir: pathlib.Path) -> subprocess.CompletedProcess:
    settings = [f"--config.{name}={value}" for name, value in SMALL.items()]
    return run("--config=configs/demo.py", f"--workdir={workdir}", *settings)


@pytest.mark.slow
def test_compiled_programs_are_kept_in_the_users_cache_and_give_the_same_run(tmp_path, cache, monkeypatch):
    # JAX keeps what took a second or more to compile, which is another set of programs from run to run; here, all.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    first = train(tmp_path / "first")
    assert first.returncode == 0 and not first.stderr
    kept = {file.name for file in cache.iterdir() if not file.name.endswith("-atime")}
    assert any(name.startswith("jit_train_steps-") for name in kept)
    second = train(tmp_path / "second")
    assert second.returncode == 0 and not second.stderr
    assert kept == {file.name for file in cache.iterdir() if not file.name.endswith("-atime")}
    first_scalars, second_scalars = ((tmp_path / name / "scalars.jsonl").read_text() for name in ("first", "second"))
    assert first_scalars == second_scalars


def test_a_cache_that_cannot_be_written_is_one_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    main.backend.keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    (record,) = caplog.records
    assert "compiled programs are not kept for later starts" in record.getMessage()


def test_jax_own_variable_names_another_cache(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "other"))
    main.backend.keep_programs()
    assert not cache.exists()
    assert jax.config.jax_compilation_cache_dir is None  # JAX itself reads the variable, when it is imported.


@pytest.mark.parametrize(("is_interrupted", "code"), [(False, 0), (True, 130)])
def test_a_program_that_is_being_made_does_not_delay_the_end(tmp_path, is_interrupted, code):
    command = [sys.executable, "-c", ENDING.format(is_interrupted=is_interrupted), "--config=configs/demo.py"]
    result = subprocess.run([*command, f"--workdir={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (code, "warning: one thing\n")
    assert ("all is saved" in result.stdout) != is_interrupted


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (jax.errors.JaxRuntimeError("FAILED_PRECONDITION: Gloo AllReduce failed"), "another process .* has ended"),
        (checkpoint.CheckpointNotWritten("... (Connection closed by peer); those before"), "another process .* ended"),
        (checkpoint.CheckpointNotWritten("... (UNAVAILABLE: No space left on device)"), "No space left on device"),
        (ValueError("NCCL is no source of pictures"), "^NCCL is no"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 3 GB"), "It does not fit: --mode=plan"),
    ],
)
def test_a_lost_process_is_told_from_other_errors(monkeypatch, error, message):
    monkeypatch.setattr(distributed, "process_count", lambda: 2)
    assert re.search(message, main.explain(error))


def test_a_fault_of_ours_keeps_its_traceback():
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        text = main.explain(error)
    assert text.startswith("Traceback") and "in test_a_fault_of_ours" in text and "ZeroDivisionError" in text


def test_a_full_disk_says_where_to_make_room(monkeypatch):
    monkeypatch.setattr(flags, "WORKDIR", types.SimpleNamespace(value="runs/here"))
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert re.search(r"No space left on device: make room where --workdir=runs/here lies", main.explain(error))
    monkeypatch.setattr(flags, "WORKDIR", types.SimpleNamespace(value=None))
    monkeypatch.setattr(flags, "OUT", types.SimpleNamespace(value="pictures"))
    assert "make room where --out=pictures lies" in main.explain(error)
    named = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/picture.png")
    assert main.explain(named) == "a/picture.png: No space left on device."
    quota = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert "make room" in main.explain(quota)


def test_of_errors_that_could_not_be_raised_only_the_known_flood_is_not_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", shown.append)
    known, other = (types.SimpleNamespace(exc_value=RuntimeError(text)) for text in ("Event loop is closed", "other"))
    for error in (known, other):
        main.show_unraisable(error)
    assert shown == [other]


@pytest.mark.parametrize(
    ("end", "code", "last_line"),
    [
        ("return", 0, None),
        ("raise ValueError('no picture came')", 1, "error: no picture came"),
        ("raise RuntimeError('a fault')", 1, "RuntimeError: a fault"),
        ("raise KeyboardInterrupt", 130, None),
    ],
)
def test_the_process_ends_whatever_threads_wait_for(tmp_path, end, code, last_line):
    command = [sys.executable, "-c", STUCK.format(end=end), "--config=configs/demo.py", f"--workdir={tmp_path}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (code, "begun\n"), result.stderr
    assert last_line is None or result.stderr.splitlines()[-1] == last_line


def test_a_plan_for_other_devices_leaves_those_that_are_here_alone(tmp_path):
    plugin = tmp_path / "jax_plugins" / "fake" / "__init__.py"  # Stands for XLA's CUDA plugin.
    plugin.parent.mkdir(parents=True)
    plugin.write_text("import jax\ndef initialize():\n    print('platforms:', jax.config.jax_platforms)\n")
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(tmp_path)))
    command = [sys.executable, "-m", "stylegan_jax.main", "--config=demo", f"--workdir={tmp_path}", "--mode=plan"]
    result = subprocess.run([*command, "--topology=h100:12"], env=environment, capture_output=True, text=True)
    assert "use up to 8 GPUs" in result.stderr and "platforms: cpu\n" in result.stdout


# ---- flags


@pytest.mark.parametrize(("mode", "workdir"), [("train", ""), ("prepare", "gs://bucket/run")])
def test_a_workdir_that_is_no_folder_is_refused_before_anything_is_written(tmp_path, mode, workdir):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "stylegan_jax.main", "--config=demo", f"--workdir={workdir}", f"--mode={mode}"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: --workdir") and not result.stdout
    assert [place.name for place in tmp_path.iterdir()] == ["cache"]  # Folder of programs.


@pytest.mark.parametrize(
    ("flag", "mode", "allowed"),
    [
        ("topology", "train", "--mode=plan"),
        ("classes", "train", "--mode=generate"),
        ("out", "inspect", "--mode=generate and .*--mode=export"),
        ("license", "generate", "--mode=export"),
        ("checkpoint", "prepare", "--mode=generate and .*--mode=evaluate and --mode=export and --mode=train"),
        ("init_from", "generate", "--mode=train"),
        ("weights", "generate", "--mode=weights and --mode=evaluate and --mode=train"),
        ("metrics", "train", "--mode=evaluate"),
        ("network", "train", "--mode=generate and "),
        ("psi", "evaluate", "--mode=generate"),
        ("download", "generate", "--mode=weights"),
        ("workdir", "weights", "--mode=train and --mode=inspect and --mode=plan"),
        ("config", "weights", "--mode=train and --mode=inspect and --mode=plan"),
    ],
)
def test_a_flag_without_effect_is_refused(monkeypatch, flag, mode, allowed):
    monkeypatch.setattr(options.absl_flags.FLAGS[flag], "present", 1)
    with pytest.raises(ValueError, match=f"--{flag} is for {allowed}.* alone; leave it out with --mode={mode}"):
        options.check_flags(mode)
    options.check_flags(flags.MODES_OF_FLAGS[flag][0])


def test_a_setting_without_effect_is_noted_whatever_is_done_with_the_pictures(tmp_path):
    source = [f"--config.data.source={tmp_path / 'nothing'}", "--config.data.split=test"]
    for mode in ("prepare", "train"):
        result = run("--config=demo", *source, f"--mode={mode}", f"--workdir={tmp_path / mode}")
        note = "note: data.split='test' has no effect: data.source is not tfds:NAME. Change that, or leave this out.\n"
        assert result.stdout.startswith(note) and "no such file or folder" in result.stderr


def test_a_workdir_is_asked_for_in_one_line():
    for mode in ("train", "evaluate"):
        result = run("--config=demo", f"--mode={mode}")
        expected = f"error: --workdir is missing, which --mode={mode} needs: a folder such as runs/first.\n"
        assert (result.returncode, result.stderr, result.stdout) == (1, expected, "")


def test_weights_are_listed_without_a_workdir_a_config_or_devices(tmp_path):
    result = run("--mode=weights", platforms="cuda")
    folder = tmp_path / "cache/stylegan_jax/weights"
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"folder of weights: {folder}, which does not exist yet\n")
    assert "inception: missing\n" in result.stdout and not folder.exists()
    (tmp_path / "vgg.pth").touch()
    result = run("--mode=weights", f"--weights={tmp_path}")
    assert "not used: vgg.pth (0.0 MB) is empty, and no file of weights; download it anew.\n" in result.stdout
    result = run("--mode=weights", f"--weights={tmp_path}", "--download=vgg.pth,vgg17.pt")
    assert result.returncode == 1 and result.stderr.startswith(
        "error: --download=vgg17.pt: there is no such file; use "
    )
    result = run("--mode=weights", f"--weights={tmp_path}", "--download=vgg.pth")
    assert result.returncode == 1 and result.stderr.startswith(
        f"error: {tmp_path / 'vgg.pth'} is there already, and is empty"
    )


def test_training_needs_a_config_and_making_images_a_network_seeds_and_a_folder(tmp_path):
    result = run(f"--workdir={tmp_path}")
    assert result.stderr == "error: --config is missing, which --mode=train needs: a file, or a name such as demo.\n"
    flags = {"seeds": "0-3", "out": tmp_path / "pictures", "network": tmp_path}
    for i, name in enumerate(flags):
        result = run("--mode=generate", *(f"--{known}={flags[known]}" for known in list(flags)[:i]))
        assert result.returncode == 1 and result.stderr.startswith(f"error: --{name} is missing, which --mode=generate")
    result = run("--mode=generate", *(f"--{name}={value}" for name, value in flags.items()))
    assert result.stderr.startswith(f"error: {tmp_path} is a folder, but of no run: it has no checkpoints. ")


# ---- devices and streams


def test_only_what_computes_needs_the_devices_that_are_asked_for(tmp_path):
    small = ["--config=demo", "--config.data.num_faces=32", "--config.data.num_heldout=4"]
    result = run(*small, "--mode=prepare", f"--workdir={tmp_path / 'store'}", platforms="cuda")
    assert result.returncode == 0 and not result.stderr, result.stderr
    where = ["--seeds=0", f"--out={tmp_path / 'pictures'}"]
    result = run("--mode=generate", f"--network={tmp_path / 'nowhere'}", *where, platforms="cuda")
    assert result.returncode == 1 and "nowhere does not exist; name a file of weights" in result.stderr
    assert "Drawing on the CPU." in result.stderr
    result = run(*small, f"--workdir={tmp_path / 'run'}", platforms="cuda")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: JAX_PLATFORMS=cuda asks for devices that cannot be used here")
    assert not (tmp_path / "run").exists()


def test_streams_that_are_closed_end_nothing(tmp_path):
    command = f"{sys.executable} -m stylegan_jax.main --config=demo --config.data.num_faces=32 --mode=inspect"
    shell = f"{command} --config.data.num_heldout=4 --workdir={tmp_path / 'run'} <&- >&-"
    result = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list((tmp_path / "run").iterdir())
