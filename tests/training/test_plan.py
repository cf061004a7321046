"""What is planned follows from the compiler's numbers, and each wrong topology is one clear sentence."""

import ast
import dataclasses
import importlib.util
import json
import types

import jax
import numpy as np
import pytest
from jax.experimental import topologies

from stylegan_jax.config import Config, from_dict
from stylegan_jax.devices import gpu_program, mesh, topology
from stylegan_jax.training import estimate, plan, programs, state, trials
from tests.small import settings

GIB = plan.GIB
# At 16 px two images take 1 GiB beside a GiB that any number takes, and half of them with remat.
BATCH = 32


def trial(config: Config, limit_gib: float, resolution: int = 16) -> trials.Trial:
    """Returns a trial on a device where two images take a GiB, or half with remat, and all else one."""
    parts = config.schedule.num_parts(resolution)
    temp_gib = config.schedule.batch_at(resolution) / parts / 2 / (2 if config.model.remat else 1)
    fits = temp_gib + 1 <= limit_gib
    bytes_of = {"temp_bytes": int(temp_gib * GIB), "peak_bytes": int((temp_gib + 1) * GIB)}
    return trials.Trial(parts, config.model.remat, 10.0, **bytes_of, fits=fits, images_per_sec=50.0 if fits else None)


def row(trials: tuple[trials.Trial, ...], resolution: int = 16, kimg: float = 180.0) -> plan.Row:
    return plan.Row(resolution, resolution, 26_000_000, 23_000_000, BATCH, kimg, trials)


def about(**changes) -> dict:
    values = {"device": "A", "num_devices": 4, "memory_bytes": 16 * GIB, "is_measured": True, "checkpoint_bytes": GIB}
    values["dollars_per_hour"] = None
    return values | changes


def trials_at(limit_gib: float, **model) -> tuple[trials.Trial, ...]:
    config = settings(model=model, schedule={"batch": BATCH})
    return trials.find_fitting(trials.choices(config, 16, 4), lambda changed: trial(changed, limit_gib))


@pytest.mark.parametrize(("limit_gib", "parts"), [(17, [1]), (16.9, [1, 2]), (5, [1, 2, 4])])
def test_the_fewest_parts_that_fit_are_found(limit_gib, parts):
    trials = trials_at(limit_gib)
    assert [t.accumulation for t in trials] == parts
    assert [t.fits for t in trials] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize(("limit_gib", "fits"), [(2.5, True), (1.9, False)])
def test_where_no_parts_fit_the_most_are_tried_with_remat(limit_gib, fits):
    trials = trials_at(limit_gib)
    assert [(t.accumulation, t.remat) for t in trials] == [(1, False), (2, False), (4, False), (8, False), (8, True)]
    assert trials[-1].fits == fits and trials[-1].peak_bytes == 2 * GIB
    assert [t.accumulation for t in trials_at(1, remat=True)] == [1, 2, 4, 8]


def test_parts_are_of_whole_groups_and_divide_among_the_devices():
    def parts(num_devices: int, **schedule) -> list[int]:
        config = settings(schedule={"batch": 24} | schedule)
        return [changed.schedule.num_parts(16) for changed in trials.choices(config, 16, num_devices)[:-1]]

    assert parts(4) == [1, 2]
    assert parts(8) == [1]
    assert parts(1, accumulation=3) == [3, 6]
    assert parts(1, batch=3) == [1]


def test_advice_is_one_flag_for_all_resolutions_that_can_be_given():
    config = settings(schedule={"batch": BATCH, "accumulation_by_resolution": ((4, 2), (8, 1))})
    rows = [row(trials_at(17), 4), row(trials_at(16), 8), row(trials_at(2.5), 16)]
    first, second = plan.advice(config, rows)
    flag = "--config.schedule.accumulation_by_resolution='((4, 2), (8, 2), (16, 8))'"
    assert first == f"8 px does not fit: use {flag}, or 2 there"
    assert second == f"16 px does not fit: use --config.model.remat=True and {flag}, or 8 there"
    given = ast.literal_eval(flag.partition("=")[2].strip("'"))
    assert settings(schedule={"batch": BATCH, "accumulation_by_resolution": given}).schedule.num_parts(16) == 8


def test_nothing_is_advised_where_all_fits_and_less_where_nothing_does():
    config = settings()
    assert plan.advice(config, [row(trials_at(17))]) == []
    (line,) = plan.advice(config, [row(trials_at(1))])
    assert line == ("16 px does not fit in 8 parts, even with model.remat: use more devices, or a smaller batch there")


def test_hours_are_images_by_speed_and_add_up():
    rows = [row(trials_at(17), 8), row(trials_at(16), 16, kimg=360.0)]
    assert [r.hours for r in rows] == [1, 2]
    text = plan.plan_text(settings(), about(), rows)
    assert text.endswith("training, without its ticks: 3 h 00 min")
    assert row(trials_at(1)).hours is None
    text = plan.plan_text(settings(), about(), [*rows, row(trials_at(1), 32)])
    assert text.endswith("training, without its ticks: at least 3 h 00 min")


def test_the_table_has_a_line_a_trial_under_its_header():
    out_of_memory = trials.Trial(1, False, 60.0)
    text = plan.plan_text(settings(), about(), [row((out_of_memory, *trials_at(9)[1:]))])
    first, header, *lines = [line.split() for line in text.splitlines()]
    assert " ".join(first) == "4 x A of 16.00 GiB; images/s: measured"
    assert header == plan.HEADER.split()
    sizes = ["16", "26.00M", "23.00M", "32", "8"]
    assert lines[0] == [*sizes, "1", "no", "?", "?", "NO", "1", "min", "00", "s", "?", "?", *["-"] * 5]
    assert lines[1] == [
        *sizes,
        "2",
        "no",
        "8",
        "9",
        "yes",
        "10",
        "s",
        "?",
        "?",
        "640",
        "-",
        "50",
        "-",
        "1",
        "h",
        "00",
        "min",
    ]
    assert len({len(line) for line in text.splitlines()[1:4]}) == 1


def test_the_parameters_of_each_network_are_listed_with_their_shapes_and_sum():
    text = plan.parameters_text(state.abstract(Config()))
    generator, discriminator = text.split("parameters of the discriminator:")
    assert "| synthesis/b8/conv0/weight " in generator and "(3, 3, 512, 512)" in generator
    assert "26,219,627" in generator and "23,087,249" in discriminator


def test_estimates_are_marked_and_measurements_are_not():
    def text(is_measured: bool) -> str:
        return plan.plan_text(settings(), about(is_measured=is_measured), [row(trials_at(17))])

    assert "~" not in text(True)
    assert "~50" in text(False) and text(False).count("~1 h 00 min") == 2 and "not measured" in text(False)


def test_what_devices_have_used_is_told_where_they_tell():
    def text(used_bytes: int | None) -> str:
        done = trials.Trial(1, False, 1.0, fits=True, images_per_sec=1.0, peak_bytes=GIB, used_bytes=used_bytes)
        return plan.plan_text(settings(), about(), [row((done,))])

    assert "these devices do not tell" in text(None)
    assert "memory used: 1.5 GiB to 16 px" in text(3 * GIB // 2)


def test_the_least_time_is_of_arithmetic_or_of_memory():
    def speed(flops: float, transferred: float, kind: str = "TPU v5 lite", **model) -> float:
        work = estimate.Work(flops, transferred, (), 1)
        device = types.SimpleNamespace(device_kind=kind)
        return 1 / estimate.floor(work, settings(model=model).model, device).seconds

    assert speed(1e12, 0, compute_dtype="bfloat16") == pytest.approx(197)
    assert speed(1e12, 1e9, compute_dtype="bfloat16") == pytest.approx(197)
    assert speed(1e12, 1e10, compute_dtype="bfloat16") == pytest.approx(81.9)
    assert speed(1e12, 0, compute_dtype="bfloat16", matmul_precision="highest") == pytest.approx(197)
    assert speed(1e12, 0) == pytest.approx(197)
    assert speed(1e12, 0, matmul_precision="highest") == pytest.approx(197 / 6)
    assert speed(1e12, 0, "NVIDIA H100") == pytest.approx(494)
    assert speed(1e12, 0, "NVIDIA H100", matmul_precision="highest") == pytest.approx(67)
    assert speed(0, 1e9, "NVIDIA H100 80GB HBM3") == pytest.approx(3352)
    assert np.isnan(speed(0, 1e9, "NVIDIA H100 PCIe")) and np.isnan(speed(0, 1e9, "cpu"))


def test_a_gpus_least_time_is_added_up_kernel_by_kernel():
    def kernel(flops: float, num_bytes: int) -> gpu_program.Kernel:
        return gpu_program.Kernel("", "fusion", 2, num_bytes, flops, "", "")

    work = estimate.Work(0, 0, (kernel(989e12, 0), kernel(0, 3352 * 10**9)), num_images=4)
    device = types.SimpleNamespace(device_kind="NVIDIA H100")
    least = estimate.floor(work, settings(model={"compute_dtype": "bfloat16"}).model, device)
    assert (least.seconds, least.arithmetic_seconds, least.memory_seconds) == pytest.approx((1, 0.5, 0.5))


def test_reading_is_timed_where_pictures_have_to_be_decoded():
    config = from_dict({"data": {"source": "somewhere"}})
    assert estimate.reading_speed(config, 256) is None
    assert estimate.reading_speed(config, 512) > 1
    assert estimate.reading_speed(settings(), 512) is None


@pytest.mark.slow
def test_lazy_r1_takes_its_share(tmp_path):
    def trial(**train) -> dict:
        plan.write(settings(train=train, schedule={"total_kimg": 0.03}), tmp_path)
        return json.loads((tmp_path / "plan.json").read_text())["rows"][0]["trials"][0]

    each, rare, rarer = trial(), trial(r1_interval=4), trial(r1_interval=16)
    assert rarer["flops_per_image"] < rare["flops_per_image"] < each["flops_per_image"]
    assert rare["compile_sec"] > 0 and rare["images_per_sec"] > 0


def test_devices_that_would_wait_for_pictures_are_told():
    rows = [dataclasses.replace(row(trials_at(17), r), read_per_sec=read) for r, read in ((8, None), (16, 20.0))]
    text = plan.plan_text(settings(), about(), rows)
    assert "at 16 px the devices would wait: use 2.5 times data.num_workers=4" in text
    assert "would wait" not in plan.plan_text(settings(), about(), [dataclasses.replace(rows[1], read_per_sec=60.0)])
    assert "read/s:" not in plan.plan_text(settings(), about(), rows[:1])


def test_the_cost_is_of_all_devices_where_prices_are_known():
    rows = [row(trials_at(17), 8)]
    assert plan.plan_text(settings(), about(dollars_per_hour=9.6), rows).endswith(
        "training, without its ticks: 1 h 00 min, $10 at $9.60 an hour (mid-2025)"
    )


def test_images_are_given_at_the_size_of_a_store_and_procedural_ones_at_full_size():
    config = from_dict({"data": {"source": "somewhere"}})
    assert [trials.images_size(config, r) for r in (8, 256, 512, 1024)] == [8, 256, 1024, 1024]
    assert trials.images_size(from_dict({"data": {"source": "faces"}}), 8) == 1024


def test_memory_is_the_devices_own_or_published_or_a_share_of_the_machines():
    def device(**stats) -> types.SimpleNamespace:
        return types.SimpleNamespace(device_kind="TPU v5 lite", memory_stats=lambda: stats or None)

    assert estimate.memory_bytes(device(bytes_limit=123), is_here=True) == 123
    assert estimate.memory_bytes(device(bytes_limit=123), is_here=False) == 16 * GIB
    assert 4 * estimate.memory_bytes(device(), is_here=True) < 2**60


# ---- programs


def test_a_compiler_that_finds_no_place_is_a_trial_that_does_not_fit(monkeypatch):
    def fail(*args):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(programs, "make", fail)
    message = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm."
    found = trials.try_program(settings(), mesh.make_mesh(), True, 8)
    assert not found.fits and found.peak_bytes is None and found.compile_sec > 0
    message = "INTERNAL: something else"
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        trials.try_program(settings(), mesh.make_mesh(), True, 8)


@pytest.mark.slow
def test_the_plan_of_a_small_run_is_made_from_its_programs(tmp_path, capsys):
    text = plan.write(settings(schedule={"total_kimg": 0.1}, model={"num_labels": 3}), tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["plan.json"]
    values = json.loads((tmp_path / "run/plan.json").read_text())
    assert values["num_devices"] == 4 and values["is_measured"]
    low, high = values["rows"]
    assert (low["resolution"], high["resolution"]) == (8, 16) and low["images_px"] == 16
    assert low["g_params"] < high["g_params"] and low["kimg"] + high["kimg"] == pytest.approx(0.128)
    for r in (low, high):
        (found,) = r["trials"]
        assert found["fits"] and found["images_per_sec"] > 0 and found["used_bytes"] is None
        assert values["checkpoint_bytes"] + found["temp_bytes"] < found["peak_bytes"]
        assert r["hours"] == pytest.approx(r["kimg"] / found["images_per_sec"] / 3.6)
    assert "note: the run ends at 0.128 kimg while full resolution, 16 px, still fades in" in text
    for name in ("flops_per_image", "bytes_per_image"):
        assert low["trials"][0][name] < high["trials"][0][name]
    assert "compiling 8 px, accumulation 1" in capsys.readouterr().out and "these devices do not tell" in text


# ---- topologies


def found_devices(monkeypatch, found_fn, name: str) -> list:
    for variable in ("SKIP_MDS_QUERY", "WORKER_HOSTNAMES", "ACCELERATOR_TYPE"):
        monkeypatch.setenv(f"TPU_{variable}", "1")  # So that it is as before, after the test.
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    monkeypatch.setattr(topologies, "get_topology_desc", found_fn)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    return topology.devices(name)


def test_a_missing_compiler_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--topology=v5e:4x4 needs .* not installed; pip install libtpu"):
        plan.write(settings(), tmp_path, "v5e:4x4")


def test_an_unknown_topology_is_one_sentence(monkeypatch):
    def fail(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: Invalid TPU external name: TPU v5x\nand more")

    with pytest.raises(ValueError) as caught:
        found_devices(monkeypatch, fail, "v5x:2x2")
    assert str(caught.value) == (
        "--topology=v5x:2x2: use a TPU slice like v5e:4x4, v5p:2x2x1 or v6e:2x4, or GPUs like h100:8 "
        "(INVALID_ARGUMENT: Invalid TPU external name: TPU v5x)."
    )


def test_devices_without_published_numbers_are_refused(monkeypatch):
    devices = [types.SimpleNamespace(device_kind="TPU v3")]
    with pytest.raises(ValueError, match="v3:2x2 is of TPU v3; use one of TPU v4, TPU v5 lite"):
        found_devices(monkeypatch, lambda *a, **k: types.SimpleNamespace(devices=devices), "v3:2x2")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v5e:4x4", {}),
        ("v5e:1x1", {"chips_per_host_bounds": (1, 1, 1)}),
        ("v4:2x2x1", {"chip_config_name": "megacore"}),  # A device a chip, as on Cloud TPU, not one a core.
    ],
)
def test_a_topology_is_asked_for_as_the_cloud_has_it(monkeypatch, name, options):
    devices = [types.SimpleNamespace(device_kind="TPU v4")]

    def find(*args, **kwargs):
        assert args == (name, "tpu") and kwargs == options
        return types.SimpleNamespace(devices=devices)

    assert found_devices(monkeypatch, find, name) == devices


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "--topology=: use GPUs like h100:8"),
        ("rtx4090:1", r"use GPUs like h100:8 \(v100, a100, h100, h200, b200\), or a TPU slice like v5e:4x4"),
        ("h100", "--topology=h100: say how many, as in h100:8"),
        ("h100:0", "say how many"),
        ("h100:2x2", "say how many"),
        ("a100:12", "--topology=a100:12: use up to 8 GPUs, or a multiple of 8"),
        ("H100:8", r"needs the compiler for NVIDIA GPUs, which is not installed; pip install 'jax-cuda12-plugin=="),
    ],
)
def test_a_topology_of_gpus_that_cannot_be_is_one_sentence(monkeypatch, name, message):
    monkeypatch.setattr(topology, "missing_packages", lambda: "pip install 'jax-cuda12-plugin==0'")
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    with pytest.raises(ValueError, match=message):
        topology.devices(name)


def test_what_compiles_for_gpus_is_named_in_the_version_of_jax(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    how = topology.missing_packages()
    assert f"jax-cuda12-pjrt=={jax.__version__} jax-cuda12-plugin=={jax.__version__} 'nvidia-cuda-nvcc-cu12<13'" in how


def test_every_gpu_has_limits_and_a_description():
    for kind, chip in topology.GPUS.items():
        limits = topology.LIMITS[f"NVIDIA {kind.upper()}"]
        text = topology._target_config(kind)
        assert f"core_count: {chip.num_cores}\n" in text and f"device_memory_size: {limits.memory_bytes}\n" in text
        assert f'device_description_str: "NVIDIA {kind.upper()}"' in text
