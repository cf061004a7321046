"""The one door: what a file is follows from its content, and what cannot be read is named."""

import io
import os
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

import stylegan_jax as sg
from stylegan_jax.weights import load
from stylegan_jax.weights.files import torch_files
from tests.random_networks import assert_same_weights, random_network


@pytest.mark.parametrize("suffix", [".safetensors", ".pkl", ".pth"])
def test_the_content_tells_the_layout_and_not_the_name(tmp_path, suffix):
    network = random_network(resolution=8, fmap_base=32)
    path = network.save(tmp_path / f"network{suffix}")
    for name in ("network.weights", "network.npz", "network.onnx"):
        path = path.rename(tmp_path / name)
        assert_same_weights(network, sg.load(str(path)))


def zip_of_a_later_version() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"")
    data = file.getvalue()
    place = data.index(b"PK\x01\x02") + 6  # Version that is needed to read the member.
    return data[:place] + b"\xce" + data[place + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged, cut short|is empty"),
        (b"\x12\x01\x00\x00\x00\x00\x00\x00", "is a file of MXNet .GluonCV's StyleGAN."),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "no network's pickle"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no network's pickle"),
        (b"<!DOCTYPE html><html>Google Drive - Quota exceeded", "is a page of HTML, and no file of weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(50), "damaged|no zip"),
        (zip_of_a_later_version(), "damaged|no zip"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"state_dict": {"generator.style_mapping.1.weight": 1}}, "is a network of mmgeneration"),
        ({"g_ema": {"conv1.conv.modulation.weight": 1}}, "is a network of StyleGAN2 in rosinality's layout"),
        ({"weight": 1}, "of no layout that is known .genforce, .*; its first arrays are weight"),
        ({}, "its first arrays are none"),
    ],
)
def test_pytorch_files_of_other_codes_are_named(tmp_path, tree, message):
    def arrays(tree):
        return {k: arrays(v) if isinstance(v, dict) else np.zeros(2, np.float32) for k, v in tree.items()}

    torch_files.save(arrays(tree), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        load.load(tmp_path / "other.pth")


def test_a_checkpoint_has_no_place_with_a_file(tmp_path):
    path = random_network(resolution=8).save(tmp_path / "network.npz")
    with pytest.raises(ValueError, match="checkpoint=3 has no effect with a file"):
        load.load(path, checkpoint=3)


def test_the_package_imports_nothing_until_a_name_is_used():
    code = (
        "import sys, stylegan_jax as sg\n"
        "assert 'jax' not in sys.modules\n"
        "assert callable(sg.load) and 'jax' in sys.modules\n"
        "assert set(sg.__all__) <= set(dir(sg)) and all(getattr(sg, name) for name in sg.__all__)\n"
        "from stylegan_jax import config\n"
        "try: sg.lod\n"
        "except AttributeError as error: assert 'has no' in str(error) and 'load' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.pkl", "x.pth"])
def test_a_network_stays_what_it_is_when_its_file_is_written_over(tmp_path, name):
    path = random_network(resolution=8).save(tmp_path / name)
    network, again = sg.load(path), sg.load(path)
    kept = [np.array(leaf) for leaf in jax.tree.leaves((again.params, again.d_params, again.w_avg, again.noise))]
    with path.open("r+b") as file:  # As numpy.savez and torch.save do, in place.
        file.write(b"\x7f" * path.stat().st_size)
    found = jax.tree.leaves((network.params, network.d_params, network.w_avg, network.noise))
    for a, b in zip(found, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pkl")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        sg.load(tmp_path / "x.pkl")


def test_a_name_that_is_too_long_is_a_sentence():
    with pytest.raises(ValueError, match="does not exist"):
        sg.load("a" * 5000)
    with pytest.raises(ValueError, match="~nobody_here/x.pkl does not exist"):
        sg.load("~nobody_here/x.pkl")
