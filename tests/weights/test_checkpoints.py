"""Networks come from the checkpoints of a run."""

import jax
import numpy as np
import pytest

import stylegan_jax as sg
from stylegan_jax.config import Config, to_dict
from stylegan_jax.networks import sampling
from stylegan_jax.runs import checkpoint, workdir
from stylegan_jax.training import state
from tests.small import settings


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Config, object, dict]:
    """Returns the settings and the folder of a conditional run, and its states by their images."""
    folder = tmp_path_factory.mktemp("run")
    config = settings(model={"num_labels": 3}, data={"source": "digits"})
    workdir.record_config(folder, to_dict(config))
    manager, states = checkpoint.open_manager(folder / "checkpoints", 3), {}
    for nimg in (64, 160):
        states[nimg] = jax.jit(state.create, static_argnums=1)(jax.random.key(nimg), config)
        states[nimg] = states[nimg].replace(ema_params=jax.tree.map(lambda x: x + 1, states[nimg].g_params))
        checkpoint.save(manager, nimg, states[nimg], {"class_names": ["cat", "dog", "cow"]})
    checkpoint.close(manager)
    return config, folder, states


def test_a_workdir_gives_the_newest_checkpoint_whole(run):
    config, folder, states = run
    network = sg.load(folder)
    assert network.model == config.model and network.info.nimg == 160
    assert network.class_names == ("cat", "dog", "cow")
    trees = {"params": "ema_params", "g_params": "g_params", "d_params": "d_params", "w_avg": "w_avg"}
    for ours, field in trees.items():
        jax.tree.map(np.testing.assert_array_equal, getattr(network, ours), jax.device_get(getattr(states[160], field)))
    assert network.info.source == str(folder / "checkpoints" / "160")


def test_a_checkpoint_is_named_by_its_folder_or_its_images(run):
    _, folder, states = run
    named, numbered = sg.load(folder / "checkpoints" / "64"), sg.load(folder, checkpoint=64)
    for network in (named, numbered):
        np.testing.assert_array_equal(network.w_avg, states[64].w_avg)
        assert network.info.nimg == 64


def test_a_run_in_mid_growth_gives_images_of_its_resolution_enlarged(run):
    config, folder, states = run
    network = sg.load(folder, checkpoint=64)
    phase_px, alpha = network.resolution, network.alpha
    assert phase_px == 8 and alpha == 1
    images = network.synthesize(np.ones((1, config.model.num_layers, 16)), noise="none")
    small = sampling.synthesize(
        states[64].ema_params, np.ones((1, config.model.num_layers, 16), np.float32),
        [np.zeros((1, r, r, 1), np.float32) for r in (4, 4, 8, 8)], None, config.model, 8,
    )  # fmt: skip
    np.testing.assert_allclose(images, np.asarray(small).repeat(2, 1).repeat(2, 2), rtol=1e-5, atol=1e-5)
    assert 8 < sg.load(folder).resolution <= 16 or sg.load(folder).alpha < 1


def test_saved_and_loaded_again_it_is_the_same(run, tmp_path):
    _, folder, _ = run
    network = sg.load(folder)
    back = sg.load(network.save(tmp_path / "run.safetensors"))
    np.testing.assert_array_equal(network(seeds=[3], labels="dog"), back(seeds=[3], labels="dog"))
    assert back.info.nimg == 160 and (back.resolution, back.alpha) == (network.resolution, network.alpha)


def test_what_is_not_there_is_said(run, tmp_path):
    _, folder, _ = run
    with pytest.raises(ValueError, match="has no checkpoint of image 65; it has: 64, 160"):
        sg.load(folder, checkpoint=65)
    with pytest.raises(ValueError, match="checkpoint=160 has no effect: .* is a checkpoint"):
        sg.load(folder / "checkpoints" / "64", checkpoint=160)
    with pytest.raises(ValueError, match="is a folder, but of no run: it has no checkpoints"):
        sg.load(tmp_path)
    with pytest.raises(ValueError, match="does not exist; name a file of weights"):
        sg.load(tmp_path / "nothing")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="has no config.json"):
        sg.load(tmp_path)
    workdir.record_config(tmp_path, to_dict(settings()))
    with pytest.raises(ValueError, match="has no checkpoint; train there first"):
        sg.load(tmp_path)


def test_classes_without_pictures_are_noted(run, tmp_path):
    config, _, states = run
    workdir.record_config(tmp_path, to_dict(config))
    manager = checkpoint.open_manager(tmp_path / "checkpoints", 3)
    meta = {"class_names": ["cat", "dog", "cow"], "class_counts": [5, 0, 0]}
    checkpoint.save(manager, 64, states[64], meta)
    checkpoint.close(manager)
    (note,) = sg.load(tmp_path).info.notes
    assert note.startswith("no picture that this run was trained on is of dog, cow: ")
    assert sg.load(run[1]).info.notes == ()


def test_a_run_of_stylegan2_gives_its_network_which_becomes_a_snapshot(tmp_path):
    model = {"architecture": "stylegan2", "num_labels": 3}
    config = settings(model=model, data={"source": "digits"}, schedule={"initial_resolution": 16})
    workdir.record_config(tmp_path, to_dict(config))
    manager = checkpoint.open_manager(tmp_path / "checkpoints", 3)
    created = jax.jit(state.create, static_argnums=1)(jax.random.key(0), config)
    checkpoint.save(manager, 64, created, {})
    checkpoint.close(manager)
    network = sg.load(tmp_path)
    assert network.model == config.model and (network.resolution, network.alpha) == (16, 1)
    jax.tree.map(np.testing.assert_array_equal, network.params, jax.device_get(created.ema_params))
    again = sg.load(network.save(tmp_path / "network.pkl"))
    np.testing.assert_array_equal(again(seeds=[1], labels=2, psi=0.5), network(seeds=[1], labels=2, psi=0.5))
