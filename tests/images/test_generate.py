"""Images of seeds: a file is a function of its name, the network and how it is made; nothing is overwritten."""

import json

import numpy as np
import pytest
from PIL import Image

from stylegan_jax.images import generate
from tests.images import modes
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=8, fmap_base=32)


@pytest.fixture(scope="module")
def conditional():
    return random_network(resolution=8, fmap_base=32, num_labels=3)


def test_a_file_has_the_same_bytes_whatever_the_other_seeds_are(network, tmp_path):
    for folder, seeds in (("one", [7]), ("many", [3, 7, 10_000])):
        (tmp_path / folder).mkdir()
        paths = generate.save_images(network, seeds, tmp_path / folder, psi=0.7)
        assert [path.name for path in paths] == [f"seed{seed:04d}.png" for seed in seeds]
    one, many = (tmp_path / folder / "seed0007.png" for folder in ("one", "many"))
    assert one.read_bytes() == many.read_bytes()
    np.testing.assert_array_equal(np.asarray(Image.open(one)), network(seeds=7, psi=0.7)[0])


def test_random_noise_is_the_seeds_own(network, tmp_path):
    (path,) = generate.save_images(network, [5], tmp_path, noise="random", noise_seed=2)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), network(seeds=[9, 5], noise="random", noise_seed=2)[1])


def test_the_same_command_goes_on_and_leaves_what_is_there(network, tmp_path):
    (first,) = generate.save_images(network, [0], tmp_path)
    first.write_bytes(b"left as it is")
    seen = []
    generate.save_images(network, [0, 1], tmp_path, progress_fn=lambda done, total: seen.append((done, total)))
    assert first.read_bytes() == b"left as it is" and (tmp_path / "seed0001.png").exists()
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("look", "message"),
    [({"psi": 0.5}, r"\(psi absent there, 0.5 here\)"), ({"noise": "none"}, r"\(noise absent there, 'none' here\)")],
)
def test_pictures_that_were_made_otherwise_are_not_overwritten(network, tmp_path, look, message):
    (path,) = generate.save_images(network, [0], tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"has pictures that were made otherwise {message}; choose another --out"):
        generate.save_images(network, [0], tmp_path, **look)
    with pytest.raises(ValueError, match="made otherwise .network "):
        generate.save_images(random_network(1, resolution=8, fmap_base=32), [1], tmp_path)
    assert path.read_bytes() == before and not (tmp_path / "seed0001.png").exists()


def test_pictures_of_unknown_origin_are_not_overwritten(network, tmp_path):
    (tmp_path / "seed0003.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="seed0003.png is there already, and no generate.json says how it was made"):
        generate.save_images(network, [2, 3], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["seed0003.png"]


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_damaged_record_is_not_taken_for_the_same(network, tmp_path, text):
    (tmp_path / "generate.json").write_text(text)
    with pytest.raises(ValueError, match="made otherwise"):
        generate.save_images(network, [0], tmp_path)


def test_what_the_network_does_not_take_is_refused_before_anything_is_written(network, tmp_path):
    for look in ({"psi": float("nan")}, {"cutoff": 3}, {"noise_seed": 4}):  # It has maps of its own.
        with pytest.raises(ValueError, match="psi is nan|no effect"):
            generate.save_images(network, [0], tmp_path, **look)
    assert not list(tmp_path.iterdir())


def test_each_class_that_is_named_has_its_files(conditional, tmp_path):
    paths = generate.save_images(conditional, [4], tmp_path, ["class 2", "0"])
    assert [path.name for path in paths] == ["seed0004-class2.png", "seed0004-class0.png"]
    for path, label in zip(paths, (2, 0), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), conditional(seeds=4, labels=label)[0])


def test_classes_are_asked_for_by_the_flag_and_refused_where_there_are_none(network, conditional, tmp_path):
    with pytest.raises(ValueError, match="this network has 3 classes; name those to draw with --classes: class 0, "):
        generate.save_images(conditional, [0], tmp_path)
    with pytest.raises(ValueError, match="no class 'clas 1'; did you mean 'class 1'(.|\n)*--classes='"):
        generate.save_images(conditional, [0], tmp_path, ["clas 1"])
    with pytest.raises(ValueError, match="this network has no classes, and so no 'cat'; leave out --classes"):
        generate.save_images(network, [0], tmp_path, ["cat"])


def test_a_grid_is_one_picture_of_all_seeds_for_each_class(conditional, tmp_path):
    paths = generate.save_grids(conditional, [1, 2, 3], tmp_path, ["1", "2"], psi=0.5)
    assert [path.name for path in paths] == ["grid-class1.png", "grid-class2.png"]
    picture = np.asarray(Image.open(paths[1]))
    assert picture.shape == (16, 16, 3) and not picture[8:, 8:].any()
    np.testing.assert_array_equal(picture[8:, :8], conditional(seeds=3, labels=2, psi=0.5)[0])
    assert json.loads((tmp_path / "grid.json").read_text())["seeds"] == [1, 2, 3]
    with pytest.raises(ValueError, match="seeds .1, 2, 3. there, .1. here"):
        generate.save_grids(conditional, [1], tmp_path, ["1"], psi=0.5)


def test_gray_images_are_gray_pngs(tmp_path):
    network = random_network(resolution=8, fmap_base=32, channels=1)
    (path,) = generate.save_images(network, [0], tmp_path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), network(seeds=0)[0, ..., 0])


@pytest.mark.parametrize("save_fn", [generate.save_images, generate.save_grids])
def test_a_class_that_is_named_twice_is_refused(conditional, tmp_path, save_fn):
    with pytest.raises(ValueError, match="--classes=class 1,1 names a class twice; name each once"):
        save_fn(conditional, [0], tmp_path, ["class 1", "1"])
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="none.pkl does not exist"):
        modes.run("generate", network=tmp_path / "none.pkl", seeds="0", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
