import dataclasses
import re

import numpy as np
import pytest

from stylegan_jax.networks import ops
from stylegan_jax.weights import save
from stylegan_jax.weights.layouts import contents, genforce
from tests import official, ports
from tests.random_networks import random_network
from tests.weights.layouts import port_trees

NETWORKS = {"generator": "generator", "generator_smooth": "average"}


# ---- recorded


def _case(key: str) -> tuple[float | None, int | None, str]:
    psi, layers, lod = re.search(r"psi=([^,]+),layers=([^/]+)(?:/lod=(.+))?$", key).groups()
    return (None, None, lod) if psi == "None" else (float(psi), int(layers), lod)


@pytest.mark.parametrize("file", ports.recorded("genforce"))
def test_recorded_networks_compute_what_the_port_does(file):
    meta = official.meta(file)
    found = genforce.read(ports.load(meta["file"]), meta["file"])
    tolerance = ports.g_tolerance(file)
    with official.Recorded(file) as recorded:
        z, labels = recorded.take("z"), recorded.take("labels") if "labels" in recorded else None
        for group, field in NETWORKS.items():
            part = getattr(found, field)
            network = ports.network_of(part)
            w, all_ws = ports.ws_of(network, z, labels)
            recorded.check(f"{group}/w", w, tolerance=ports.W_TOLERANCE)
            silent = dataclasses.replace(network, noise=tuple(np.zeros_like(m) for m in network.noise))
            for kind in ("wp", "images", "nonoise"):
                for key in recorded.names(f"{group}/{kind}/"):
                    psi, layers, lod = _case(key)
                    ws = all_ws if psi is None else ports.truncated(network, all_ws, psi, layers)
                    name = f"{group}/{kind}/{key}"
                    if kind == "wp":
                        recorded.check(name, ws, tolerance=ports.W_TOLERANCE)
                    else:
                        level = float(part.arrays["lod"]) if lod == "stored" else float(lod)
                        pictures = official.images_at(silent if kind == "nonoise" else network, ws, level)
                        recorded.check(name, pictures, official.names.nhwc, tolerance=tolerance)
        images = recorded.take("d_images").astype(np.float32)
        labels = recorded.take("d_labels") if "d_labels" in recorded else None
        network = ports.network_of(found.discriminator)
        for kind, n in (("scores", None), ("scores_first3", 3)):
            for key in recorded.names(f"discriminator/{kind}/"):
                scores = official.scores_at(
                    network, images[:n], None if labels is None else labels[:n], official.lod_of(key)
                )
                recorded.check(f"discriminator/{kind}/{key}", scores, tolerance=ports.D_TOLERANCE)


@pytest.mark.parametrize("file", ports.recorded("genforce"))
def test_recorded_files_are_written_again_with_the_names_shapes_types_and_values_of_the_port(file):
    meta = official.meta(file)
    tree = ports.load(meta["file"])
    found = genforce.read(tree, meta["file"])
    assert ports.is_complete(found, {k: v for k, v in tree.items() if isinstance(v, dict)})
    written, models = genforce.write(found), tree.get("models", tree)
    assert set(written) == set(models)
    for group, arrays in written.items():
        stored = {name.removeprefix("module."): x for name, x in models[group].items()}
        assert set(arrays) == set(stored)
        for name, value in arrays.items():
            assert (value.dtype, value.shape) == (stored[name].dtype, stored[name].shape), name
            assert value.flags.c_contiguous
            np.testing.assert_array_equal(value, stored[name], err_msg=name)


# ---- made


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"resolution": 8, "const_input": False, "w_size": 12, "channels": 1},
        {"num_labels": 5, "w_size": 20, "mapping_fmaps": 10, "mapping_layers": 4, "z_size": 7},
        {"resolution": 128, "fmap_base": 256, "fmap_max": 4},
        {"mapping_layers": 1, "mapping_fmaps": 512},
    ],
)
def test_what_is_written_is_read_bit_for_bit(fields):
    made = ports.make(lod=0.5, **fields)
    tree = genforce.write(made)
    found = genforce.read(tree, "x.pth")
    assert found.layout == "genforce"
    assert ports.is_complete(found, tree)
    for part in ("average", "generator", "discriminator"):
        assert ports.equal(getattr(found, part), getattr(made, part))
        assert getattr(found, part).arrays["lod"] == 0.5
    assert contents.model_of(found.average).num_labels == fields.get("num_labels", 0)


@pytest.mark.parametrize("fields", [{"resolution": 8}, {"num_labels": 3}, {"resolution": 128, "fmap_base": 256}])
@pytest.mark.parametrize(("group", "part"), [("generator_smooth", "average"), ("discriminator", "discriminator")])
def test_names_and_layouts_are_those_of_its_modules(fields, group, part):
    made = ports.make(lod=0.25, **fields)
    tree = port_trees.genforce(getattr(made, part))
    written = genforce.write(made)[group]
    assert set(written) == set(tree)
    for name, value in tree.items():
        np.testing.assert_array_equal(written[name], value, err_msg=name)
        assert (written[name].dtype, written[name].flags.c_contiguous) == (np.float32, True), name
    assert ports.equal(getattr(genforce.read({group: tree}, "x"), part), getattr(made, part))


def test_the_dense_start_is_a_convolution_of_one_padded_pixel():
    made = ports.make(const_input=False, w_size=5)
    kernel = genforce.write(made)["generator"]["synthesis.layer0.weight"]  # [c, w, 4, 4]
    dense = made.generator.arrays["G_synthesis/4x4/Dense/weight"]  # [w, c 4 4]
    w = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    padded = np.zeros((5, 7, 7), np.float32)
    padded[:, 3, 3] = w
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))  # [w, 4, 4, 4, 4]
    np.testing.assert_allclose(np.einsum("iyxab,oiab->oyx", windows, kernel), (w @ dense).reshape(-1, 4, 4), atol=1e-5)


def test_checkpoints_of_its_training_are_read():
    made = ports.make()
    models = {k: {f"module.{name}": x for name, x in v.items()} for k, v in genforce.write(made).items()}
    state = {"state": {0: {"exp_avg": np.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}
    tree = {"models": models, "optimizers": {"generator": state}, "running_metadata": {"iter": 3}, "learning_rates": {}}
    found = genforce.read(tree, "checkpoint_iter000003.pth")
    assert ports.equal(found.average, made.average)
    assert found.average.stored["dlatent_avg"] == "models/generator_smooth/module.truncation.w_avg"
    assert "optimizer" in found.left_out["optimizers"]
    assert {"running_metadata", "learning_rates"} < set(found.left_out)


def test_views_of_other_strides_are_read():
    made = ports.make()
    tree = genforce.write(made)
    views = {name: np.asfortranarray(x) if x.ndim else x for name, x in tree["generator_smooth"].items()}
    assert ports.equal(genforce.read({"generator_smooth": views}, "x").average, made.average)


@pytest.mark.parametrize("setting", [True, False])
def test_kernels_fused_elsewhere_are_turned(setting):
    made = ports.make(resolution=128, fmap_base=256, fmap_max=4)
    turned = dataclasses.replace(made.average, kwargs=made.average.kwargs | {"fused_scale": setting})
    found = genforce.read(genforce.write(dataclasses.replace(made, average=turned)), "x")
    assert ports.equal(found.average, turned)
    assert not np.array_equal(
        found.average.arrays["G_synthesis/128x128/Conv0_up/weight"],
        found.average.arrays["G_synthesis/128x128/Conv0_up/weight"][::-1, ::-1],
    )


@pytest.mark.parametrize("group", ["generator", "discriminator", "generator_smooth"])
def test_every_missing_array_is_named(group):
    tree = genforce.write(ports.make(num_labels=2))
    for name in tree[group]:
        arrays = {k: v for k, v in tree[group].items() if k != name}
        with pytest.raises(ValueError, match=rf"'{group}/{re.escape(name)}'"):
            genforce.read(tree | {group: arrays}, "x")


@pytest.mark.parametrize("group", ["generator", "discriminator"])
def test_every_array_of_a_wrong_shape_is_named_and_so_is_another(group):
    tree = genforce.write(ports.make())
    for name, value in tree[group].items():
        if value.ndim and not name.endswith("kernel"):
            longer = np.concatenate([value, value[:1]], axis=0)
            with pytest.raises(ValueError, match=rf"{group}/.*{group}/|{group}/{re.escape(name)}") as error:
                genforce.read(tree | {group: tree[group] | {name: longer}}, "x")
            assert name in str(error.value), name


def test_an_unknown_array_is_named():
    tree = genforce.write(ports.make())
    tree["generator"]["synthesis.extra"] = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"no array 'generator/synthesis.extra' \[2, 3\]"):
        genforce.read(tree, "x")
    with pytest.raises(ValueError, match="no group 'encoder'"):
        genforce.read(genforce.write(ports.make()) | {"encoder": {"a": np.zeros(2)}}, "x")


def test_another_filter_is_refused():
    tree = genforce.write(ports.make())
    tree["discriminator"]["layer1.blur.kernel"] = tree["discriminator"]["layer1.blur.kernel"] * np.float32(1.01)
    with pytest.raises(ValueError, match="'discriminator/layer1.blur.kernel'.* is not the known one"):
        genforce.read(tree, "x")


@pytest.mark.parametrize(
    ("fields", "switches", "message"),
    [
        ({"nonlinearity": "relu"}, {}, "its nonlinearity is relu, and there it is always lrelu"),
        ({"mapping_lr_multiplier": 0.1}, {}, "mapping_lr_multiplier is 0.1"),
        ({"use_noise": False}, {}, "use_noise is False"),
        ({"blur_filter": None}, {}, "blur_filter is None"),
        (
            {"fmaps_by_resolution": ((4, 12), (8, 7), (16, 6))},
            {},
            r"its numbers of feature maps, \[12, 7, 6\], are not min",
        ),
        ({"stddev_group": 8}, {}, "discriminator: its stddev_group is 8"),
        ({}, {"bias_before_blur": True}, "bias_before_blur is True.* off by 3 to 25%"),
    ],
)
def test_what_its_code_cannot_compute_is_refused(fields, switches, message):
    made = dataclasses.replace(ports.make(**fields), switches=switches)
    with pytest.raises(ValueError, match=f"genforce's layout cannot hold the .*{message}"):
        genforce.write(made)


def test_an_array_that_its_code_needs_is_asked_for():
    made = ports.make()
    without = dataclasses.replace(made, average=ports.lacking(made.average, "noise3"))
    with pytest.raises(ValueError, match="needs G_synthesis/noise3"):
        genforce.write(without)


def test_images_of_a_written_network_are_the_same():
    made = ports.make()
    found = genforce.read(genforce.write(made), "x")
    z = np.random.default_rng(1).standard_normal((2, 10)).astype(np.float32)
    results = []
    for part in (made.average, found.average):
        network = ports.network_of(part)
        results.append(official.images_at(network, ports.ws_of(network, z, None)[1], 0.25))
    np.testing.assert_array_equal(*results)
    assert np.asarray(ops.upscale(results[0])).std() > 0


@pytest.mark.parametrize(("group", "part"), [("generator_smooth", "average"), ("discriminator", "discriminator")])
def test_the_state_dict_of_one_network_is_read_without_its_group(group, part):
    tree = genforce.write(save.to_contents(random_network(resolution=8, fmap_base=32)))
    whole, alone = genforce.read(tree, "x.pth"), genforce.read(tree[group], "x.pth")
    assert alone is not None and alone.generator is None
    for name, array in getattr(whole, part).arrays.items():
        np.testing.assert_array_equal(getattr(alone, part).arrays[name], array)
