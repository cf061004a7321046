"""Files that the page in a real Chromium saves, and those that are uploaded to it."""

import pathlib

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from stylegan_jax.images import projection_files
from tests.images.explorer.clients import (
    IN_CHROMIUM,
    WAIT_MS,
    assert_near,
    picture,
    pixels,
    png,
    says,
    slide,
    unfold,
    wait_for,
)

pytestmark = IN_CHROMIUM


def test_the_picture_and_the_latent_are_saved_and_the_latent_is_shown_again(page, opened):
    page.get_by_label("Seed", exact=True).fill("31")
    page.locator("#x").fill("31.5")
    slide(page, page.locator("#psi"), 0.5)
    expected = picture(opened[0], x=31.5, psi=0.5)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG").click()
    with Image.open(saved.value.path()) as image:
        assert_near(np.asarray(image), expected)
    assert saved.value.suggested_filename == "between-seeds-at-31.50-0.00.png"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save latent").click()
    content = pathlib.Path(saved.value.path()).read_bytes()
    assert_near(opened[0].network.images(projection_files.decoded(content, opened[0].network, "")[0])[0], expected)
    page.get_by_role("button", name="Begin anew").click()
    wait_for(page, picture(opened[0]))
    unfold(page, "uploads")
    file = {"name": "face.safetensors", "mimeType": "application/octet-stream", "buffer": content}
    page.get_by_label("Picture, or latent saved here").set_input_files(file)
    wait_for(page, expected)
    page.get_by_role("button", name="Back to seeds").click()
    wait_for(page, picture(opened[0]))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.txt", b"only words", "notes.txt: the upload is no picture of a known format"),
        ("large.png", png(Image.new("1", (10_000, 10_000))), "has 10000 x 10000 pixels, and at most 30 million"),
        ("cut.png", png(Image.effect_noise((64, 64), 50))[:1000], "cut.png: the picture cannot be read"),
        ("huge.png", bytes(20 * 2**20 + 1), "huge.png has more than 20 MB"),
    ],
    ids=["text", "100 megapixels", "cut short", "21 MB"],
)
def test_a_wrong_upload_is_refused_in_a_sentence(page, opened, name, content, sentence):
    unfold(page, "uploads")
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
    says(page, sentence)
    page.get_by_label("Seed", exact=True).fill("2")
    wait_for(page, picture(opened[0], x=2))


def test_a_projection_that_is_stopped_makes_room_for_another_upload(page):
    unfold(page, "uploads")
    face = {"name": "face.png", "mimeType": "image/png", "buffer": png(Image.effect_noise((64, 64), 50))}
    page.locator("#file").set_input_files(face)
    page.get_by_role("button", name="Stop").click()
    says(page, "The projection was stopped.")
    page.locator("#file").set_input_files(face)
    expect(page.get_by_role("button", name="Back to seeds")).to_be_visible(timeout=4 * WAIT_MS)


def test_an_upload_is_projected_and_shown(page, opened):
    unfold(page, "uploads")
    target = picture(opened[0], x=3, psi=0.5)
    content = png(Image.fromarray(target))
    page.locator("#file").set_input_files({"name": "face.png", "mimeType": "image/png", "buffer": content})
    expect(page.get_by_role("progressbar", name="Projection")).to_be_visible()
    expect(page.get_by_role("button", name="Back to seeds")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("img", name="Picture of first.safetensors, an upload")).to_be_visible()
    mean = opened[0].network.images(np.broadcast_to(opened[0].network.w_avg, (1, 6, 14)))[0]
    assert np.mean((pixels(page) - target.astype(float)) ** 2) < 0.7 * np.mean((mean - target.astype(float)) ** 2)
