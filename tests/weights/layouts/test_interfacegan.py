import dataclasses
import re

import numpy as np
import pytest

from stylegan_jax.weights.layouts import interfacegan, official
from tests import official as recordings
from tests import ports
from tests.weights.layouts import port_trees


@pytest.mark.parametrize("file", ports.recorded("interfacegan"))
def test_recorded_networks_compute_what_the_port_does(file):
    tree, tolerance = ports.load(recordings.meta(file)["file"]), ports.g_tolerance(file)
    found = interfacegan.read(tree, "x")
    assert ports.is_complete(found, tree)
    network = ports.network_of(found.average)
    silent = dataclasses.replace(network, noise=tuple(np.zeros_like(m) for m in network.noise))
    with recordings.Recorded(file) as recorded:
        w, all_ws = ports.ws_of(network, recorded.take("z"), None)
        recorded.check("w", w, tolerance=ports.W_TOLERANCE)
        if "nonoise" in recorded:
            recorded.check("nonoise", recordings.images_at(silent, all_ws, 0), official.nhwc, tolerance=tolerance)
        for kind in ("wp/", "images/"):
            for key in recorded.names(kind):
                psi, cutoff = re.match(r"psi=([^,]+),layers=([^/]+)", key).groups()
                ws = all_ws if psi == "None" else ports.truncated(network, all_ws, float(psi), int(cutoff))
                if kind == "wp/":
                    recorded.check(kind + key, ws, tolerance=ports.W_TOLERANCE)
                else:
                    pictures = recordings.images_at(network, ws, recordings.lod_of(key))
                    recorded.check(kind + key, pictures, official.nhwc, tolerance=tolerance)


@pytest.mark.parametrize(
    ("fields", "fused", "setting"),
    [
        ({"resolution": 8, "w_size": 12}, (), "auto"),
        ({"mapping_layers": 3, "fmap_max": 12}, (), "auto"),
        ({}, (8, 16), True),
        ({"resolution": 128, "fmap_base": 256, "fmap_max": 4}, (128,), "auto"),
        ({"resolution": 128, "fmap_base": 256, "fmap_max": 4}, (), False),
    ],
)
def test_the_names_of_kernels_tell_where_layers_enlarge_by_a_transposed_convolution(fields, fused, setting):
    made = ports.make(**fields).average
    made = dataclasses.replace(made, kwargs=made.kwargs | {"fused_scale": setting})
    tree = port_trees.interfacegan(made, fused)
    found = interfacegan.read(tree, "x.pth")
    assert ports.is_complete(found, tree)
    assert found.average.kwargs["fused_scale"] == setting
    assert (found.generator, found.discriminator, found.switches) == (None, None, {})
    assert ports.equal(found.average, made)


def test_a_kernel_fused_at_one_resolution_alone_is_refused():
    with pytest.raises(ValueError, match=r"transposed convolutions at all .*this one has them at \[8\] px"):
        interfacegan.read(port_trees.interfacegan(ports.make().average, (8,)), "x")


def test_a_truncation_that_the_file_keeps_is_left_out():
    made = ports.make().average
    tree = port_trees.interfacegan(made) | {"truncation.truncation": np.ones((1, 6, 1), np.float32)}
    found = interfacegan.read({f"module.{name}": value for name, value in tree.items()}, "x")
    assert "psi" in found.left_out["module.truncation.truncation"]
    assert ports.equal(found.average, made)


def test_every_missing_array_is_named():
    tree = port_trees.interfacegan(ports.make().average, (8, 16))
    for name in tree:
        wanted = name.replace("layer2.weight", "layer2.conv.weight").replace("layer4.weight", "layer4.conv.weight")
        with pytest.raises(ValueError, match=f"'{re.escape(wanted)}'|transposed"):
            interfacegan.read({k: v for k, v in tree.items() if k != name}, "x")


def test_shapes_that_do_not_fit_are_named():
    tree = port_trees.interfacegan(ports.make().average)
    bias = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"'synthesis.layer3.epilogue.bias' \[3\] does not fit 'synthesis\.layer"):
        interfacegan.read(tree | {"synthesis.layer3.epilogue.bias": bias}, "x")
    with pytest.raises(ValueError, match=r"no array 'synthesis.layer3.other' \[3\]"):
        interfacegan.read(tree | {"synthesis.layer3.other": bias}, "x")
