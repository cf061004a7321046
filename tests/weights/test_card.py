"""A model card says what is known of a network, and no more."""

import dataclasses
import re

import numpy as np
import pytest
import yaml

from stylegan_jax.config import Model
from stylegan_jax.weights import card
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network
from tests.random_networks import random_network


def make(model=None, **changes):
    texts = {"title": "Faces", "file": "faces.npz", "name": None}
    texts |= {name: changes.pop(name) for name in texts.keys() & changes.keys()}
    fields = {name: changes.pop(name) for name in ("resolution", "class_names") if name in changes}
    params = {"synthesis": {"const": np.zeros(26_219_627, np.uint8)}}
    network = Network(
        model or Model(), params, Info("faces.npz", **{"layout": "a pickle"} | changes), w_avg=np.zeros(512)
    )
    return card.card_of(dataclasses.replace(network, **{"resolution": 1024} | fields), **texts)


def head(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_tells_what_the_network_is():
    text = make(nimg=12_000_000, notes=("w_avg was computed.",), layout="official pickle of StyleGAN")
    for part in (
        "# Faces",
        "1024x1024 px, RGB",
        "26,219,627",
        "12,000,000",
        "- w\\_avg was computed.",
        "official pickle",
    ):
        assert part in text
    assert "Trained so far" not in text and "Classes" not in text
    assert head(text)["library_name"] == "stylegan_jax"


@pytest.mark.parametrize(("suffix", "labels"), [("npz", "'cat'"), ("pkl", "0")])
def test_the_code_of_a_card_names_a_class_where_the_file_has_names(suffix, labels):
    text = make(Model(num_labels=2), class_names=("cat", "dog"), file=f"pets.{suffix}")
    assert f"network(seeds=[1, 2, 3], labels={labels}" in text


def test_what_is_not_known_is_called_so():
    text = make()
    assert "| Real images shown in training | not known |" in text
    assert "Licence of the weights: not stated." in text
    assert head(text)["license"] == "unknown"


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("MIT", {"license": "mit"}),
        ("Ask: me\nfirst", {"license": "other", "license_name": "Ask: me first"}),
    ],
)
def test_a_licence_is_given_as_its_owner_states_it(license, expected):
    text = make(license=license)
    assert expected.items() <= head(text).items()
    assert f"Licence of the weights: {' '.join(license.split())}." in text


def test_a_network_in_growth_says_its_resolution():
    assert "| Trained so far | up to 64x64 px; its images are enlarged |" in make(resolution=64)


def test_classes_are_listed_up_to_a_limit():
    names = [f"class {i}" for i in range(card.MAX_CLASSES + 5)]
    text = make(Model(num_labels=len(names)), class_names=names)
    assert f"class {card.MAX_CLASSES - 1} and 5 more." in text
    assert "pipeline_tag" not in head(text)
    assert "3 classes, by number; they have no names." in make(Model(num_labels=3))


def test_text_of_a_file_cannot_add_markup():
    text = make(title="a\n# b", layout="<script>", notes=("[x](y) | `z`\n```",), license="a\n## b")
    assert "\n# b" not in text and "\n## b" not in text and "a # b" in text
    assert "\\<script\\>" in text and "\\[x\\](y) \\| \\`z\\` \\`\\`\\`" in text


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".stablehlo"])
@pytest.mark.parametrize("changes", [{}, {"num_labels": 2}, {"use_styles": False}], ids=str)
def test_its_four_lines_make_images(changes, suffix, tmp_path, monkeypatch):
    network = random_network(resolution=8, **changes)
    network.save(tmp_path / f"noise{suffix}")
    text = card.card_of(network, "Noise", f"noise{suffix}")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code, found)
    assert found["images"].shape == (3, 8, 8, 3)
    assert len(code.splitlines()) <= 4


@pytest.mark.parametrize("license, shown", [("a\n---\n# \x00b\x7f", "a --- # b"), ("\U0001f600 1.0", "\U0001f600 1.0")])
def test_a_licence_of_any_characters_is_a_line_of_the_head(license, shown):
    assert f'\nlicense_name: "{shown}"\n---\n' in make(license=license)


def test_a_card_for_the_hub_loads_by_name():
    text = make(name="someone/faces")
    assert 'network = sg.load("hf://someone/faces")' in text


def test_the_card_of_a_network_has_its_numbers_and_notes():
    network = random_network(resolution=8)
    info = dataclasses.replace(network.info, notes=("A note.",), missing={"w_avg": "computed"}, license="MIT", nimg=7)
    text = card.card_of(dataclasses.replace(network, info=info), "Noise", "noise.npz")
    for part in (
        "- A note.",
        "- w\\_avg was not in the file: computed",
        "Licence of the weights: MIT.",
        "training | 7 |",
    ):
        assert part in text
    assert re.search(r"Parameters of the generator \| [\d,]+ \|\n\| Parameters of the discriminator \| [\d,]+ \|", text)


def test_the_architecture_is_named():
    for architecture, name in (("stylegan", "StyleGAN"), ("stylegan2", "StyleGAN2")):
        text = card.card_of(random_network(architecture=architecture), "faces.npz", "faces.npz")
        assert f"A {name} generator of images of 32x32 px, unconditional." in text
