"""report.py: grids and PNGs as the official code makes them, and a log that an interruption does not change."""

import contextlib
import io
import json
import os
import pty
import resource
import struct
import types

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from stylegan_jax.devices import distributed
from stylegan_jax.runs import report


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def phase(resolution, start_nimg, end_nimg, fading=False, batch=8, lr=0.001):
    return types.SimpleNamespace(
        resolution=resolution, start_nimg=start_nimg, end_nimg=end_nimg, fading=fading, batch=batch, lr=lr
    )


def read_scalars(workdir):
    return [json.loads(line) for line in (workdir / "scalars.jsonl").read_text().splitlines()]


def read_events(workdir):
    """Returns the events of all TensorBoard files: records of length, crc, data, crc."""
    events = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            events.append(event_pb2.Event.FromString(content[at + 12 : at + 12 + length]))
            at += 16 + length
    return events


STAGES = [phase(8, 0, 1000), phase(16, 1000, 2000, fading=True), phase(16, 2000, 4000)]


def test_schedule_has_a_row_for_each_phase_and_times_that_are_known():
    text = report.schedule_text([phase(8, 0, 600_000, batch=256), phase(16, 600_000, 1_200_500, True)], {8: 0.01})
    lines = [line.split("  ") for line in text.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["resolution", "stage", "from kimg", "to kimg", "batch", "lr", "time"],
        ["8x8", "stable", "0", "600", "256", "0.001", "1 h 40 min"],
        ["16x16", "fade in", "600", "1200.5", "8", "0.001", "-"],
    ]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_status_line_shows_speed_fields_and_time_left(tmp_path):
    clock, stream = Clock(), io.StringIO()
    with report.Report(tmp_path, 4000, stages=STAGES, stream=stream, clock_fn=clock) as r:
        for nimg, seconds, resolution in [(100, 60, 8), (600, 50, 8), (1000, 40, 8), (2000, 90, 16), (3000, 200, 16)]:
            clock.now += seconds
            r.progress(nimg, resolution, alpha=0.51234567, loss=np.float32("nan"), note="ok")
        assert r.sec_per_image == {8: 0.1, 16: 0.2}  # The first interval, with the compilation, is not in it.
    lines = stream.getvalue().splitlines()
    assert lines[0] == "0.1 of 4 kimg  8x8  alpha 0.5123  loss nan  note ok"
    assert "10 images/s  at least 5 min 40 s left" in lines[1]
    assert lines[3].startswith("2.0 of 4 kimg  16x16  at least 3 min 20 s left")
    assert "5 images/s  3 min 20 s left" in lines[4]


def test_without_a_schedule_the_rest_is_at_the_present_resolution(tmp_path):
    clock, stream = Clock(), io.StringIO()
    with report.Report(tmp_path, 300, start_nimg=100, stream=stream, clock_fn=clock) as r:
        for nimg in (150, 200):
            clock.now += 11
            r.progress(nimg, 8)
    assert stream.getvalue() == "0.1 of 0.3 kimg  8x8\n0.2 of 0.3 kimg  8x8  4.55 images/s  22 s left\n"


def test_plain_status_lines_are_rationed_but_the_last_is_always_there(tmp_path):
    clock, stream = Clock(), io.StringIO()
    with report.Report(tmp_path, 1000, stream=stream, clock_fn=clock) as r:
        for nimg in range(10, 1001, 10):
            clock.now += 0.25
            r.progress(nimg, 8)
        r.log("[done]")
    lines = stream.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["0.0", "0.4", "0.8", "1.0", "[done]"]


def test_a_terminal_gets_a_live_line_with_the_log_above_it(tmp_path):
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream, report.Report(tmp_path, 1000, stream=stream) as r:
        r.log(report.schedule_text(STAGES))
        r.log("a line [of log]")
        r.progress(1000, 8, loss=0.5)
    shown = ""
    with contextlib.suppress(OSError):  # The end: the other side is closed.
        while part := os.read(reader, 1 << 16):
            shown += part.decode()
    os.close(reader)
    assert "fade in" in shown and "a line [of log]" in shown
    assert "1.0 of 1 kimg" in shown.split("a line [of log]")[1]


def test_a_reader_that_went_away_does_not_end_the_run(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    with report.Report(tmp_path, 1000, stream=stream) as r:
        r.log("into the void")
        r.scalars(10, {"loss": 1.0})
    with pytest.raises(BrokenPipeError):
        stream.close()
    assert read_scalars(tmp_path) == [{"nimg": 10, "loss": 1.0}]


def test_scalars_are_valid_json_also_when_they_are_not_numbers(tmp_path):
    with report.Report(tmp_path, 1000, stream=io.StringIO()) as r:
        r.scalars(10, {"a": np.float32(0.5), "b": float("nan"), "c": -np.inf, "d": jax.numpy.float32(3)})
        assert read_scalars(tmp_path) == [{"nimg": 10, "a": 0.5, "b": "nan", "c": "-inf", "d": 3.0}]
    values = {v.tag: v.simple_value for e in read_events(tmp_path) for v in e.summary.value}
    assert (values["a"], values["c"], values["d"]) == (0.5, -np.inf, 3.0)
    assert np.isnan(values["b"])


def test_an_interrupted_and_resumed_run_leaves_the_log_of_an_uninterrupted_one(tmp_path):
    def run(workdir, start_nimg, end_nimg):
        with report.Report(workdir, 100, start_nimg, stream=io.StringIO()) as r:
            for nimg in range(start_nimg + 10, end_nimg + 1, 10):
                r.scalars(nimg, {"loss": nimg / 7})

    run(tmp_path / "whole", 0, 100)
    run(tmp_path / "broken", 0, 70)
    with (tmp_path / "broken" / "scalars.jsonl").open("a") as file:
        file.write('{"nimg": 4')  # Torn, and as it stands not beyond the checkpoint.
    run(tmp_path / "broken", 40, 100)
    assert (tmp_path / "broken" / "scalars.jsonl").read_bytes() == (tmp_path / "whole" / "scalars.jsonl").read_bytes()
    starts = [e.step for e in read_events(tmp_path / "broken") if e.HasField("session_log")]
    assert sorted(starts) == [0, 41]


def test_a_torn_line_that_lost_only_its_end_of_line_is_dropped(tmp_path):
    (tmp_path / "scalars.jsonl").write_text('{"nimg": 1}\n\n[2]\n{"nimg": 3}')
    with report.Report(tmp_path, 100, start_nimg=5, stream=io.StringIO()) as r:
        r.scalars(6, {})
    assert read_scalars(tmp_path) == [{"nimg": 1}, {"nimg": 6}]


def test_lines_that_a_run_will_not_write_again_are_kept_under_another_name(tmp_path):
    lines = [f'{{"nimg": {nimg}}}\n' for nimg in (0, 10, 20, 30)]
    (tmp_path / "scalars.jsonl").write_text("".join(lines) + '{"nimg": 40')
    kept = report.keep_lines_after(tmp_path, 10)
    assert kept == tmp_path / "scalars-after-10.jsonl" and kept.read_text() == "".join(lines[2:])
    again = report.keep_lines_after(tmp_path, 10)
    assert again == tmp_path / "scalars-after-10-2.jsonl" and kept.read_text() == again.read_text()
    assert report.keep_lines_after(tmp_path, 30) is None
    assert report.keep_lines_after(tmp_path / "nowhere", 0) is None


def test_a_picture_becomes_a_png_and_a_tensorboard_image(tmp_path):
    grid = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    with report.Report(tmp_path, 1000, stream=io.StringIO()) as r:
        r.image(1_234_567, "fakes", grid)
        r.image(1_234_567, "grey", grid[..., :1])
    with Image.open(tmp_path / "fakes001234.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), grid)
    images = {v.tag: (e.step, v.image) for e in read_events(tmp_path) for v in e.summary.value}
    step, image = images["fakes"]
    assert step == 1_234_567
    with Image.open(io.BytesIO(image.encoded_image_string)) as shown:
        np.testing.assert_array_equal(np.asarray(shown), grid)
    assert (images["grey"][1].height, images["grey"][1].width) == (4, 6)


def test_other_processes_print_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "process_index", lambda: 1)
    stream = io.StringIO()
    with report.Report(tmp_path / "run", 1000, stream=stream) as r:
        r.progress(10, 8)
        r.log("hello")
        r.scalars(10, {"loss": 1.0})
        r.image(10, "fakes", np.zeros((2, 2, 3), np.uint8))
    assert stream.getvalue() == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_tensorboard", [True, False])
def test_a_full_disk_is_an_error_at_once_and_at_most_the_last_line_is_torn(tmp_path, monkeypatch, has_tensorboard):
    """Here it is the size of a file that is limited, and TensorBoard's is the largest."""
    if not has_tensorboard:
        monkeypatch.setattr(report.Report, "_write_events", lambda *args, **kwargs: None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with report.Report(tmp_path, 1000) as log:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            with pytest.raises(OSError, match="File too large" if has_tensorboard else "No space left"):
                for nimg in range(400):
                    log.scalars(nimg, {"a": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lines = (tmp_path / "scalars.jsonl").read_text().splitlines()
    assert [json.loads(line)["nimg"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert nimg == len(lines) - 1 < 399


def test_averages_are_over_what_was_given_and_survive_a_restart():
    averages = report.Averages()
    averages.add({"loss": 1.0, "r1": 8.0})
    averages.add({"loss": 2.0})
    resumed = report.Averages(json.loads(json.dumps(averages.kept())))
    for each in (averages, resumed):
        each.add({"loss": 6.0})
        assert each.take() == {"loss": 3.0, "r1": 8.0}
        assert each.take() == {}


def test_events_go_to_tensorboard_alone(tmp_path):
    with report.Report(tmp_path, 1000, stream=io.StringIO()) as log:
        log.events(500, {"fid50k": 12.5})
    values = {v.tag: (e.step, v.simple_value) for e in read_events(tmp_path) for v in e.summary.value}
    assert values == {"fid50k": (500, 12.5)} and (tmp_path / "scalars.jsonl").read_bytes() == b""
