import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.benchmark import gradients, measure, options, port_child, summary, work
from stylegan_jax.config import Config, Train
from stylegan_jax.networks import ops
from stylegan_jax.training import state
from tests.small import settings

ROOT = pathlib.Path(__file__).parent.parent.parent
RESOLUTIONS = (8, 16, 32, 64, 128, 256, 512, 1024)


@pytest.mark.parametrize(
    ("resolution", "forward", "step", "lazy_step"),
    [
        (8, 0.5, 8, 6), (16, 2.3, 34, 28), (32, 9.3, 139, 113), (64, 18.4, 276, 224), (128, 27.5, 413, 335),
        (256, 36.7, 550, 447), (512, 45.8, 687, 558), (1024, 55.0, 825, 670),
    ],
)  # fmt: skip
def test_an_image_takes_the_operations_counted_by_hand(resolution, forward, step, lazy_step):
    config = Config()
    for flops in work.forward_flops(config.model, resolution):
        assert flops / 1e9 == pytest.approx(forward, abs=0.06)  # G and D share a column.
    assert work.step_work(config, resolution, 1, 4).flops / 1e9 == pytest.approx(step, abs=0.51)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, r1_interval=16))
    assert work.step_work(config, resolution, 1, 4).flops / 1e9 == pytest.approx(lazy_step, abs=0.51)


def test_a_step_is_four_passes_of_the_generator_and_eleven_of_the_discriminator():
    train = Train()
    assert work.num_passes(train) == (4, 11)
    assert work.num_passes(dataclasses.replace(train, r1_gamma=0.0)) == (4, 8)
    assert work.num_passes(dataclasses.replace(train, r2_gamma=1.0)) == (4, 14)
    assert work.num_passes(dataclasses.replace(train, r1_gamma=0.0, gp_lambda=10.0)) == (4, 14)


def test_layers_have_the_weights_of_the_networks():
    config = settings()
    names = {"g_params": work.mapping_layers(config.model) + work.synthesis_layers(config.model, 16)}
    names["d_params"] = work.discriminator_layers(config.model, 16)
    shapes = jax.eval_shape(lambda key: state.create(key, config), jax.random.key(0))
    for name, layers in names.items():
        leaves = jax.tree_util.tree_leaves_with_path(getattr(shapes, name))
        paths = {jax.tree_util.keystr(path): x for path, x in leaves}
        # All resolutions have layers for colours; the others' take no part.
        used = [
            math.prod(x.shape)
            for path, x in paths.items()
            if "weight" in path and ("rgb" not in path or "rgb16" in path)
        ]
        assert sum(layer.num_weights for layer in layers) == sum(used)


def test_bytes_grow_with_the_batch_and_with_the_size_of_an_element():
    config = Config()
    one, two, half = (work.step_work(config, 64, *sizes).num_bytes for sizes in ((8, 4), (16, 4), (8, 2)))
    assert one < two < 2 * one and one / 2 < half < one
    sample = work.sample_work(config.model, 64, 1, 4)
    assert sample.flops == work.forward_flops(config.model, 64)[0]
    assert sample.num_bytes > 4 * 64 * 64 * 256


def row(**changes) -> measure.Row:
    fields = {field.name: 1.0 for field in dataclasses.fields(measure.Row)}
    return measure.Row(**fields | {"program": "train", "precision": "float32", "resolution": 8, "batch": 8} | changes)


def test_a_batch_is_doubled_as_long_as_that_pays():
    speeds = {8: 100.0, 16: 150.0, 32: 156.0, 64: 1000.0}

    def measure_fn(batch):
        return row(batch=batch, images_per_sec=speeds[batch]) if batch in speeds else None

    assert measure.best_batch(measure_fn, 8, doubles=True).batch == 16
    assert measure.best_batch(measure_fn, 8, doubles=False).batch == 8
    assert measure.best_batch(measure_fn, 64, doubles=True).batch == 64  # 128 does not fit.
    assert measure.best_batch(measure_fn, 128, doubles=True) is None


def test_hours_are_projected_where_every_resolution_was_measured():
    rows = [row(resolution=r, images_per_sec=10.0) for r in RESOLUTIONS]
    hours = summary.projected_hours(Config(), rows)
    assert hours == {"float32": pytest.approx(25_000_000 / 10 / 3600, rel=1e-4)}
    assert summary.projected_hours(Config(), rows[1:]) == {}


def test_a_benchmark_of_a_small_model_fills_every_field(tmp_path, monkeypatch):
    for name, value in {"MATMUL_SIZE": {"cpu": 64}, "COPY_BYTES": {"cpu": 2**16}}.items():
        monkeypatch.setattr(summary, name, value)
    monkeypatch.setattr(measure, "MIN_SEC", 0.0)
    # What compiles fast.
    plain = {"mapping_layers": 1, "use_noise": False, "use_styles": False, "use_instance_norm": False}
    config = settings(model={"resolution": 8, "blur_filter": None} | plain, train={"r1_gamma": 0.0})
    stream, events = io.StringIO(), []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    out = options.checked_out(str(tmp_path / "new" / "out.json"))
    save_fn = functools.partial(options.write_json, out)
    summary.benchmark(config, [measure.Case("float32", 8, 4)], 2, save_fn, tmp_path / "trace", stream)
    values = json.loads(out.read_text())
    assert values["platform"] == "cpu" and values["versions"]["jax"] == jax.__version__
    assert min(*values["peaks"]["flops_per_sec"].values(), values["peaks"]["copy_bytes_per_sec"]) > 0
    assert [(r["program"], r["resolution"], r["batch"]) for r in values["rows"]] == [("train", 8, 4), ("sample", 8, 4)]
    for r in values["rows"]:
        assert r["roofline_share"] == max(r["flops_share"], r["bytes_share"]) > 0
        assert r["images_per_sec"] == pytest.approx(4000 / r["ms"])
        assert min(r["cold_compile_sec"], r["warm_compile_sec"], r["program_gib"]) > 0
    assert events.count("/jax/compilation_cache/cache_hits") >= 2, "the persistent cache was not used"
    assert values["projected_hours"].keys() == {"float32"}
    assert list((tmp_path / "trace").glob("train_8px_float32_batch4/**/*.xplane.pb"))
    assert "h on this device" in stream.getvalue()


def test_each_request_to_a_side_of_the_comparison_has_its_answer():
    class Side:
        num_prepared = 0

        def about(self):
            return {"device": "cpu"}

        def prepared(self, program, resolution, batch, variant):
            self.num_prepared += 1
            return lambda: None, 1, variant

    side, stream = Side(), io.StringIO()
    case = {"program": "train", "resolution": 8, "batch": 4}
    asked = [{}, *(case | {"variant": v} for v in "aba"), case | {"batch": 8, "variant": "a"}]
    port_child.answer(side, map(json.dumps, asked), stream)
    answers = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert answers[0] == {"device": "cpu"} and all(a["sec"] >= 0 for a in answers[1:])
    assert [a["remark"] for a in answers[1:]] == ["a", "b", "a", "a"] and side.num_prepared == 3


def test_pairs_of_resolution_and_batch():
    assert options.pairs("batch", "8:16,64:4", RESOLUTIONS) == [(8, 16), (64, 4)]
    for text, message in {"8:x": "'8:x' is no", "8": "'8' is no", "48:4": "'48' is no", "8:0": "'8:0' is no"}.items():
        with pytest.raises(ValueError, match=message):
            options.pairs("batch", text, RESOLUTIONS)


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("benchmark", ["--batch=8:6"], "a training batch of 6 is no multiple of 4; use 4"),
        ("benchmark", ["--precision=float16"], "precision"),
        ("benchmark", ["--resolutions="], "--resolutions names none; use some of 8"),
        ("benchmark", ["--resolutions=8", "--batch=16:8"], "16 px is not measured; the resolutions are [8]"),
        ("benchmark", ["--out=tests"], "--out=tests: this is a folder"),
        ("benchmark.port", ["--port=nowhere"], "there is no model.py"),
        ("benchmark.agreement", ["--train=8"], "--train=8: '8' is no resolution:batch"),
        ("benchmark.agreement", ["--train="], "--train names nothing"),
        ("benchmark.program", ["--fade", "--train=16:8,8:8"], "--fade: 8 px does not fade in"),
        ("benchmark.program", ["--config=configs/none.py"], "No such file or directory: 'configs/none.py'"),
        ("benchmark.program", ["--config=configs/stylegan2.py:none"], "there is no 'none'; use stylegan2, paper256"),
        (
            "benchmark.program",
            ["--config=configs/stylegan2.py:paper256", "--train=64:32"],
            "--train: '64' is no resolution; use some of 256",
        ),
    ],
)
def test_a_wrong_flag_ends_in_one_line(module, arguments, message):
    command = [sys.executable, "-m", f"experiments.{module}", *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and message in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_programs_of_a_device_that_is_here_are_timed():
    small = ["model.resolution=64", "model.fmap_max=8", "model.mapping_layers=1", "train.r1_interval=16"]
    command = [sys.executable, "-m", "experiments.benchmark.program", "--topology=here", "--train=8:4"]
    command += [f"--config.{setting}" for setting in small] + ["--config.model.compute_dtype=float32"]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    header, *rows = [re.split(r"  +", line.strip()) for line in result.stdout.splitlines()[-4:]]
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["every"] for row in table] == ["1", "16", "mean"]
    train, r1, mean = (float(row["measured ms"]) for row in table)
    assert min(train, r1) > 0 and mean == pytest.approx(train + r1 / 16, abs=0.011)
    assert all(row["floor ms"] == "-" for row in table)  # Nothing is published of a CPU.


@pytest.mark.slow
def test_programs_agree_with_themselves_and_not_with_those_of_a_wrong_slope(monkeypatch):
    config = settings(model={"resolution": 8}, train={"r1_interval": 16})
    start, device = gradients.start_of(config), jax.devices()[0]
    right, again = (gradients.squared_gradients(config, start, device, 8, 4) for _ in range(2))
    slope = ops.activation_gradient
    monkeypatch.setattr(ops, "activation_gradient", lambda *args: 1.02 * slope(*args))
    jax.clear_caches()
    wrong = gradients.squared_gradients(config, start, device, 8, 4)
    assert right.keys() == wrong.keys() == {"1", "16"}
    for every, arrays in right.items():
        assert max(gradients.errors(again[every], arrays).values()) == 0
        assert max(gradients.errors(wrong[every], arrays).values()) > 0.01


def test_errors_are_relative_and_leave_arrays_of_zeros_out():
    expected = {"a": np.array([3.0, 4.0]), "b": np.zeros(1), "c": np.ones(1)}
    found = {"a": np.array([3.0, 4.5]), "b": np.ones(1), "c": np.full(1, np.nan)}
    assert gradients.errors(found, expected) == pytest.approx({"a": 0.1, "c": np.nan}, nan_ok=True)
