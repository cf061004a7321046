import numpy as np
import pytest

from stylegan_jax.weights.files import torch_files
from stylegan_jax.weights.layouts import genforce, huangzh13, interfacegan, lernapparat, rosinality, taking
from tests import ports
from tests.weights.layouts import port_trees

READERS = (genforce, interfacegan, huangzh13, lernapparat, rosinality)


def _trees():
    """Yields (layout, tree) of every kind of file of every port."""
    made = ports.make()
    yield "genforce", genforce.write(made)
    yield "genforce", {"models": genforce.write(made)}
    yield "genforce", {"discriminator": genforce.write(made)["discriminator"]}
    yield "interfacegan", port_trees.interfacegan(made.average)
    yield "huangzh13", port_trees.huangzh13(made.average)
    yield "lernapparat", port_trees.lernapparat_generator(made.average)
    yield "lernapparat", port_trees.lernapparat_discriminator(made.discriminator)
    parts = (made.generator, made.discriminator, made.average)
    yield "lernapparat", [ports.lacking(part, port_trees.UNTRAINED).arrays for part in parts]
    tree = rosinality.write(port_trees.made_for_rosinality())
    yield "rosinality", tree
    yield "rosinality", tree["g_running"]


def test_every_file_is_recognized_by_its_own_reader_alone(tmp_path):
    for number, (layout, tree) in enumerate(_trees()):
        path = tmp_path / f"{number}.pth"
        torch_files.save(tree, path)
        loaded = torch_files.load(path)
        found = [read.read(loaded, path) for read in READERS]
        assert [contents.layout for contents in found if contents] == [layout], number
        assert all(ports.is_complete(contents, loaded) for contents in found if contents)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        [],
        3,
        None,
        {"state_dict": {"a": np.zeros(2)}},
        {0: np.zeros(2)},
        {"g_ema": {"conv1.conv.modulation.weight": np.zeros((2, 2))}},  # StyleGAN2
        {"generator": None, "discriminator": {}},
        {"models": {"generator": {}}},
        [{}, {}, {}],
        [{"a": np.zeros(1)}] * 3,
    ],
)
def test_other_trees_are_of_none_of_the_layouts(tree):
    assert [reader.read(tree, "GAN_GEN_5_3.pth") for reader in READERS] == [None] * len(READERS)


@pytest.mark.parametrize(
    ("reader", "group", "names"),
    [
        (genforce, "generator", ["synthesis.layer0.apply_noise.noise", "synthesis.layer123456789.bias"]),
        (genforce, "discriminator", ["input0.weight", "input99999999999.weight", "layer1.blur.kernel"]),
        (interfacegan, None, ["synthesis.layer0.epilogue.bias", "synthesis.output99999999999.bias"]),
        (huangzh13, None, ["g_synthesis.blocks.0.epi1.top_epi.noise.weight", "g_mapping.map.dense999999999.bias"]),
        (lernapparat, None, ["g_synthesis.blocks.4x4.bias", "g_synthesis.blocks.99999999999x4.bias"]),
        (lernapparat, None, ["fromrgb.bias", "4x4.conv.bias", "9" * 4000 + "x4.conv.bias"]),
        (rosinality, "g_running", [f"generator.progression.{i}.noise1.weight_orig" for i in ("0", "9" * 11)]),
        (rosinality, None, ["generator.progression.0.noise1.weight_orig", "style.99999999999.linear.bias"]),
    ],
)
def test_numbers_that_no_network_has_are_refused_at_once(reader, group, names):
    arrays = dict.fromkeys(names, np.ones(2, np.float32))
    with pytest.raises(ValueError, match=f"^{reader.LAYOUT}'s layout has (no|an) array"):
        reader.read({group: arrays} if group else arrays, "train_step-99999999999.model")


def test_empty_arrays_and_complex_numbers_are_refused():
    tree = genforce.write(ports.make())["discriminator"]
    for value, what in ((np.zeros((0, 3), np.float32), "empty"), (np.ones(12, np.complex64), "of complex numbers")):
        with pytest.raises(ValueError, match=f"no array that is {what}, as 'discriminator/layer0.bias'"):
            genforce.read({"discriminator": tree | {"layer0.bias": value}}, "x")


def test_numbers_other_than_float32_are_converted():
    made = ports.make()
    tree = genforce.write(made)
    half = {name: x.astype(np.float16) for name, x in tree["generator_smooth"].items()}
    found = genforce.read({"generator_smooth": half}, "x").average
    for name, value in made.average.arrays.items():
        if name in found.arrays:
            assert found.arrays[name].dtype == np.float32
            np.testing.assert_array_equal(found.arrays[name], value.astype(np.float16))


def test_arrays_stay_views_of_the_file_where_they_can():
    tree = genforce.write(ports.make())
    found = genforce.read(tree, "x").average
    for name in ("G_synthesis/8x8/Conv1/weight", "G_mapping/Dense0/weight", "dlatent_avg"):
        assert np.shares_memory(found.arrays[name], tree["generator_smooth"][found.stored[name].partition("/")[2]])


def test_the_setting_of_transposed_convolutions_follows_from_where_they_are():
    sizes = [8, 16, 32, 64, 128, 256]
    assert taking.fused_scale("x", {r: r >= 128 for r in sizes}) == "auto"
    assert taking.fused_scale("x", dict.fromkeys(sizes[:4], False)) == "auto"
    assert taking.fused_scale("x", dict.fromkeys(sizes, True)) is True
    assert taking.fused_scale("x", dict.fromkeys(sizes, False)) is False
    with pytest.raises(ValueError, match=r"x's files .* this one has them at \[64, 128, 256\] px"):
        taking.fused_scale("x", {r: r >= 64 for r in sizes})
