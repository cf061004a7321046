"""Uploads: pictures, latents, and the projection of a picture."""

import dataclasses
import io
import json

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from stylegan_jax.images import project, projection_files
from stylegan_jax.images.explorer import uploads
from stylegan_jax.images.explorer.gallery import Latent
from stylegan_jax.weights.network import Network
from tests import picture_files
from tests.random_networks import random_network


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(resolution=16)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind)
    return file.getvalue()


def latent_of(network: Network) -> Latent:
    return Latent(network.map(network.latents(5)), network.const_noise(), network.sha256)


def test_a_picture_of_the_networks_size_keeps_its_pixels(network):
    image = network(3)[0]
    np.testing.assert_array_equal(uploads.read_picture(encoded(image), network), image)


def test_another_picture_becomes_a_square_of_the_networks_channels():
    image = Image.new("RGBA", (90, 40), (200, 10, 10, 255))
    found = uploads.read_picture(encoded(image), random_network(resolution=16, channels=1))
    assert found.shape == (16, 16, 1) and np.ptp(found) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"only words", "the upload is no picture of a known format; upload a picture"),
        (b"", "the upload is no picture"),
        (encoded(picture_files.noise(64, 64))[:5000], "the picture cannot be read"),
        (encoded(Image.new("1", (10_000, 10_000))), "has 10000 x 10000 pixels, and at most 30 million are read"),
        (encoded(Image.new("RGB", (4000, 10))), "is a line rather than a picture"),
    ],
    ids=["text", "nothing", "cut short", "100 megapixels", "a line"],
)
def test_what_is_no_picture_is_refused_in_a_sentence(network, content, message):
    with pytest.raises(ValueError, match=message):
        uploads.read_picture(content, network)


def test_a_large_picture_is_refused_before_it_is_decoded(network, monkeypatch):
    monkeypatch.setattr(uploads.decode, "load", lambda *arguments: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="at most 30 million"):
        uploads.read_picture(encoded(Image.new("1", (10_000, 10_000))), network)


@pytest.mark.parametrize("with_noise", [True, False])
def test_a_latent_file_gives_the_same_latent(network, with_noise):
    latent = latent_of(network)._replace(**({} if with_noise else {"noise": None}))
    content = projection_files.encoded(network, latent.ws, latent.noise)
    found = uploads.read_latent_file(content, network)
    np.testing.assert_array_equal(found.ws, latent.ws)
    assert found.network == network.sha256 and (found.noise is None) == (not with_noise)
    for ours, theirs in zip(found.noise or (), latent.noise or (), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_latent_of_another_network_is_refused(network):
    content = projection_files.encoded(network, *latent_of(network)[:2])
    with pytest.raises(ValueError, match="the upload was made with another network: .* Load that network"):
        uploads.read_latent_file(content, random_network(1, resolution=16))


def test_a_file_of_a_projection_is_a_latent(network, tmp_path):
    found = project.project(network, network(3), "w+noise", steps=1)
    projection_files.write(tmp_path / "one", network, found, {})
    latent = uploads.read_latent_file((tmp_path / "one").read_bytes(), network)
    np.testing.assert_array_equal(network.images(latent.ws, latent.noise), found.images)


def damaged_files() -> list:
    net = random_network(resolution=16)
    ws, noise, _ = latent_of(net)
    whole = projection_files.encoded(net, ws, noise)
    nan = np.where(ws == ws.max(), np.float32(np.nan), ws)
    arrays = safetensors.numpy.load(whole)
    about = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]

    def changed(**others: np.ndarray) -> bytes:
        return safetensors.numpy.save(arrays | others, about)

    return [
        (whole[:100], "the upload cannot be read as a projection"),
        (whole[:-1], "the upload cannot be read as a projection"),
        (b"\xff" * 8 + b"{" + whole[9:], "the upload cannot be read as a projection"),
        (safetensors.numpy.save({"ws": ws}), "the upload is no projection"),
        (safetensors.numpy.save({"ws": ws}, {"network": net.sha256}), "the upload is no projection"),
        (changed(other=ws), "the upload is damaged"),
        (changed(ws=ws[0, :2]), "the upload is damaged"),
        (changed(ws=ws[0].astype(np.float64)), "the upload is damaged"),
        (changed(ws=nan[0]), "the upload is damaged"),
        (changed(**{"noise/2": noise[0][0]}), "the upload is damaged"),
    ]


@pytest.mark.parametrize(("content", "message"), damaged_files())
def test_a_damaged_latent_is_refused_in_a_sentence(network, content, message):
    with pytest.raises(ValueError, match=message):
        uploads.read_latent_file(content, network)


@pytest.mark.parametrize(
    "changes", [{}, {"resolution": 8, "alpha": 0.5}, {"w_avg": None}], ids=["whole", "in mid-fade", "without a mean"]
)
def test_a_projected_picture_is_nearer_than_where_it_began(network, changes):
    network, steps = dataclasses.replace(network, **changes), []
    image = network(3, psi=0.5)[0] if network.w_avg is not None else network(3)[0]
    latent = uploads.project_upload(network, image, lambda done, total: steps.append((done, total)))
    assert len(steps) > 4 and steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    assert latent.network == network.sha256

    def error(ws: np.ndarray) -> float:
        return np.mean((network.images(ws)[0].astype(float) - image) ** 2)

    start = network.map(network.latents(range(500))).mean(axis=0, keepdims=True) if network.w_avg is None else None
    start = np.broadcast_to(network.w_avg, latent.ws.shape) if start is None else start
    assert error(latent.ws) < 0.7 * error(start)


def test_a_projection_ends_when_its_page_goes_away(network):
    def leave(done: int, total: int) -> None:
        if done:
            raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        uploads.project_upload(network, network(3)[0], leave)
