"""Networks of StyleGAN2: recorded snapshots give their images, files of TensorFlow's layout too, and nothing is run."""

import collections
import dataclasses
import io
import pickle
import random
import sys
import types

import numpy as np
import pytest

from stylegan_jax.weights import load, save
from stylegan_jax.weights.files import persistence, pickle_writer
from stylegan_jax.weights.files.pickle_machine import Record
from stylegan_jax.weights.layouts import official_pickles
from stylegan_jax.weights.layouts.official_pickles import snapshots, stylegan2
from tests import official
from tests.random_networks import assert_same_weights, random_network

RECORDED = ("network", "network_torch17")
KINDS = [
    {},
    {"g_connections": "resnet", "d_connections": "skip", "num_labels": 5, "conv_clamp": 2.5, "channels": 1},
    {
        "g_connections": "orig", "d_connections": "orig", "num_labels": 3, "embed_size": 6, "d_mapping_size": 7,
        "d_mapping_layers": 2, "d_mapping_lr_multiplier": 0.1, "nonlinearity": "relu", "use_noise": False,
        "stddev_group": 2, "stddev_features": 3, "fmap_base": 100, "fmap_max": 9,
    },
    {"stddev_group": 0, "blur_filter": (1, 6, 15, 20, 15, 6, 1), "conv_clamp": 256.0},
]  # fmt: skip


def random_stylegan2(**changes):
    return random_network(architecture="stylegan2", **{"resolution": 16} | changes)


def expected() -> dict[str, np.ndarray]:
    return dict(np.load(official.folder() / "sg2" / "pickle_expected.npz"))


def assert_close(ours: np.ndarray, recorded: np.ndarray) -> None:
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=1e-5 * np.abs(recorded).max())


def modules(path) -> dict[str, persistence.Module]:
    with path.open("rb") as file:
        return persistence.load_modules(file, str(path), ("G", "D", "G_ema"))


# ---- snapshots


@pytest.mark.goldens
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_snapshot_gives_its_recorded_images_styles_and_scores(name):
    network, recorded = load.load(official.folder() / "sg2" / f"{name}.pkl"), expected()
    z = recorded["z"]
    assert_close(network.map(z), recorded["G_ema/ws"])
    for kind, how, noise in (
        ("images", {}, "const"),
        ("images_psi0.7", {"psi": 0.7}, "const"),
        ("images_psi0.5_cutoff2", {"psi": 0.5, "cutoff": 2}, "const"),
        ("images_nonoise", {}, "none"),
    ):
        images = network.synthesize(network.map(z, **how), noise=noise)
        assert_close(np.moveaxis(images, -1, 1), recorded[f"G_ema/{kind}"])
    training = network.in_training()
    assert_close(np.moveaxis(training.synthesize(training.map(z)), -1, 1), recorded["G/images"])
    for key in ("G_ema", "G"):
        scores = network.score(np.moveaxis(recorded[f"{key}/images"], 1, -1))
        assert_close(scores, recorded[f"{key}/scores"].reshape(-1))


@pytest.mark.goldens
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_snapshot_written_again_has_the_same_tensors(tmp_path, name):
    path, recorded = official.folder() / "sg2" / f"{name}.pkl", expected()
    network = load.load(path)
    read, again = modules(path), modules(network.save(tmp_path / "again.pkl"))
    for key, module in read.items():
        assert module.arrays.keys() == again[key].arrays.keys() == {
            name.removeprefix(f"{key}/vars/") for name in recorded if name.startswith(f"{key}/vars/")
        }  # fmt: skip
        for name, value in module.arrays.items():
            other = again[key].arrays[name]
            assert (value.dtype, value.shape, value.strides) == (other.dtype, other.shape, other.strides)
            np.testing.assert_array_equal(value, other)
            np.testing.assert_array_equal(value, recorded[f"{key}/vars/{name}"])
    assert_same_weights(network, load.load(tmp_path / "again.pkl"))
    assert "half precision" in str(network.info) and "half precision" not in str(load.load(tmp_path / "again.pkl").info)


@pytest.mark.parametrize("changes", KINDS)
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors", ".npz"])
def test_a_network_comes_back_bit_for_bit(tmp_path, suffix, changes):
    network = random_stylegan2(**changes)
    back = load.load(network.save(tmp_path / f"network{suffix}"))
    assert_same_weights(network, back)
    assert network.sha256 == back.sha256
    how = {"seeds": [1], "psi": 0.7, "labels": 1 if network.model.num_labels else None}
    np.testing.assert_array_equal(network(**how), back(**how))


class Filled:
    """Stands for a module of the official code, which its loader makes and fills."""

    def __init__(self, **kwargs):
        self.kwargs = kwargs

    def eval(self):
        return self

    def requires_grad_(self, value):
        assert value is False
        return self

    def load_state_dict(self, arrays):
        self.arrays = arrays


@pytest.mark.parametrize("changes", KINDS)
def test_the_official_loader_gets_modules_of_its_own_classes_with_all_arrays(tmp_path, monkeypatch, changes):
    classes = {name: type(name, (Filled,), {}) for name in ("Generator", "Discriminator")}
    monkeypatch.setitem(sys.modules, "training", types.SimpleNamespace(networks=types.SimpleNamespace(**classes)))

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            def rebuild_tensor(data, offset, shape, strides, requires_grad, hooks):
                assert offset == 0 and hooks == {} and np.prod(shape) * 4 == len(data)
                return np.lib.stride_tricks.as_strided(np.frombuffer(data, "<f4"), shape, [4 * s for s in strides])

            def reconstruct(meta):  # As torch_utils.persistence does it.
                source = types.ModuleType("source")
                exec(meta["module_src"], source.__dict__)
                assert meta["type"] == "class" and meta["version"] == 6
                made = source.__dict__[meta["class_name"]].__new__(source.__dict__[meta["class_name"]])
                made.__setstate__(meta["state"])
                return made

            return {
                "_rebuild_tensor_v2": rebuild_tensor,
                "_load_from_bytes": storage,
                "_reconstruct_persistent_obj": reconstruct,
                "OrderedDict": collections.OrderedDict,
            }[name]

    network = random_stylegan2(**changes)
    path = network.save(tmp_path / "network.pkl")
    with path.open("rb") as file:
        tree = Unpickler(file).load()
    assert list(tree) == ["training_set_kwargs", "G", "D", "G_ema", "augment_pipe"]
    found, read = save.to_contents(network), modules(path)
    for key, part in (("G", found.generator), ("D", found.discriminator), ("G_ema", found.average)):
        assert type(tree[key]) is classes[snapshots.CLASSES[key]]
        assert tree[key].kwargs["img_resolution"] == 16 and tree[key].arrays.keys() == read[key].arrays.keys()
        for place, value in part.arrays.items():
            name, value = stylegan2.to_torch(place, value)
            np.testing.assert_array_equal(tree[key].arrays[name], value)


def test_layers_that_do_not_resample_have_the_default_filter_as_in_the_official_code(tmp_path):
    found = modules(random_stylegan2(**KINDS[-1]).save(tmp_path / "network.pkl"))
    shapes = {
        f"{key}.{name.removesuffix('.resample_filter')}": value.shape
        for key in ("G", "D")
        for name, value in found[key].arrays.items()
        if name.endswith("resample_filter")
    }
    own = {f"G.synthesis.b{r}" for r in (4, 8, 16)} | {f"G.synthesis.b{r}.conv0" for r in (8, 16)}
    own |= {f"D.b{r}{part}" for r in (8, 16) for part in ("", ".conv1", ".skip")}
    default = {f"G.synthesis.b{r}.conv1" for r in (4, 8, 16)} | {
        "D.b8.conv0",
        "D.b16.conv0",
        "D.b16.fromrgb",
        "D.b4.conv",
    }
    assert shapes == dict.fromkeys(own, (8,)) | dict.fromkeys(default, (4, 4))


def storage(data: bytes) -> bytes:
    """Returns the numbers of a storage that is a file of its own, as PyTorch reads it."""
    stream, objects = io.BytesIO(data), []

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            return f"{module}.{name}"

        def persistent_load(self, found):
            return found

    for _ in range(5):
        objects.append(Unpickler(stream).load())
    magic, protocol, system, (kind, storage_type, key, device, length, view), keys = objects
    assert (magic, protocol, system["little_endian"]) == (0x1950A86A20F9469CFC6C, 1001, True)
    assert (kind, storage_type, device, view, keys) == ("storage", "torch.FloatStorage", "cpu", None, [key])
    assert int.from_bytes(stream.read(8), "little") == length
    return stream.read()


def test_a_snapshot_that_the_official_code_cannot_compute_or_load_is_not_written(tmp_path):
    network = random_stylegan2(fmap_base=30, fmap_decay=0.5)
    with pytest.raises(ValueError, match="cannot be written: the official code has min"):
        network.save(tmp_path / "network.pkl")
    with pytest.raises(ValueError, match="loads no snapshot without a discriminator"):
        dataclasses.replace(random_stylegan2(), d_params=None).save(tmp_path / "network.pkl")


@pytest.mark.parametrize(
    ("suffix", "why"),
    [
        (".pth", "what reads .pth computes StyleGAN alone, .* Save it as .safetensors, .npz or .pkl"),
        (".model", "what reads .model computes StyleGAN alone, .* Save it as .safetensors, .npz or .pkl"),
        (".onnx", "the network is of StyleGAN2, which has no ONNX graph here; save it as .stablehlo"),
    ],
)
def test_what_others_compute_for_stylegan_alone_is_not_written(tmp_path, suffix, why):
    with pytest.raises(ValueError, match=why):
        random_stylegan2().save(tmp_path / f"network{suffix}")


# ---- what is refused


def written(path, change, key="G_ema"):
    """Writes a snapshot of G_ema, D and G whose record at `key` has been changed."""
    network = random_stylegan2()
    found = save.to_contents(network)
    parts = {"G": found.generator, "D": found.discriminator, "G_ema": found.average}
    records = {name: snapshots.record(snapshots.CLASSES[name], part) for name, part in parts.items()}
    change(records[key].args[0])
    with path.open("wb") as file:
        pickle_writer.dump(records, file)
    return path


def setting(name, value, group=None):
    def change(meta):
        kwargs = meta["state"]["_init_kwargs"]
        (kwargs if group is None else kwargs.setdefault(group, {}))[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (setting("resample_filter", [1, 2, 3, 3], "synthesis_kwargs"), "its resample filter is .1, 2, 3, 3."),
        (setting("resample_filter", [1, 1, 1], "synthesis_kwargs"), "its resample filter is"),
        (setting("resample_filter", [0.5, 0.5], "synthesis_kwargs"), "its resample filter is"),
        (setting("resample_filter", None, "synthesis_kwargs"), "its resample filter is None"),
        (setting("resample_filter", [1, 2, 1], "synthesis_kwargs"), "resample_filter is another filter than its"),
        (setting("activation", "swish", "synthesis_kwargs"), "nonlinearity='lrelu' and 'swish'|='swish' and 'lrelu'"),
        (setting("magnitude", 2, "synthesis_kwargs"), "its setting magnitude=2 is none that networks here have"),
        (setting("architecture", "dense", "synthesis_kwargs"), "'dense'"),
        (setting("z_dim", "text"), "z_size is 'text'"),
        (setting("img_resolution", 64), "lacks synthesis/b32/"),
        (setting("w_dim", 15), "has the shape .14. .* it would be .15"),
        (setting("mapping_kwargs", 3), "mapping_kwargs that are no dict"),
        (lambda meta: meta["state"].update(_init_args=(1,)), "does not say by which keyword arguments"),
        (lambda meta: meta["state"].pop("_init_kwargs"), "does not say by which keyword arguments"),
        (lambda meta: meta.update(class_name="Other"), "its G_ema is of the class Other"),
        (
            lambda meta: meta["state"]["_parameters"].update({"synthesis.b5.conv1.noise_const": array(4, 4)}),
            "is the same array as G_ema.synthesis.b",
        ),
        (lambda meta: meta["state"]["_parameters"].pop("synthesis.b4.const"), "lacks synthesis/b4/const"),
        (
            lambda meta: meta["state"]["_parameters"].update({"synthesis.b4.const": array(3, 3)}),
            "G_ema.synthesis.b4.const has the shape .3, 3., which it never has",
        ),
        (
            lambda meta: meta["state"]["_parameters"].update({"synthesis.b4.attention": array(3)}),
            "synthesis.b4.attention is of no use in this generator",
        ),
        (
            lambda meta: meta["state"]["_parameters"].update({"synthesis.input.freqs": array(3)}),
            "is a network of StyleGAN3; networks of StyleGAN, StyleGAN2 and .* are read here. Nothing was executed",
        ),
        (
            lambda meta: meta["state"]["_parameters"].update({"synthesis.b4.conv0.noise_const": array(4, 4)}),
            "noise map 0 is .1, 4, 4, 1., and that layer takes none",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_represented_is_refused_by_name(tmp_path, change, why):
    path = written(tmp_path / "network.pkl", change)
    with pytest.raises(ValueError, match=f"network.pkl.*({why})"):
        load.load(path)


def array(*shape: int) -> Record:
    return persistence.tensor(np.ones(shape, np.float32))


def test_a_discriminator_of_another_bound_is_left_out_with_the_reason(tmp_path):
    path = written(tmp_path / "network.pkl", setting("conv_clamp", 1.0), "D")
    network = load.load(path)
    assert network.d_params is None and "its conv_clamp is 1.0, and the generator's is None" in str(network.info)


def test_settings_without_a_group_are_read_as_those_of_the_synthesis(tmp_path):
    def ungroup(meta):
        kwargs = meta["state"]["_init_kwargs"]
        kwargs |= kwargs.pop("synthesis_kwargs") | {"fused_modconv_default": "inference_only"}

    network = load.load(written(tmp_path / "network.pkl", ungroup))
    assert_same_weights(network, random_stylegan2())


@pytest.mark.parametrize("bound", [None, 256])
def test_the_bound_that_layers_keep_counts_where_no_argument_tells_it(tmp_path, bound):
    """In stylegan3's code it is 256 by default, in that of stylegan2-ada-pytorch None."""
    found, records = save.to_contents(random_stylegan2()), {}

    def part(state):
        return Record(persistence.CALL, ({"type": "class", "class_name": "Part", "state": state},))

    for key, network in {"G_ema": found.average, "D": found.discriminator}.items():
        records[key] = snapshots.record(snapshots.CLASSES[key], network)
        state, layer = records[key].args[0]["state"], {"conv_clamp": bound}
        kwargs = state["_init_kwargs"]
        del (kwargs if key == "D" else kwargs["synthesis_kwargs"])["conv_clamp"]
        for name in ("conv", "b4") if key == "D" else ("conv1", "b4", "synthesis"):
            layer = {"_modules": {name: part(layer)}}
        state |= layer
    with (tmp_path / "network.pkl").open("wb") as file:
        pickle_writer.dump(records, file)
    network = load.load(tmp_path / "network.pkl")
    assert network.model.conv_clamp == bound and network.d_params is not None


def test_source_text_in_a_snapshot_is_not_run(tmp_path):
    canary = tmp_path / "canary"
    source = f"open({str(canary)!r}, 'w')\nraise SystemExit\n"
    network = load.load(written(tmp_path / "network.pkl", lambda meta: meta.update(module_src=source)))
    assert_same_weights(network, random_stylegan2())
    assert not canary.exists()


def test_a_call_in_a_snapshot_is_refused_by_name(tmp_path):
    path = written(tmp_path / "network.pkl", lambda meta: meta["state"].update(x=Record("os.system", ("true",))))
    with pytest.raises(ValueError, match="network.pkl wants to call os.system"):
        load.load(path)


@pytest.mark.parametrize("tree", [{"G_ema": 3}, {}, {"other": "text"}])
def test_a_snapshot_without_networks_is_named(tmp_path, tree):
    tree = tree | {"augment_pipe": Record(persistence.CALL, ({"type": "class", "class_name": "A", "state": {}},))}
    with (tmp_path / "network.pkl").open("wb") as file:
        pickle_writer.dump(tree, file)
    with pytest.raises(ValueError, match="network.pkl holds no network; a snapshot has them by the names G, D, G_ema"):
        load.load(tmp_path / "network.pkl")


def test_a_module_alone_is_no_snapshot(tmp_path):
    with (tmp_path / "network.pkl").open("wb") as file:
        pickle_writer.dump(Record(persistence.CALL, ({"type": "class", "class_name": "G", "state": {}},)), file)
    with pytest.raises(ValueError, match="network.pkl is a pickle of NVIDIA's PyTorch code, but no snapshot"):
        load.load(tmp_path / "network.pkl")


def test_a_cut_or_changed_snapshot_gives_one_sentence_or_a_network(tmp_path):
    data = written(tmp_path / "whole.pkl", lambda meta: None).read_bytes()
    draw, path = random.Random(0), tmp_path / "network.pkl"
    for i in range(60):
        place = draw.randrange(len(data))
        path.write_bytes(data[:place] if i % 2 else data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :])
        try:
            load.load(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert not i % 2  # A number may change; the end may not go.


# ---- TensorFlow


def tensorflow_state(func: str, model, arrays: dict, kwargs: dict, lod: bool = False) -> Record:
    """Returns a network as StyleGAN2's code for TensorFlow pickles it, by the correspondence of legacy.py."""
    found = {}
    top = model.resolution.bit_length() - 1
    for name, value in arrays.items():
        parts = name.split(".")
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2 and parts[-1] == "weight":
            value = value.T
        if parts[-1] in ("const", "noise_const"):
            value = value[None] if parts[-1] == "const" else value[None, None]
        root, parts = (f"{parts[0]}/", parts[1:]) if parts[0] in ("synthesis", "mapping") else ("", parts)
        leaf = {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}.get(".".join(parts[-2:]), parts[-1])
        value = value - np.float32(1) if leaf == "mod_bias" else value
        if parts[0] == "w_avg":
            found["dlatent_avg"] = value
            continue
        if root == "mapping/":
            kind, number = ("LabelEmbed", "") if parts[0] == "embed" else ("Dense", parts[0].removeprefix("fc"))
            root, kind = (root, kind) if func == "G_main" else ("", kind.replace("Dense", "Mapping"))
            found[f"{root}{kind}{number}/{leaf}"] = value
            continue
        r = int(parts[0][1:])
        log2, layer = r.bit_length() - 1, parts[1]
        if leaf == "const":
            found["synthesis/4x4/Const/const"] = value
        elif leaf == "noise_const":
            number = 0 if r == 4 else 2 * log2 - 5 if layer == "conv0" else 2 * log2 - 4
            found[f"synthesis/noise{number}"] = value
        elif layer in ("torgb", "fromrgb"):
            rgb = {"torgb": "ToRGB", "fromrgb": "FromRGB"}[layer]
            found[f"{root}{rgb}_lod{top - log2}/{leaf}" if lod else f"{root}{r}x{r}/{rgb}/{leaf}"] = value
        else:
            names = {"conv0": "Conv0_up", "conv1": "Conv" if r == 4 else "Conv1"} if root else {}
            names |= {} if root else {"conv0": "Conv0", "conv1": "Conv1_down", "fc": "Dense0", "conv": "Conv"}
            local = "Output" if layer == "out" else f"{r}x{r}/{names.get(layer, 'Skip')}"
            value = value[::-1, ::-1] if root and layer in ("conv0", "skip") and leaf == "weight" else value
            found[f"{root}{local}/{leaf}"] = value
    parts = {
        name: {local.removeprefix(f"{name}/"): found.pop(local) for local in [*found] if local.startswith(f"{name}/")}
        for name in (("synthesis", "mapping") if func == "G_main" else ())
    }

    def state(func: str, variables: dict, components: dict) -> Record:
        fields = {
            "version": 4, "name": func, "static_kwargs": kwargs, "components": components, "build_func_name": func,
            "build_module_src": "raise SystemExit", "variables": [(n, np.array(v)) for n, v in variables.items()],
        }  # fmt: skip
        return Record(official_pickles.NETWORK, (), fields)

    return state(func, found, {name: state(f"G_{name}", own, {}) for name, own in parts.items()})


def as_tensorflow(network, path, g_kwargs=(), d_kwargs=(), lod=False, d_func="D_stylegan2"):
    """Writes a network as StyleGAN2's pickle (G, D, Gs)."""
    model, found = network.model, save.to_contents(network)
    of_both = {
        "resolution": model.resolution, "num_channels": model.channels, "label_size": model.num_labels,
        "fmap_base": model.fmap_base, "fmap_max": model.fmap_max, "conv_clamp": model.conv_clamp,
    }  # fmt: skip
    of_g = {
        "latent_size": model.z_size, "dlatent_size": model.w_size, "mapping_layers": model.mapping_layers,
        "mapping_fmaps": model.mapping_fmaps, "truncation_psi": 0.5, "structure": "auto",
    }  # fmt: skip
    arrays = [
        dict(stylegan2.to_torch(place, value) for place, value in part.arrays.items())
        for part in (found.generator, found.discriminator, found.average)
    ]
    funcs = ("G_main", of_both | of_g | dict(g_kwargs)), (d_func, of_both | dict(d_kwargs))
    records = [
        tensorflow_state(func, model, of_part, kwargs, lod)
        for (func, kwargs), of_part in zip((*funcs, funcs[0]), arrays, strict=True)
    ]
    with path.open("wb") as file:
        pickle_writer.dump(tuple(records), file)
    return path


@pytest.mark.goldens
def test_a_recorded_network_in_tensorflows_layout_gives_its_recorded_images(tmp_path):
    network, recorded = load.load(official.folder() / "sg2" / "network.pkl"), expected()
    back = load.load(as_tensorflow(network, tmp_path / "network.pkl"))
    assert back.info.layout == "official pickle of StyleGAN2"
    assert back.model == network.model
    images = back.synthesize(back.map(recorded["z"]))
    assert_close(np.moveaxis(images, -1, 1), recorded["G_ema/images"])
    np.testing.assert_allclose(images, network.synthesize(network.map(recorded["z"])), atol=1e-5)
    scores = back.score(np.moveaxis(recorded["G_ema/images"], 1, -1))
    assert_close(scores, recorded["G_ema/scores"].reshape(-1))
    assert all(name.startswith(("G_main/", "D_stylegan2/")) for name in back.info.arrays.values())


def test_labels_and_other_connections_of_tensorflow_are_read(tmp_path):
    fields = {"num_labels": 5, "d_mapping_layers": 0, "d_mapping_lr_multiplier": 0.1, "g_connections": "resnet"}
    network = random_stylegan2(**fields, d_connections="skip")
    path = as_tensorflow(
        network, tmp_path / "network.pkl", {"architecture": "resnet"}, {"architecture": "skip"}, d_func="D_main"
    )
    assert_same(network, load.load(path))


def test_connections_by_level_of_detail_are_the_original_ones(tmp_path):
    network = random_stylegan2(g_connections="orig", d_connections="orig")
    assert_same(network, load.load(as_tensorflow(network, tmp_path / "network.pkl", lod=True)))


def assert_same(network, other) -> None:
    """Fails unless all arrays are the same, but for what a bias loses as it is stored without its 1."""
    assert network.model == other.model
    ws, images = network.map(np.ones((2, network.model.z_size)), labels=1 if network.model.num_labels else None), []
    for each in (network, other):
        images.append(each.synthesize(ws))
    np.testing.assert_allclose(images[0], images[1], atol=1e-5 * np.abs(images[0]).max())
    labels = [0, 1] if network.model.num_labels else None
    np.testing.assert_array_equal(network.score(images[0], labels), other.score(images[0], labels))


@pytest.mark.parametrize(
    ("kwargs", "why"),
    [
        (
            {"fused_modconv": True, "synthesis_func": "G_synthesis_stylegan_revised"},
            "its setting (fused|synthesis_func)",
        ),
        ({"resample_kernel": [1, 2, 2]}, "its resample filter is"),
        ({"mapping_nonlinearity": "relu"}, "nonlinearity='lrelu' and 'relu'"),
    ],
)
def test_settings_of_tensorflow_that_cannot_be_represented_are_refused(tmp_path, kwargs, why):
    path = as_tensorflow(random_stylegan2(), tmp_path / "network.pkl", kwargs)
    with pytest.raises(ValueError, match=f"network.pkl.*{why}"):
        load.load(path)


def test_two_names_of_one_array_of_tensorflow_are_refused():
    arrays = {f"{size}/Conv0/weight": np.zeros((3, 3, 4, 4), np.float32) for size in ("8x8", "8x9")}
    with pytest.raises(ValueError, match="D/8x9/Conv0/weight is the same array as D/8x8/Conv0/weight"):
        stylegan2.from_tensorflow("D_stylegan2", {}, arrays, "D/")
