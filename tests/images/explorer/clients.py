"""How tests talk to the page: by its protocol, and in a real Chromium."""

import io
import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from starlette.testclient import WebSocketTestSession

from stylegan_jax.images import project
from stylegan_jax.images.explorer import state
from stylegan_jax.images.explorer.gallery import Opened
from stylegan_jax.images.explorer.state import State
from stylegan_jax.weights.network import Network
from tests.random_networks import random_network

HOST = {"host": "localhost:8000"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_CHROMIUM = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]
WAIT_MS = 30_000
LEVELS = 1  # Another process, with another number of threads, may round otherwise.
# Pixels of a canvas. [h, w, 4]
PIXELS = """canvas => ({width: canvas.width, data: Array.from(canvas.getContext('2d').getImageData(
    0, 0, canvas.width, canvas.height).data)})"""


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


# ---- by its protocol


def open_(path: str, network: Network) -> Network:
    if path == "small":
        return random_network(1, resolution=8, num_labels=3)
    return network if path == "" else random_network(1, resolution=16, num_labels=3)


def ask(socket: WebSocketTestSession, number: int = 7, **state: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    socket.send_text(json.dumps({"number": number, "state": state}))
    return read(socket.receive_bytes())


def read(answer: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    end = 4 + int.from_bytes(answer[:4], "big")
    head, pictures = json.loads(answer[4:end]), []
    for size in head["sizes"]:
        with Image.open(io.BytesIO(answer[end : end + size])) as image:
            assert image.format == "WEBP"
            pictures.append(np.asarray(image.convert("RGB")))
        end += size
    assert end == len(answer)
    return head, pictures


def error(socket: WebSocketTestSession, text: str) -> dict[str, Any]:
    socket.send_text(text)
    return json.loads(socket.receive_text())


# ---- in Chromium


def pixels(page: Page, number: int = 0) -> np.ndarray:
    found = page.locator("canvas").nth(number).evaluate(PIXELS)
    return np.uint8(found["data"]).reshape(-1, found["width"], 4)[..., :3]


def picture(one: Opened, **fields: Any) -> np.ndarray:
    wanted = State(**{"label": 0} | fields)
    return project.render(one.network, state.ws_of(one, wanted), state.noise_of(one.network, wanted))[0]


def wait_for(page: Page, expected: np.ndarray, number: int = 0) -> None:
    """Waits until a picture has the pixels that are expected."""
    found = np.zeros(0)
    for _ in range(200):
        found = pixels(page, number)
        if found.shape == expected.shape and np.abs(found - expected.astype(int)).max() <= LEVELS:
            return
        page.wait_for_timeout(50)
    assert_near(found, expected)


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=LEVELS)


def unfold(page: Page, name: str) -> None:
    page.locator(f"#of-{name}:not([open]) > summary").click()


def says(page: Page, text: str) -> None:
    expect(page.locator("#message")).to_contain_text(text, timeout=WAIT_MS)


def slide(page: Page, slider: Any, value: float) -> None:
    slider.evaluate(
        """(slider, value) => { slider.value = value;
        for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, {bubbles: true})); }""",
        str(value),
    )


def drag(page: Page, place: str, dx: int, dy: int) -> None:
    box = page.locator(place).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=12)
    page.mouse.up()
