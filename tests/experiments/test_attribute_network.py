"""The training of an attribute network on any labelled pictures: what it reads, and that its file can be opened."""

import sys

import numpy as np
import pytest
from PIL import Image

from experiments.attribute_network import train
from stylegan_jax.metrics import attributes, fd_faces


def _table(path, *lines: str):
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _pictures(folder, num: int = 4):
    """Writes gray pictures of 4 px, each of another brightness, in folders of two classes."""
    for i in range(num):
        place = folder / ("even", "odd")[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 3 * i, np.uint8)).save(place)
    return folder


def test_each_class_is_an_attribute(tmp_path):
    images, values, names = train.labelled(str(_pictures(tmp_path)), "folders", 8, None)
    assert images.shape == (4, 8, 8, 3) and names == ("even", "odd")
    odd = images[:, 0, 0, 0] // 3 % 2
    np.testing.assert_array_equal(values, np.stack([odd == 0, odd == 1], axis=1))
    assert sorted(images[:, 0, 0, 0]) == [0, 3, 6, 9]


def test_a_table_gives_each_picture_its_attributes(tmp_path):
    pictures = str(_pictures(tmp_path / "pictures"))
    lines = ("name,bright,even", "odd/3.png, 1,0", "odd/1.png,0,-1", "even/0.png,-1,1", "even/2.png,1,1")
    images, values, names = train.labelled(pictures, "own", 8, _table(tmp_path / "table.csv", *lines))
    assert names == ("bright", "even")
    level = images[:, 0, 0, 0] // 3
    np.testing.assert_array_equal(values, np.stack([level > 1, level % 2 == 0], axis=1))


@pytest.mark.parametrize(
    "line, values", [("b.png,1,2", r"\['1', '2'\]"), ("b.png,1", r"\['1'\]"), ("c.png,1,0", r"\[\]")]
)
def test_a_table_with_other_values_is_refused(tmp_path, line, values):
    table = _table(tmp_path / "table.csv", "name,bright,even", "a.png,1,0", line)
    with pytest.raises(ValueError, match=f"table.csv gives b.png the values {values}; give it 2, each 1, 0 or -1"):
        train.attributes_in(table, ["a.png", "b.png"])


def test_pictures_without_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no classes; name a file of them with --labels"):
        train.labelled(str(_pictures(tmp_path)), "own", 8, None)


def test_the_file_of_the_faces_is_not_overwritten_by_other_pictures(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--source=digits"])
    with pytest.raises(SystemExit):
        train.main()
    assert "name the file to write with --out" in capsys.readouterr().err


def test_a_trained_file_is_opened_and_tells_what_it_was_trained_on(tmp_path, monkeypatch, capsys):
    out = tmp_path / "classes.npz"
    pictures = _pictures(tmp_path / "pictures", 80)
    monkeypatch.setattr(
        sys,
        "argv",
        ["train.py", f"--source={pictures}", "--labels=folders", "--resolution=4", "--epochs=1", f"--out={out}"],
    )
    train.main()
    found = attributes.trained(out)
    assert found.names == ("even", "odd") and found.params["logits/bias"].shape == (2,)
    assert found.description == f"2 attributes, by the network classes.npz trained on {pictures} at 4 px"
    assert f"SHA-256 {found.sha256}" in capsys.readouterr().out
    images, _, _ = train.labelled(str(pictures), "folders", 4, None)
    logits = found.logits_fn(found.params, images[:5] / np.float32(127.5) - 1)
    np.testing.assert_allclose(logits, train.outputs(found.params, images[:5])[0], rtol=0, atol=1e-5)


def test_the_faces_network_has_no_names_in_its_file():
    params = fd_faces.load()
    assert attributes.ABOUT not in params and params["logits/bias"].shape == (fd_faces.NUM_ATTRIBUTES,)
