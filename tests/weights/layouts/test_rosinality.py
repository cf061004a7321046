import dataclasses
import re

import numpy as np
import pytest

from stylegan_jax.weights.layouts import contents, official, rosinality
from tests import official as recordings
from tests import ports
from tests.weights.layouts import port_trees

# ---- recorded


def _noise(recorded):
    """Returns one map for both layers of each of nine levels."""
    maps = []
    for level in range(9):
        name = f"noise{level}"
        own = official.nhwc(recorded.take(name)) if name in recorded else np.zeros((1, 4 << level, 4 << level, 1))
        maps += [own.astype(np.float32)] * 2
    return maps


def _check_images(recorded, prefix, key, ours, tolerance):
    """Compares an image, or the parts of it that were recorded. [n, r, r, 3]"""
    name, r = f"{prefix}/{key}", ours.shape[1]
    c, n = r // 2, len(ours)
    parts = {
        "": ours,
        "/crop": ours[:, c - 16 : c + 48, c - 40 : c + 24],
        "/corner": ours[:, :24, :24],
        "/box": ours.reshape(n, 64, r // 64, 64, r // 64, 3).mean(axis=(2, 4)) if r > 64 else None,
    }
    for part, value in parts.items():
        if name + part in recorded:
            recorded.check(name + part, value, official.nhwc, tolerance=tolerance)


@pytest.mark.parametrize("file", ports.recorded("rosinality"))
def test_recorded_generators_compute_what_the_port_does(file):
    meta, tolerance = recordings.meta(file), ports.g_tolerance(file)
    tree = ports.load(meta["file"])
    found = rosinality.read(tree, meta["file"])
    assert ports.is_complete(found, tree)
    assert found.switches == port_trees.ROSINALITY_SWITCHES
    with recordings.Recorded(file) as recorded:
        noise = _noise(recorded)
        for group, part in (("g_running", found.average), ("generator", found.generator)):
            if part is None:
                continue
            network = ports.network_of(part, **port_trees.ROSINALITY_SWITCHES)
            assert network.model.resolution == 2 << meta["trained_levels"]
            w, all_ws = ports.ws_of(network, recorded.take("z"), None)
            recorded.check(f"{group}/w", w, tolerance=ports.W_TOLERANCE)
            mean = np.asarray(ports.ws_of(network, recorded.take("z_mean"), None)[0]).mean(axis=0)
            if f"{group}/mean_style" in recorded:
                recorded.check(f"{group}/mean_style", mean[None], tolerance=ports.W_TOLERANCE)
            for kind in ("images", "nonoise"):
                keys = {re.sub("/(crop|corner|box)$", "", key) for key in recorded.names(f"{group}/{kind}/")}
                for key in sorted(keys):
                    step, alpha = re.match(r"step=(\d+),alpha=([-\d.]+)", key).groups()
                    ws = ports.truncated(network, all_ws, 0.7, None, mean) if key.endswith(",trunc") else all_ws
                    maps = [np.zeros_like(m) for m in noise] if kind == "nonoise" else noise
                    fade = 1.0 if float(alpha) < 0 else float(alpha)
                    pictures = ports.images(network, ws, maps[: 2 * int(step) + 2], 4 << int(step), fade)
                    _check_images(recorded, f"{group}/{kind}", key, pictures, tolerance)
        for key in recorded.names():
            if key.startswith(("discriminator/", "d_images/")):
                recorded.take(key)  # Compared below, where an official discriminator can have its widths.


@pytest.mark.parametrize("file", ports.recorded("rosinality"))
def test_recorded_discriminators_compute_what_the_port_does_up_to_where_their_widths_fit(file):
    tree = dict(ports.load(recordings.meta(file)["file"]))
    found = rosinality.read(tree, "x").discriminator
    scores = {key: value for key, value in recordings.load(file).items() if key.startswith("discriminator/scores/")}
    if found is None and "discriminator" in tree:
        left_out = rosinality.read(tree, "x").left_out["discriminator/linear.linear.bias"]
        assert re.search(r"at \d+ px its first layer makes \d+ feature maps of \d+|no activation", left_out)
        for group in ("generator", "g_running"):
            tree[group] = port_trees.untrained(tree[group], 4)
        found = rosinality.read(tree, "train_step-4.model").discriminator
    if found is None:
        assert not scores or "no activation" in left_out
        return
    network, compared = ports.network_of(found), 0
    for key, reference in scores.items():
        step, alpha = re.search(r"step=(\d+),alpha=([\d.]+)", key).groups()
        r = 4 << int(step)
        if r <= network.model.resolution:
            images = recordings.load(file)[f"d_images/{r}"].astype(np.float32)
            order = official.image_order(len(images), network.model.stddev_group)
            ours = recordings.discriminate(
                network.params,
                official.nhwc(images)[order],
                None,
                np.float32(alpha),
                model=network.model,
                resolution=r,
            )
            error = recordings.relative_error(np.asarray(ours)[np.argsort(order)][:, None], reference)
            recordings.record(file, key, error)
            assert error <= ports.D_TOLERANCE, key
            compared += 1
    assert compared


# ---- made


SIZES = [
    {"resolution": 8},
    {"resolution": 32, "mapping_layers": 8, "fmap_max": 12, "z_size": 10, "w_size": 10, "mapping_fmaps": 10},
    {"resolution": 128, "fmap_base": 256, "fmap_max": 4},
]


@pytest.mark.parametrize("fields", SIZES)
def test_what_is_written_is_read_bit_for_bit(fields):
    made = port_trees.made_for_rosinality(**fields)
    tree = rosinality.write(made)
    assert set(tree) == {"generator", "discriminator", "g_running"}
    found = rosinality.read(tree, f"train_step-{len(contents.model_of(made.average).resolutions)}.model")
    assert ports.is_complete(found, tree)
    for part in ("average", "generator", "discriminator"):
        assert ports.equal(
            getattr(found, part), getattr(made, part), port_trees.UNTRAINED, **port_trees.ROSINALITY_SWITCHES
        )
    assert not any("name" in note for note in found.notes)
    again = rosinality.write(found)
    for group, arrays in tree.items():
        assert list(again[group]) == list(arrays)
        assert all(np.array_equal(again[group][name], value) for name, value in arrays.items())


@pytest.mark.parametrize("fields", SIZES)
def test_factors_are_those_of_the_port(fields):
    made = port_trees.made_for_rosinality(**fields)
    tree = port_trees.rosinality(made.average)
    found = rosinality.read(tree, "140000.model")  # Its levels end where the network does.
    assert (found.generator, found.discriminator) == (None, None)
    for name, value in ports.lacking(made.average, port_trees.UNTRAINED).arrays.items():
        np.testing.assert_allclose(found.average.arrays[name], value, rtol=3e-7, atol=3e-7, err_msg=name)
    written = rosinality.write(made)["g_running"]
    for name, value in tree.items():
        np.testing.assert_allclose(written[name], value, rtol=3e-7, atol=1e-7, err_msg=name)


def test_levels_above_the_trained_one_are_left_out():
    made = port_trees.made_for_rosinality(resolution=32)
    tree = rosinality.write(made)
    for group in ("generator", "g_running"):
        tree[group] = port_trees.untrained(tree[group], 3)
    found = rosinality.read(tree, "train_step-3.model")
    assert ports.is_complete(found, tree)
    for part in (found.average, found.generator, found.discriminator):
        assert contents.model_of(part, **port_trees.ROSINALITY_SWITCHES).resolution == 16
    assert "above 16 px" in found.left_out["g_running/generator.progression.3.conv2.conv.weight_orig"]
    assert "above 16 px" in found.left_out["discriminator/progression.5.conv1.0.conv.bias"]
    assert any("above 16 px are as they were initialized" in note for note in found.notes)
    np.testing.assert_array_equal(
        found.average.arrays["G_synthesis/ToRGB_lod0/bias"], made.average.arrays["G_synthesis/ToRGB_lod1/bias"]
    )


@pytest.mark.parametrize(
    "change", ["progression.8.conv2.conv.bias", "to_rgb.8.conv.bias", "progression.8.adain1.style.linear.bias"]
)
def test_one_changed_value_tells_that_a_level_was_trained(change):
    arrays = dict(rosinality.write(port_trees.made_for_rosinality())["g_running"])
    arrays[f"generator.{change}"] = arrays[f"generator.{change}"] + np.float32(1e-3)
    assert (
        contents.model_of(rosinality.read(arrays, "1.model").average, **port_trees.ROSINALITY_SWITCHES).resolution
        == 1024
    )


def test_a_name_that_says_otherwise_is_noted():
    tree = rosinality.write(port_trees.made_for_rosinality())
    notes = " ".join(rosinality.read(tree, "run/train_step-7.model").notes)
    assert "train_step-7.model, stands for training up to 256 px, and its arrays say 16 px" in notes
    assert "scores agree in batches of up to 4" in notes


def test_layers_that_enlarge_without_transposed_convolutions_are_told_by_their_names():
    made = port_trees.made_for_rosinality(resolution=128, fmap_base=256, fmap_max=4)
    tree = port_trees.rosinality(made.average)
    block = "generator.progression.5.conv1"
    plain = {name: value for name, value in tree.items() if not name.startswith(block)}
    plain[f"{block}.1.conv.weight_orig"] = np.swapaxes(tree[f"{block}.0.weight"] / 4, 0, 1)
    plain[f"{block}.1.conv.bias"] = tree[f"{block}.0.bias"]
    plain |= {f"{block}.2.{name}": ports.blur(4) for name in ("weight", "weight_flip")}
    found = rosinality.read(plain, "1.model").average
    assert found.kwargs["fused_scale"] is False
    name = "G_synthesis/128x128/Conv0_up/weight"
    np.testing.assert_array_equal(found.arrays[name], made.average.arrays[name])
    assert rosinality.read(tree, "1.model").average.kwargs["fused_scale"] == "auto"


def test_the_bias_of_the_constant_is_added_to_it():
    made = dataclasses.replace(ports.make(**port_trees.SQUARE), switches=port_trees.ROSINALITY_SWITCHES)
    arrays = made.average.arrays
    found = rosinality.read(rosinality.write(made), "x").average
    constant, bias = (arrays[f"G_synthesis/4x4/Const/{name}"] for name in ("const", "bias"))
    np.testing.assert_array_equal(found.arrays["G_synthesis/4x4/Const/const"], constant + bias[None, :, None, None])
    assert not found.arrays["G_synthesis/4x4/Const/bias"].any()
    assert "G_synthesis/4x4/Const/bias" not in found.stored
    z = np.random.default_rng(1).standard_normal((2, 16)).astype(np.float32)
    results = []
    for part in (made.average, found):
        network, noise = ports.network_of(part, **port_trees.ROSINALITY_SWITCHES), contents.noise_of(made.average, 6)
        results.append(ports.images(network, ports.ws_of(network, z, None)[1], noise, 16, 1))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4 * np.abs(results[0]).max())


# ---- discriminators


def test_a_discriminator_without_activation_after_from_rgb_is_left_out():
    tree = rosinality.write(port_trees.made_for_rosinality())
    tree["discriminator"] = {re.sub(r"(from_rgb\.\d+)\.0\.", r"\1.", k): v for k, v in tree["discriminator"].items()}
    found = rosinality.read(tree, "x")
    assert found.discriminator is None
    assert "no activation after fromRGB" in found.notes[-1]
    assert set(found.left_out) >= {f"discriminator/{name}" for name in tree["discriminator"]}


def test_a_discriminator_that_widens_is_left_out_in_both_directions():
    made = port_trees.made_for_rosinality(resolution=32, fmap_base=128)  # 12 maps up to 16 px, 8 at 32 px.
    assert re.search("32x32/Conv1_down widens.*8 to 12", rosinality.misfit(made.discriminator))
    tree = rosinality.write(made)
    assert set(tree) == {"generator", "g_running"}
    fitting = port_trees.made_for_rosinality(resolution=32)
    assert rosinality.misfit(fitting.discriminator) is None
    arrays = dict(rosinality.write(fitting)["discriminator"])
    name = "progression.5.conv1.0.conv.weight_orig"
    arrays[name] = np.zeros((12, 8, 3, 3), np.float32)
    found = rosinality.read(tree | {"discriminator": arrays}, "x")
    assert found.discriminator is None
    assert "at 32 px its first layer makes 12 feature maps of 8" in found.left_out[f"discriminator/{name}"]


# ---- what is wrong


def test_optimizers_are_left_out_and_prefixes_ignored():
    made = port_trees.made_for_rosinality()
    tree = {k: {f"module.{n}": x for n, x in v.items()} for k, v in rosinality.write(made).items()}
    found = rosinality.read(tree | {"g_optimizer": {"state": {}}, "d_optimizer": {"state": {0: np.zeros(1)}}}, "x")
    assert "optimizer" in found.left_out["d_optimizer"]
    assert ports.equal(found.average, made.average, port_trees.UNTRAINED, **port_trees.ROSINALITY_SWITCHES)
    with pytest.raises(ValueError, match="no group 'other'"):
        rosinality.read(tree | {"other": {"a": np.zeros(1)}}, "x")


@pytest.mark.parametrize("group", ["discriminator", "g_running"])
def test_every_missing_array_of_a_trained_level_is_named(group):
    tree = rosinality.write(port_trees.made_for_rosinality())
    left_out = rosinality.read(tree, "x").left_out
    for name in tree[group]:
        why = left_out.get(f"{group}/{name}", "")
        if "above" not in why:
            with pytest.raises(ValueError, match=f"has an array '{group}/{re.escape(name)}'"):
                rosinality.read(tree | {group: {k: v for k, v in tree[group].items() if k != name}}, "x")


def test_unknown_arrays_and_shapes_that_do_not_fit_are_named():
    tree = rosinality.write(port_trees.made_for_rosinality())["g_running"]
    with pytest.raises(ValueError, match=r"no array 'generator.progression.1.other' \[2\]"):
        rosinality.read(tree | {"generator.progression.1.other": np.zeros(2)}, "x")
    for name in ("noise1.weight_orig", "conv2.conv.bias", "adain2.style.linear.bias", "conv1.1.conv.weight_orig"):
        full = f"generator.progression.1.{name}"
        value = np.concatenate([tree[full]] * 2, axis=1 if name.startswith("noise") else 0)
        with pytest.raises(ValueError, match=r"'generator\.\S+ \[.*\] does not fit 'generator\.") as error:
            rosinality.read(tree | {full: value}, "x")
        assert "progression.1" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "switches", "message"),
    [
        ({}, {}, "bias_before_blur is False, and there it is always True: its images would be off by 3 to 25%"),
        ({"num_labels": 2}, port_trees.ROSINALITY_SWITCHES, "num_labels is 2"),
        ({"const_input": False}, port_trees.ROSINALITY_SWITCHES, "const_input is False"),
        ({"channels": 1}, port_trees.ROSINALITY_SWITCHES, "channels is 1"),
        ({"stddev_features": 2}, port_trees.ROSINALITY_SWITCHES, "stddev_features is 2"),
    ],
)
def test_what_its_code_cannot_compute_is_refused(fields, switches, message):
    made = dataclasses.replace(ports.make(**port_trees.SQUARE | fields), switches=switches)
    with pytest.raises(ValueError, match=f"rosinality's layout cannot hold the .*{message}"):
        rosinality.write(made)


def test_a_mapping_network_of_several_widths_is_refused():
    made = dataclasses.replace(ports.make(z_size=12), switches=port_trees.ROSINALITY_SWITCHES)
    with pytest.raises(ValueError, match="mapping network has one width"):
        rosinality.write(made)
