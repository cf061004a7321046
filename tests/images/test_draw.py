"""Images are drawn from a run's newest checkpoint, by the names of its classes."""

import pathlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Config, to_dict
from stylegan_jax.images import draw
from stylegan_jax.runs import checkpoint, workdir
from stylegan_jax.training import state
from stylegan_jax.weights import checkpoints
from tests.small import settings


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Config, object]:
    """Returns the settings and the folder of a conditional run."""
    folder = tmp_path_factory.mktemp("run")
    config = settings(
        model={"resolution": 8, "num_labels": 10},
        data={"source": "digits"},
        report={"grid_columns": 2, "grid_rows": 2, "metric_ticks": 0},
    )
    workdir.record_config(folder, to_dict(config))
    manager = checkpoint.open_manager(folder / "checkpoints", 2)
    for nimg in (1024, 2048):
        train_state = jax.jit(state.create, static_argnums=1)(jax.random.key(nimg), config)
        checkpoint.save(manager, nimg, train_state, {"class_names": [str(i) for i in range(10)]})
    checkpoint.close(manager)
    return config, folder


def test_a_grid_is_drawn_for_each_class_and_each_differs(run):
    config, folder = run
    other_save = folder / "checkpoints/4096.orbax-checkpoint-tmp"  # Of training that goes on meanwhile.
    other_save.mkdir(exist_ok=True)
    paths = draw.save_grids(config, folder, ["7", "3"])
    assert [path.name for path in paths] == ["samples000002-class7.png", "samples000002-class3.png"]
    grids = [np.asarray(Image.open(path)) for path in paths]
    assert [g.shape for g in grids] == [(16, 16, 3)] * 2 and (grids[0] != grids[1]).any()
    assert other_save.exists()


def test_without_names_the_classes_take_turns(run):
    config, folder = run
    (path,) = draw.save_grids(config, folder)
    all_classes, seven = (np.asarray(Image.open(p)) for p in (path, *draw.save_grids(config, folder, ["0"])))
    np.testing.assert_array_equal(all_classes[:8, :8], seven[:8, :8])
    assert (all_classes != seven).any()


def test_classes_without_pictures_take_no_turn_and_are_told(run, tmp_path, caplog):
    config, folder = run
    folder = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*tmp*"))
    manager = checkpoint.open_manager(folder / "checkpoints", 2)
    train_state = jax.jit(state.create, static_argnums=1)(jax.random.key(3), config)
    meta = {"class_names": [str(i) for i in range(10)], "class_counts": [0, 0, 5, 0, 0, 0, 0, 0, 0, 0]}
    checkpoint.save(manager, 3072, train_state, meta)
    checkpoint.close(manager)
    (path,) = draw.save_grids(config, folder)
    turns = np.asarray(Image.open(path))
    assert not caplog.records
    two, zero = (np.asarray(Image.open(path)) for path in draw.save_grids(config, folder, ["2", "0"]))
    np.testing.assert_array_equal(turns, two)
    assert (turns != zero).any()
    assert [record.getMessage() for record in caplog.records] == [
        "no picture that this run was trained on is of class 0: what is drawn means nothing"
    ]


@pytest.mark.parametrize(
    ("name", "message"), [("8 ", "no class '8 '; did you mean '8'"), ("zebra", "Its classes:\n  0: 0\n  1: 1\n")]
)
def test_an_unknown_class_is_named_with_those_that_are(run, name, message):
    with pytest.raises(ValueError, match=message):
        draw.save_grids(*run, [name])


def test_a_folder_without_a_run_is_named(run, tmp_path):
    with pytest.raises(ValueError, match="has no checkpoint; train there first"):
        draw.save_grids(run[0], tmp_path / "mistyped")
    assert not list(tmp_path.iterdir())


def _content(folder: pathlib.Path) -> dict[str, int]:
    return {str(place): place.stat().st_mtime_ns for place in sorted(folder.rglob("*"))}


def test_settings_are_those_of_the_run_and_another_folder_takes_the_pictures(run, tmp_path):
    config, folder = run
    (expected,) = draw.save_grids(config, folder)
    before = _content(folder)
    (path,) = draw.save_grids(None, folder, out=tmp_path / "new" / "pictures")
    assert path == tmp_path / "new" / "pictures" / expected.name and path.read_bytes() == expected.read_bytes()
    assert _content(folder) == before  # A run that can only be read is enough.


def test_other_settings_than_the_runs_are_refused(run, tmp_path):
    config = settings(model={"resolution": 16, "num_labels": 10}, data={"source": "digits"})
    with pytest.raises(ValueError, match="model.resolution: 8 in .*, 16 now"):
        draw.save_grids(config, run[1], out=tmp_path)


def test_a_run_without_its_settings_needs_them_said(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"has no config.json; give the settings of its run with --config"):
        draw.save_grids(None, tmp_path)
    (tmp_path / "config.json").write_text('{"model": {"resolution": 7}}')
    with pytest.raises(ValueError, match=r"config.json: model.resolution is 7"):
        draw.save_grids(None, tmp_path)


def test_an_older_checkpoint_is_drawn_from_if_it_is_named(run, tmp_path):
    config, folder = run
    (newest,), (older,) = (
        draw.save_grids(config, folder, out=tmp_path),
        draw.save_grids(config, folder, out=tmp_path, nimg=1024),
    )
    assert (newest.name, older.name) == ("samples000002.png", "samples000001.png")
    assert newest.read_bytes() != older.read_bytes()


def test_what_is_restored_is_the_part_of_a_training_state_that_draws(run):
    config, _ = run
    wanted = checkpoints.generator_fields(config.model)
    whole = state.abstract(config)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), wanted) == jax.tree.map(
        lambda x: (x.shape, x.dtype), {"ema_params": whole.ema_params, "w_avg": whole.w_avg}
    )


def test_a_damaged_checkpoint_is_told_and_left_where_it_is(run, tmp_path, caplog):
    config, folder = run
    place = folder / "checkpoints" / "2048" / "record" / "metadata"
    content = place.read_bytes()
    place.write_bytes(b"{")
    try:
        (path,) = draw.save_grids(config, folder, out=tmp_path)
    finally:
        place.write_bytes(content)
    assert path.name == "samples000001.png" and (folder / "checkpoints" / "2048").is_dir()
    assert "checkpoint 2048 cannot be used: its record cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "numbers"), [(["cat"], [0]), (["1", "salt, pepper"], [1, 2]), (["2", "2"], [2, 2]), ([], [None])]
)
def test_classes_are_given_by_name_or_number(wanted, numbers):
    assert draw._numbers(wanted, ["cat", "dog", "salt, pepper"], 3) == numbers


def test_a_name_with_a_comma_is_put_in_quotes(run):
    with pytest.raises(
        ValueError, match="put a name that has a comma in double quotes: --classes='\"salt, pepper\",7'."
    ):
        draw.save_grids(*run, ["salt"])
