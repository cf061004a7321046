"""What becomes of a network's arrays in a new run."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.config import Config, Model
from stylegan_jax.networks import discriminator, generator, sampling
from stylegan_jax.training import state
from stylegan_jax.weights import transfer
from stylegan_jax.weights.info import Info
from tests.small import settings


@functools.cache
def arrays(config: Config, seed: int) -> dict:
    """Returns the arrays of a run that a network can give it, at random."""
    shapes, rng = state.abstract(config), np.random.default_rng(seed)
    fields = {name: getattr(shapes, name) for name in state.IMPORTED}
    return jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), fields)


def small(model: dict) -> Config:
    model = {"resolution": 8} | model
    return settings(
        model=model, schedule={"initial_resolution": model["resolution"]} if "architecture" in model else {}
    )


def carried(of: dict, to: dict, names: tuple = (), new_names: tuple = (), missing: tuple = (), **without):
    """Returns (network, result, {array: row}, model): a network of model settings `of`, carried to a model of `to`."""
    old, new = map(small, (of, to))
    found = arrays(old, 1)
    fields = {name: found[name] for name in ("g_params", "d_params", "w_avg")} | {"params": found["ema_params"]}
    info = Info("network", "made", missing=dict.fromkeys(missing, "zeros"))
    network = types.SimpleNamespace(**fields | {"model": old.model, "class_names": names, "info": info} | without)
    initial = arrays(new, 2)
    result, rows = transfer.transfer(network, initial, new.model, new_names)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (result, initial)]
    assert shapes[0] == shapes[1]
    return network, result, {row.array: row for row in rows}, new.model


def images(params, model: Model, resolution: int, alpha=None, labels=None, seed: int = 0) -> np.ndarray:
    """Returns float images [3, resolution, resolution, channels] of latents and noise that depend on no model."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((3, model.z_size), np.float32)
    noise = tuple(r and rng.standard_normal((3, r, r, 1), np.float32) for r in model.noise_sizes)
    how = z, noise[: 2 * sum(r <= resolution for r in model.resolutions)]
    return np.asarray(_images(params, *how, alpha, labels, model=model, resolution=resolution))


@functools.partial(jax.jit, static_argnames=("model", "resolution"))
def _images(params, z, noise, alpha, labels, *, model, resolution):
    w = sampling.map_latents(params, z, labels, model)
    ws = jnp.broadcast_to(w[:, None], (len(w), model.num_layers, w.shape[1]))
    return sampling.synthesize(params, ws, noise, alpha, model, resolution)


@functools.partial(jax.jit, static_argnames="model")
def scores(d_params, pictures, labels=None, *, model):
    d = discriminator.discriminator(model)
    return d.apply({"params": d_params}, pictures, labels, None, resolution=pictures.shape[1])


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


# ---- resolution


def test_a_network_of_the_same_model_is_copied_whole():
    network, result, rows, _ = carried({}, {})
    assert {row.what for row in rows.values()} == {transfer.COPIED} and {row.why for row in rows.values()} == {""}
    assert same(result["g_params"], network.g_params) and same(result["ema_params"], network.params)
    assert same(result["d_params"], network.d_params) and same(result["w_avg"], network.w_avg)


def test_what_is_returned_shares_no_memory():
    network, result, _, _ = carried({}, {}, g_params=None)
    of_run = jax.tree.leaves(result)
    others = jax.tree.leaves((network.params, network.d_params, network.w_avg, arrays(small({}), 2)))
    assert not any(np.shares_memory(a, b) for a in of_run for b in others)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(of_run) for b in of_run[:i])


def test_an_array_that_the_file_lacks_is_initialised_and_not_copied_as_zeros():
    missing = ("params/synthesis/to_rgb4/weight", "d_params/from_rgb4/weight")
    always_zero = (
        "params/synthesis/b4/epilogue0/bias"  # As in rosinality's layout: the zeros are what it computes with.
    )
    _, result, rows, _ = carried({}, {}, missing=(*missing, always_zero), g_params=None)
    changed = {row.array for row in rows.values() if row.what != transfer.COPIED}
    assert changed == {f"{name}/synthesis/to_rgb4/weight" for name in ("g_params", "ema_params")} | {missing[1]}
    assert {rows[array].why for array in changed} == {"the network has no such array"}
    initial = arrays(small({}), 2)
    for name in ("g_params", "ema_params"):
        assert same(result[name]["synthesis"]["to_rgb4"]["weight"], initial[name]["synthesis"]["to_rgb4"]["weight"])
    assert same(result["d_params"]["from_rgb4"]["weight"], initial["d_params"]["from_rgb4"]["weight"])


def test_the_first_fade_above_a_network_begins_with_its_pictures_to_the_bit():
    network, result, rows, model = carried({"resolution": 32}, {"resolution": 64})
    before = images(network.params, network.model, 32)
    assert np.array_equal(images(result["ema_params"], model, 32), before)
    enlarged = before.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(images(result["ema_params"], model, 64, alpha=np.float32(0)), enlarged)
    new = {array for array, row in rows.items() if row.what == transfer.INITIALISED}
    assert new and all("b64/" in array or "_rgb64/" in array for array in new)
    assert {rows[array].why for array in new} == {"the network ends at 32 px"}
    assert not np.array_equal(images(result["ema_params"], model, 64, alpha=np.float32(0.5)), enlarged)


def test_the_discriminator_scores_as_before_at_the_networks_resolution():
    network, result, _, model = carried({"resolution": 8}, {"resolution": 16})
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(
        scores(result["d_params"], pictures, model=model), scores(network.d_params, pictures, model=network.model)
    )


def test_blocks_above_the_runs_resolution_are_dropped():
    network, result, rows, model = carried({"resolution": 16}, {"resolution": 8})
    dropped = {array: row.why for array, row in rows.items() if row.what == transfer.DROPPED}
    assert set(dropped.values()) == {"the run ends at 8 px"}
    assert {array.split("/")[-3] for array in dropped if array.startswith("g_params")} >= {"b16"}
    assert np.array_equal(images(result["ema_params"], model, 8), images(network.params, network.model, 8))


def test_layers_of_another_width_stay_as_the_run_made_them():
    network, result, rows, _ = carried({}, {"fmap_max": 8})
    row = rows["d_params/b8/conv1/weight"]
    assert row[1:] == (transfer.INITIALISED, "its shape is [3, 3, 16, 16] there and [3, 3, 8, 8] here")
    new = arrays(small({"fmap_max": 8}), 2)
    assert same(result["d_params"]["b8"]["conv1"]["weight"], new["d_params"]["b8"]["conv1"]["weight"])
    assert same(result["g_params"]["mapping"], network.g_params["mapping"]) and rows["w_avg"].what == transfer.COPIED


# ---- what a file may lack


def test_without_a_generator_in_training_its_average_stands_in():
    network, result, _, _ = carried({}, {}, g_params=None)
    assert same(result["g_params"], network.params) and same(result["ema_params"], network.params)


def test_a_network_without_a_discriminator_or_a_mean_of_w_leaves_them_to_the_run():
    _, result, rows, _ = carried({}, {}, d_params=None, w_avg=None)
    new = arrays(small({}), 2)
    assert same(result["d_params"], new["d_params"]) and same(result["w_avg"], new["w_avg"])
    why = {row.why for array, row in rows.items() if array.startswith("d_params")}
    assert why == {"the network has no discriminator"}
    assert rows["w_avg"][1:] == (transfer.INITIALISED, "the network has none")


def test_a_discriminator_alone_leaves_the_generator_to_the_run():
    network, result, rows, _ = carried({}, {}, params=None, g_params=None)
    assert same(result["d_params"], network.d_params)
    assert rows["g_params/mapping/dense0/weight"].why == "the network has no generator"
    assert rows["w_avg"].what == transfer.INITIALISED


def test_a_mapping_network_of_another_depth_is_new_and_w_avg_with_it():
    _, result, rows, _ = carried({"mapping_layers": 2}, {"mapping_layers": 1})
    row = rows["g_params/mapping/dense0/weight"]
    assert row[1:] == (transfer.INITIALISED, "the mapping network has 2 layers there and 1 here")
    assert rows["g_params/mapping/dense1/weight"][1:] == (transfer.DROPPED, "the run has no such array")
    assert rows["w_avg"][1:] == (transfer.INITIALISED, "not all of the mapping network is copied")
    assert same(result["w_avg"], arrays(small({"mapping_layers": 1}), 2)["w_avg"])


def test_a_mapping_network_with_another_learning_rate_computes_the_same_w():
    network, result, rows, model = carried({"mapping_lr_multiplier": 0.01}, {"mapping_lr_multiplier": 0.2})
    z = np.random.default_rng(0).standard_normal((4, 16), np.float32)
    old, new = (
        generator.Mapping(of).apply({"params": params["mapping"]}, z)
        for of, params in ((network.model, network.params), (model, result["ema_params"]))
    )
    np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    assert rows["w_avg"][1:] == (transfer.COPIED, "") and not transfer.differences(network.model, model)


def test_a_generator_without_mapping_layers_has_a_place_for_them():
    _, result, _, _ = carried({"mapping_layers": 0}, {"mapping_layers": 0})
    assert result["g_params"]["mapping"] == {}


# ---- colours


@pytest.mark.parametrize(
    ("old", "new", "equalized"),
    [(3, 1, True), (1, 3, True), (3, 4, True), (4, 3, True), (4, 1, True), (1, 4, True), (4, 1, False)],
)
def test_pictures_and_scores_are_those_of_the_network_in_other_colours(old, new, equalized):
    network, result, rows, model = carried(
        {"channels": old, "use_equalized_lr": equalized}, {"channels": new, "use_equalized_lr": equalized}
    )
    before, after = images(network.params, network.model, 8), images(result["ema_params"], model, 8)
    np.testing.assert_allclose(after, in_colours(before, new), rtol=0, atol=1e-5)

    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, new)).astype(np.float32)
    after, before = (
        scores(params, shown, model=of)
        for params, shown, of in (
            (result["d_params"], pictures, model),
            (network.d_params, in_colours(pictures, old), network.model),
        )
    )
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    words = {1: "gray", 3: "RGB", 4: "RGBA"}
    why = f"converted from {words[old]} to {words[new]}"
    for array in ("g_params/synthesis/to_rgb8/weight", "d_params/from_rgb8/bias"):
        assert rows[array][1:] == (transfer.PARTLY, why)


def in_colours(pictures: np.ndarray, channels: int) -> np.ndarray:
    """Returns pictures with other channels: gray is the mean of the colours, and alpha is opaque."""
    alpha = pictures[..., 3:] if pictures.shape[-1] == 4 else np.ones_like(pictures[..., :1])
    colours = pictures[..., : 1 if pictures.shape[-1] == 1 else 3]
    if channels == 1:
        return colours.mean(axis=-1, keepdims=True)
    colours = np.broadcast_to(colours, (*colours.shape[:3], 3))
    return np.concatenate([colours, alpha], axis=-1) if channels == 4 else colours


def test_colours_of_other_widths_are_new():
    _, _, rows, _ = carried({"channels": 3}, {"channels": 1, "fmap_max": 8})
    row = rows["g_params/synthesis/to_rgb8/weight"]
    assert row[1:] == (transfer.INITIALISED, "its shape is [1, 1, 16, 3] there and [1, 1, 8, 1] here")


# ---- classes

ANIMALS, PETS = ("bird", "cat", "dog"), ("dog", "fish", "bird")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ANIMALS, PETS, (2, None, 0)),
        (ANIMALS, ("dog",), (2,)),
        ((), PETS, (0, 1, 2)),
        (ANIMALS, (), (0, 1, 2)),
        ((), ("dog",), (None,)),
        (("cat", "cat", "dog"), ("cat", "dog", "bird"), (0, 1, 2)),  # Names that are not their own say nothing.
    ],
)
def test_classes_are_matched_by_name_or_by_number_if_they_are_as_many(old, new, expected):
    num_new = len(new) or 3
    assert transfer.match_classes(3, old, num_new, new)[0] == expected


def test_embeddings_and_scores_follow_their_classes():
    network, result, rows, model = carried({"num_labels": 3}, {"num_labels": 3}, ANIMALS, PETS)
    new = arrays(small({"num_labels": 3}), 2)
    old_embedding, embedding = (tree["mapping"]["label_embedding"] for tree in (network.params, result["ema_params"]))
    assert same(embedding[[0, 2]], old_embedding[[2, 0]])
    assert same(embedding[1], new["ema_params"]["mapping"]["label_embedding"][1])
    for name in ("weight", "bias"):
        old_scores, now = network.d_params["dense1"][name], result["d_params"]["dense1"][name]
        assert same(now[..., [0, 2]], old_scores[..., [2, 0]])
        assert same(now[..., 1], new["d_params"]["dense1"][name][..., 1])
    row = rows["d_params/dense1/weight"]
    assert row[1:] == (transfer.PARTLY, "2 of 3 classes matched (by name)")
    assert rows["w_avg"].what == transfer.INITIALISED

    of_cat, of_dog = (np.tile(np.eye(3, dtype=np.float32)[i], (3, 1)) for i in (2, 0))
    assert np.array_equal(
        images(result["ema_params"], model, 8, labels=of_dog), images(network.params, network.model, 8, labels=of_cat)
    )


def test_the_same_classes_in_another_order_are_copied_whole():
    _, _, rows, _ = carried({"num_labels": 3}, {"num_labels": 3}, ANIMALS, ANIMALS[::-1])
    assert {row.what for row in rows.values()} == {transfer.COPIED}
    assert rows["g_params/mapping/label_embedding"].why == "3 of 3 classes matched (by name)"


def test_other_classes_without_names_are_new():
    _, result, rows, _ = carried({"num_labels": 3}, {"num_labels": 2})
    row = rows["g_params/mapping/label_embedding"]
    why = "0 of 2 classes matched (there are 3 there and 2 here, not all with names of their own)"
    assert row[1:] == (transfer.INITIALISED, why)
    new = arrays(small({"num_labels": 2}), 2)
    assert same(result["g_params"]["mapping"]["label_embedding"], new["g_params"]["mapping"]["label_embedding"])
    assert rows["g_params/mapping/dense0/weight"].what == transfer.COPIED


def test_classes_that_are_not_embedded_have_rows_of_the_first_layer():
    plain = {"num_labels": 3, "embed_labels": False}
    network, result, rows, _ = carried(plain, plain, ANIMALS, PETS)
    old, now = (tree["mapping"]["dense0"]["weight"] for tree in (network.g_params, result["g_params"]))
    assert same(now[:16], old[:16]) and same(now[[16, 18]], old[[18, 16]])
    assert rows["g_params/mapping/dense0/weight"].why == "the rows of z, and 2 of 3 classes matched (by name)"


def test_an_unconditional_network_becomes_conditional_and_scores_each_class_as_it_did():
    network, result, rows, model = carried({}, {"num_labels": 2})
    now = result["g_params"]["mapping"]["dense0"]["weight"]
    assert same(now[:16], network.g_params["mapping"]["dense0"]["weight"])
    new = arrays(small({"num_labels": 2}), 2)
    assert same(now[16:], new["g_params"]["mapping"]["dense0"]["weight"][16:])
    row = rows["g_params/mapping/dense0/weight"]
    assert row[1:] == (transfer.PARTLY, "the rows of z; the label is absent there and embedded here")
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    after = scores(result["d_params"], pictures, labels, model=model)
    np.testing.assert_allclose(after, scores(network.d_params, pictures, model=network.model), rtol=1e-5, atol=1e-5)


def test_a_conditional_network_becomes_unconditional_and_scores_as_its_classes_in_the_mean():
    network, result, rows, model = carried({"num_labels": 2}, {})
    old = network.g_params["mapping"]["dense0"]["weight"]
    assert same(result["g_params"]["mapping"]["dense0"]["weight"], old[:16])
    assert rows["g_params/mapping/label_embedding"][1:] == (transfer.DROPPED, "the run has no such array")
    assert rows["d_params/dense1/bias"][1:] == (transfer.PARTLY, "the mean over the classes there")
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    each = [
        scores(network.d_params, pictures, np.tile(row, (4, 1)), model=network.model)
        for row in np.eye(2, dtype=np.float32)
    ]
    after = scores(result["d_params"], pictures, model=model)
    np.testing.assert_allclose(after, np.mean(each, axis=0), rtol=1e-5, atol=1e-5)


def test_the_first_layer_keeps_its_variance_when_a_network_becomes_conditional():
    large = {"z_size": 256, "w_size": 256, "mapping_fmaps": 256, "mapping_layers": 1}
    spread = []
    network, result, _, model = carried(large, large | {"num_labels": 2})
    z = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    labels = np.eye(2, dtype=np.float32)[np.arange(256) % 2]
    for params, of, given in ((network.params, network.model, None), (result["ema_params"], model, labels)):
        mapping = generator.Mapping(of)
        spread.append(float(np.std(mapping.apply({"params": params["mapping"]}, z, given))))
    assert spread[1] == pytest.approx(spread[0], rel=0.1)


# ---- StyleGAN2

SECOND = {"architecture": "stylegan2"}


def test_a_sum_of_images_begins_as_the_smaller_networks_image_enlarged():
    network, result, rows, model = carried(SECOND | {"resolution": 16}, SECOND | {"resolution": 32})
    before = images(network.params, network.model, 16)
    enlarged = np.asarray(generator.stylegan2.upscaled(jnp.asarray(before), model))
    bias = result["ema_params"]["synthesis"]["to_rgb32"]["bias"]  # It is random here, and zero in a run.
    after = images(result["ema_params"], model, 32) - bias
    np.testing.assert_allclose(after, enlarged, atol=1e-6 * np.abs(before).max())
    row = rows["g_params/synthesis/to_rgb32/weight"]
    assert row[1:] == (transfer.INITIALISED, "zeros: it adds nothing to the sum of images yet")
    assert rows["g_params/synthesis/b32/conv0/weight"][1:] == (transfer.INITIALISED, "the network ends at 16 px")
    assert rows["d_params/b16/conv0/weight"].what == transfer.COPIED == rows["w_avg"].what
    assert rows["d_params/from_rgb16/weight"].what == transfer.DROPPED  # A residual discriminator has one at the top.


def test_without_a_sum_the_new_way_to_rgb_stays_as_the_run_made_it():
    fields = SECOND | {"g_connections": "resnet"}
    _, result, rows, model = carried(fields, fields | {"resolution": 16})
    new = arrays(small(fields | {"resolution": 16}), 2)
    assert same(result["g_params"]["synthesis"]["to_rgb16"], new["g_params"]["synthesis"]["to_rgb16"])
    assert rows["g_params/synthesis/to_rgb8/weight"].what == transfer.DROPPED


@pytest.mark.parametrize("connections", ["skip", "resnet"])
@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (3, 4), (4, 3), (1, 4)])
def test_pictures_and_scores_of_stylegan2_are_those_in_other_colours(old, new, connections):
    fields = SECOND | {"g_connections": connections, "d_connections": connections, "blur_filter": (1,)}
    network, result, _, model = carried(fields | {"channels": old}, fields | {"channels": new})
    before, after = images(network.params, network.model, 8), images(result["ema_params"], model, 8)
    np.testing.assert_allclose(after, in_colours(before, new), rtol=0, atol=1e-5 * np.abs(before).max())
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, new)).astype(np.float32)
    after = scores(result["d_params"], pictures, model=model)
    before = scores(network.d_params, in_colours(pictures, old), model=network.model)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())


def test_embeddings_of_stylegan2_follow_their_classes_and_directions_are_copied():
    fields = SECOND | {"num_labels": 3, "d_mapping_layers": 1}
    network, result, rows, _ = carried(fields, fields, ANIMALS, PETS)
    for name, field in (("g_params", "g_params"), ("ema_params", "params"), ("d_params", "d_params")):
        old, now = (tree["mapping"]["label_embedding"] for tree in (getattr(network, field), result[name]))
        assert same(now["weight"][[0, 2]], old["weight"][[2, 0]]) and same(now["bias"], old["bias"])
        assert not same(now["weight"][1], old["weight"][1])
    assert rows["d_params/dense1/weight"].what == rows["d_params/mapping/dense0/weight"].what == transfer.COPIED


def test_a_discriminators_mapping_of_another_depth_is_new():
    fields = SECOND | {"num_labels": 3, "d_mapping_layers": 2}
    _, _, rows, _ = carried(fields, fields | {"d_mapping_layers": 1})
    why = "the mapping network has 2 layers there and 1 here"
    assert rows["d_params/mapping/dense0/weight"][1:] == (transfer.INITIALISED, why)
    assert rows["g_params/mapping/dense0/weight"].what == transfer.COPIED


def test_an_unconditional_stylegan2_becomes_conditional_with_new_directions():
    network, result, rows, _ = carried(SECOND, SECOND | {"num_labels": 2})
    now = result["g_params"]["mapping"]["dense0"]["weight"]
    assert same(now[:16], network.g_params["mapping"]["dense0"]["weight"])
    assert rows["d_params/dense1/weight"].what == transfer.INITIALISED
    assert rows["d_params/dense0/weight"].what == transfer.COPIED


@pytest.mark.parametrize(("old", "new"), [({}, SECOND), (SECOND, {})])
def test_a_network_of_the_other_architecture_is_refused(old, new):
    with pytest.raises(ValueError, match="the network's model.architecture is .*, and this run's is .*: no array has"):
        carried(old, new)


# ---- for the user


def test_a_setting_that_weights_were_trained_under_is_named_with_both_values():
    old, new = Model(), Model(resolution=64, nonlinearity="relu", blur_filter=None, num_labels=3, remat=True)
    blur, nonlinearity = transfer.differences(old, new)
    assert blur.startswith("model.blur_filter is (1, 2, 1) in the imported network") and "and None in this run" in blur
    assert blur.endswith("use --config.model.blur_filter='(1, 2, 1)'.")
    assert "model.nonlinearity is 'lrelu'" in nonlinearity and "--config.model.nonlinearity=lrelu" in nonlinearity


def test_the_summary_counts_and_gives_each_reason_once():
    rows = [
        transfer.Row("g_params/synthesis/b8/conv0/weight", transfer.COPIED, ""),
        transfer.Row("g_params/synthesis/b16/conv0/weight", transfer.INITIALISED, "the network ends at 8 px"),
        transfer.Row("g_params/synthesis/b16/conv1/weight", transfer.INITIALISED, "the network ends at 8 px"),
        transfer.Row("d_params/mapping/dense1/weight", transfer.INITIALISED, "it is of classes"),
        transfer.Row("d_params/dense1/weight", transfer.INITIALISED, "it is of scores"),
        transfer.Row("w_avg", transfer.INITIALISED, "the network has none"),
    ]
    assert transfer.summary(rows) == [
        "arrays: 1 copied, 5 initialised",
        "initialised: g_params/b16: the network ends at 8 px",
        "initialised: d_params/mapping: it is of classes",
        "initialised: d_params/dense1: it is of scores",
        "initialised: w_avg: the network has none",
    ]
    many = [transfer.Row(f"d_params/layer{i}/weight", transfer.DROPPED, "why") for i in range(15)]
    assert transfer.summary(many)[1].endswith("d_params/layer11 and 3 more: why")
