"""Functions that tell attributes: each gives logits of float images, above 0 for those that have the attribute."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylegan_jax.data import faces
from stylegan_jax.metrics import attributes, fd_faces, labelled_latents, separability
from stylegan_jax.metrics.features import celeba
from stylegan_jax.networks import discriminator, generator, sampling
from stylegan_jax.weights import save
from stylegan_jax.weights.layouts import contents, official_pickles
from tests.random_networks import random_network


def _images(n: int = 3, size: int = 32) -> np.ndarray:
    """Returns images between the levels of uint8, and beyond white."""
    return np.random.default_rng(0).uniform(-1.1, 1.1, (n, size, size, 3)).astype(np.float32)


def _logits(found: attributes.Attributes, images: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(found.logits_fn)(found.params, jnp.asarray(images)))


# ---- the faces' 34


def test_the_faces_attributes_are_told_of_float_images_with_logits_above_zero():
    found = attributes.faces()
    factors = faces.sample_factors(np.arange(96), 3)
    images = np.rint(255 * faces.render(factors, np.arange(96, dtype=np.int32), 64)).astype(np.uint8)
    logits = _logits(found, images / np.float32(127.5) - 1)
    truth = faces.attributes(factors)
    assert found.names == tuple(faces.ATTRIBUTES) and logits.shape == truth.shape
    assert np.mean((logits > 0) == truth) > 0.85
    np.testing.assert_allclose(
        logits, fd_faces.apply(fd_faces.load(), fd_faces.resize(jnp.asarray(images)))[0], rtol=0, atol=1e-4
    )
    assert found.sha256 == fd_faces.WEIGHTS_SHA256


def test_float_images_are_not_rounded_to_levels():
    found = attributes.faces()
    images = _images(size=128)
    expected = fd_faces.apply(found.params, images.reshape(3, 64, 2, 64, 2, 3).mean(axis=(2, 4)))[0]
    np.testing.assert_allclose(_logits(found, images), expected, rtol=0, atol=1e-4)
    levels = np.clip(np.rint(images * 127.5 + 127.5), 0, 255).astype(np.uint8)
    assert np.abs(fd_faces.apply(found.params, fd_faces.resize(jnp.asarray(levels)))[0] - expected).max() > 1e-3


def test_images_of_other_sides_are_refused():
    with pytest.raises(ValueError, match="power of two, and have 48 px"):
        _logits(attributes.faces(), _images(size=48))
    with pytest.raises(ValueError, match=r"squares \[n, h, h, c\], and are \[3, 32, 16, 3\]"):
        _logits(attributes.faces(), _images()[:, :, :16])


# ---- trained networks


def _about(names=("cat", "dög"), **changes) -> np.ndarray:
    text = json.dumps({"attributes": list(names), "trained_on": "pets at 32 px"} | changes)
    return np.frombuffer(text.encode(), np.uint8)


def _trained(path, **changes):
    """Writes a random network of two attributes, and returns its parameters."""
    params = {name: np.asarray(value, np.float16) for name, value in fd_faces.init(jax.random.key(1), 2).items()}
    stored = params | {"about": _about()} | changes
    np.savez(path, **{name: value for name, value in stored.items() if value is not None})
    return {name: value.astype(np.float32) for name, value in params.items()}


def test_a_trained_network_is_opened_with_its_names(tmp_path):
    params = _trained(tmp_path / "pets.npz")
    found = attributes.trained(tmp_path / "pets.npz")
    assert found.names == ("cat", "dög")
    assert found.description == "2 attributes, by the network pets.npz trained on pets at 32 px"
    assert found.sha256 == hashlib.sha256((tmp_path / "pets.npz").read_bytes()).hexdigest()
    doubled = np.repeat(np.repeat(_images(), 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(_logits(found, _images()), fd_faces.apply(params, doubled)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"about": None}, "does not say which attributes it knows"),
        ({"about": np.arange(5, dtype=np.uint8)}, "does not say which attributes it knows"),
        ({"about": _about(attributes=3)}, "does not say which attributes it knows"),
        ({"about": _about("abc")}, r"is \[2\], and that of a network of 3 attributes is \[3\]"),
        ({"hidden/bias": None}, "hidden/bias is absent, and that of a network of 2 attributes is"),
        ({"more": np.zeros(3)}, r"more is \[3\], and .* is absent"),
        ({"logits/bias": np.array([0, np.nan])}, "logits/bias has values that are not finite"),
        ({"about": np.array([{}])}, "only booleans, integers and floats are read"),
    ],
)
def test_other_files_are_refused_as_what_they_are(tmp_path, changes, message):
    _trained(tmp_path / "net.npz", **changes)
    with pytest.raises(ValueError, match=f"net.npz.*{message}"):
        attributes.trained(tmp_path / "net.npz")


# ---- NVIDIA's classifiers


def _write_classifiers(folder, names, images=None, **fields):
    """Writes random classifiers of 16 px as NVIDIA's are pickled, and returns them. Half of `images` are above 0."""
    networks = {}
    for seed, name in enumerate(names):
        networks[name] = random_network(seed, resolution=16, stddev_group=0, blur_filter=None, **fields)
        if images is not None:
            networks[name].d_params["dense1"]["bias"] -= np.median(_scores(networks[name], images))
        part = save.to_contents(networks[name]).discriminator
        official_pickles.write(folder / celeba.file_name(name), contents.Contents("", average=part))
    return networks


def _scores(network, images: np.ndarray) -> np.ndarray:
    """Returns a classifier's logits of images of 16 px. [n]"""
    module = discriminator.discriminator(network.model)
    return np.asarray(module.apply({"params": network.d_params}, images, None, None, resolution=16))


def test_classifiers_give_a_logit_each_of_images_averaged_over_boxes(tmp_path):
    small = _images().reshape(3, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    networks = _write_classifiers(tmp_path, ("smiling", "male", "bald"), small)
    found = attributes.celeba(tmp_path)
    assert found.names == ("male", "smiling", "bald")  # The official order.
    expected = np.stack([_scores(networks[name], small) for name in found.names], axis=1)
    np.testing.assert_allclose(_logits(found, _images()), expected, rtol=1e-4, atol=1e-4)
    assert (expected > 0).any() and (expected < 0).any()


def test_missing_classifiers_are_named(tmp_path):
    _write_classifiers(tmp_path, ("male", "bald"))
    said = attributes.celeba(tmp_path).description
    assert said.startswith("2 of NVIDIA's 40 classifiers of CelebA's attributes (male, bald); no files of smiling, ")
    assert said.endswith("wearing-necktie: not comparable with the official separability, which takes all 40")
    assert "bald" not in said.partition("no files of")[2]
    with pytest.raises(ValueError, match="lacks .*00-male.pkl, .*01-smiling.pkl, .*attractive.pkl and 37 more"):
        attributes.celeba(tmp_path / "nowhere")


def test_the_digest_tells_files_apart(tmp_path):
    for name, names in {"a": ("male", "bald"), "b": ("bald", "male"), "c": ("male",)}.items():
        (tmp_path / name).mkdir()
        _write_classifiers(tmp_path / name, names)
    both, *others = (attributes.celeba(tmp_path / name).sha256 for name in "abc")
    assert len({both, *others}) == 3
    files = [tmp_path / "a" / celeba.file_name(name) for name in ("male", "bald")]
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert both == hashlib.sha256(lines.encode()).hexdigest()


def test_classifiers_of_several_architectures_are_refused(tmp_path):
    _write_classifiers(tmp_path, ("male",))
    _write_classifiers(tmp_path, ("bald",), fmap_max=8)
    with pytest.raises(ValueError, match="08-bald.pkl holds .* of another architecture than .*00-male.pkl of 16 px"):
        attributes.celeba(tmp_path)


def test_separability_of_a_generator_with_classifiers_is_that_of_their_logits(tmp_path):
    """The whole path: pickled classifiers, a generator of 32 px, its latents, and the machines."""
    network = random_network(5)
    model, n = network.model, 60

    def map_fn(z, key):
        return sampling.map_latents(network.params, z, None, model)

    def synthesize_fn(w, key):
        ws = jnp.broadcast_to(w[:, None], (len(w), model.num_layers, w.shape[1]))
        noise = generator.make_noise(key, len(w), model, 32)
        return sampling.synthesize(network.params, ws, noise, None, model, 32)

    def measured(found):
        batches = labelled_latents.measure(
            map_fn, synthesize_fn, found, z_size=model.z_size, num_images=n, key=jax.random.key(1), batch=25
        )
        return labelled_latents.collected(batches, n)

    def small_fn(params, images):
        return images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(len(images), -1)

    pixels = tuple(str(k) for k in range(16 * 16 * 3))
    small = measured(attributes.Attributes(pixels, small_fn, None, "", "the images themselves"))["logits"]
    small = small.reshape(n, 16, 16, 3)
    networks = _write_classifiers(tmp_path, ("male", "bald"), small)
    found = attributes.celeba(tmp_path)
    arrays = measured(found)
    assert {name: x.shape for name, x in arrays.items()} == {"z": (n, 10), "w": (n, 14), "logits": (n, 2)}
    np.testing.assert_allclose(arrays["w"], map_fn(jnp.asarray(arrays["z"]), None), rtol=1e-3, atol=1e-4)
    expected = np.stack([_scores(networks[name], small) for name in ("male", "bald")], axis=1)
    np.testing.assert_allclose(arrays["logits"], expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    result = separability.result(arrays["w"], arrays["logits"], found.names, "legacy")
    bits = separability.legacy(arrays["w"], separability.probabilities(expected), seed=0)
    np.testing.assert_allclose(list(result["entropies"].values()), bits, rtol=0, atol=1e-6)
    assert result["ls"] == pytest.approx(2 ** bits.sum())
    assert result["entropies"].keys() == {"male", "bald"} and all(0 < x < 1 for x in result["shares"].values())
