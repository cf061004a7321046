"""Official pickles, of each version and protocol, are read without their code; ours are read by Python's own pickle."""

import dataclasses
import io
import json
import os
import pathlib
import pickle
import sys
import tracemalloc
import types

import jax
import numpy as np
import pytest

from stylegan_jax.networks import generator
from stylegan_jax.weights import load, save
from stylegan_jax.weights.layouts import contents, official_pickles
from tests import official
from tests.random_networks import assert_same_weights, random_network

PROGAN = {
    "mapping_layers": 0, "use_styles": False, "use_noise": False, "const_input": False, "use_pixel_norm": True,
    "use_instance_norm": False, "blur_filter": None, "embed_labels": False,
}  # fmt: skip


@pytest.fixture
def classes(monkeypatch):
    """Returns stand-ins for the official classes, which Python's pickle finds by their names."""

    class Network:
        def __setstate__(self, state):
            self.state = state

        def __getstate__(self):
            return self.state

    class EasyDict(dict):
        pass

    for module, kind in (("dnnlib.tflib.network", Network), ("dnnlib.util", EasyDict)):
        for name in (module.partition(".")[0], module.rpartition(".")[0], module):
            monkeypatch.setitem(sys.modules, name, sys.modules.get(name) or types.ModuleType(name))
        setattr(sys.modules[module], kind.__name__, kind)
        kind.__module__, kind.__qualname__ = module, kind.__name__
    return Network, EasyDict


def states(network) -> list[contents.Network]:
    found = save.to_contents(network)
    return [found.generator, found.discriminator, found.average]


def pickled(network, classes, protocol: int, version: int = 3, kwargs_of=None) -> bytes:
    """Returns what the official code would have pickled."""
    Network, EasyDict = classes

    def state(name: str, func: str, kwargs: dict, variables: dict, parts: dict):
        result = Network.__new__(Network)
        result.state = {
            "version": version,
            "name": name,
            "static_kwargs": EasyDict(kwargs),
            "build_module_src": "raise SystemExit('this text was run')\n",
            "build_func_name": func,
            "variables": list(variables.items()),
        }
        if version > 2 or parts:
            result.state["components"] = EasyDict(parts)
        return result

    def make(name: str, part: contents.Network):
        kwargs = (kwargs_of or (lambda kwargs: kwargs))(part.kwargs)
        arrays = {n: np.asarray(v, order="C") for n, v in part.arrays.items()}
        parts = {}
        for top in ("G_synthesis", "G_mapping") if part.func == "G_style" else ():
            own = {n.removeprefix(f"{top}/"): v for n, v in arrays.items() if n.startswith(f"{top}/")}
            parts[top[2:]] = state(top, top, kwargs, own, {})
        return state(name, part.func, kwargs, {n: v for n, v in arrays.items() if n[:3] not in ("G_s", "G_m")}, parts)

    networks = tuple(make(name, part) for name, part in zip(("G", "D", "Gs"), states(network), strict=True))
    return pickle.dumps(networks, protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path, classes, protocol):
    network, path = random_network(resolution=8, num_labels=3), tmp_path / "network.pkl"
    path.write_bytes(pickled(network, classes, protocol))
    back = load.load(path)
    assert_same_weights(network, back)
    assert back.info.layout == "official pickle of StyleGAN"


@pytest.mark.parametrize("version", [2, 3])
def test_names_of_numpy_1_and_both_versions_are_read(tmp_path, classes, version):
    network, path = random_network(resolution=8), tmp_path / "network.pkl"
    data = pickled(network, classes, 2, version)
    assert b"cnumpy._core.multiarray\n" in data
    path.write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert_same_weights(network, load.load(path))


def test_settings_that_arrays_tell_may_be_missing(tmp_path, classes):
    network, path = random_network(resolution=8, num_labels=2), tmp_path / "network.pkl"
    told = {"resolution", "num_channels", "label_size", "latent_size", "dlatent_size", "mapping_layers", "fmap_max"}
    path.write_bytes(pickled(network, classes, 4, kwargs_of=lambda k: {n: v for n, v in k.items() if n not in told}))
    back = load.load(path)
    assert_same_weights(network, dataclasses.replace(back, model=network.model))
    sizes = ("resolution", "channels", "num_labels", "z_size", "w_size", "mapping_layers", "mapping_fmaps")
    assert [getattr(back.model, name) for name in sizes] == [getattr(network.model, name) for name in sizes]


def test_settings_that_contradict_the_arrays_are_refused(tmp_path, classes):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickled(random_network(resolution=8), classes, 4, kwargs_of=lambda k: k | {"resolution": 16}))
    with pytest.raises(ValueError, match="its settings say resolution=16, and its arrays 8"):
        load.load(path)


def test_unknown_settings_are_noted(tmp_path, classes):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickled(random_network(resolution=8), classes, 4, kwargs_of=lambda k: k | {"attention": True}))
    assert "The settings attention of G_style are unknown here and ignored." in load.load(path).info.notes


@pytest.mark.parametrize("is_fused", [True, False])
def test_networks_that_enlarge_otherwise_give_the_same_images(tmp_path, classes, is_fused):
    network, path = random_network(resolution=16), tmp_path / "network.pkl"

    def turned(kwargs: dict) -> dict:
        return kwargs | {"fused_scale": is_fused}

    path.write_bytes(pickled(network, classes, 4, kwargs_of=turned))
    conv = load.load(path).params["synthesis"]["b16"]["conv0"]["weight"]
    own = network.params["synthesis"]["b16"]["conv0"]["weight"]
    np.testing.assert_array_equal(conv, own[::-1, ::-1] if is_fused else own)


def test_gs_alone_and_a_discriminator_alone_are_read(tmp_path, classes):
    network = random_network(resolution=8)
    for place, part in ((2, "params"), (1, "d_params")):
        networks = pickle.loads(pickled(network, classes, 4))
        path = tmp_path / f"{part}.pkl"
        path.write_bytes(pickle.dumps(networks[place], 4))
        back = load.load(path)
        jax.tree.map(np.testing.assert_array_equal, getattr(network, part), getattr(back, part))
        assert (back.params is None) == (place == 1) and (back.d_params is None) == (place == 2)


@pytest.mark.parametrize("changes", [{}, {"num_labels": 3}])
def test_progressive_gans_pickles_are_read(tmp_path, classes, changes):
    w_size = 10 + changes.get("num_labels", 0)
    network, path = random_network(resolution=16, z_size=10, w_size=w_size, **PROGAN, **changes), tmp_path / "gan.pkl"
    network.save(path)
    data = path.read_bytes().replace(b"cdnnlib.tflib.network\n", b"ctfutil\n")
    path.write_bytes(data)
    assert b"dnnlib" not in data
    back = load.load(path)
    assert back.info.layout == "official pickle of Progressive GAN"
    assert_same_weights(network, dataclasses.replace(back, model=network.model))
    labels = 1 if changes else None
    np.testing.assert_array_equal(network(seeds=[1], labels=labels), back(seeds=[1], labels=labels))


def test_every_array_is_listed_once(tmp_path, classes):
    network, path = random_network(resolution=8), tmp_path / "network.pkl"
    path.write_bytes(pickled(network, classes, 4))
    info = load.load(path).info
    stored = [name for part in official_pickles.read(path).__dict__.values() if isinstance(part, contents.Network)
              for name in part.stored.values()]  # fmt: skip
    listed = [*info.arrays.values(), *info.left_out]
    assert sorted(listed) == sorted(stored) and len(set(listed)) == len(listed)


def change_state(data: bytes, change) -> bytes:
    networks = pickle.loads(data)
    change(networks)
    return pickle.dumps(networks, 4)


def replace_variable(name: str, value):
    def change(networks):
        variables = networks[2].state["components"]["synthesis"].state["variables"]
        place = [n for n, _ in variables].index(name)
        variables[place] = (name, value)

    return change


def drop(name: str):
    def change(networks):
        part = networks[2].state["components"]["synthesis"].state
        part["variables"] = [(n, v) for n, v in part["variables"] if n != name]

    return change


def add_to_synthesis(name: str, shape: tuple[int, ...], is_outside: bool = False):
    """Adds an array to the synthesis network, or by its full name to the network around it."""

    def change(networks):
        outside = networks[2].state
        part = outside if is_outside else outside["components"]["synthesis"].state
        part["variables"] += [(f"G_synthesis/{name}" if is_outside else name, np.zeros(shape, np.float32))]

    return change


def set_state(**fields):
    return lambda networks: networks[2].state.update(fields)


def add_variable(name: str):
    return lambda networks: networks[1].state["variables"].append((name, np.zeros(3, np.float32)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("4x4/Conv/bias"), "lacks synthesis/b4/epilogue1/bias, without which"),
        (drop("noise1"), r"noise map 1 is missing, and at 4 px it would be \[1, 1, 4, 4\]"),
        (replace_variable("4x4/Conv/bias", np.zeros(5)), r"Gs/G_synthesis/4x4/Conv/bias has the shape \[5\]"),
        (replace_variable("noise2", np.zeros((1, 1, 4, 4))), r"noise map 2 is \[1, 4, 4, 1\]"),
        (replace_variable("4x4/Conv/bias", "text"), "the variable '4x4/Conv/bias' is no array of numbers"),
        (add_variable("8x8/Attention/weight"), "has no '8x8/Attention/weight'"),
        (add_variable("4x4/Dense\n/weight"), r"D_basic has no '4x4/Dense.n/weight'"),
        (add_variable("lod"), "has the variable 'lod' twice"),
        (set_state(version=1), "has version 1 of the official format; 2 and 3 are known"),
        (set_state(build_func_name="G_main"), "has version 3 of the official format; 4 and 5 are known"),
        (set_state(build_func_name="U_net"), "holds a network made by U_net"),
        (set_state(static_kwargs=3), "static_kwargs of a network is no dict"),
        (add_to_synthesis("8x8/Conv0/weight", (3, 3, 12, 12)), "8x8/Conv0.*/weight is there twice"),
        (add_to_synthesis("ToRGB_lod00/weight", (1, 1, 12, 3)), "ToRGB_lod0+/weight is there twice"),
        (add_to_synthesis("noise0", (1, 1, 4, 4), is_outside=True), "has G_synthesis/noise0 twice"),
        (add_to_synthesis("noise99", (1, 1, 4, 4)), "G_synthesis/noise99 is of no use: this network has 4 noise maps"),
        # Found by experiments/fuzz_weights.
        (set_state(version=[["lod", np.zeros((2, 2))]]), "has version "),
        (set_state(variables=True), "the variables of a network are no list of names and arrays"),
        (set_state(build_func_name=["G_style"]), r"holds a network made by .'G_style'."),
        (set_state(static_kwargs={"blur_filter": "text"}), "blur_filter is 'text' of type str; it must be a tuple"),
        (set_state(static_kwargs={"fmap_base": []}), r"fmap_base is .* of type (list|tuple); it must be int"),
        (set_state(static_kwargs={"resolution": "8"}), "its settings say resolution='8', and its arrays 8"),
        (replace_variable("4x4/Conv/weight", np.zeros((3, 3, 12))), r"has the shape \[3, 3, 12\]; .* has 4 axes"),
        (replace_variable("4x4/Conv/bias", np.zeros(0)), r"has the shape \[0\]; .* has 1 axes, none of them empty"),
        (
            lambda networks: networks[2].state.update(variables=[("lod", np.zeros(())), ("dlatent_avg", np.zeros(2))]),
            r"Gs/dlatent_avg has the shape \[2\]; it would be \[14\]",
        ),
        (
            set_state(variables=[("lod", np.float32(7)), ("dlatent_avg", np.zeros(14))]),
            "its level of detail .lod. is 7",
        ),
    ],
)
def test_a_pickle_that_does_not_fit_is_refused_by_name(tmp_path, classes, change, message):
    path = tmp_path / "network.pkl"
    path.write_bytes(change_state(pickled(random_network(resolution=8), classes, 4), change))
    with pytest.raises(ValueError, match=message) as error:
        load.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_noted(tmp_path, classes):
    path = tmp_path / "network.pkl"
    change = replace_variable("4x4/Conv/bias", np.full(12, np.nan, np.float32))
    path.write_bytes(change_state(pickled(random_network(resolution=8), classes, 4), change))
    assert any("values that are not finite; the first is Gs/G_s" in note for note in load.load(path).info.notes)


class Refused:
    """Calls os.mkdir when a pickle of it is loaded by Python."""

    def __init__(self, canary: pathlib.Path) -> None:
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_in_a_network_is_refused_by_name_and_not_made(tmp_path, classes, protocol):
    Network, _ = classes
    network = Network.__new__(Network)
    network.state = {"version": 3, "variables": [Refused(tmp_path / "canary")]}
    value = network if protocol >= 2 else network.state
    (tmp_path / "network.pkl").write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(ValueError, match=r"network.pkl wants to call (posix|nt|os).mkdir"):
        load.load(tmp_path / "network.pkl")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("value", [{"a": 1}, [], (1, 2, 3), "text"])
def test_other_pickles_are_named(tmp_path, value):
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match="is a pickle, but of no official network"):
        load.load(tmp_path / "other.pkl")


def test_pythons_pickle_reads_what_is_written(tmp_path, classes):
    network = random_network(resolution=8, num_labels=2)
    path = network.save(tmp_path / "network.pkl")
    read = pickle.load(io.BytesIO(path.read_bytes()), encoding="latin1")
    assert [n.state["name"] for n in read] == ["G", "D", "Gs"]
    assert [n.state["build_func_name"] for n in read] == ["G_style", "D_basic", "G_style"]
    for part, record in zip(states(network), read, strict=True):
        records = {"": record} | {f"G_{name}/": sub for name, sub in record.state["components"].items()}
        arrays = {top + name: value for top, sub in records.items() for name, value in sub.state["variables"]}
        assert set(arrays) == set(part.arrays)
        for name, value in arrays.items():
            assert value.shape == part.arrays[name].shape and value.dtype == np.float32 and value.flags.c_contiguous
            np.testing.assert_array_equal(value, part.arrays[name])
        assert all(sub.state["version"] == 3 for sub in records.values())


# ---- recorded


@pytest.mark.goldens
def test_the_recorded_pickle_gives_its_recorded_images_scores_and_sums():
    path = official.folder() / "network.pkl"
    if not path.exists():
        pytest.skip("network.pkl is not in the folder of recordings; STYLEGAN_GOLDENS names one that has it")
    network, expected = load.load(path), dict(np.load(official.folder() / "pickle_expected.npz"))
    assert json.loads(str(expected.pop("meta")))["protocol"] == 4
    z, scale = expected["latents"], np.abs(expected["images_Gs_psi0.7"]).max()
    np.testing.assert_allclose(
        network.map(z), expected["dlatents_Gs"], atol=1e-5 * np.abs(expected["dlatents_Gs"]).max()
    )
    ws = np.asarray(generator.truncate(network.map(z), network.w_avg, 0.7, 8))
    images = network.synthesize(ws)
    for name in ("images_Gs_psi0.7", "images_Gs_default"):
        np.testing.assert_allclose(images, np.moveaxis(expected[name], 1, -1), atol=1e-5 * scale)
    as_uint8 = network(z=z, psi=0.7, cutoff=8).astype(int)
    assert np.abs(as_uint8 - expected["uint8_Gs_psi0.7"]).max() <= 1
    training = network.in_training()
    validation, recorded = training.synthesize(training.map(z)), np.moveaxis(expected["images_G_validation"], 1, -1)
    np.testing.assert_allclose(validation, recorded, atol=1e-5 * np.abs(recorded).max())
    scores = network.score(np.moveaxis(expected["images_Gs_psi0.7"], 1, -1))
    np.testing.assert_allclose(scores, expected["scores_D"][:, 0], atol=1e-5 * np.abs(expected["scores_D"]).max())
    found = official_pickles.read(path)
    for top, part in (("G", found.generator), ("D", found.discriminator), ("Gs", found.average)):
        for name, array in part.arrays.items():
            sums = [array.astype(np.float64).sum(), (array.astype(np.float64) ** 2).sum()]
            np.testing.assert_allclose(sums, expected[f"sum/{top}/{name}"], rtol=1e-6, atol=1e-6)
        assert {f"sum/{top}/{name}" for name in part.arrays} == {k for k in expected if k.startswith(f"sum/{top}/")}


def test_a_mean_of_w_over_many_classes_takes_little_memory(tmp_path):
    network = random_network(resolution=8, num_labels=5000, z_size=1, mapping_layers=1)
    found = save.to_contents(network)
    found.average.arrays.pop("dlatent_avg")
    official_pickles.write(tmp_path / "x.pkl", contents.Contents("x", found.average))
    tracemalloc.start()
    mean = load.load(tmp_path / "x.pkl").w_avg
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mean.shape == (14,) and np.isfinite(mean).all()
    assert peak < 5e7  # All labels at once would take 200 MB, and an identity matrix 100.
