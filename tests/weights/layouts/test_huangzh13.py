import dataclasses
import pathlib
import re

import numpy as np
import pytest

from stylegan_jax.weights.layouts import contents, huangzh13, official
from tests import official as recordings
from tests import ports
from tests.weights.layouts import port_trees

EPSILON = {"instance_norm_epsilon": 1e-5}
MISSING = r"G_synthesis/noise\d+$"


@pytest.mark.parametrize("file", ports.recorded("huangzh13"))
def test_recorded_generators_compute_what_the_port_does(file):
    meta = recordings.meta(file)
    args, tolerance = meta["generator_args"], ports.g_tolerance(file)
    with recordings.Recorded(file) as recorded:
        labels = recorded.take("labels") if "labels" in recorded else None
        labels = None if labels is None else np.eye(args["n_classes"], dtype=np.float32)[labels]
        noise = [
            official.nhwc(recorded.take(f"noise{i}")).astype(np.float32) for i in range(len(recorded.names("noise")))
        ]
        for group in sorted(set(meta["files"]) - {"DIS"}):
            path = f"{meta['folder']}/{meta['files'][group]}"
            tree = ports.load(path)
            found = huangzh13.read(tree, path)
            assert ports.is_complete(found, tree)
            network = ports.network_of(found.average if group == "GEN_SHADOW" else found.generator, **found.switches)
            w, all_ws = ports.ws_of(network, recorded.take("z"), labels)
            recorded.check(f"{group}/w", w, tolerance=ports.W_TOLERANCE)
            for kind in ("images", "nonoise"):
                for key in recorded.names(f"{group}/{kind}/"):
                    depth, alpha = re.match(r"depth=(\d+),alpha=([\d.]+)", key).groups()
                    psi, cutoff = args["truncation_psi"], args["truncation_cutoff"]
                    ws = ports.truncated(network, all_ws, psi, cutoff) if key.endswith(",trunc") else all_ws
                    maps = [np.zeros_like(m) for m in noise] if kind == "nonoise" else noise
                    pictures = ports.images(network, ws, maps, 4 << int(depth), float(alpha))
                    recorded.check(f"{group}/{kind}/{key}", pictures, official.nhwc, tolerance=tolerance)
        for key in recorded.names():
            if key.startswith(("DIS/", "d_images", "d_labels")):
                recorded.take(key)  # Its discriminator is another network.


@pytest.mark.parametrize("file", ports.recorded("huangzh13"))
def test_recorded_discriminators_are_refused(file):
    meta = recordings.meta(file)
    path = f"{meta['folder']}/{meta['files']['DIS']}"
    with pytest.raises(ValueError, match="another network: it has no activation after fromRGB"):
        huangzh13.read(ports.load(path), path)


@pytest.mark.parametrize(
    "fields",
    [
        {"resolution": 8, "w_size": 12, "mapping_layers": 4},
        {"num_labels": 3, "z_size": 12, "mapping_layers": 8},
        {"resolution": 128, "fmap_base": 256, "fmap_max": 4},
    ],
)
def test_generators_of_every_size_are_read(fields):
    made = ports.make(**fields).average
    tree = port_trees.huangzh13(made)
    found = huangzh13.read(tree, "GAN_GEN_SHADOW_1_4.pth")
    assert ports.is_complete(found, tree)
    assert found.switches == EPSILON
    assert found.notes[0] == "It has no noise maps." and len(found.notes) == 2
    assert ports.equal(found.average, made, MISSING, **EPSILON)
    assert contents.model_of(found.average).mapping_layers == fields.get("mapping_layers", 2)


def test_the_name_tells_the_average_from_the_generator_in_training_and_the_depth():
    tree = {f"module.{name}": value for name, value in port_trees.huangzh13(ports.make().average).items()}
    for path, field, lod in (
        ("runs/GAN_GEN_SHADOW_0_3.pth", "average", 2),
        (pathlib.Path("runs") / "GAN_GEN_2_30.pth", "generator", 0),
        ("GAN_GEN_SHADOW_1_12.zip-format.pth", "average", 1),
    ):
        found = huangzh13.read(tree, path)
        part = getattr(found, field)
        assert part.arrays["lod"] == lod and "lod" not in part.stored  # It is no array of the file.
        assert found.notes[-1] == f"Its file's name tells that it is trained at {16 >> lod} px."
    for path in ("mine.pth", "GAN_GEN_SHADOW_3_1.pth"):  # Depth 3 would be 32 px.
        found = huangzh13.read(tree, path)
        assert "lod" not in found.average.arrays
        assert "no depth that it could have" in found.notes[-1]


def test_a_network_trained_without_truncation_lacks_the_average_of_w():
    made = ports.make().average
    tree = port_trees.huangzh13(made)
    del tree["truncation.avg_latent"]
    found = huangzh13.read(tree, "GAN_GEN_SHADOW_2_1.pth")
    assert any("no average of w" in note for note in found.notes)
    assert ports.equal(found.average, made, f"{MISSING}|dlatent_avg", **EPSILON)


def test_a_network_without_filters_has_none():
    made = ports.make().average
    made = dataclasses.replace(made, kwargs=made.kwargs | {"blur_filter": None})
    tree = {name: value for name, value in port_trees.huangzh13(made).items() if not name.endswith("kernel")}
    found = huangzh13.read(tree, "GAN_GEN_SHADOW_2_1.pth")
    assert contents.model_of(found.average).blur_filter is None
    assert ports.equal(found.average, made, MISSING)


def test_every_missing_array_is_named():
    tree = port_trees.huangzh13(ports.make().average)
    for name in tree:
        if name != "truncation.avg_latent":
            with pytest.raises(ValueError, match=f"has an array '{re.escape(name)}'"):
                huangzh13.read({k: v for k, v in tree.items() if k != name}, "x")


def test_unknown_arrays_and_shapes_that_do_not_fit_are_named():
    tree = port_trees.huangzh13(ports.make().average)
    with pytest.raises(ValueError, match=r"no array 'g_synthesis.other' \[2\]"):
        huangzh13.read(tree | {"g_synthesis.other": np.zeros(2)}, "x")
    with pytest.raises(ValueError, match=r"'g_synthesis.to_rgb.1.weight' \[3, 9, 1, 1\] does not fit 'g_synthesis"):
        huangzh13.read(tree | {"g_synthesis.to_rgb.1.weight": np.zeros((3, 9, 1, 1), np.float32)}, "x")


@pytest.mark.parametrize("labels", [{}, {"embeddings.0.weight": np.zeros((3, 192))}])
def test_a_discriminator_is_refused_as_another_network(labels):
    names = ("blocks.0.conv0.weight", "from_rgb.0.weight", "final_block.conv.weight", "final_block.dense0.weight")
    with pytest.raises(ValueError, match="d.pth holds a discriminator .* no activation after fromRGB, .* Load the gen"):
        huangzh13.read(dict.fromkeys(names, np.zeros((2, 2, 1, 1))) | labels, "d.pth")
