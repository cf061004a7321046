"""The comparison of StyleGAN and StyleGAN2: both runs are of one size, and the table shows what was measured."""

import json
import pathlib

import jax
import pytest

from experiments.architectures import __main__ as comparison
from experiments.architectures import runs
from experiments.architectures.config import ARCHITECTURES, get_config
from stylegan_jax import config
from stylegan_jax.training import state


def _numbers(architecture):
    settings = config.from_dict(get_config(architecture).to_dict())
    made = jax.eval_shape(lambda key: state.create(key, settings), jax.random.key(0))
    return [comparison.number_of_parameters(params) for params in (made.g_params, made.d_params)]


def test_both_architectures_have_the_same_number_of_parameters_within_a_tenth():
    for first, second in zip(*map(_numbers, ARCHITECTURES), strict=True):
        assert first == pytest.approx(second, rel=0.1)


def test_the_docstring_of_the_config_has_the_numbers_of_parameters():
    text = pathlib.Path(comparison.__file__).with_name("config.py").read_text()
    assert all(f"{number:,}" in text for architecture in ARCHITECTURES for number in _numbers(architecture))


def test_an_unknown_architecture_is_refused_with_the_names():
    with pytest.raises(ValueError, match="no architecture 'stylegan3'; use one of stylegan, stylegan2"):
        get_config("stylegan3")


def test_the_table_has_means_deviations_and_each_seed():
    (*_, line) = comparison.table({"stylegan": [[1.0, 7.0], [3.0, 7.0]]}, {"stylegan": [1000, 2000]}).splitlines()
    assert line == "| stylegan | 2.00 +- 1.4 | 7.00 +- 0 | 1.00, 3.00 | 7.00, 7.00 | 1,000, 2,000 |"
    (*_, line) = comparison.table({"stylegan": [[1.0, 7.0]]}, {"stylegan": [1000, 2000]}).splitlines()
    assert line == "| stylegan | 1.00 | 7.00 | 1.00 | 7.00 | 1,000, 2,000 |"


def _measure(folder, *values):
    text = "".join(json.dumps({"values": value, "floor": {"a": 0.5}}) + "\n" for value in values)
    (folder / "metrics.jsonl").write_text(text)


def test_the_newest_number_of_a_metric_counts(tmp_path):
    _measure(tmp_path, {"a": 1.0, "a_16": 9.0}, {"b": "inf"}, {"a": 2.0})
    assert runs.measured(tmp_path, ["b", "a"]) == [float("inf"), 2.0]
    assert runs.measured(tmp_path, ["a"], "floor") == [0.5]


def test_a_run_that_was_not_measured_is_told(tmp_path):
    with pytest.raises(SystemExit, match=r"metrics.jsonl is missing: .* Give the command of run.sh again"):
        runs.measured(tmp_path, ["a"])


@pytest.mark.parametrize("content", [b'{"values": {"a": 1', b"\xff\xfe"])
def test_a_damaged_file_is_told(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(SystemExit, match=r"metrics.jsonl is damaged .* move it away"):
        runs.measured(tmp_path, ["a"])


def test_a_run_whose_measuring_was_interrupted_is_told(tmp_path):
    _measure(tmp_path, {"a": 1.0})
    with pytest.raises(SystemExit, match=r"metrics.jsonl lacks b, c: .* Give the command of run.sh again"):
        runs.measured(tmp_path, ["a", "b", "c"])


def test_a_curve_has_the_lines_with_its_scalar(tmp_path):
    scalars = [{"nimg": 0, "swd": 9.0}, {"nimg": 500, "g_loss": 1.0}, {"nimg": 1000, "swd": 4.0}]
    (tmp_path / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in scalars))
    assert runs.curve(tmp_path, "swd") == [(0, 9.0), (1, 4.0)]
