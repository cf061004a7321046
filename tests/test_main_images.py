"""The modes that make pictures of a network, as a user starts them."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.random_networks import random_network

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> pathlib.Path:
    """Returns a file with a network of 8 px."""
    return random_network(resolution=8, fmap_base=32).save(tmp_path_factory.mktemp("network") / "network.safetensors")


def run(*arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "stylegan_jax.main", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_images_of_seeds_are_written_and_going_on_writes_the_others(file, tmp_path):
    command = ["--mode=generate", f"--network={file}", f"--out={tmp_path / 'a/b'}", "--psi=0.5", "--cutoff=2"]
    for seeds, first in (("5,1-2", "seed0005.png"), ("1-3", "seed0001.png")):
        result = run(*command, f"--seeds={seeds}")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.endswith(f" has {first} and 2 more\n") and "images: 3 of 3, 0 s left" in result.stdout
    network = random_network(resolution=8, fmap_base=32)
    for seed in (5, 1, 2, 3):
        image = np.asarray(Image.open(tmp_path / f"a/b/seed{seed:04d}.png"))
        np.testing.assert_array_equal(image, network(seeds=seed, psi=0.5, cutoff=2)[0])
    result = run(*command, "--seeds=1", "--noise=none")
    assert result.returncode == 1 and "made otherwise (noise 'const' there, 'none' here)" in result.stderr


def test_figures_are_drawn_from_a_file(file, tmp_path):
    result = run("--mode=figures", f"--network={file}", f"--out={tmp_path}", "--figures=truncation,noise_layers")
    assert (result.returncode, result.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json", "truncation.png", "noise_layers.png"}
    assert set(json.loads((tmp_path / "figures.json").read_text())) == {"network", "classes"}
    result = run("--mode=figures", f"--network={file}", f"--out={tmp_path}", "--figures=fig3")
    assert result.returncode == 1 and "--figures=fig3: there is no such figure; use uncurated, " in result.stderr


def test_a_film_is_written_once(file, tmp_path):
    command = ["--mode=interpolate", f"--network={file}", f"--out={tmp_path / 'walk.mp4'}", "--seeds=0-2", "--frames=5"]
    result = run(*command, "--loop", "--layers=0-1", "--psi=0.7")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("walk.mp4 has 15 frames, 0.5 s\n")
    result = run(*command)
    assert result.returncode == 1 and "walk.mp4 is there already" in result.stderr
    result = run(*command[:2], f"--out={tmp_path / 'other.mp4'}", "--seeds=0-2", "--noise=random")
    assert result.returncode == 1 and "--noise=random would flicker" in result.stderr


def test_pictures_are_projected_once_and_into_one_network(file, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name, size in (("a.png", (8, 8)), ("b.jpg", (30, 20))):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / "pictures" / name)
    out = tmp_path / "out"
    command = ["--mode=project", f"--pictures={tmp_path / 'pictures'}", f"--out={out}", "--steps=3"]
    result = run(*command, f"--network={file}")
    assert (result.returncode, result.stderr) == (0, "")
    assert "note: pictures are compared by pixels at several scales and " in result.stdout
    assert "2 pictures are projected: PSNR " in result.stdout
    assert {path.name for path in out.iterdir()} == {
        *(f"{name}{end}" for name in "ab" for end in (".png", ".projection.safetensors")),
        *("project.json", "projections.json"),
    }
    assert np.asarray(Image.open(out / "b.png")).shape == (8, 16, 3)
    before = {path: path.stat().st_mtime_ns for path in out.glob("?.*")}
    again = run(*command, f"--network={file}")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[-1] == result.stdout.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in out.glob("?.*")} == before
    other = random_network(1, resolution=8, fmap_base=32).save(tmp_path / "other.safetensors")
    result = run(*command, f"--network={other}")
    assert result.returncode == 1 and "made otherwise (network " in result.stderr


@pytest.mark.parametrize("setting", ["seed=4", "data.source=faces"])
def test_settings_that_projection_does_not_take_are_refused(tmp_path, setting):
    where = [f"--network={tmp_path / 'nowhere'}", f"--pictures={tmp_path}", f"--out={tmp_path / 'out'}"]
    result = run("--mode=project", *where, "--config=demo", f"--config.{setting}")
    assert result.returncode == 1 and f"--config.{setting.partition('=')[0]} has no effect with" in result.stderr


def test_figures_that_a_network_cannot_draw_are_told_before_any_is_drawn(tmp_path):
    network = random_network(resolution=8, fmap_base=32, use_noise=False).save(tmp_path / "network.safetensors")
    command = ["--mode=figures", f"--network={network}", f"--out={tmp_path / 'out'}"]
    result = run(*command, "--figures=truncation,noise_layers")
    text = "--figures=truncation,noise_layers: this network takes no noise, and so cannot draw noise_layers; leave it"
    assert result.returncode == 1 and text in result.stderr and not list((tmp_path / "out").iterdir())
    result = run(*command)
    assert (result.returncode, result.stderr) == (0, "")
    assert "note: this network takes no noise, and so cannot draw stochastic_variation" in result.stdout
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == {"uncurated", "style_mixing", "truncation"}


@pytest.mark.parametrize("names", ["", "cats,cats"])
def test_no_figure_or_one_twice_is_refused(tmp_path, names):
    result = run("--mode=figures", "--network=none", f"--out={tmp_path}", f"--figures={names}")
    assert result.returncode == 1 and f"--figures={names}: use different figures, at least one." in result.stderr


def test_more_classes_than_a_film_has_seeds_are_refused(tmp_path):
    network = random_network(resolution=8, fmap_base=32, num_labels=3).save(tmp_path / "network.safetensors")
    command = ["--mode=interpolate", f"--network={network}", f"--out={tmp_path / 'a.mp4'}", "--seeds=0,1"]
    result = run(*command, "--classes=0,1,2")
    assert result.returncode == 1 and "--classes names 3 classes for 2 seeds" in result.stderr


def test_a_cutoff_of_no_layers_is_refused(file, tmp_path):
    result = run("--mode=generate", f"--network={file}", f"--out={tmp_path}", "--seeds=0", "--psi=0.5", "--cutoff=0")
    assert result.returncode == 1 and "--cutoff=0" in result.stderr and not list(tmp_path.iterdir())


def test_an_empty_network_is_told_as_such(tmp_path):
    result = run("--mode=generate", "--network=", f"--out={tmp_path}", "--seeds=0")
    assert result.returncode == 1 and "--network is empty; name a file of weights, " in result.stderr
