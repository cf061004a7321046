"""`--mode=project`: a folder of pictures, a file for each, and files that render the same bytes again."""

import dataclasses
import functools
import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from stylegan_jax.config import Data
from stylegan_jax.images import project, project_folder, projection_files
from tests.images import modes
from tests.images.test_project import SIZE
from tests.random_networks import random_network

pytestmark = pytest.mark.usefixtures("few_styles")


@pytest.fixture(scope="module")
def network():
    return random_network(**SIZE)


@pytest.fixture
def source(tmp_path, network) -> pathlib.Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name, image in zip(("a.png", "more/b.png"), network(seeds=[100, 101]), strict=True):
        Image.fromarray(image).save(folder / name)
    return folder


@pytest.fixture
def out(tmp_path) -> pathlib.Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(network, source, out, space="w+", **more):
    pictures = project_folder.open_pictures(str(source), Data(source=""), network, lambda done, total: None)
    return project_folder.save_projections(network, pictures, out, space, **{"steps": 3} | more)


@pytest.fixture(scope="module")
def one(network):
    return project.project(network, network(seeds=[100]), "w+noise", steps=2)


# ---- the folder


def test_each_picture_gets_a_file_and_a_picture_beside_its_projection(network, source, out):
    summary = run(network, source, out)
    files = {"a.png", "a.projection.safetensors", "more-b.png", "more-b.projection.safetensors"}
    assert {path.name for path in out.iterdir()} == files | {"project.json", "projections.json"}
    beside, picture = np.asarray(Image.open(out / "a.png")), np.asarray(Image.open(source / "a.png"))
    made = projection_files.render(network, out / "a.projection.safetensors")
    np.testing.assert_array_equal(beside, np.concatenate([picture, made], axis=1))
    assert summary == json.loads((out / "projections.json").read_text())
    assert [row["picture"] for row in summary["pictures"]] == ["a.png", "more/b.png"]
    error = np.mean((made.astype(float) - picture) ** 2)
    assert summary["pictures"][0]["psnr"] == pytest.approx(10 * np.log10(255**2 / error))
    assert summary["psnr"] == pytest.approx(np.mean([row["psnr"] for row in summary["pictures"]]))


def test_the_psnr_of_an_equal_picture_is_a_text_in_json(network, source, out, monkeypatch):
    monkeypatch.setattr(project, "render", lambda network, ws, noise: network(seeds=[100]))
    assert run(network, source, out)["pictures"][0]["psnr"] == np.inf
    found = json.loads((out / "projections.json").read_text(), parse_constant=pytest.fail)
    assert found["psnr"] == found["pictures"][0]["psnr"] == "Infinity"


def test_the_same_command_makes_what_is_missing_alone(network, source, out):
    run(network, source, out)
    kept, again = out / "a.projection.safetensors", out / "more-b.projection.safetensors"
    before, bytes_before = kept.stat().st_mtime_ns, again.read_bytes()
    again.unlink()
    seen = []
    summary = run(network, source, out, progress_fn=lambda *now: seen.append(now))
    assert kept.stat().st_mtime_ns == before and again.read_bytes() == bytes_before
    assert seen == [(3, 3)] and len(summary["pictures"]) == 2


def test_other_settings_are_refused_in_a_folder_of_projections(network, source, out):
    run(network, source, out)
    with pytest.raises(ValueError, match=r"made otherwise \(steps 3 there, 4 here\); choose another --out"):
        run(network, source, out, steps=4)


def test_a_picture_that_has_changed_is_refused(network, source, out):
    run(network, source, out)
    Image.fromarray(network(seeds=[7])[0]).save(source / "a.png")
    with pytest.raises(ValueError, match="is of another picture of that name, or of one that has changed; remove it"):
        run(network, source, out)


def test_a_projection_that_is_damaged_is_told_and_not_counted_as_done(network, source, out):
    run(network, source, out)
    file = out / "a.projection.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="cannot be read as a projection.*; remove it to project the picture again"):
        run(network, source, out)


def test_a_picture_that_is_no_projection_is_not_overwritten(network, source, out):
    before = (source / "a.png").read_bytes()
    with pytest.raises(ValueError, match=r"a\.png is there already, and no project\.json says how it was made"):
        run(network, source, source)
    assert (source / "a.png").read_bytes() == before


def test_it_goes_on_from_an_earlier_folder(network, source, out, tmp_path):
    run(network, source, out, "w")
    (tmp_path / "on").mkdir()
    run(network, source, tmp_path / "on", "w+", start=out, steps=1)
    first, on = (
        projection_files.read(folder / "a.projection.safetensors", network) for folder in (out, tmp_path / "on")
    )
    np.testing.assert_allclose(on.ws, first.ws, atol=1e-3)  # The first step has a learning rate of 0.


@pytest.mark.parametrize("kind", ["is of another picture", "is not there", "cannot be read as a projection"])
def test_what_does_not_have_the_pictures_projections_is_no_start(network, source, out, tmp_path, kind):
    run(network, source, tmp_path, steps=1)
    file = tmp_path / "more-b.projection.safetensors"
    if kind == "is of another picture":
        Image.fromarray(network(seeds=[7])[0]).save(source / "more/b.png")
    elif kind == "is not there":
        file.unlink()
    else:
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=f"more-b.projection.safetensors {kind}.*; choose as --start"):
        run(network, source, out, start=tmp_path)
    assert not list(out.iterdir())


def test_a_start_is_the_same_folder_however_it_is_written(network, source, out, tmp_path, monkeypatch):
    run(network, source, tmp_path, steps=1)
    run(network, source, out, start=tmp_path, steps=1)
    monkeypatch.chdir(tmp_path)
    assert run(network, source, out, start=pathlib.Path("."), steps=1)["pictures"]


def test_a_picture_far_from_the_networks_images_is_told():
    rows = [
        {"picture": "dog.png", "psnr": 12.3, "novelty": 100.0},
        {"picture": "face.png", "psnr": 30, "novelty": 99.0},
    ]
    (remark,) = project_folder.remarks({"pictures": rows})
    assert remark.startswith("dog.png is far from what this network makes") and "(12.3 dB)" in remark


def test_a_picture_whose_name_cannot_be_printed_is_told_with_escapes():
    (remark,) = project_folder.remarks({"pictures": [{"picture": "a\udcff\n.png", "psnr": 12.3, "novelty": 100.0}]})
    assert remark.startswith(r"a\xff\n.png is far from")


def test_files_are_called_as_their_pictures_and_never_the_same():
    names = ["a.png", "b.png", "b.jpg", "c/a.png"]
    assert project_folder.file_names(names) == ["a", "b.png", "b.jpg", "c-a"]
    with pytest.raises(ValueError, match=r"c/a\.png and c-a\.png would both be written to c-a\.png.png; rename one"):
        project_folder.file_names(["c/a.png", "c-a.png"])


def test_a_name_that_is_too_long_for_a_projections_file_is_refused():
    with pytest.raises(ValueError, match=r"nnn\.png: while its projection is written, .* a shorter name"):
        project_folder.file_names(["deep/" + 220 * "n" + ".png"])


# ---- the command line, with networks of all kinds


command = functools.partial(modes.run, "project", steps="2")


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ({"channels": 1}, {}),
        ({"num_labels": 3}, {"classes": "class 1"}),
        ({"num_labels": 3}, {}),
        ({"use_noise": False}, {}),
        ({"trained": 8}, {"space": "w+noise"}),
    ],
    ids=["gray", "of a class", "of all classes", "without noise", "in a fade"],
)
def test_a_folder_is_projected_into_networks_of_other_kinds(source, tmp_path, monkeypatch, kind, given):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trained = kind.pop("trained", 16)
    network = random_network(**SIZE | kind)
    network = dataclasses.replace(network, resolution=trained, alpha=1.0 if trained == 16 else 0.5)
    file = network.save(tmp_path / "net.safetensors")
    command(network=file, pictures=source, out=tmp_path / "out", **given)
    made = projection_files.render(network, tmp_path / "out/a.projection.safetensors")
    beside = np.asarray(Image.open(tmp_path / "out/a.png"))
    np.testing.assert_array_equal(beside[:, 16:], made[..., 0] if made.shape[2] == 1 else made)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ({"use_styles": False, "z_size": 7, "mapping_layers": 0, "const_input": False}, {}, "has no styles, as Prog"),
        ({"num_labels": 3}, {"classes": "0,1"}, "--classes names several classes"),
        ({"num_labels": 3}, {"classes": "cat"}, "cat"),
        ({}, {"space": "z"}, "--space=z is for --mode=interpolate"),
        ({"use_noise": False}, {"space": "w+noise"}, "this network takes no noise"),
        ({}, {"steps": 2**31}, "steps is 2147483648; use a whole number from 1 to 2147483647"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_pictures_are_read(tmp_path, kind, given, message):
    file = random_network(**SIZE | kind).save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=message):
        command(network=file, pictures="nowhere", out=tmp_path / "out", **given)


@pytest.mark.parametrize("out", ["pictures", "pictures/projected"])
def test_projections_are_not_written_among_the_pictures(source, out):
    with pytest.raises(ValueError, match=f"--out=.*/{out} lies in --pictures, among the pictures; choose another"):
        command(network="nowhere", pictures=source, out=source.parent / out)
    assert {path.name for path in source.iterdir()} == {"a.png", "more"}


# ---- files


def test_a_file_renders_the_same_bytes_and_is_read_back_whole(network, one, tmp_path):
    path = tmp_path / "one.safetensors"
    projection_files.write(path, network, one, {"picture": "x.png"})
    again = projection_files.read(path, network)
    np.testing.assert_array_equal(projection_files.render(network, path), one.images[0])
    np.testing.assert_array_equal(again.ws, one.ws)
    for a, b in zip(again.noise, one.noise, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.space == one.space and again.psnr == one.psnr and again.distance == one.distance
    assert projection_files.about(path)["about"] == {"picture": "x.png"}


def test_another_network_is_refused(network, one, tmp_path):
    projection_files.write(tmp_path / "one", network, one, {})
    other = dataclasses.replace(network, w_avg=network.w_avg + 1)
    with pytest.raises(ValueError, match="was made with another network: its digest is .* Load that network"):
        projection_files.read(tmp_path / "one", other)


def test_what_is_no_projection_is_refused(network, one, tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="one cannot be read as a projection"):
        projection_files.read(path, network)
    path.write_bytes(safetensors.numpy.save({"ws": one.ws[0]}))
    with pytest.raises(ValueError, match="is no projection: its metadata has no 'stylegan_jax_projection'"):
        projection_files.read(path, network)
    path.write_bytes(safetensors.numpy.save({}, metadata={projection_files.KEY: '{"version": 1}'}))
    with pytest.raises(ValueError, match="is of another version than 1, or damaged: its metadata has no 'network'"):
        projection_files.read(path, network)
    projection_files.write(path, network, dataclasses.replace(one, ws=one.ws * np.nan), {})
    with pytest.raises(ValueError, match="is damaged: it has arrays"):
        projection_files.read(path, network)
