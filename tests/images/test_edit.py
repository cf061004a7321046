"""--mode=edit: styles that move along directions or toward another picture, and the pictures of them."""

import dataclasses
import functools

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.images import direction_files, edit, projection_files
from stylegan_jax.images.directions import Direction
from tests.images import modes
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=8)


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    return network.save(tmp_path_factory.mktemp("network") / "net.npz")


@pytest.fixture
def ws():
    return np.random.default_rng(0).standard_normal((3, 4, 14)).astype(np.float32)


@pytest.fixture(scope="module")
def smile(network, tmp_path_factory):
    vectors = np.random.default_rng(1).standard_normal((2, 14)).astype(np.float32)
    found = [Direction(n, v, v, "drawn", network.sha256) for n, v in zip(("smile", "age"), vectors, strict=True)]
    path = tmp_path_factory.mktemp("directions") / "d.safetensors"
    direction_files.save(path, found)
    return found[0], path


command = functools.partial(modes.run, "edit")


def pixels(path):
    return np.asarray(Image.open(path))


def test_a_vector_is_added_in_all_layers(ws):
    vector = np.arange(14)
    np.testing.assert_array_equal(edit.edit(ws, vector, -0.5), ws - np.float32(0.5) * np.float32(vector))


def test_a_vector_for_each_layer_is_added_in_some(ws):
    vector = np.arange(4 * 14, dtype=np.float32).reshape(4, 14)
    found = edit.edit(ws, vector, 2, layers=[1, 3])
    np.testing.assert_array_equal(found[:, [0, 2]], ws[:, [0, 2]])
    np.testing.assert_array_equal(found[:, [1, 3]], ws[:, [1, 3]] + 2 * vector[[1, 3]])


def test_arrays_of_other_shapes_and_layers_that_are_not_there_are_refused(ws):
    with pytest.raises(ValueError, match=r"ws is \[3, 4, 14\] and vector \[3, 14\]; give"):
        edit.edit(ws, ws[:, 0], 1)
    with pytest.raises(ValueError, match=r"layers are \[4\]; there are those from 0 to 3"):
        edit.edit(ws, ws[0], 1, layers=[4])
    with pytest.raises(ValueError, match=r"ws is \[3, 4, 14\] and other \[2, 4, 14\]"):
        edit.transfer(ws, ws[:2])


def test_styles_of_some_layers_are_another_pictures(ws):
    found = edit.transfer(ws[:2], ws[2:], layers=[0, 1])
    np.testing.assert_array_equal(found[:, :2], np.repeat(ws[2:, :2], 2, axis=0))
    np.testing.assert_array_equal(found[:, 2:], ws[:2, 2:])
    np.testing.assert_allclose(edit.transfer(ws[:1], ws[2:], 0.25)[0], 0.75 * ws[0] + 0.25 * ws[2], rtol=1e-5)
    np.testing.assert_array_equal(edit.transfer(ws, ws[2:], 0), ws)


def test_a_file_has_the_image_of_the_edited_styles(network, path, smile, tmp_path, capsys):
    direction, file = smile
    command(network=path, directions=file, apply="smile", strengths="-1.5,0,2", seeds="3", psi="0.7", out=tmp_path)
    ws = network.map(network.latents(3), psi=0.7)
    for text, strength in (("-1.5", -1.5), ("+0", 0), ("+2", 2)):
        expected = network.images(edit.edit(ws, direction.vector, strength))[0]
        np.testing.assert_array_equal(pixels(tmp_path / f"seed0003-smile{text}.png"), expected)
    np.testing.assert_array_equal(pixels(tmp_path / "seed0003-smile+0.png"), network(seeds=3, psi=0.7)[0])
    assert "seed0003-smile-1.5.png and 2 more" in capsys.readouterr().out


def test_a_grid_has_a_row_for_each_picture_and_direction(network, path, smile, tmp_path, capsys):
    command(network=path, directions=smile[1], strengths="0,1", seeds="3,4", layers="1-2", grid="true", out=tmp_path)
    picture = pixels(tmp_path / "grid.png")
    assert picture.shape == (4 * 8, 2 * 8, 3)
    ws = edit.edit(network.map(network.latents(4)), smile[0].vector, 1, [1, 2])
    np.testing.assert_array_equal(picture[16:24, 8:], network.images(ws)[0])
    said = capsys.readouterr().out
    assert "rows: seed0003 smile, seed0003 age, seed0004 smile, seed0004 age\ncolumns: 0, 1\n" in said


def test_held_directions_are_taken_out(network, path, smile, tmp_path):
    direction, file = smile
    every = direction_files.load(file, network)
    for name, hold in (("one", "age"), ("all", "all")):
        command(network=path, directions=file, apply="smile", hold=hold, strengths="1", seeds="0", out=tmp_path / name)
        vector = edit.directions.held(direction, every[1:]).vector
        expected = network.images(edit.edit(network.map(network.latents(0)), vector, 1))[0]
        np.testing.assert_array_equal(pixels(tmp_path / name / "seed0000-smile+1.png"), expected)


def test_styles_of_a_file_move_toward_those_of_another(network, path, ws, tmp_path):
    np.save(tmp_path / "mine.npy", ws[:1])
    np.savez(tmp_path / "hair.npz", ws=ws[1])
    files = {"ws": tmp_path / "mine.npy", "toward": tmp_path / "hair.npz"}
    command(network=path, **files, layers="2-3", strengths="1", out=tmp_path / "out")
    expected = network.images(np.concatenate([ws[:1, :2], ws[1:2, 2:]], axis=1))[0]
    np.testing.assert_array_equal(pixels(tmp_path / "out/mine-toward-hair+1.png"), expected)


def test_pictures_move_toward_that_of_a_seed(network, path, ws, tmp_path):
    np.save(tmp_path / "mine.npy", ws[0])
    command(network=path, ws=tmp_path / "mine.npy", toward="5", psi="0.5", strengths="1", out=tmp_path / "out")
    found = pixels(tmp_path / "out/mine-toward-seed0005+1.png")
    np.testing.assert_array_equal(found, network(seeds=5, psi=0.5)[0])


def test_the_same_command_goes_on_and_others_are_refused(path, smile, tmp_path):
    given = {"network": path, "directions": smile[1], "apply": "smile", "seeds": "0", "out": tmp_path}
    command(**given, strengths="1,2")
    (tmp_path / "seed0000-smile+2.png").unlink()
    (tmp_path / "seed0000-smile+1.png").write_bytes(b"left as it is")
    command(**given, strengths="1,2")
    assert (tmp_path / "seed0000-smile+1.png").read_bytes() == b"left as it is"
    assert (tmp_path / "seed0000-smile+2.png").exists()
    command(**given | {"seeds": "0-1"}, strengths="3")
    assert (tmp_path / "seed0001-smile+3.png").exists()
    for other in ({"layers": "0"}, {"hold": "age"}, {"noise": "none"}, {"psi": "0.5"}):
        with pytest.raises(ValueError, match="has pictures that were made otherwise"):
            command(**given, **other, strengths="1,2")


def test_noise_that_is_refused_leaves_the_folder_to_other_settings(path, smile, tmp_path):
    given = {"network": path, "directions": smile[1], "seeds": "0", "strengths": "1", "out": tmp_path}
    with pytest.raises(ValueError, match="noise_seed=5 has no effect"):
        command(**given, noise="none", noise_seed="5")
    assert not list(tmp_path.iterdir())


def test_a_whole_grid_stays(path, smile, tmp_path):
    given = {"network": path, "directions": smile[1], "seeds": "0", "grid": "true", "out": tmp_path}
    command(**given)
    (tmp_path / "grid.png").write_bytes(b"left as it is")
    command(**given)
    assert (tmp_path / "grid.png").read_bytes() == b"left as it is"


def test_directions_of_another_or_an_unknown_network_are_noted(path, smile, tmp_path, capsys):
    foreign = Direction("hat", smile[0].vector, smile[0].normal, "drawn", "of another network")
    direction_files.save(tmp_path / "hat.safetensors", [foreign])
    np.save(tmp_path / "beard.npy", smile[0].vector)
    files = f"{tmp_path / 'hat.safetensors'},{tmp_path / 'beard.npy'},{smile[1]}"
    command(network=path, directions=files, seeds="0", strengths="1", out=tmp_path / "out")
    said = capsys.readouterr().out
    assert "note: hat: found for another network; it may mean something else in this one.\n" in said
    assert "note: beard: the file does not say for which network; strength 1 adds it as it is.\n" in said


def projected(network, path) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Returns ws and noise of the file of a projection that it writes."""
    rng = np.random.default_rng(5)
    noise = tuple(rng.standard_normal(m.shape, np.float32) for m in network.const_noise())
    ws = network.map(network.latents(7))
    path.write_bytes(projection_files.encoded(network, ws, noise))
    return ws, noise


def test_a_projection_keeps_its_noise_unless_it_is_to_have_none(network, path, smile, tmp_path):
    ws, noise = projected(network, tmp_path / "me.safetensors")
    given = {"network": path, "ws": tmp_path / "me.safetensors", "directions": smile[1], "apply": "smile"}
    for kind, maps in (("const", noise), ("none", "none")):
        command(**given, strengths="0,2", noise=kind, out=tmp_path / kind)
        for strength in (0, 2):
            expected = network.images(edit.edit(ws, smile[0].vector, strength), maps)[0]
            np.testing.assert_array_equal(pixels(tmp_path / kind / f"me-smile{strength:+d}.png"), expected)
    with pytest.raises(ValueError, match="--noise_seed=3 has no effect on .*me.safetensors, which has noise maps"):
        command(**given, noise_seed="3", out=tmp_path / "seed")


def test_a_projection_with_other_noise_is_another_picture(network, path, smile, tmp_path):
    file = tmp_path / "me.safetensors"
    ws, noise = projected(network, file)
    command(network=path, ws=file, directions=smile[1], strengths="1", out=tmp_path / "out")
    file.write_bytes(projection_files.encoded(network, ws, tuple(2 * m for m in noise)))
    with pytest.raises(ValueError, match="made otherwise"):
        command(network=path, ws=file, directions=smile[1], strengths="1", out=tmp_path / "out")


def test_a_projection_of_another_network_is_refused(path, smile, tmp_path):
    projected(random_network(1, resolution=8), tmp_path / "me.safetensors")
    for given in ({"ws": "me", "directions": smile[1]}, {"seeds": "0", "toward": "me", "strengths": "1"}):
        given = {name: tmp_path / "me.safetensors" if value == "me" else value for name, value in given.items()}
        with pytest.raises(ValueError, match="me.safetensors was made with another network: its digest is"):
            command(network=path, out=tmp_path / "out", **given)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((18, 14)), r"ws is float64 \[18, 14\]; a picture of this network has finite floats \[4, 14\]"),
        (np.ones((2, 4, 14)), r"ws is float64 \[2, 4, 14\]"),
        (np.full((4, 14), np.inf), "finite floats"),
        (np.full((4, 14), 1e300), r"p.npy: ws is float64 \[4, 14\]; .* in float32 too"),
    ],
)
def test_files_of_other_styles_are_refused(network, tmp_path, value, message):
    np.save(tmp_path / "p.npy", value)
    with pytest.raises(ValueError, match=message):
        edit.open_pictures(network, [str(tmp_path / "p.npy")], [])


def test_files_without_styles_are_refused(network, tmp_path):
    np.savez(tmp_path / "p.npz", w=np.ones(3))
    with pytest.raises(ValueError, match="p.npz has no array 'ws', but w"):
        edit.open_pictures(network, [str(tmp_path / "p.npz")], [])
    with pytest.raises(ValueError, match=r"p.png: styles come in projections .* .npy or .npz files"):
        edit.open_pictures(network, ["p.png"], [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "takes --directions=FILES or --toward=FILE_OR_SEED: one of the two"),
        ({"directions": "d.npy", "toward": "3"}, "one of the two"),
        ({"toward": "3", "hold": "age"}, "--apply and --hold name --directions"),
        ({"toward": "3"}, "--strengths is missing: with --toward, 1 takes the other's styles whole"),
        ({"directions": "d.npy", "strengths": "1,one"}, "--strengths=1,one: use different numbers"),
        ({"directions": "d.npy", "strengths": "1,1.0"}, "use different numbers"),
        ({"directions": "d.npy", "strengths": "inf"}, "use different numbers"),
        ({"directions": "d.npy", "noise": "random"}, "--noise=random would change pictures"),
        ({"directions": "d.npy", "ws": "p.npy", "seeds": "3"}, "--seeds is for pictures of seeds"),
        ({"directions": "d.npy", "ws": "p.npy", "psi": "0.5"}, "--psi is for pictures of seeds"),
        ({"toward": "3", "strengths": "1", "ws": "p.npy", "classes": "1,2"}, "--toward=3 is of one"),
        ({"directions": "d.npy"}, "--seeds is missing"),
        ({"directions": "d.npy", "seeds": "3"}, "--out is missing"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_the_network_is_opened(given, message):
    with pytest.raises(ValueError, match=message):
        command(network="nowhere", **given)


def test_a_picture_of_one_name_twice_is_refused(network, tmp_path):
    move = edit.along(Direction("smile", np.ones(14, np.float32), np.ones(14, np.float32), "drawn"))
    picture = edit.Picture("one", np.ones((4, 14), np.float32))
    with pytest.raises(ValueError, match="have one name"):
        edit.save(network, [picture, picture], [move], [1.0], tmp_path, {})


def test_a_network_without_styles_is_refused():
    with pytest.raises(ValueError, match="has no styles"):
        edit.open_pictures(random_network(use_styles=False, const_input=False), [], [0])


def test_a_direction_that_is_held_by_itself_alone_is_refused(network, smile):
    with pytest.raises(ValueError, match="--hold=smile names no direction but the one to move along; name others"):
        edit.open_directions(network, [smile[1]], ["smile"], ["smile"], None)


@pytest.mark.parametrize("strengths", ["1e39", "-2e6", "inf"])
def test_strengths_beyond_all_pictures_are_refused_before_a_network_is_opened(strengths):
    with pytest.raises(ValueError, match="use different numbers from -1e6 to 1e6"):
        command(network="none", seeds=0, out="none", directions="none.npy", strengths=strengths)


def test_layers_that_are_not_trained_yet_are_not_edited(network, smile, tmp_path):
    path = dataclasses.replace(network, resolution=4).save(tmp_path / "young.npz")
    with pytest.raises(ValueError, match="layers 2, 3 have no part in the images yet"):
        command(network=path, seeds=0, out=tmp_path / "out", directions=smile[1], layers="2,3")


def test_files_in_the_users_home_are_found(path, smile, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("other", "ws"):
        np.save(tmp_path / f"{name}.npy", np.full((4, 14), len(name), np.float32))
    (tmp_path / "d.safetensors").write_bytes(smile[1].read_bytes())
    command(network=path, ws="~/ws.npy", directions="~/d.safetensors", apply="smile", strengths="1", out="~/out")
    command(network=path, ws="~/ws.npy", toward="~/other.npy", strengths="1", out="~/toward")
    assert (tmp_path / "out/ws-smile+1.png").exists() and (tmp_path / "toward/ws-toward-other+1.png").exists()


def test_a_picture_of_a_projection_has_the_pictures_name(network, tmp_path):
    ws = network.map(network.latents(1))
    path = tmp_path / "face.projection.safetensors"
    path.write_bytes(projection_files.encoded(network, ws, None))
    (picture,) = edit.open_pictures(network, [str(path)], [])
    assert picture.name == "face"
    np.testing.assert_array_equal(picture.ws, ws[0])
