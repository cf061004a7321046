"""`--mode=evaluate`: a run, a checkpoint, a file or pictures are measured, and every number is written down."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from stylegan_jax.config import Data, to_dict
from stylegan_jax.data import images
from stylegan_jax.metrics import definitions, evaluate, fd_faces, inception_score
from stylegan_jax.metrics.evaluate import Request
from stylegan_jax.runs import checkpoint, workdir
from stylegan_jax.training import state
from tests.measured import devices, pixels
from tests.picture_files import encode
from tests.random_networks import random_network
from tests.small import settings

FACES = ["fd_faces10k:12"]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> pathlib.Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/stylegan_jax/features"


def write_pictures(folder: pathlib.Path, of: np.ndarray) -> str:
    for i, one in enumerate(of):
        place = folder / f"{i % 2}/{i:03d}.png"  # Two classes.
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encode(Image.fromarray(one)))
    return str(folder)


@pytest.fixture(scope="module")
def reals(tmp_path_factory) -> str:
    """A folder of 24 pictures of 16 px."""
    return write_pictures(tmp_path_factory.mktemp("reals") / "pictures", pixels(24, seed=1))


@pytest.fixture(scope="module")
def run(tmp_path_factory, reals) -> pathlib.Path:
    """The workdir of a run with two checkpoints, the first of which is trained at 8 px."""
    folder = tmp_path_factory.mktemp("run")
    config = settings(data={"source": reals, "num_heldout": 4, "mirror": True})
    workdir.record_config(folder, to_dict(config))
    manager = checkpoint.open_manager(folder / "checkpoints", 3)
    for nimg in (64, 256):
        made = jax.jit(state.create, static_argnums=1)(jax.random.key(nimg), config)
        checkpoint.save(manager, nimg, made, {})
    checkpoint.close(manager)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    return str(random_network(resolution=16).save(tmp_path_factory.mktemp("file") / "random.safetensors"))


def measure(folder: pathlib.Path, metrics=FACES, **more) -> tuple[str, list[dict]]:
    """Returns the table, and the lines that were written."""
    text = evaluate.evaluate(Request(metrics, **more), folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return text, [json.loads(line, parse_constant=pytest.fail) for line in lines]


# ---- what is measured


def test_a_workdir_is_measured_against_the_pictures_of_its_run(tmp_path, run, reals, capsys):
    text, (line,) = measure(tmp_path, network=str(run))
    assert line["network"]["source"] == str(run / "checkpoints/256") and line["network"]["nimg"] == 256
    assert line["reals"]["source"] == reals and line["reals"]["number"] == 12
    assert text.splitlines()[1].startswith("fd_faces10k:12 ")
    said = f"note: real pictures: 24 of {reals}, at 16 px by data.fit=crop; they are flipped too, as in training"
    assert said in capsys.readouterr().out


def test_reals_of_a_run_that_flips_are_flipped_where_the_definition_says_so(tmp_path, run, monkeypatch):
    monkeypatch.setitem(definitions.TABLE, "first", dataclasses.replace(definitions.TABLE["fid50k"], features="faces"))
    _, (line,) = measure(tmp_path, ["first:12"], network=str(run))
    assert line["reals"]["pictures"] == "the first 12 pictures of 24, each flipped with probability 1/2"


@pytest.mark.parametrize("is_named_by_folder", [True, False])
def test_a_checkpoint_is_measured_at_its_resolution_enlarged(tmp_path, run, is_named_by_folder, capsys):
    named = {"network": str(run / "checkpoints/64")} if is_named_by_folder else {"network": str(run), "checkpoint": 64}
    _, (line,) = measure(tmp_path, **named)
    assert line["network"]["nimg"] == 64 and line["network"]["resolution"] == 8
    said = "the network is trained at 8 px so far (alpha 1); its images are enlarged to 16 px"
    assert said in line["remarks"] and f"note: {said}\n" in capsys.readouterr().out


def test_a_file_is_measured_against_the_pictures_that_are_named(tmp_path, file, reals):
    _, (line,) = measure(tmp_path, network=file, reals=reals)
    assert line["network"]["source"] == file and "nimg" not in line["network"]
    assert line["network"]["resolution"] == 16 and len(line["network"]["sha256_of_arrays"]) == 64


def test_two_folders_of_pictures_are_compared(tmp_path, reals, capsys):
    fakes = write_pictures(tmp_path / "fakes", pixels(20, seed=2))
    _, (line,) = measure(tmp_path, fakes=fakes, reals=reals)
    expected = fd_faces.fd_faces(pixels(20, seed=2), pixels(24, seed=1))
    assert line["fakes"]["source"] == fakes and line["fakes"]["number"] == 20 and line["num_images"] == 12
    assert expected / 9 < line["values"]["fd_faces10k:12"] < expected * 9
    assert f"note: fakes: 20 pictures of {fakes}, at 16 px\n" in capsys.readouterr().out


def test_two_whole_folders_have_the_distance_of_their_features(tmp_path, reals):
    fakes = write_pictures(tmp_path / "fakes", pixels(20, seed=2))
    _, (line,) = measure(tmp_path, ["fd_faces10k"], fakes=fakes, reals=reals)
    expected = fd_faces.fd_faces(pixels(20, seed=2), pixels(24, seed=1))
    assert line["values"]["fd_faces10k"] == pytest.approx(expected, rel=1e-3) and line["num_images"] == 20


def test_the_settings_source_can_be_given_with_the_settings(tmp_path, file, reals):
    _, (line,) = measure(tmp_path, network=file, config=settings(data={"source": reals}))
    assert line["reals"]["source"] == reals


def test_reals_stand_in_for_the_source_of_the_run(tmp_path, run):
    other = write_pictures(tmp_path / "others", pixels(14, seed=3))
    _, (line,) = measure(tmp_path, network=str(run), reals=other)
    assert line["reals"]["source"] == other and line["reals"]["pictures"].endswith("all 14 pictures")


def test_pictures_of_any_shape_are_measured_with_settings_that_say_their_size(tmp_path, reals):
    fakes = write_pictures(tmp_path / "fakes", pixels(12, px=24))
    _, (line,) = measure(tmp_path, fakes=fakes, reals=reals, config=settings())
    assert line["reals"]["resolution"] == 16


@pytest.mark.parametrize(("shape", "named"), [((16, 24), "24x16"), ((24, 24), "24x24"), ((4, 4), "4x4")])
def test_pictures_of_another_shape_are_refused_with_what_to_say(tmp_path, reals, shape, named):
    fakes = write_pictures(tmp_path / "fakes", pixels(3, px=24)[:, : shape[0], : shape[1]])
    with pytest.raises(ValueError, match=f"{fakes} has pictures of {named} px; say what squares they are brought to"):
        evaluate.evaluate(Request(FACES, fakes=fakes, reals=reals), tmp_path)


# ---- what is written


def test_a_line_has_all_that_decides_about_its_number(tmp_path, file, reals):
    _, lines = measure(tmp_path, ["fd_faces10k:12", "kd_faces10k:14"], network=file, reals=reals, seeds=(3,))
    assert [line["metric"] for line in lines] == ["fd_faces10k:12", "kd_faces10k:14"]
    for line in lines:
        assert line["definition"] == definitions.TABLE[line["metric"].partition(":")[0]].what
        assert line["resize"] == "box means to 64 px" and line["weights"]["sha256"] == fd_faces.WEIGHTS_SHA256
        assert line["seed"] == 3 and line["num_images"] in (12, 14)
        assert line["floor"].keys() == line["values"].keys() and line["floor_text"].endswith("each")
        opened = images.open_images(Data(source=reals), settings().model)
        assert line["reals"]["fingerprint"] == opened.fingerprint and len(line["reals"]["kept_as"]) == 16
        assert line["time"].endswith("+00:00")


def test_several_seeds_are_written_apart_and_shown_with_their_spread(tmp_path, file, reals):
    text, (*lines, spread) = measure(tmp_path, network=file, reals=reals, seeds=(0, 1, 5))
    assert spread["seed"] == [0, 1, 5] and spread["std"].keys() == spread["values"].keys()
    values = [line["values"]["fd_faces10k:12"] for line in lines]
    assert [line["seed"] for line in lines] == [0, 1, 5] and len(set(values)) == 3
    assert len({json.dumps(line["floor"]) for line in lines}) == 1
    header, row = text.splitlines()[:2]
    assert "spread over seeds" in header
    assert row.split()[1:5] == [f"{np.mean(values):.5g}", "+-", f"{np.std(values, ddof=1):.3g}", "(3)"]


def test_a_second_evaluation_adds_lines_and_gives_the_same_number(tmp_path, file, reals, capsys):
    measure(tmp_path, network=file, reals=reals)
    first = capsys.readouterr().out
    _, lines = measure(tmp_path, network=file, reals=reals)
    assert len(lines) == 2 and lines[0]["values"] == lines[1]["values"] and lines[0]["floor"] == lines[1]["floor"]
    assert "real pictures: 12 of 12" in first and "real pictures: 12 of 12" not in capsys.readouterr().out


def test_pictures_that_change_and_keep_their_files_sizes_are_measured_anew(tmp_path, file):
    def numbers(seed: int) -> dict[str, float]:
        noise = np.random.default_rng(seed).integers(0, 256, (14, 16, 16, 3), np.uint8)  # It cannot be compressed.
        found = write_pictures(tmp_path / "reals", noise)
        assert len({path.stat().st_size for path in pathlib.Path(found).rglob("*.png")}) == 1
        return measure(tmp_path, network=file, reals=found)[1][-1]["values"]

    first, other, again = map(numbers, (1, 2, 1))
    assert first == again and other != first


def test_the_table_names_every_key_of_kept_features(tmp_path, file, reals, cache):
    text, lines = measure(tmp_path, ["fd_faces10k:12", "kd_faces10k:14"], network=file, reals=reals)
    last = text.splitlines()[-1]
    assert last.startswith(f"features of the real pictures are kept in {cache} as ")
    for line in lines:
        assert f"{line['reals']['kept_as']} (faces)" in last and (cache / f"{line['reals']['kept_as']}.npz").exists()


def test_pictures_that_become_squares_in_another_way_are_other_pictures(tmp_path, file):
    wide = write_pictures(tmp_path / "wide", pixels(14, px=32)[:, 8:24])
    floors = []
    for fit in ("crop", "stretch", "crop"):
        config = settings(data={"source": wide, "fit": fit})
        _, lines = measure(tmp_path, ["kd_faces10k:14"], network=file, config=config)
        floors.append(lines[-1]["floor"])
    assert floors[0] == floors[2] != floors[1]


def test_without_a_cache_the_numbers_come_all_the_same(tmp_path, file, reals, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    text, lines = measure(tmp_path, network=file, reals=reals)
    assert len(lines) == 1 and "are kept in" not in text and "are not kept for the next time" in caplog.text


def test_a_score_of_pictures_takes_them_in_random_order_and_needs_no_real_ones(tmp_path, reals, monkeypatch):
    definition = dataclasses.replace(definitions.TABLE["is50k"], features="faces", count=20)
    monkeypatch.setitem(definitions.TABLE, "is_faces", definition)
    _, (line,) = measure(tmp_path, ["is_faces"], fakes=reals)
    order = np.random.RandomState(0).permutation(24)[:20]
    chosen = np.concatenate([pixels(24, seed=1)[first::2] for first in (0, 1)])[order]
    logits, _ = fd_faces.apply(fd_faces.load(), fd_faces.resize(chosen))
    assert line["values"]["is_faces_mean"] == pytest.approx(inception_score.stylegan2_ada(logits).mean, rel=1e-3)
    assert line["num_images"] == 20 and "reals" not in line


# ---- labels


def test_labels_are_those_of_the_real_pictures_where_the_classes_are_as_many(tmp_path, reals):
    network = random_network(resolution=16, num_labels=2)
    opened = images.open_images(Data(source=reals, labels="folders"), network.model)
    made, notes = evaluate.generator_of(network, opened, devices())
    np.testing.assert_array_equal(made.classes, np.arange(24) // 12)
    said = f"labels are those of random real pictures (fingerprint {opened.fingerprint}), as StyleGAN2-ADA does"
    assert notes[0] == said
    assert notes[1].startswith("the real pictures' classes have other names than the network's")


@pytest.mark.parametrize("num_labels", [2, 3])
def test_labels_are_uniform_where_no_real_pictures_have_the_classes(reals, num_labels):
    network = random_network(resolution=16, num_labels=num_labels)
    opened = images.open_images(Data(source=reals, labels="folders"), random_network(resolution=16, num_labels=2).model)
    made, notes = evaluate.generator_of(network, None if num_labels == 2 else opened, devices())
    np.testing.assert_array_equal(made.classes, np.arange(num_labels))
    assert notes == ["labels are drawn uniformly, since there are no real pictures of the network's classes"]


def test_an_unconditional_network_has_no_labels(reals):
    made, notes = evaluate.generator_of(random_network(resolution=16), None, devices())
    assert made.classes is None and notes == []


def test_how_labels_are_drawn_stands_beside_the_number(tmp_path, reals):
    path = random_network(resolution=16, num_labels=2).save(tmp_path / "random.safetensors")
    config = settings(data={"source": reals, "labels": "folders"})
    _, (line,) = measure(tmp_path, network=str(path), config=config)
    fingerprint = line["reals"]["fingerprint"]
    said = f"labels are those of random real pictures (fingerprint {fingerprint}), as StyleGAN2-ADA does"
    assert said in line["remarks"]


# ---- refused


def nothing_is_read(*_, **__):
    pytest.fail("pictures are read")


@pytest.mark.parametrize(
    ("metrics", "more", "message"),
    [
        (["fid"], {"network": "x"}, "there is no metric 'fid'; did you mean"),
        (FACES, {}, "name a network .* or pictures .*: one of the two"),
        (FACES, {"network": "x", "fakes": "y"}, "one of the two"),
        (FACES, {"fakes": "x", "checkpoint": 5}, "--checkpoint=5 has no effect: --fakes=x is measured"),
        (FACES, {"network": "x", "attributes": "faces"}, "--attributes=faces has no effect: none of the metrics"),
        (FACES, {"network": "nowhere.pkl"}, "nowhere.pkl does not exist"),
        (["fid50k"], {"network": "x", "reals": "y"}, "fid50k needs FID's Inception of 2015, and .* has no file of it"),
        (["ppl_wend"], {"network": "x"}, "ppl_wend needs VGG16 with the heads of LPIPS"),
        (["ls_z"], {"network": "x"}, "lacks classifiers of attributes"),
        (["ls_z"], {"network": "x", "attributes": "nowhere.npz"}, "nowhere.npz"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_pictures_are_read(tmp_path, monkeypatch, metrics, more, message):
    monkeypatch.setattr(images, "open_images", nothing_is_read)
    with pytest.raises((ValueError, OSError), match=message):
        evaluate.evaluate(Request(metrics, weights=tmp_path / "weights", **more), tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_real_pictures_that_nothing_is_compared_with_are_refused(tmp_path, file, reals, monkeypatch):
    monkeypatch.setattr(images, "open_images", nothing_is_read)
    with pytest.raises(ValueError, match=f"--reals={reals} has no effect: none of the metrics compares with real"):
        evaluate.evaluate(Request(["ls_z"], network=file, reals=reals, attributes="faces"), tmp_path)


def test_real_pictures_that_are_not_named_are_asked_for(tmp_path, file):
    with pytest.raises(ValueError, match="and none are named; use --reals=PICTURES"):
        evaluate.evaluate(Request(FACES, network=file), tmp_path)


def test_a_discriminator_alone_is_refused():
    network = dataclasses.replace(random_network(resolution=16), params=None)
    with pytest.raises(ValueError, match="random holds a discriminator alone, which makes no images"):
        evaluate.generator_of(network, None, devices())


def test_a_network_of_weights_says_which_metrics_need_it():
    found = evaluate.metrics_of_networks()
    assert set(found) == {"inception", "vgg_dense", "dinov2", "clip", "vgg", "celeba"}
    assert found["vgg_dense"] == ["pr50k3_full", "prdc10k5"] and found["vgg"] == [
        name for name in definitions.TABLE if name.startswith("ppl")
    ]
    assert not any(name.startswith(("fd_faces", "swd", "msssim")) for names in found.values() for name in names)


def test_a_network_with_values_that_are_not_finite_is_refused_before_any_pass():
    network = random_network(resolution=16)
    params = jax.tree.map(lambda value: value * np.nan, network.params)
    with pytest.raises(ValueError, match="cannot be measured. It has .* arrays with values that are not finite; the"):
        evaluate.generator_of(dataclasses.replace(network, params=params), None, devices())


def test_a_folder_in_place_of_the_results_is_refused_before_pictures_are_read(tmp_path, file, reals, monkeypatch):
    monkeypatch.setattr(images, "open_images", nothing_is_read)
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ValueError, match="metrics.jsonl cannot be written .it is no file.; move it away, or choose"):
        evaluate.evaluate(Request(FACES, network=file, reals=reals), tmp_path)
