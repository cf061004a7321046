"""--mode=directions: each way to find them."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.images import direction_files, find, labels
from stylegan_jax.metrics.attributes import Attributes
from tests.images import modes
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(resolution=8)


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    return network.save(tmp_path_factory.mktemp("network") / "net.npz")


def red(n):
    return Attributes(
        ("red", "never"),
        lambda p, x: jnp.stack([x[..., 0].mean((1, 2)) - p, jnp.full(len(x), -1.0)], 1),
        jnp.float32(n),
        "",
        "",
    )


command = functools.partial(modes.run, "directions")


def median_red(network, ws):
    return np.median(network.synthesize(ws)[..., 0].mean((1, 2)))


def test_the_machine_finds_what_makes_images_redder(network):
    seeds, ws = range(400), network.map(network.latents(range(400)))
    found, notes = find.find(network, "svm", seeds, attributes=red(median_red(network, ws)))
    (direction,) = found
    redder, less = (network.synthesize(ws[:40] + s * direction.vector)[..., 0].mean() for s in (1, -1))
    assert redder > less and direction.network == network.sha256
    assert notes == [
        "never: 0 of 400 images have it; a direction takes at least 10 with it and 10 without it: use more images."
    ]


def test_labels_may_be_given(network):
    w = labels.draw_w(network, range(100))
    present = {"large": w[:, 3] > np.median(w[:, 3])}
    (direction,), _ = find.find(network, "svm", range(100), attributes=present)
    assert direction.name == "large" and direction.normal @ (w[present["large"]].mean(0) - w.mean(0)) > 0


def test_the_machine_of_layers_has_a_vector_for_each_resolution(network):
    ws = labels.for_layers(labels.draw_mixed_w(network, range(400)), network)
    (direction,), _ = find.find(network, "svm_layers", range(400), attributes=red(median_red(network, ws)))
    assert direction.vector.shape == (4, 14)
    np.testing.assert_array_equal(direction.vector[::2], direction.vector[1::2])
    assert np.sum(direction.vector * direction.normal) == pytest.approx(1, rel=1e-5)


def test_no_attribute_with_enough_images_is_an_error(network):
    with pytest.raises(ValueError, match="red: 0 of 20 images have it"):
        find.find(network, "svm", range(20), attributes=red(1e6))


def test_directions_of_chosen_layers_move_these_alone(network):
    found, _ = find.find(network, "sefa", range(50), layers=[1, 2])
    for direction in found:
        assert [bool(row.any()) for row in direction.vector] == [False, True, True, False]


def test_classes_may_be_fixed_or_mixed(capsys, tmp_path):
    conditional = random_network(resolution=8, num_labels=3)
    path = conditional.save(tmp_path / "net.npz")
    for name, numbers, given in (("mixed", [0, 1, 2], {}), ("fixed", [1], {"classes": "class 1"})):
        out = tmp_path / f"{name}.safetensors"
        command(find="pca", network=path, seeds="0-99", out=out, **given)
        expected = find.find(conditional, "pca", range(100), numbers)[0]
        np.testing.assert_array_equal(direction_files.load(out, conditional)[0].vector, expected[0].vector)
        assert ("note: the 3 classes take turns; --classes=NAME takes one." in capsys.readouterr().out) == (not given)


def test_a_table_names_the_seeds(network, path, tmp_path, capsys):
    w = labels.draw_w(network, range(60))
    lines = [f"{seed},{value}" for seed, value in enumerate(w[:, 0] - np.median(w[:, 0]))]
    (tmp_path / "t.csv").write_text("\n".join(["seed,first", *lines]))
    command(find="svm", network=path, attributes=tmp_path / "t.csv", out=tmp_path / "d.safetensors")
    (direction,) = direction_files.load(tmp_path / "d.safetensors", network)
    assert direction.name == "first"
    assert "first: linear SVM on 60 images, 50% of which have it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--find is missing"),
        ({"find": "pca"}, "--out is missing"),
        ({"find": "pca", "out": "d.npy"}, "--out=d.npy: name a file that ends with .safetensors"),
        ({"find": "pca", "out": "d.safetensors"}, "--seeds is missing"),
        ({"find": "svm", "out": "d.safetensors", "seeds": "0-9"}, "--find=svm takes --attributes, which are missing"),
        (
            {"find": "pca", "out": "d.safetensors", "seeds": "0-9", "attributes": "faces"},
            "--find=pca takes no attributes",
        ),
        ({"find": "pca", "out": "d.safetensors", "seeds": "0-9", "layers": "0"}, "--layers is for --find=sefa"),
        (
            {"find": "svm", "out": "d.safetensors", "seeds": "0-9", "attributes": "t.csv"},
            "t.csv names the seeds of its images",
        ),
        ({"find": "pca", "out": "d.safetensors", "weights": "w"}, "--weights is for --attributes=celeba"),
        ({"find": "svm_layers", "out": "d.safetensors", "attributes": "t.csv"}, "which have one w: use --find=svm"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_the_network_is_opened(given, message):
    with pytest.raises(ValueError, match=message):
        command(network="nowhere", **given)


def test_a_file_that_is_there_already_is_not_overwritten_and_a_folder_must_exist(path, tmp_path):
    there = tmp_path / "network.safetensors"
    there.write_bytes(b"another file")
    for out, message in (
        (there, "network.safetensors is there already"),
        (tmp_path / "no/d.safetensors", "no is no folder; make it first"),
    ):
        with pytest.raises(ValueError, match=message):
            command(network=path, find="pca", seeds="0-9", out=out)
    assert there.read_bytes() == b"another file"


def test_attributes_that_are_neither_known_nor_a_file_are_refused(path, tmp_path):
    with pytest.raises(ValueError, match="--attributes=smile: there is no such file; name one, or use faces or celeba"):
        command(network=path, find="svm", seeds="0-9", attributes="smile", out=tmp_path / "d.safetensors")


def test_an_unknown_way_is_refused(network):
    with pytest.raises(ValueError, match="no way 'ica' to find directions; use one of svm, svm_layers, pca, sefa"):
        find.find(network, "ica", [0, 1])
