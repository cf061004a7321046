"""Images are drawn from a run's newest checkpoint, by the names of its classes."""

import jax
import numpy as np
import pytest
from PIL import Image

from stylegan_jax import config
from stylegan_jax.images import draw
from stylegan_jax.runs import checkpoint, workdir
from stylegan_jax.training import state
from tests.small import settings


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[config.Config, object]:
    """Returns the settings and the folder of a conditional run."""
    folder = tmp_path_factory.mktemp("run")
    c = settings(
        model={"resolution": 8, "num_labels": 10},
        data={"source": "digits"},
        report={"grid_columns": 2, "grid_rows": 2, "metric_ticks": 0},
    )
    workdir.record_config(folder, config.to_dict(c))
    manager = checkpoint.open_manager(folder / "checkpoints", 1)
    train_state = jax.jit(state.create, static_argnums=1)(jax.random.key(0), c)
    checkpoint.save(manager, 2048, train_state, {"class_names": [str(i) for i in range(10)]})
    checkpoint.close(manager)
    return c, folder


def test_a_grid_is_drawn_for_each_class_and_each_differs(run):
    c, folder = run
    other_save = folder / "checkpoints/4096.orbax-checkpoint-tmp"  # Of training that goes on meanwhile.
    other_save.mkdir()
    paths = draw.draw(c, folder, ["7", "3"])
    assert [path.name for path in paths] == ["samples000002-class7.png", "samples000002-class3.png"]
    grids = [np.asarray(Image.open(path)) for path in paths]
    assert [g.shape for g in grids] == [(16, 16, 3)] * 2 and (grids[0] != grids[1]).any()
    assert other_save.exists()


def test_without_names_the_classes_take_turns(run):
    c, folder = run
    (path,) = draw.draw(c, folder)
    all_classes, seven = (np.asarray(Image.open(p)) for p in (path, *draw.draw(c, folder, ["0"])))
    np.testing.assert_array_equal(all_classes[:8, :8], seven[:8, :8])
    assert (all_classes != seven).any()


@pytest.mark.parametrize(
    ("name", "message"), [("8 ", "no class '8 '; did you mean '8'"), ("zebra", "its classes are 0, 1")]
)
def test_an_unknown_class_is_named_with_those_that_are(run, name, message):
    with pytest.raises(ValueError, match=message):
        draw.draw(*run, [name])


def test_a_folder_without_a_run_is_named(run, tmp_path):
    with pytest.raises(ValueError, match="has no checkpoint; train there first"):
        draw.draw(run[0], tmp_path / "mistyped")
    assert not list(tmp_path.iterdir())
