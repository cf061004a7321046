"""Networks go into files of each layout and come back, bit for bit."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import jax.export
import numpy as np
import onnxruntime
import pytest

import stylegan_jax as sg
from stylegan_jax.weights import load, save
from stylegan_jax.weights.files import torch_files
from tests.hub_server import serving
from tests.random_networks import assert_same_weights, random_network

OF_ROSINALITY = {"bias_before_blur": True, "instance_norm_epsilon": 1e-5}
SEEDS = [1, 2]


def saved(network, path: pathlib.Path):
    assert save.save(network, path) == path
    assert sorted(os.listdir(path.parent)) == [path.name, f"{path.name}.md"]
    return load.load(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl", ".pth"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_labels": 4, "resolution": 16, "channels": 4},
        {"resolution": 128, "fmap_max": 4, "channels": 1},
        {"resolution": 8, "mapping_layers": 1, "const_input": False, "fmap_base": 32},
        {"resolution": 16, "mapping_layers": 0, "z_size": 14},
        {"resolution": 16, "num_labels": 1},
    ],
)
def test_a_network_comes_back_bit_for_bit(tmp_path, suffix, changes):
    network = random_network(**changes)
    back = saved(network, tmp_path / f"network{suffix}")
    model = dataclasses.replace(back.model, mapping_fmaps=network.model.mapping_fmaps)  # No array tells it at depth 1.
    assert_same_weights(network, dataclasses.replace(back, model=model))
    labels = "class 0" if suffix in (".safetensors", ".npz") else 0
    arguments = {"seeds": SEEDS, "psi": 0.7, "labels": labels if network.model.num_labels else None}
    np.testing.assert_array_equal(network(**arguments), back(**arguments))


def test_rosinalitys_layout_keeps_the_generator_bit_for_bit(tmp_path):
    network = random_network(mapping_fmaps=14, z_size=14, **OF_ROSINALITY)
    back = saved(network, tmp_path / "network.model")
    ws = network.map(np.ones((1, 14)))
    images, again = (n.synthesize(ws, noise="none") for n in (network, back))
    assert np.abs(images - again).max() < 1e-5 * np.abs(images).max()
    start = network.params["synthesis"]["b4"]
    const = start["start"]["const"] + start["epilogue0"]["bias"]  # The constant's bias has no place there.
    b4 = start | {"start": {"const": const}, "epilogue0": start["epilogue0"] | {"bias": np.zeros(12, np.float32)}}
    params = network.params | {"synthesis": network.params["synthesis"] | {"b4": b4}}
    assert_same_weights(dataclasses.replace(network, params=params, w_avg=back.w_avg, noise=None), back, ("params",))


def test_rosinalitys_file_lists_each_of_its_arrays_once_and_nothing_else(tmp_path):
    network = random_network(mapping_fmaps=14, z_size=14, fmap_base=512, **OF_ROSINALITY)
    path = network.save(tmp_path / "network.model")
    info = load.load(path).info
    groups = torch_files.load(path)
    in_file = [f"{group}/{name}" for group, arrays in groups.items() for name in arrays]
    assert sorted([*info.arrays.values(), *info.left_out]) == sorted(in_file)
    assert {name for name in info.missing if name != "w_avg"} == {
        f"{root}/synthesis/b4/epilogue0/bias" for root in ("params", "g_params")
    }


def test_what_rosinalitys_layout_has_no_place_for_is_logged(tmp_path, caplog):
    network = random_network(resolution=16, mapping_fmaps=14, z_size=14, **OF_ROSINALITY)
    dataclasses.replace(network, resolution=8, alpha=0.5).save(tmp_path / "network.model")
    for text in ("the mean of w", "noise maps", "the resolution that is trained, 8 px at a weight of 0.5"):
        assert f".model has no place for {text}" in caplog.text


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_our_own_files_keep_all_that_a_network_is(tmp_path, suffix):
    network = random_network(num_labels=3, fmaps_by_resolution=((8, 5),), **OF_ROSINALITY)
    network = dataclasses.replace(network, resolution=16, alpha=0.5, g_params=None, noise=None)
    info = dataclasses.replace(network.info, license="CC BY 4.0", nimg=12345, notes=("A note.",), layout="genforce")
    back = saved(dataclasses.replace(network, info=info), tmp_path / f"network{suffix}")
    assert_same_weights(network, back)
    assert back.class_names == ("class 0", "class 1", "class 2") and back.g_params is None
    kept = ("license", "nimg", "notes", "layout")
    assert [getattr(back.info, name) for name in kept] == [getattr(info, name) for name in kept]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl", ".pth"])
def test_the_generator_in_training_keeps_its_own_noise_and_mean_of_w(tmp_path, suffix):
    network, other = random_network(fmap_base=32, resolution=8), random_network(1, fmap_base=32, resolution=8)
    network = dataclasses.replace(network, g_noise=other.noise, g_w_avg=other.w_avg)
    back = saved(network, tmp_path / f"network{suffix}")
    assert_same_weights(network, back)
    images = network.in_training()(seeds=SEEDS, psi=0.5)
    np.testing.assert_array_equal(images, back.in_training()(seeds=SEEDS, psi=0.5))
    assert (images != network(seeds=SEEDS, psi=0.5)).any()
    with pytest.raises(ValueError, match="has no generator in training apart from its average"):
        network.in_training().in_training()


def test_a_file_of_the_user_is_not_replaced_by_a_card(tmp_path):
    network, notes = random_network(resolution=8), tmp_path / "network.npz.md"
    notes.write_text("My notes.")
    with pytest.raises(ValueError, match="is no model card that was written here; move it away"):
        network.save(tmp_path / "network.npz")
    assert notes.read_text() == "My notes." and not (tmp_path / "network.npz").exists()
    notes.unlink()
    notes.mkdir()
    with pytest.raises(ValueError, match="is a folder, and the model card goes there"):
        network.save(tmp_path / "network.npz")
    notes.rmdir()
    network.save(tmp_path / "network.npz")
    network.save(tmp_path / "network.npz", license="MIT")
    assert "Licence of the weights: MIT." in notes.read_text()


def test_a_run_in_a_fade_keeps_its_place_in_an_official_pickle(tmp_path):
    network = dataclasses.replace(random_network(), resolution=16, alpha=0.25)
    back = saved(network, tmp_path / "network.pkl")
    assert (back.resolution, back.alpha) == (16, 0.25)


def test_a_network_without_a_discriminator_is_an_official_gs_alone(tmp_path, caplog):
    network = dataclasses.replace(random_network(), d_params=None, g_params=None)
    back = saved(network, tmp_path / "network.pkl")
    assert back.d_params is None
    assert_same_weights(network, back)
    assert "has no discriminator, and none is written" in caplog.text


def test_what_the_other_code_does_otherwise_is_logged(tmp_path, caplog):
    network = dataclasses.replace(random_network(instance_norm_epsilon=1e-5, num_labels=2), noise=None, g_params=None)
    back = saved(network, tmp_path / "network.pkl")
    for text in ("adds 1e-05 to the variance", "those of noise='const' are written", "stands in", "names of classes"):
        assert text in caplog.text
    np.testing.assert_array_equal(back.noise[3], network.const_noise()[3])


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({}, "network.h5", "the name's end tells the layout, and it is none of .safetensors"),
        ({}, "network", "the name's end tells the layout"),
        ({}, "nowhere/network.pkl", "nowhere is no folder; make it first"),
        (OF_ROSINALITY, "network.pkl", "adds biases before the blur"),
        (OF_ROSINALITY, "network.pth", "bias_before_blur is True"),
        ({"z_size": 14, "mapping_fmaps": 14}, "network.model", "bias_before_blur is False"),
        ({"fmaps_by_resolution": ((8, 5),)}, "network.pkl", "follow no formula"),
        ({"fmaps_by_resolution": ((8, 5),)}, "network.pth", "follow no formula"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_no_file(tmp_path, changes, name, message):
    with pytest.raises(ValueError, match=message):
        random_network(resolution=8, **changes).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_written_pickle_holds_no_source_text_of_others(tmp_path):
    path = random_network(resolution=8).save(tmp_path / "network.pkl")
    assert path.read_bytes().count(b"from training.networks_stylegan import *\n") == 7  # G and Gs of three parts, D.


def test_an_older_npz_of_another_code_is_named(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="npz file of another code: it has no array 'stylegan_jax'"):
        load.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pca.npz", act_comp=np.zeros(3), lat_comp=np.zeros(3))
    with pytest.raises(ValueError, match="GANSpace's principal components"):
        load.load(tmp_path / "pca.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="only booleans, integers and floats are read"):
        load.load(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m: a.pop("params/mapping/dense0/bias"), "lacks params/mapping/dense0/bias"),
        (lambda a, m: a.update(extra=np.zeros(1)), "arrays that are of no use in its network: extra"),
        (lambda a, m: a.update({"params/more": np.zeros(1)}), "params/more is of no use in this generator"),
        (lambda a, m: a.update({"params/mapping/dense0/bias": np.zeros(3)}), r"has the shape \[3\]"),
        (lambda a, m: a.update({"d_params/dense1/bias": np.zeros(1)}), "is float64; our files have float32 or float16"),
        (lambda a, m: a.update(w_avg=np.zeros(3)), r"w_avg has the shape \[3\]"),
        (lambda a, m: a.pop("noise/1"), "noise maps are not of shape"),
        (lambda a, m: m.update(version=2), "it is of version 2"),
        (lambda a, m: m.update(resolution=9), "resolution 9 or alpha 1.0 is out of range"),
        (lambda a, m: m["model"].update(resolution=9), "model.resolution is 9"),
        (lambda a, m: m["model"].update(dropout=9), "no field dropout"),
        (lambda a, m: m.pop("model"), "cannot be read"),
        (lambda a, m: m.update(class_names=3), "cannot be read"),
        (lambda a, m: m.update(license=3), "license"),
    ],
)
def test_a_file_of_ours_that_does_not_fit_is_refused(tmp_path, change, message):
    network, path = random_network(resolution=8), tmp_path / "network.npz"
    network.save(path)
    with np.load(path) as npz:
        arrays = dict(npz)
    about = json.loads(arrays.pop("stylegan_jax").tobytes())
    change(arrays, about)
    np.savez(path, **arrays, stylegan_jax=np.frombuffer(json.dumps(about).encode(), np.uint8))
    with pytest.raises(ValueError, match=message):
        load.load(path)


def test_a_flipped_bit_in_our_npz_is_found(tmp_path):
    path = random_network(resolution=8).save(tmp_path / "network.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="has changed since it was written|is damaged"):
        sg.load(path)


def test_a_compressed_npz_is_read_and_a_bomb_is_not(tmp_path):
    network, path = random_network(resolution=8), tmp_path / "network.npz"
    network.save(path)
    with np.load(path) as npz:
        np.savez_compressed(tmp_path / "small.npz", **npz)
    assert_same_weights(network, load.load(tmp_path / "small.npz"))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.writestr(f"{i}.npy", bytes(2**27))
    with pytest.raises(ValueError, match="compressed members that grow to over"):
        load.load(tmp_path / "bomb.npz")


def test_a_truncated_safetensors_is_refused(tmp_path):
    path = random_network(resolution=8).save(tmp_path / "network.safetensors")
    data = path.read_bytes()
    for size in (9, 100, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="cannot be read as safetensors of ours"):
            load.load(path)


def test_programs_are_saved_with_the_noise_of_the_network_or_with_inputs(tmp_path):
    network = random_network(resolution=8, num_labels=3)
    z, labels = np.random.RandomState(0).randn(2, 10).astype(np.float32), np.eye(3, dtype=np.float32)[[2, 0]]
    expected, inputs = network.synthesize(network.map(z, [2, 0])), {"z": z, "labels": labels, "psi": np.float32(1)}
    content = network.save(tmp_path / "network.stablehlo").read_bytes()
    images = jax.export.deserialize(bytearray(content)).call(**inputs)
    assert np.abs(images - expected).max() < 1e-5 * np.abs(expected).max()
    session = onnxruntime.InferenceSession(network.save(tmp_path / "network.onnx"))
    images = session.run(None, inputs | {"psi": np.array(1, np.float32)})[0]
    assert np.abs(images - expected).max() < 1e-4 * np.abs(expected).max()
    session = onnxruntime.InferenceSession(network.save(tmp_path / "inputs.onnx", has_noise_inputs=True))
    assert [i.name for i in session.get_inputs()][3:] == ["noise0", "noise1", "noise2", "noise3"]
    with pytest.raises(ValueError, match="holds no program, so it has no noise inputs"):
        network.save(tmp_path / "network.npz", has_noise_inputs=True)
    with pytest.raises(ValueError, match="is an exported program, whose weights are not read"):
        load.load(tmp_path / "network.onnx")


def test_a_network_goes_to_the_hub_and_back_by_its_name(tmp_path):
    network = random_network(resolution=8)
    network.save(tmp_path / "network.npz")
    script = (
        "import stylegan_jax as sg\n"
        f"network = sg.load({str(tmp_path / 'network.npz')!r})\n"
        "print(network.save('hf://someone/faces', license='MIT'))\n"
        f"sg.load('hf://someone/faces').save({str(tmp_path / 'back.npz')!r})\n"
    )
    with serving({}) as server:
        hub = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_test"}
        result = subprocess.run([sys.executable, "-c", script], env=os.environ | hub, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{server.address}/someone/faces\n"
    assert set(server.models["someone/faces"]) == {"model.safetensors", "README.md"}
    assert b'sg.load("hf://someone/faces")' in server.models["someone/faces"]["README.md"]
    back = load.load(tmp_path / "back.npz")
    assert_same_weights(network, back)
    assert back.info.license == "MIT"
    with pytest.raises(ValueError, match="hf://faces is no name at the Hugging Face hub; give hf://OWNER/NAME"):
        network.save("hf://faces")


@pytest.mark.parametrize("has_noise_inputs", [False, True])
def test_what_a_program_does_otherwise_is_logged(tmp_path, caplog, has_noise_inputs):
    network = dataclasses.replace(random_network(compute_dtype="bfloat16"), resolution=16, noise=None)
    for suffix in (".onnx", ".stablehlo"):
        path = network.save(tmp_path / f"network{suffix}", has_noise_inputs=has_noise_inputs)
        assert path.with_name(f"{path.name}.md").is_file()
    assert "its images are of 16 px" in caplog.text and "and the network's are bfloat16" in caplog.text
    assert ("noise='const' are written" in caplog.text) != has_noise_inputs


def test_a_folder_is_no_place_for_a_file(tmp_path):
    (tmp_path / "x.pkl").mkdir()
    with pytest.raises(ValueError, match="is a folder; name a file"):
        random_network(resolution=8).save(tmp_path / "x.pkl")


def test_a_home_folder_is_known_before_the_network_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    save.check_name("~/x.pkl")
    with pytest.raises(ValueError, match="~nobody_here is no folder; make it first"):
        save.check_name("~nobody_here/x.pkl")
    assert random_network(resolution=8).save("~/x.npz") == tmp_path / "x.npz"


@pytest.mark.parametrize("license", ["", "  \n", 4.0])
def test_a_licence_is_a_line_of_text(tmp_path, license):
    with pytest.raises(ValueError, match="license is"):
        random_network(resolution=8).save(tmp_path / "x.npz", license=license)
    assert not list(tmp_path.iterdir())


def test_a_card_is_written_for_a_name_that_is_no_unicode(tmp_path):
    path = random_network(resolution=8).save(tmp_path / os.fsdecode(b"n\xe4me.npz"))
    assert "# nme.npz" in path.with_name(f"{path.name}.md").read_text(encoding="utf-8")
