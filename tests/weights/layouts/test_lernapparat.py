import re

import numpy as np
import pytest

from stylegan_jax.weights.layouts import lernapparat, official
from tests import official as recordings
from tests import ports
from tests.weights.layouts import port_trees

EPSILON = {"instance_norm_epsilon": 1e-5}
LOWER_RGB = r"RGB_lod[1-9]/"


@pytest.mark.parametrize("file", ports.recorded("lernapparat"))
def test_recorded_networks_compute_what_the_port_does(file):
    meta, tolerance = recordings.meta(file), ports.g_tolerance(file)
    trees = {kind: ports.load(name) for kind, name in meta["files"].items() if name}
    found = {kind: lernapparat.read(tree, "x") for kind, tree in trees.items()}
    assert all(ports.is_complete(found[kind], tree) for kind, tree in trees.items())
    with recordings.Recorded(file) as recorded:
        z = recorded.take("z")
        noise = [
            official.nhwc(recorded.take(f"noise{i}")).astype(np.float32) for i in range(len(recorded.names("noise")))
        ]
        for kind in sorted(set(found) - {"d"}):
            network = ports.network_of(found[kind].average, **found[kind].switches)
            w, ws = ports.ws_of(network, z, None)
            recorded.check("w", w, tolerance=ports.W_TOLERANCE)
            for key, maps in (("images", noise), ("nonoise", [np.zeros_like(m) for m in noise])):
                if key in recorded:
                    pictures = ports.images(network, ws, maps, network.model.resolution, 1)
                    recorded.check(key, pictures, official.nhwc, tolerance=tolerance)
        for kind in sorted(set(found) - {"g_all"}):
            network = ports.network_of(found[kind].discriminator)
            images = recorded.take("d_images").astype(np.float32)
            recorded.check("scores", recordings.scores_at(network, images, None, 0), tolerance=ports.D_TOLERANCE)


SIZES = [
    {"resolution": 8, "w_size": 12},
    {"mapping_layers": 8, "z_size": 12},
    {"resolution": 128, "fmap_base": 256, "fmap_max": 4},
]


@pytest.mark.parametrize("fields", SIZES)
def test_generators_are_read_with_the_highest_way_to_rgb_alone(fields):
    made = ports.make(**fields).average
    tree = port_trees.lernapparat_generator(made)
    found = lernapparat.read(tree, "x.for_g_all.pt")
    assert ports.is_complete(found, tree)
    assert found.switches == EPSILON
    assert len(found.notes) == 2
    assert ports.equal(found.average, made, f"{port_trees.UNTRAINED}|{LOWER_RGB}", **EPSILON)


@pytest.mark.parametrize("fields", SIZES)
def test_discriminators_are_read_with_the_highest_way_from_rgb_alone(fields):
    made = ports.make(**fields).discriminator
    tree = {f"module.{name}": value for name, value in port_trees.lernapparat_discriminator(made).items()}
    found = lernapparat.read(tree, "x.for_d_basic.pt")
    assert ports.is_complete(found, tree)
    assert (found.average, found.generator) == (None, None)
    assert ports.equal(found.discriminator, made, f"{port_trees.UNTRAINED}|{LOWER_RGB}")


@pytest.mark.parametrize("fields", [*SIZES, {"const_input": False, "num_labels": 3}])
def test_lists_of_official_arrays_are_read(fields):
    made = ports.make(**fields)
    parts = (made.generator, made.discriminator, made.average)
    tree = [ports.lacking(part, port_trees.UNTRAINED).arrays for part in parts]
    found = lernapparat.read(tree, "x.pt")
    assert ports.is_complete(found, tree)
    assert found.average.stored["G_mapping/Dense0/bias"] == "2/G_mapping/Dense0/bias"
    for name in ("generator", "discriminator", "average"):
        assert ports.equal(getattr(found, name), getattr(made, name), port_trees.UNTRAINED, **EPSILON)


@pytest.mark.parametrize("make_tree", [port_trees.lernapparat_generator, port_trees.lernapparat_discriminator])
def test_every_missing_array_is_named(make_tree):
    made = ports.make()
    tree = make_tree(made.average if make_tree is port_trees.lernapparat_generator else made.discriminator)
    for name in tree:
        with pytest.raises(ValueError, match=f"has an array '{re.escape(name)}'"):
            lernapparat.read({k: v for k, v in tree.items() if k != name}, "x")


def test_unknown_arrays_and_shapes_that_do_not_fit_are_named():
    tree = port_trees.lernapparat_discriminator(ports.make().discriminator)
    with pytest.raises(ValueError, match=r"no array '8x8.other' \[2\]"):
        lernapparat.read(tree | {"8x8.other": np.zeros(2)}, "x")
    with pytest.raises(ValueError, match=r"'8x8.conv0.bias' \[2\] does not fit "):
        lernapparat.read(tree | {"8x8.conv0.bias": np.zeros(2, np.float32)}, "x")
    with pytest.raises(ValueError, match=r"'8x8.conv0.bias' \[1, 2\] should have 1 dimensions: it is 8x8/Conv0/bias"):
        lernapparat.read(tree | {"8x8.conv0.bias": np.zeros((1, 2), np.float32)}, "x")
    with pytest.raises(ValueError, match="filter '8x8.conv1_down.downscale.blur.kernel'"):
        name = "8x8.conv1_down.downscale.blur.kernel"
        lernapparat.read(tree | {name: np.ones((1, 1, 2, 2), np.float32)}, "x")
