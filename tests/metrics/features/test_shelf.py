"""The folder of weights: files are found by name, digest or layout, and what is missing is named."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np
import pytest

from stylegan_jax.metrics import evaluate
from stylegan_jax.metrics.features import celeba, known, shelf
from stylegan_jax.weights import save
from stylegan_jax.weights.files import torch_files
from stylegan_jax.weights.files.pickle_machine import Record
from stylegan_jax.weights.layouts import contents, official_pickles
from tests.metrics.features import files, random_transformers
from tests.random_networks import random_network

METRICS = evaluate.metrics_of_networks()
HEADS = {
    f"lin{k}.model.1.weight": np.ones((1, maps, 1, 1), np.float32) for k, maps in enumerate((64, 128, 256, 512, 512))
}


@pytest.fixture(autouse=True)
def _read_anew():
    """Forgets what files are between tests."""
    shelf._recognise.cache_clear()


def _sized(path: pathlib.Path) -> pathlib.Path:
    """Writes a file of the size of weights, with nothing in it."""
    path.write_bytes(bytes(2**20))
    return path


def _save(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> pathlib.Path:
    torch_files.save(arrays, path)
    return path


def _publish(monkeypatch, path: pathlib.Path, name: str) -> known.Known:
    """Makes a file the published one of that name, and returns its entry."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    old = next(entry for entry in known.TABLE if entry.name == name)
    new = dataclasses.replace(old, sha256=sha256)
    monkeypatch.setattr(known, "TABLE", tuple(new if entry is old else entry for entry in known.TABLE))
    return new


def test_every_network_of_the_tables_has_a_name_and_a_file():
    for entry in known.TABLE:
        assert set(entry.networks) <= set(known.NETWORKS)
    for network in known.NETWORKS:
        assert shelf.published(network), network
    assert set(evaluate.metrics_of_networks()) <= set(known.NETWORKS)
    assert [entry.name for entry in shelf.published("celeba")] == list(map(celeba.file_name, celeba.ATTRIBUTES))
    assert shelf.published("celeba")[1].url.endswith("/metrics/celebahq-classifier-01-smiling.pkl")


def test_the_users_folder_is_in_their_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shelf.default_folder() == tmp_path / "stylegan_jax/weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert shelf.default_folder() == tmp_path / "home/.cache/stylegan_jax/weights"


# ---- what is found


def test_a_file_with_its_published_name_is_found_without_being_read(monkeypatch, tmp_path):
    monkeypatch.setattr(shelf.stored, "read", lambda path: pytest.fail("the file was read"))
    path = _sized(tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    assert shelf.find("inception", tmp_path) == path
    other = _sized(tmp_path / "inception-2015-12-05.pt")
    assert shelf.files("inception", tmp_path) == (other,)  # First in the table.


def test_a_renamed_file_is_known_by_its_digest_and_read_once(monkeypatch, tmp_path):
    path = _save(tmp_path / "my clip.bin", random_transformers.clip())
    entry = _publish(monkeypatch, path, "ViT-L-14-336px.pt")
    reads, read = [], shelf.stored.read
    monkeypatch.setattr(shelf.stored, "read", lambda path: reads.append(path) or read(path))
    assert [shelf.find("clip", tmp_path) for _ in range(3)] == [path] * 3 and reads == [path]
    assert shelf.recognise(path).published == entry
    assert shelf.recognise(path).what == "is ViT-L-14-336px.pt: CLIP ViT-L/14 for 336 px, by OpenAI, by its SHA-256"


def test_a_file_of_another_digest_is_known_by_its_layout(tmp_path):
    path = _save(tmp_path / "small.pth", random_transformers.dinov2())
    assert shelf.find("dinov2", tmp_path) == path
    assert shelf.recognise(path).what == "fits as DINOv2; its SHA-256 is none that is known here"
    with pytest.raises(shelf.MissingWeights):
        shelf.find("clip", tmp_path)


def test_of_two_known_files_the_first_of_the_table_is_taken_and_unknown_ones_are_last(monkeypatch, tmp_path):
    _save(tmp_path / "a.bin", random_transformers.clip(seed=5))
    second = _save(tmp_path / "b.bin", random_transformers.clip(seed=6))
    first = _save(tmp_path / "c.bin", random_transformers.clip(seed=7))
    _publish(monkeypatch, second, "ViT-B-32.pt")
    assert shelf.find("clip", tmp_path) == second
    _publish(monkeypatch, first, "ViT-L-14-336px.pt")
    shelf._recognise.cache_clear()
    assert shelf.find("clip", tmp_path) == first


def test_a_file_that_changed_is_read_anew(tmp_path):
    path = _save(tmp_path / "net.pth", random_transformers.dinov2())
    assert shelf.find("dinov2", tmp_path) == path
    _save(path, {"features.34.weight": np.ones(3, np.float32)})
    os.utime(path, ns=(1, 1))
    with pytest.raises(shelf.MissingWeights, match="net.pth is another file: it holds VGG19 of torchvision"):
        shelf.find("dinov2", tmp_path)


@pytest.mark.parametrize(
    ("network", "convolutions", "heads", "whole"),
    [
        ("vgg", "vgg16-397923af.pth", "vgg.pth", "vgg16.pt"),
        ("alex", "alexnet-owt-7be5be79.pth", "alex.pth", "alexnet.ckpt"),
    ],
)
def test_convolutions_are_taken_with_a_file_of_heads_alone(network, convolutions, heads, whole, monkeypatch, tmp_path):
    path = _sized(tmp_path / convolutions)
    with pytest.raises(shelf.MissingWeights) as error:
        shelf.files(network, tmp_path, "ppl_wend")
    name = known.NETWORKS[network]
    text = f"ppl_wend needs {name}: beside {name.partition(' ')[0]} without heads it needs the heads of LPIPS 0.1 for "
    assert text in str(error.value) and f"--download={heads} fetches it" in str(error.value)
    path_of_heads = _save(tmp_path / heads, HEADS)
    _publish(monkeypatch, path_of_heads, heads)
    shelf._recognise.cache_clear()
    assert shelf.files(network, tmp_path) == (path, path_of_heads)
    path = _sized(tmp_path / whole)
    assert shelf.files(network, tmp_path) == (path,)


def test_heads_of_another_version_are_not_taken_though_they_have_the_name(monkeypatch, tmp_path):
    _sized(tmp_path / "vgg16-397923af.pth")
    path = _save(tmp_path / "vgg.pth", HEADS)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    old = next(entry for entry in known.TABLE if entry.name == "vgg.pth" and not entry.networks)
    new = dataclasses.replace(old, sha256=sha256)
    monkeypatch.setattr(known, "TABLE", tuple(new if entry is old else entry for entry in known.TABLE))
    with pytest.raises(shelf.MissingWeights, match="vgg.pth is vgg.pth: the heads of LPIPS 0.0 for VGG16, which give"):
        shelf.files("vgg", tmp_path)


def test_dense_layers_are_not_looked_for_in_files_that_have_none(tmp_path):
    _sized(tmp_path / "vgg16.ckpt")
    with pytest.raises(
        shelf.MissingWeights, match=r"pr50k3_full needs VGG16 with its dense layers.* Put vgg16.pt there"
    ):
        shelf.find("vgg_dense", tmp_path, "pr50k3_full")
    path = _sized(tmp_path / "vgg16-397923af.pth")
    assert shelf.find("vgg_dense", tmp_path) == path


def test_a_pickle_of_tensorflow_is_known_by_what_can_read_it(tmp_path):
    discriminator = save.to_contents(random_network(resolution=8, stddev_group=0, blur_filter=None)).discriminator
    official_pickles.write(tmp_path / "mine.pkl", contents.Contents("", average=discriminator))
    found = shelf.recognise(tmp_path / "mine.pkl")
    assert found.networks == ("celeba",) and found.what.startswith("fits as NVIDIA's 40 classifiers")
    files.write_pickle(tmp_path / "other.pkl", files.tensorflow([("x", np.ones(3, np.float32))]))
    found = shelf.recognise(tmp_path / "other.pkl")
    assert found.networks == () and found.what.startswith("is another file: it holds 1 arrays of no network")


def test_all_forty_classifiers_are_needed(tmp_path):
    paths = tuple(tmp_path / celeba.file_name(attribute) for attribute in celeba.ATTRIBUTES)
    for path in paths[1:]:
        path.touch()
    with pytest.raises(shelf.MissingWeights, match="ls_z needs .* 1 of their files are not in .*-00-male.pkl.*=celeba"):
        shelf.files("celeba", tmp_path, "ls_z")
    paths[0].touch()
    assert shelf.files("celeba", tmp_path) == paths


# ---- what is not


@pytest.mark.parametrize("network", known.NETWORKS)
def test_what_is_missing_is_named_with_its_publisher_its_licence_its_folder_and_the_command(network, tmp_path):
    folder = tmp_path / "not there"
    entry = shelf.published(network)[0]
    with pytest.raises(shelf.MissingWeights) as error:
        shelf.files(network, folder, "some_metric")
    command = f"{shelf.COMMAND} --weights='{folder}' --download={'celeba' if network == 'celeba' else entry.name}"
    for part in (
        "some_metric needs",
        known.NETWORKS[network],
        entry.name,
        entry.url,
        entry.licence,
        str(folder),
        command,
    ):
        assert part in str(error.value)


def test_the_folder_is_left_out_of_the_command_if_it_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(shelf.MissingWeights, match="--mode=weights --download=dinov2_vitl14_pretrain.pth fetches it."):
        shelf.find("dinov2", shelf.default_folder())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><title>404</title>", "vgg16.pt is a page of HTML, and no file of weights; download it anew."),
        (b"version https://git-lfs.github.com/spec/v1\n", "vgg16.pt is a pointer of Git LFS, and no file of weights"),
        (b"", "vgg16.pt is empty, and no file of weights"),
    ],
)
def test_a_download_that_failed_is_not_taken_for_the_file_of_its_name(tmp_path, content, what):
    (tmp_path / "vgg16.pt").write_bytes(content)
    with pytest.raises(shelf.MissingWeights) as error:
        shelf.find("vgg_dense", tmp_path)
    assert what in str(error.value)


def test_hostile_and_damaged_files_are_named_and_not_executed(tmp_path):
    files.write_pickle(tmp_path / "evil.pkl", Record("os.system", ("true",)))
    assert "wants to call os.system" in shelf.recognise(tmp_path / "evil.pkl").what
    damaged = random_transformers.dinov2() | {"norm.bias": np.zeros(3, np.float32)}
    found = shelf.recognise(_save(tmp_path / "dinov2.pth", damaged))
    assert found.networks == () and "'norm.bias' has the shape [3] and should have [128]" in found.what


def test_a_reader_that_stumbles_does_not_end_the_report(monkeypatch, tmp_path):
    path = _save(tmp_path / "dinov2.pth", random_transformers.dinov2())
    monkeypatch.setitem(shelf._READERS, "dinov2", lambda path: ()[0])
    assert shelf.recognise(path).what.startswith("is damaged: values in it are of another kind than networks have (Ind")
    assert "not used: dinov2.pth" in shelf.report(tmp_path, METRICS)


def test_networks_and_folders_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no feature network 'resnet'; use one of inception, vgg"):
        shelf.find("resnet", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; --weights names a folder"):
        shelf.find("dinov2", tmp_path / "file")


# ---- the table


def _blocks(text: str) -> dict[str, str]:
    """Returns the parts of a report by their networks."""
    return {block.partition(":")[0]: block for block in text.split("\n\n")}


def test_the_report_says_what_is_there_and_where_the_rest_is_published(tmp_path):
    _save(tmp_path / "small.pth", random_transformers.dinov2())
    (tmp_path / "vgg16.pt").write_bytes(b"<html>")
    (tmp_path / ".hidden").touch()
    told = []
    text = shelf.report(tmp_path, METRICS, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)] and text.startswith(f"folder of weights: {tmp_path}\n")
    blocks = _blocks(text)
    for network, metrics in METRICS.items():
        assert f"{network}: {'ready' if network == 'dinov2' else 'missing'}\n" in blocks[network]
        assert f"for: {', '.join(metrics)}\n" in blocks[network]
        for entry in known.TABLE:
            if network in entry.networks:
                assert f"published: {entry.name}, {entry.what} ({entry.licence})\n" in blocks[network]
                assert entry.url in blocks[network]
    assert "here: small.pth (2.6 MB) fits as DINOv2; its SHA-256 is none that is known here" in blocks["dinov2"]
    assert (
        blocks["not used"] == "not used: vgg16.pt (0.0 MB) is a page of HTML, and no file of weights; download it anew."
    )


def test_a_file_that_has_the_name_alone_is_not_ready(tmp_path):
    _sized(tmp_path / "inception-2015-12-05.pt")
    assert _blocks(shelf.report(tmp_path, METRICS))["inception"].startswith("inception: missing")


def test_the_report_of_a_folder_that_does_not_exist_makes_none(tmp_path):
    assert shelf.report(tmp_path / "x", METRICS).startswith(
        f"folder of weights: {tmp_path / 'x'}, which does not exist yet\n"
    )
    assert not (tmp_path / "x").exists()
