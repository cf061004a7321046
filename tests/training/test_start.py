"""What a run begins with, and what a user is told when it begins or has nothing left to do."""

import json
import re

import jax
import numpy as np
import pytest

from stylegan_jax.config import Config, schedule
from stylegan_jax.data import dataset
from stylegan_jax.devices import mesh
from stylegan_jax.networks import sampling
from stylegan_jax.runs import checkpoint
from stylegan_jax.training import start, state
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network
from stylegan_jax.weights.transfer import Row
from tests.small import settings


def test_pictures_are_told_in_words_without_what_there_is_none_of():
    counts = {"images": 16, "heldout": 4, "skipped": 0, "filtered": 2, "enlarged": 0, "ignored": 3, "classes": 10}
    assert (
        start.pictures_text(counts) == "16 to train on, 4 held out, 2 left out as too small, 3 other files, 10 classes"
    )


def test_a_run_begins_with_its_pictures_parameters_devices_and_place():
    config = settings()
    data = dataset.open_dataset(config.data, config.model, config.seed)
    pictures, parameters, devices, place = start.about(config, data, mesh.make_mesh(), 64)
    assert pictures == "pictures: 64 to train on, 32 held out"
    assert parameters.startswith("parameters: ") and parameters.endswith("of the discriminator")
    assert devices == "devices: 4 CPU" and place == "starting at 0.064 kimg"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"total_kimg": 0.064},
            r"ends at 0.064 kimg with images of 8 px: full resolution, 16 px, begins at 0.064 kimg",
        ),
        (
            {"total_kimg": 0.12},
            r"ends at 0.128 kimg while full resolution, 16 px, still fades in: it is .* 0.128 kimg",
        ),
        ({"total_kimg": 0.064, "initial_resolution": 4}, r"with images of 4 px: .* begins at 0.192 kimg"),
    ],
)
def test_a_run_that_ends_before_full_resolution_is_told_so(changes, message):
    config = settings(schedule=changes)
    *_, last = schedule.chunks(config.schedule, 16)
    (note,) = start.schedule_notes(config, last)
    assert re.search(message, note)


def test_a_run_that_grows_to_the_end_needs_no_note():
    config = settings()
    *_, last = schedule.chunks(config.schedule, 16)
    assert start.schedule_notes(config, last) == []


def test_classes_that_the_model_does_not_use_are_told():
    def notes(num_labels: int) -> list[str]:
        config = settings(model={"num_labels": num_labels}, data={"source": "digits"})
        return start.class_notes(config, dataset.open_dataset(config.data, config.model, config.seed))

    (note,) = notes(0)
    assert note.startswith("the pictures have 10 classes, and the model is unconditional") and "num_labels=10" in note
    assert notes(10) == []


def test_a_run_that_is_complete_says_so_and_one_beyond_its_total_too():
    config = settings()
    assert start.ending(config, 256, 256) == "complete at 0.256 kimg"
    text = start.ending(settings(schedule={"total_kimg": 0.1}), 256, 128)
    assert text == "nothing to train: the run is at 0.256 kimg, and schedule.total_kimg is 0.1. Raise it to train on."


def test_the_command_that_goes_on_is_told_without_the_flag_that_goes_back():
    saved = "stopped by SIGTERM and saved at 64 images; the same command"
    assert start.stopped("SIGTERM", 64, None) == f"{saved} goes on from here"
    assert start.stopped("SIGTERM", 64, 32) == f"{saved}, without --checkpoint, goes on from here"


# ---- with the arrays of another network


def network_of(config: Config, **fields) -> Network:
    """Returns a network of random arrays; that of a run at full resolution, but for `fields`."""
    shapes, rng = state.abstract(config), np.random.default_rng(0)
    trees = {name: getattr(shapes, name) for name in state.IMPORTED}
    g_params, d_params, params, w_avg = jax.tree.map(
        lambda x: rng.standard_normal(x.shape, np.float32), tuple(trees.values())
    )
    values = {"params": params, "g_params": g_params, "d_params": d_params, "w_avg": w_avg}
    values |= {
        "info": Info("faces.pkl", "a pickle", notes=("w_avg is computed.",)),
        "resolution": config.model.resolution,
    }
    return Network(config.model, **values | fields)


def opened(config: Config, folder, network: Network | None = None):
    """Returns (state, nimg, lines) of a run that is opened and closed."""
    data, devices = dataset.open_dataset(config.data, config.model, config.seed), mesh.make_mesh()
    manager, train_state, nimg, _, lines = start.open_run(config, folder, data, devices, None, network)
    manager.close()
    return train_state, nimg, lines


def test_a_run_above_a_network_begins_with_its_samples_and_fades_in_from_them(tmp_path):
    network = network_of(settings(model={"resolution": 8}))
    config = settings(model={"resolution": 16}, schedule={"initial_resolution": 8})
    train_state, nimg, lines = opened(config, tmp_path, network)

    def samples(params, model, resolution, alpha):
        how = {"model": model, "n": 4, "resolution": resolution}
        return np.asarray(sampling.sample(params, jax.random.key(0), np.int32(0), None, alpha, **how))

    ours, theirs = mesh.local(train_state.ema_params), network.params
    assert np.array_equal(samples(ours, config.model, 8, None), samples(theirs, network.model, 8, None))
    # The noise is drawn for all layers at once, and so is other noise at 16 px: the strengths are set to 0.
    ours = jax.tree.map_with_path(lambda path, x: x * ("noise_strength" not in str(path)), ours)
    before = samples(ours, config.model, 8, None).repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(samples(ours, config.model, 16, np.float32(0)), before)
    assert nimg == 0 and not any("warning" in line for line in lines)


def test_a_new_state_has_the_networks_arrays_on_each_device_and_its_optimizers_are_new(tmp_path):
    network, config = network_of(settings(model={"resolution": 8})), settings(model={"resolution": 8})
    train_state, _, lines = opened(config, tmp_path, network)
    pairs = {"g_params": network.g_params, "d_params": network.d_params, "ema_params": network.params}
    for name, expected in (pairs | {"w_avg": network.w_avg}).items():
        for ours, theirs in zip(*map(jax.tree.leaves, (getattr(train_state, name), expected)), strict=True):
            assert len(ours.addressable_shards) == 4
            assert all(np.array_equal(shard.data, theirs) for shard in ours.addressable_shards)
    assert not any(np.any(x) for x in jax.tree.leaves((train_state.g_opt, train_state.d_opt, train_state.nimg)))
    assert lines[0] == "beginning with faces.pkl: a pickle; 0 arrays read\n  note: w_avg is computed."
    assert re.fullmatch(r"  arrays: \d+ copied", lines[1]) and len(lines) == 2

    record = json.loads((tmp_path / "init_from.json").read_text())
    assert {name: record[name] for name in ("source", "layout", "resolution")} == {
        "source": "faces.pkl",
        "layout": "a pickle",
        "resolution": 8,
    }
    assert {row["what"] for row in record["rows"]} == {"copied"} and len(record["sha256_of_arrays"]) == 64
    assert "g_params/synthesis/b8/conv0/weight" in {row["array"] for row in record["rows"]}


def test_a_run_without_a_network_begins_as_ever(tmp_path):
    config = settings(model={"resolution": 8})
    train_state, nimg, lines = opened(config, tmp_path)
    for ours, theirs in zip(
        *map(jax.tree.leaves, (train_state, state.create_on(mesh.make_mesh(), config))), strict=True
    ):
        assert np.array_equal(ours, theirs)
    assert (nimg, lines) == (0, []) and not (tmp_path / "init_from.json").exists()


def test_with_checkpoints_a_network_is_not_even_read(tmp_path, caplog):
    config = settings(model={"resolution": 8})
    manager = checkpoint.open_manager(tmp_path / "checkpoints", 1)
    checkpoint.save(manager, 8, state.create_on(mesh.make_mesh(), config), {})
    checkpoint.close(manager)
    assert start.read_network("nowhere.pkl", tmp_path) is None
    (record,) = caplog.records
    assert record.getMessage() == "--init_from=nowhere.pkl has no effect: the run goes on from its checkpoints."
    assert start.read_network(None, tmp_path) is None


def test_a_network_that_is_not_there_or_is_none_is_refused(tmp_path):
    (tmp_path / "file.pkl").write_text("no network")
    for given, message in (("", "--init_from is empty"), ("nowhere.pkl", "nowhere.pkl does not exist")):
        with pytest.raises(ValueError, match=message):
            start.read_network(given, tmp_path)
    with pytest.raises(ValueError, match="file.pkl"):
        start.read_network(str(tmp_path / "file.pkl"), tmp_path)


def test_a_run_that_had_a_network_and_no_checkpoint_does_not_begin_anew_unnoticed(tmp_path):
    (tmp_path / "init_from.json").touch()
    with pytest.raises(ValueError, match="Give its --init_from again to begin so, or move init_from.json away"):
        start.read_network(None, tmp_path)


def test_hosts_compare_the_networks_that_they_read(tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(start.distributed, "check_same", lambda name, value: compared.append((name, value)))
    config = settings(model={"resolution": 8})
    for network in (network_of(config), network_of(config), network_of(config, d_params=None)):
        monkeypatch.setattr(start.load, "load", lambda path, network=network: network)
        assert start.read_network("faces.pkl", tmp_path) is network
    assert start.read_network(None, tmp_path) is None
    is_none, digests = [value for _, value in compared[::2]], [value for _, value in compared[1::2]]
    assert is_none == ["False", "False", "False", "True"]  # Before a network is read, which processes do together.
    assert digests[0] == digests[1] != digests[2] and len(digests) == 3
    assert {name for name, _ in compared} == {"networks (--init_from)"}


@pytest.mark.parametrize(
    ("at", "last", "first", "message"),
    [
        (16, 32, 16, None),
        (
            16,
            32,
            8,
            r"warning: it is trained at 16 px, and the run begins at 8 px: .* schedule.initial_resolution=16\.",
        ),
        (16, 32, 32, r"warning: .* begin random, without a fade\. .* schedule.initial_resolution=16\."),
        (32, 16, 16, r"note: it is trained at 32 px, and the model ends at 16 px"),
        (32, 16, 8, r"warning: .* schedule.initial_resolution=16\."),
    ],
)
def test_a_run_that_does_not_begin_where_its_network_is_is_told_the_setting(at, last, first, message):
    config = settings(model={"resolution": last}, schedule={"initial_resolution": first})
    notes = start.import_notes(config, network_of(settings(model={"resolution": at})))
    assert bool(notes) == (message is not None) and all(re.search(message, note) for note in notes)


def test_a_larger_run_of_stylegan2_is_told_of_its_first_images():
    model = {"architecture": "stylegan2", "resolution": 32}
    config, smaller = (settings(model=model | {"resolution": r}, schedule={"initial_resolution": r}) for r in (32, 16))
    (note,) = start.import_notes(config, network_of(smaller))
    assert note.startswith("note: it is of 16 px, and the run of 32 px: the layers above 16 px begin random")


def test_other_settings_a_fade_and_a_missing_generator_are_told():
    config = settings(schedule={"initial_resolution": 16})
    network = network_of(settings(model={"nonlinearity": "relu"}), alpha=0.25, g_params=None)
    average, fade, other = start.import_notes(config, network)
    assert average == "note: it has no generator in training; training goes on from the average of its weights."
    assert fade == "note: its 16 px were fading in (alpha 0.25); here they begin with alpha 1."
    assert other.startswith("warning: model.nonlinearity is 'relu' in the imported network")


def test_frozen_blocks_that_begin_random_are_told():
    rows = [Row(f"d_params/{name}/weight", "copied", "") for name in ("b8", "from_rgb8")]
    rows += [Row("d_params/b16/weight", "initialised", "the network ends at 8 px"), Row("w_avg", "copied", "")]
    assert start.frozen_notes(settings(), ()) == start.frozen_notes(settings(), rows) == []
    (note,) = start.frozen_notes(settings(train={"freeze_d": 2}), rows)
    assert note.startswith("warning: train.freeze_d=2 keeps the discriminator's parts at 16 px as they begin, which is")
    (note,) = start.frozen_notes(settings(train={"freeze_d": 2}), ())
    assert "at 8, 16 px" in note
