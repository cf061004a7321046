"""Feature networks are opened once each, with the weights that a folder has."""

import dataclasses

import numpy as np
import pytest

from stylegan_jax.devices import mesh
from stylegan_jax.metrics import fd_faces, feature_networks
from stylegan_jax.metrics.feature_networks import KINDS
from stylegan_jax.metrics.features import inception, known, shelf, vgg
from tests.measured import devices, pixels
from tests.metrics.features import files, random_weights

WEIGHTS = known.Weights({"x": np.float32(2)}, "a" * 64, "b" * 64, "some.pt", ("a note",))


def test_the_attribute_network_needs_no_folder_and_has_its_features(tmp_path):
    found = feature_networks.open_kinds({"faces": "fd_faces10k"}, tmp_path / "nowhere", devices())["faces"]
    images = pixels(3)
    outputs = found.apply_fn(found.params, images)
    np.testing.assert_allclose(outputs["features"], fd_faces.features(images), rtol=1e-5, atol=1e-5)
    assert outputs["logits"].shape == (3, fd_faces.NUM_ATTRIBUTES)
    assert found.about == {
        "file": "attribute_network.npz",
        "sha256": fd_faces.WEIGHTS_SHA256,
        "sha256_of_arrays": fd_faces.WEIGHTS_SHA256,
    }


def test_kinds_of_one_network_read_its_file_once_and_differ_by_their_resize(tmp_path, monkeypatch):
    read = []

    def read_fn(path):
        read.append(path)
        return WEIGHTS

    monkeypatch.setattr(shelf, "find", lambda network, folder, metric: folder / f"{network}.pt")
    for kind in ("inception", "inception_clean"):
        monkeypatch.setitem(KINDS, kind, dataclasses.replace(KINDS[kind], read_fn=read_fn))
    found = feature_networks.open_kinds({"inception": "fid50k", "inception_clean": "clean_fid50k"}, tmp_path, devices())
    assert read == [tmp_path / "inception.pt"]
    assert {name: one.kind for name, one in found.items()} == {name: name for name in found}
    assert found["inception"].params is found["inception_clean"].params
    assert found["inception"].apply_fn is not found["inception_clean"].apply_fn
    assert found["inception"].about == {"file": "some.pt", "sha256": "a" * 64, "sha256_of_arrays": "b" * 64}
    assert found["inception"].notes == ("a note",)


def test_parameters_lie_on_all_devices(tmp_path):
    found = feature_networks.open_kinds({"faces": "fd_faces10k"}, tmp_path, devices(4))["faces"]
    assert all(x.sharding == mesh.replicated(devices(4)) for x in found.params.values())


@pytest.mark.parametrize("kind", [name for name in KINDS if KINDS[name].network])
def test_missing_weights_name_the_metric_and_the_folder(tmp_path, kind):
    with pytest.raises(shelf.MissingWeights, match=rf"my_metric needs .*{tmp_path} has no file of it"):
        feature_networks.open_kinds({kind: "my_metric"}, tmp_path, devices())


def test_the_distance_of_path_lengths_is_vgg_with_its_heads(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "read_vgg", lambda folder, metric: WEIGHTS)
    found = feature_networks.open_distance("ppl_wend", tmp_path, devices())
    assert (found.kind, found.apply_fn, found.sha256) == ("vgg", vgg.stages, "a" * 64)
    monkeypatch.undo()
    with pytest.raises(shelf.MissingWeights, match="ppl_wend needs"):
        feature_networks.open_distance("ppl_wend", tmp_path, devices())


def test_the_filters_of_the_kinds_differ_where_their_names_do():
    resizes = {kind: KINDS[kind].resize for kind in KINDS}
    assert len({resizes[kind] for kind in ("inception", "inception_clean", "inception_torch")}) == 3
    assert "TensorFlow 1" in resizes["inception"] and "Pillow" in resizes["inception_clean"]
    assert "PyTorch" in resizes["inception_torch"] and "TensorFlow 1" in resizes["vgg_dense"]


@pytest.mark.slow
def test_inception_is_read_from_a_file_and_asked_with_the_filter_of_the_kind(tmp_path):
    files.write_pickle(tmp_path / "mine.pth", random_weights.nested(random_weights.inception_arrays(seed=1)))
    kinds = {"inception": "fid50k", "inception_clean": "clean_fid50k"}
    found, images = feature_networks.open_kinds(kinds, tmp_path, devices()), pixels(2, px=32)
    outputs = {kind: one.apply_fn(one.params, images) for kind, one in found.items()}
    for kind, resize in (("inception", "tf1_bilinear"), ("inception_clean", "pil_bicubic")):
        features, logits = inception.apply(mesh.local(found[kind].params), images, resize)
        np.testing.assert_allclose(outputs[kind]["features"], features, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(outputs[kind]["logits"], logits, rtol=1e-4, atol=1e-4)
    assert np.abs(outputs["inception"]["features"] - outputs["inception_clean"]["features"]).max() > 1e-3
