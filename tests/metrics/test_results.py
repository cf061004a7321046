"""Results as a table for people and as lines of JSON for machines."""

import json
import math
import os
import resource

import pytest

from stylegan_jax.metrics import results
from stylegan_jax.metrics.results import Result


def result(metric: str = "fid50k", seed: int = 0, **more) -> Result:
    usual = {
        "values": {metric: 12.345678}, "floor": {metric: 1.5}, "floor_text": "one half against the other",
        "what": "a distance", "about": {"num_images": 7, "weights": {"sha256": "abc"}}, "notes": (),
    }  # fmt: skip
    return Result(metric=metric, seed=seed, **usual | more)


def test_a_line_of_json_has_all_that_decides_about_the_number():
    line = results.record(result(seed=5, notes=("few images",)), time="now", network={"source": "x.pkl"})
    assert line.endswith("\n") and line.count("\n") == 1
    assert json.loads(line) == {
        "time": "now", "network": {"source": "x.pkl"}, "metric": "fid50k", "values": {"fid50k": 12.345678},
        "floor": {"fid50k": 1.5}, "floor_text": "one half against the other", "definition": "a distance", "seed": 5,
        "num_images": 7, "weights": {"sha256": "abc"}, "notes": ["few images"],
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_strings_that_float_reads(value):
    found = json.loads(results.record(result(values={"fid50k": value})), parse_constant=pytest.fail)
    assert float(found["values"]["fid50k"]) == pytest.approx(value, nan_ok=True)


def test_a_table_has_a_row_for_each_number_and_says_what_it_is_once():
    found = result("pr", values={"pr_precision": 0.5, "pr_recall": 0.25}, floor={"pr_precision": 0.75})
    lines = results.table([found]).splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["metric", "value", "real", "pictures", "what", "it", "is"],
        ["pr_precision", "0.5", "0.75", "a", "distance;", "one", "half", "against", "the", "other"],
    ]
    assert lines[2].split() == ["pr_recall", "0.25", "-"]


def test_several_seeds_are_one_row_of_their_mean_and_spread():
    values = (10.0, 12.0, 17.0)
    found = [result(seed=i, values={"fid50k": value}) for i, value in enumerate(values)]
    header, row = results.table([*found, result("kid")]).splitlines()[:2]
    assert "spread over seeds" in header
    assert row.split()[:5] == ["fid50k", "13", "+-", "3.61", "(3)"]  # sqrt((9 + 1 + 16) / 2)


def test_several_seeds_have_a_line_of_their_mean_and_spread():
    found = [result(seed=i, values={"fid50k": value}) for i, value in enumerate((10.0, 12.0, 17.0))]
    (spread,) = results.spreads([*found, result("kid")])
    assert (spread.metric, spread.values, spread.seed) == ("fid50k", {"fid50k": 13.0}, [0, 1, 2])
    assert spread.about["std"] == {"fid50k": pytest.approx(13**0.5)}
    assert json.loads(results.record(spread))["seed"] == [0, 1, 2]


def test_one_seed_has_no_column_of_spread():
    assert "spread" not in results.table([result(), result("kid")])


def test_notes_stand_once_below_the_table():
    lines = results.table([result(seed=i, notes=("biased", f"seed {i}")) for i in (0, 1)]).splitlines()
    assert lines[2:] == ["note: biased", "note: seed 0", "note: seed 1"]


def test_columns_are_aligned():
    lines = results.table([result(), result("a_longer_name", floor={}, floor_text="")]).splitlines()
    assert len({line.index("a distance") for line in lines[1:]}) == 1
    assert lines[0].index("what it is") == lines[1].index("a distance")


def test_a_result_has_a_line_of_its_own_behind_one_that_was_left_unfinished(tmp_path):
    (tmp_path / results.FILE).write_text('{"metric": "fi')
    for seed in (1, 2):
        results.append(tmp_path, result(seed=seed), {})
    first, *others = (tmp_path / results.FILE).read_text().splitlines()
    assert first == '{"metric": "fi' and [json.loads(line)["seed"] for line in others] == [1, 2]


def test_a_line_that_has_no_room_leaves_the_file_as_it_was(tmp_path):
    results.append(tmp_path, result(), {})
    before = (tmp_path / results.FILE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            results.append(tmp_path, result(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / results.FILE).read_bytes() == before


def test_a_pipe_in_place_of_the_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / results.FILE)
    with pytest.raises(ValueError, match="metrics.jsonl cannot be written .it is no file.; move it away"):
        results.check_file(tmp_path)
    with pytest.raises(OSError, match="seek"):
        results.append(tmp_path, result(), {})
