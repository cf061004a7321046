"""The schedule agrees with the tables recorded from the official code."""

import csv
import functools
import json
import math
import pathlib
import re
import runpy

import pytest

from stylegan_jax.config import Schedule, from_dict
from stylegan_jax.config.schedule import chunks, phase_at
from tests import official

pytestmark = pytest.mark.goldens

FFHQ = pathlib.Path(__file__).parent.parent.parent / "configs" / "ffhq.py"


def rows_of(file):
    """Returns the rows of a table as dicts of strings."""
    with open(official.folder() / f"{file}.csv", newline="") as f:
        return list(csv.DictReader(f))


def to_schedule(kwargs, resolution, num_gpus, **others):
    """Returns the settings that official sched_args stand for."""

    def integers(d):
        return {int(k): v for k, v in d.items()}

    batches = integers(kwargs.get("minibatch_dict", {}))
    limits = integers(kwargs.get("max_minibatch_per_gpu", {}))
    batch_by_resolution = []
    for r in (2**k for k in range(2, resolution.bit_length())):
        batch = batches.get(r, kwargs.get("minibatch_base", 16))
        batch -= batch % num_gpus
        batch_by_resolution.append((r, min(batch, limits.get(r, batch) * num_gpus) if r in limits else batch))
    assert kwargs.get("G_lrate_dict") == kwargs.get("D_lrate_dict"), "both networks have one learning rate here"
    assert kwargs.get("G_lrate_base") == kwargs.get("D_lrate_base"), "both networks have one learning rate here"
    names = {
        "lod_initial_resolution": "initial_resolution", "lod_training_kimg": "stable_kimg",
        "lod_transition_kimg": "fade_kimg", "G_lrate_base": "lr", "lrate_rampup_kimg": "lr_rampup_kimg",
        "tick_kimg_base": "tick_kimg",
    }  # fmt: skip
    known = {*names, "minibatch_dict", "minibatch_base", "max_minibatch_per_gpu", "G_lrate_dict", "D_lrate_dict",
             "D_lrate_base", "tick_kimg_dict"}  # fmt: skip
    assert not set(kwargs) - known, f"no counterpart of the official settings {set(kwargs) - known}"
    fields = {"initial_resolution": 4} | {ours: kwargs[name] for name, ours in names.items() if name in kwargs}
    if "tick_kimg_dict" in kwargs:
        fields["tick_kimg_by_resolution"] = tuple(integers(kwargs["tick_kimg_dict"]).items())
    return Schedule(
        batch_by_resolution=tuple(batch_by_resolution),
        lr_by_resolution=tuple(integers(kwargs.get("G_lrate_dict", {})).items()),
        **fields | others,
    )


@functools.cache
def preset(file):
    """Returns (resolution, schedule) of a table named after a preset, such as schedule_ffhq1024_4gpu."""
    resolution, num_gpus = re.search(r"ffhq(\d+)_(\d+)gpu", file).groups()
    config = from_dict(runpy.run_path(str(FFHQ))["get_config"](num_gpus).to_dict())
    return int(resolution), config.schedule


def lod_of(phase, resolution):
    """Returns the official level of detail: levels below full resolution, with a fade's fraction."""
    return math.log2(resolution / phase.resolution) + 1 - phase.alpha


def settings_of(file, row):
    """Returns (resolution, schedule) of a row: recorded in it, or named by the file."""
    if "sched_kwargs_json" not in row:
        return preset(file)
    resolution = 2 ** int(row["resolution_log2"])
    return resolution, to_schedule(json.loads(row["sched_kwargs_json"]), resolution, int(row["num_gpus"]))


@pytest.mark.parametrize("file", official.files("schedule_*.csv"))
def test_phases_agree_with_the_official_schedule(file):
    for row in rows_of(file):
        resolution, schedule = settings_of(file, row)
        phase = phase_at(round(float(row["kimg"]) * 1000), schedule, resolution)
        ours = (lod_of(phase, resolution), phase.lr, phase.lr, phase.tick_kimg)
        recorded = [float(row[name]) for name in ("lod", "G_lrate", "D_lrate", "tick_kimg")]
        assert ours == pytest.approx(recorded, rel=1e-9, abs=1e-9), row
        assert (phase.resolution, phase.batch) == (int(row["resolution"]), int(row["minibatch"])), row
        official.record(file, row["kimg"], abs(ours[0] - recorded[0]))


@pytest.mark.parametrize("file", official.files("ticks_*.csv"))
def test_ticks_steps_and_optimizer_resets_agree_with_the_official_loop(file):
    resolution, schedule = preset(file)
    ticks, steps, resets = {}, 0, 0
    for chunk in chunks(schedule, resolution):
        steps += (chunk.end_nimg - chunk.start_nimg) // chunk.phase.batch
        resets += chunk.is_reset
        if chunk.is_tick:
            ticks[chunk.tick] = (chunk, steps, resets)
    rows = rows_of(file)
    assert len(ticks) == int(rows[-1]["tick"])
    for row in rows:
        chunk, steps, resets = ticks[int(row["tick"])]
        ours = [chunk.end_nimg, chunk.phase.batch, steps, steps, resets]
        assert ours == [int(row[n]) for n in ("cur_nimg", "minibatch", "G_steps", "D_steps", "opt_resets")], row
        lod = lod_of(chunk.phase, resolution)
        assert lod == pytest.approx(float(row["lod"]), abs=1e-6), row
        # The official loop also writes the network at its first tick.
        images, networks = (chunk.is_last or chunk.tick % n == 0 for n in (1, 10))
        assert images == bool(int(row["image_snapshot"])), row
        assert (networks or chunk.tick == 1) == bool(int(row["network_snapshot"])), row
        official.record(file, f"tick {row['tick']}", abs(lod - float(row["lod"])))
