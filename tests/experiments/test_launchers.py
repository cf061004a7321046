"""The launchers give commands that main understands, and the page of costs has what its script prints."""

import dataclasses
import json
import math
import os
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml
from absl import flags

from experiments.benchmark import work
from experiments.cloud_tpu import cost, is_complete
from stylegan_jax.command_line import options
from stylegan_jax.config import Config, checks, default, schedule

ROOT = pathlib.Path(__file__).parent.parent.parent
EXPERIMENTS = ROOT / "experiments"
FILES = sorted(file for name in ("cloud_tpu", "slurm", "gke") for file in (EXPERIMENTS / name).iterdir())
SCRIPTS = [file for file in FILES if file.suffix in (".sh", ".sbatch")]
MANIFESTS = [file for file in FILES if file.suffix == ".yaml"]
SETTINGS = {"REPOSITORY": "https://host/code.git", "BUCKET": "pictures", "FILESTORE": "10.0.0.2:/share"}


def _bash(command: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"]} | SETTINGS | variables
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)


def _manifest(file: pathlib.Path) -> tuple[dict, dict]:
    """Returns (a JobSet's job, its pod)."""
    (job_set,) = [part for part in yaml.safe_load_all(file.read_text()) if part["kind"] == "JobSet"]
    (replicated,) = job_set["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    return job, job["template"]["spec"]


def _commands() -> list[list[str]]:
    """Returns the flags of each command in the launchers."""
    texts = [file.read_text() for file in FILES if file.suffix in (".sbatch", ".yaml")]
    lines = [line for text in texts for line in text.replace("\\\n", " ").splitlines() if "stylegan_jax.main" in line]
    settings = _bash('source experiments/cloud_tpu/settings.sh && printf "%s\n" "${FLAGS[@]}"')
    assert settings.returncode == 0, settings.stderr
    commands = [shlex.split(line.partition("stylegan_jax.main")[2].rstrip("& ")) for line in lines]
    return [*commands, settings.stdout.splitlines()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_scripts_are_bash(script):
    result = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr


def test_commands_have_only_flags_and_settings_that_exist():
    commands = _commands()
    assert len(commands) == 4  # settings.sh, train.sbatch and two manifests.
    settings = options._field_names(default())
    for command in commands:
        names = dict(argument.removeprefix("--").split("=", 1) for argument in command)
        assert {"config", "workdir", "config.data.source"} <= names.keys()
        for name in names:
            assert name.removeprefix("config.") in settings if name.startswith("config.") else name in flags.FLAGS
        file, _, devices = names["config"].partition(":")
        assert (ROOT / file).is_file() and schedule.official_batches(devices)


def test_pages_and_comments_name_only_settings_that_exist():
    settings = options._field_names(default())
    for file in FILES:
        for name in re.findall(r"--config\.([\w.]+)", file.read_text()):
            assert name in settings, f"{file}: {name}"


@pytest.mark.parametrize("num_devices", [machine.num_chips for machine in cost.MACHINES])
def test_the_official_batches_divide_among_the_machines(num_devices):
    checks.check_devices(Config(), num_devices)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_manifests_ask_for_all_chips_of_all_hosts(file):
    job, pod = _manifest(file)
    assert job["parallelism"] == job["completions"] and job["backoffLimit"] == 0
    (container,) = pod["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    topology = pod["nodeSelector"].get("cloud.google.com/gke-tpu-topology")
    if topology:
        num_chips = math.prod(map(int, topology.split("x")))
        assert num_chips == job["parallelism"] * container["resources"]["limits"]["google.com/tpu"]


def test_a_pod_passes_a_signal_on_and_fails_unless_the_run_is_complete(tmp_path):
    """The manifest's script, with a run that needs a moment to save, and is or is not complete after it."""
    script = _manifest(EXPERIMENTS / "gke" / "jobset.yaml")[1]["containers"][0]["args"][0]
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/bash\n[[ "$2" == stylegan_jax.main ]] || exit "$IS_INCOMPLETE"\n'
        "trap 'sleep 0.1; touch saved; exit 0' TERM\ntouch started\nfor i in {1..100}; do sleep 0.02; done\nexit 9\n"
    )
    python.chmod(0o755)
    for code in (0, 1):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IS_INCOMPLETE": str(code)}
        pod = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=environment)
        while not (tmp_path / "started").exists():
            assert pod.poll() is None
        pod.terminate()
        assert pod.wait(10) == code
        (tmp_path / "saved").unlink()
        (tmp_path / "started").unlink()


GCLOUD = """#!/bin/bash
echo "$*" >> log
starts=$(grep -c systemd-run log)
case "$*" in
*"tpu-vm describe"*) [[ -f slice ]] && cat slice ;;
*"queued-resources describe"*) [[ -f slice ]] && echo ACTIVE ;;
*"queued-resources create"*) echo READY > slice ;;
*"queued-resources delete"*) rm slice ;;
*is_complete*) [[ "$starts" == 2 ]] ;;
*is-active*) [[ "$starts" == 2 ]] || echo PREEMPTED > slice; false ;;
esac
"""


def test_a_preempted_slice_is_made_anew_and_gets_the_same_command(tmp_path):
    for name, text in {"gcloud": GCLOUD, "sleep": "#!/bin/bash\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command = f"cd {tmp_path} && bash {EXPERIMENTS}/cloud_tpu/keep_training.sh"
    result = _bash(command, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    log = (tmp_path / "log").read_text()
    first, second = re.findall(r"sudo systemd-run .*", log)
    assert first == second and "-m stylegan_jax.main --config=configs/ffhq.py:8 --workdir=/mnt/share/ffhq " in first
    verbs = re.findall(r"queued-resources (?:create|delete)|systemd-run", log)
    once = ["queued-resources create", "systemd-run"]
    assert verbs == [*once, "queued-resources delete", *once]
    assert "--spot" in log and "--runtime-version=v2-alpha-tpuv5-lite" in log


@pytest.mark.parametrize("failing", ["queued-resources create", "scp", "systemd-run"])
def test_a_failure_of_gcloud_is_a_short_start_and_the_script_goes_on(tmp_path, failing):
    """Two failures in a row, and then none."""
    fails = f'case "$*" in *"{failing}"*) (($(grep -c "{failing}" log) > 2)) || exit 1 ;; esac\n'
    gcloud = GCLOUD.replace("starts=", fails + "starts=").replace('"$starts" == 2', '"$starts" -ge 1')
    for name, text in {"gcloud": gcloud, "sleep": "#!/bin/bash\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command = f"cd {tmp_path} && bash {EXPERIMENTS}/cloud_tpu/keep_training.sh"
    result = _bash(command, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 0 and "the run is complete: /mnt/share/ffhq" in result.stdout, result.stderr


def test_what_always_fails_is_given_up_with_a_sentence(tmp_path):
    for name, text in {"gcloud": "#!/bin/bash\necho 503 >&2\nexit 1\n", "sleep": "#!/bin/bash\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    command = f"cd {tmp_path} && bash {EXPERIMENTS}/cloud_tpu/keep_training.sh"
    result = _bash(command, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 1 and "error: 3 starts in a row were short" in result.stderr


def test_an_image_has_the_code_alone():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs", "data"} <= set(ignored)
    assert not {"stylegan_jax", "configs", "experiments", "setup.py", "README.md", "*.md"} & set(ignored)


def test_a_setting_that_is_missing_or_unknown_is_named():
    assert "set it to the name of the bucket" in _bash("source experiments/cloud_tpu/settings.sh", BUCKET="").stderr
    assert "TYPE is v9-8" in _bash("source experiments/cloud_tpu/settings.sh", TYPE="v9-8").stderr


def test_a_run_is_complete_with_the_checkpoint_of_its_last_image(tmp_path):
    assert not is_complete.is_complete(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"schedule": {"total_kimg": 0.1}}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "5000").write_text("notes")
    for name, complete in (("96", False), ("damaged-104", False), ("104", True)):
        (tmp_path / "checkpoints" / name).mkdir()
        assert is_complete.is_complete(tmp_path) == complete


def test_hours_are_work_by_share_of_the_limit_and_dollars_count_all_chips():
    machine = cost.Machine("toy", num_chips=4, flops_per_sec=100.0, bytes_per_sec=10.0, dollars=2.5)
    done = work.Work(flops=180_000.0, num_bytes=7_200.0)
    shares = cost.reached(done, machine, 2)
    assert shares == pytest.approx((0.25, 0.1))
    assert cost.hours(done, machine, shares) == pytest.approx((2, 2))
    assert cost.hours(done, dataclasses.replace(machine, flops_per_sec=200.0), shares) == pytest.approx((1, 2))
    assert cost.dollars(machine, 3) == 30


def test_a_run_is_the_sum_of_its_steps():
    config = Config()
    stages = [schedule.Stage(8, False, 0, 2560, 256, 0.1), schedule.Stage(16, True, 2560, 3840, 128, 0.1)]
    steps = [work.step_work(config, 8, 64, 2)] * 10 + [work.step_work(config, 16, 32, 2)] * 10
    expected = work.Work(sum(step.flops for step in steps), sum(step.num_bytes for step in steps))
    assert cost.run_work(config, stages, 4) == pytest.approx(expected)


def test_the_page_has_what_the_script_prints():
    assert cost.table() in (EXPERIMENTS / "cloud_tpu" / "README.md").read_text()
