"""The experiment with few pictures: its runs differ by their remedies alone, and its pictures are split once."""

import json
import zipfile

import pytest

from experiments.few_pictures import __main__ as comparison
from experiments.few_pictures import split
from experiments.few_pictures.config import REMEDIES, get_config
from stylegan_jax import config


@pytest.fixture
def pictures(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("emoji/SOURCE.txt", "where from")
        for i in range(10):
            file.writestr(f"emoji/{i}.png", f"picture {i}")
    return tmp_path / "all.zip"


def _content(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_each_picture_is_chosen_or_among_the_others(pictures, tmp_path):
    split.split(pictures, tmp_path / "out", num_chosen=3)
    chosen, others = (_content(tmp_path / "out" / f"{name}.zip") for name in ("chosen", "others"))
    assert (len(chosen), len(others)) == (3, 7) and not chosen.keys() & others.keys()
    everything = _content(pictures)
    del everything["emoji/SOURCE.txt"]
    assert chosen | others == everything


def test_the_choice_is_the_same_each_time(pictures, tmp_path):
    for name in ("first", "second"):
        split.split(pictures, tmp_path / name, num_chosen=3)
    assert (tmp_path / "first" / "chosen.zip").read_bytes() == (tmp_path / "second" / "chosen.zip").read_bytes()


def test_too_few_pictures_are_refused(pictures, tmp_path):
    with pytest.raises(SystemExit, match="all.zip has 10 PNGs; more than 10 are needed"):
        split.split(pictures, tmp_path / "out", num_chosen=10)


def _differences(remedy):
    """Returns the settings in which a remedy's run differs from that without one."""
    plain, other = (config.to_dict(config.from_dict(get_config(name).to_dict())) for name in ("none", remedy))
    return {
        f"{part}.{k}"
        for part in ("model", "data", "schedule", "train")
        for k in plain[part]
        if plain[part][k] != other[part][k]
    }


def test_runs_differ_by_their_remedies_alone():
    assert _differences("diffaugment") == {"train.augment"}
    assert _differences("ada") == {"train.augment", "train.ada_kimg"}
    assert _differences("pairing") == {f"train.{name}" for name in ("g_loss", "d_loss", "r1_interval", "r2_gamma")}


def test_an_unknown_remedy_is_refused_with_the_names():
    with pytest.raises(ValueError, match=f"no remedy 'luck'; use one of {', '.join(REMEDIES)}"):
        get_config("luck")


def _measure(folder, fd_faces):
    values = dict.fromkeys(comparison.SHOWN, 0.5) | {"fd_faces10k:2583": fd_faces}
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"values": values, "floor": values}) + "\n")


def test_the_table_has_the_last_numbers_and_the_least_distance(tmp_path):
    for nimg, fd_faces in ((20_000, 30.0), (100_000, 40.0), (4_000, 90.0)):
        _measure(tmp_path / "at" / str(nimg), fd_faces)
    _measure(tmp_path / "chosen", 7.0)
    lines = comparison.table({"none": comparison.over_time(tmp_path)}, tmp_path / "chosen").splitlines()
    assert lines[0] == "| remedy | fd_faces | swd | precision | recall | least fd_faces, at thousands of images |"
    assert lines[2] == "| none | 40 | 0.5 | 0.5 | 0.5 | 30, 20 |"
    assert lines[3] == "| the 1,000 pictures themselves | 7 | 0.5 | 0.5 | 0.5 | |"
