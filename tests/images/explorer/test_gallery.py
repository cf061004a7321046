"""The networks and latents that the page can show."""

import pathlib

import numpy as np
import pytest

from stylegan_jax.images.explorer import gallery
from stylegan_jax.images.explorer.gallery import Latent, Latents, Networks, Opened
from tests.random_networks import random_network


def made(*paths: pathlib.Path) -> tuple[pathlib.Path, ...]:
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return paths


def test_networks_are_named_by_their_files(tmp_path):
    first, second = made(tmp_path / "a.safetensors", tmp_path / "b.pkl")
    assert gallery.sources_of(f"{first}, {second}") == {"a.safetensors": str(first), "b.pkl": str(second)}


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path):
    first, second = made(tmp_path / "x/a.pkl", tmp_path / "y/a.pkl")
    assert gallery.sources_of(f"{first},{second}") == {"a.pkl": str(first), str(second): str(second)}


def test_each_checkpoint_of_a_run_is_a_network_the_newest_first(tmp_path):
    for name in ("900", "12000", "1500", "after-1500"):
        (tmp_path / "first/checkpoints" / name).mkdir(parents=True)
    run = tmp_path / "first"
    assert list(gallery.sources_of(str(run)).items()) == [
        (f"first at {n:,} images", str(run / "checkpoints" / str(n))) for n in (12000, 1500, 900)
    ]


def test_a_path_may_have_a_comma(tmp_path):
    (path,) = made(tmp_path / "a,b.pkl")
    assert gallery.sources_of(str(path)) == {"a,b.pkl": str(path)}


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,,b", "names no network before or after a comma"), ("a,b,a", "names a twice"), ("a,c", "c does not exist")],
)
def test_a_list_of_networks_that_cannot_be_meant_is_refused(tmp_path, monkeypatch, text, message):
    made(tmp_path / "a", tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        gallery.sources_of(text)


def test_a_network_is_loaded_when_it_is_first_asked_for_and_kept():
    network, loaded = random_network(resolution=8), []
    networks = Networks({str(i): f"path {i}" for i in range(9)}, lambda path: loaded.append(path) or network)
    assert networks.names == tuple("012345678") and loaded == []
    for number in (1, 1, 0, 1):
        assert networks.open(number).network is network
    assert loaded == ["path 1", "path 0"]
    for number in (2, 3, 4, 5, 6, 7, 8, 1):  # 0 was used the longest ago.
        networks.open(number)
    assert loaded[-1] == "path 8" and len(loaded) == 9
    networks.open(0)
    assert loaded[-1] == "path 0"


@pytest.mark.parametrize("number", [-1, 2])
def test_a_network_that_is_not_there_is_refused(number):
    with pytest.raises(ValueError, match=f"there is no network {number}; there are 2"):
        Networks({"a": "a", "b": "b"}, lambda path: None).open(number)


@pytest.mark.parametrize("num_labels", [0, 3])
def test_directions_are_principal_components_a_standard_deviation_long(num_labels):
    network = random_network(resolution=8, num_labels=num_labels)
    names, directions = gallery.directions_of(network)
    labels = np.arange(2000) % num_labels if num_labels else None
    w = network.map(network.latents(range(2000)), labels)[:, 0]
    assert names[0] == "pca0" and directions.shape == (10, 4, 14) and directions.dtype == np.float32
    lengths = np.linalg.norm(directions[:, 0], axis=1)
    assert (np.diff(lengths) <= 1e-4 * lengths[0]).all()
    units = directions[:, 0] / lengths[:, None]
    np.testing.assert_allclose(units @ units.T, np.eye(10), atol=1e-4)
    np.testing.assert_allclose(((w - w.mean(axis=0)) @ units.T).std(axis=0, ddof=1), lengths, rtol=1e-3)
    assert all(one[np.abs(one).argmax()] > 0 for one in units)


def test_directions_of_files_follow_the_components_and_take_the_place_of_their_names(tmp_path):
    network, vectors = random_network(resolution=8), np.random.default_rng(0).standard_normal((2, 4, 14), np.float32)
    for name, vector in zip(("smile", "pca1"), (vectors[0], vectors[1, 0]), strict=True):
        np.save(tmp_path / f"{name}.npy", vector)
    names, found = gallery.directions_of(network, [str(tmp_path / "smile.npy"), str(tmp_path / "pca1.npy")])
    assert names == (*(f"pca{i}" for i in range(10)), "smile") and found.shape == (11, 4, 14)
    np.testing.assert_array_equal(found[10], vectors[0])
    np.testing.assert_array_equal(found[1], np.broadcast_to(vectors[1, 0], (4, 14)))
    np.testing.assert_array_equal(found[0], gallery.directions_of(network)[1][0])


def test_a_latent_has_a_name_of_its_content_and_the_oldest_is_forgotten():
    latents, first = Latents(), Latent(np.zeros((1, 2, 3), np.float32), None, "n")
    name = latents.put(first)
    assert latents.get(name) is first and latents.get(None) is None and latents.put(first) == name
    others = {latents.put(Latent(np.full((1, 2, 3), i, np.float32), None, "n")) for i in range(1, 65)}
    assert len(others) == 64 and name not in others
    with pytest.raises(ValueError, match="is not here any more; upload the picture or the latent again"):
        latents.get(name)


def test_networks_that_differ_in_their_layers_are_not_shown_side_by_side():
    small, large = (Opened(f"{r} px", random_network(resolution=r), (), np.zeros(0)) for r in (8, 16))
    gallery.check_alike([small, small])
    with pytest.raises(ValueError, match="16 px cannot be shown beside 8 px: their layers differ, 6 and 4"):
        gallery.check_alike([small, large])


def test_a_file_in_a_folder_that_is_named_twice_is_refused(tmp_path):
    (path,) = made(tmp_path / "a.pkl")
    with pytest.raises(ValueError, match="names .*a.pkl twice; name it once"):
        gallery.sources_of(f"{path},{path}")
