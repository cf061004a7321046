"""The page in a real Chromium, served by the command line."""

import io
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stylegan_jax.images import projection_files
from stylegan_jax.images.explorer import gallery, state
from stylegan_jax.images.explorer.gallery import Opened
from stylegan_jax.images.explorer.state import State
from stylegan_jax.weights import load
from tests.random_networks import random_network

ROOT = pathlib.Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]
WAIT_MS = 30_000
LEVELS = 1  # Another process, with another number of threads, may round otherwise.
# Pixels of a canvas. [h, w, 4]
PIXELS = """canvas => ({width: canvas.width, data: Array.from(canvas.getContext('2d').getImageData(
    0, 0, canvas.width, canvas.height).data)})"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[pathlib.Path]:
    folder = tmp_path_factory.mktemp("networks")
    paths = [folder / f"{name}.safetensors" for name in ("first", "second")]
    for seed, path in enumerate(paths):
        random_network(seed, resolution=16, num_labels=3).save(path)
    return paths


@pytest.fixture(scope="module")
def smile(tmp_path_factory) -> str:
    """Returns a file with a direction of its own for each layer."""
    path = tmp_path_factory.mktemp("directions") / "smile.npy"
    np.save(path, np.random.default_rng(0).standard_normal((6, 14), np.float32))
    return str(path)


@pytest.fixture(scope="module")
def opened(files, smile) -> list[Opened]:
    networks = zip(files, map(load.load, files), strict=True)
    return [Opened(path.name, one, *gallery.directions_of(one, [smile])) for path, one in networks]


@pytest.fixture(scope="module")
def url(files, smile) -> Iterator[str]:
    """Address of the page, from a process as a user starts it."""
    flags = ["--mode=explore", f"--network={','.join(map(str, files))}", f"--directions={smile}", "--port=0"]
    command = [sys.executable, "-m", "stylegan_jax.main", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = next(line for line in process.stdout if line.startswith("open "))
            yield line.split()[1]
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def open_page(browser, url) -> Iterator[Callable[..., Page]]:
    """Returns a function that opens a page in a window of its own; no page may fail or ask another site."""
    failed, contexts = [], []

    def open_(address: str = "", **how: Any) -> Page:
        contexts.append(browser.new_context(accept_downloads=True, **how))
        page = contexts[-1].new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("request", lambda request: failed.append(request.url) if not _is_own(request.url, url) else None)
        page.goto(url + address)
        expect(page.locator("#times")).not_to_be_empty(timeout=WAIT_MS)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not failed


def _is_own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", url.replace("http", "ws") + "/", "blob:", "data:"))


@pytest.fixture
def page(open_page) -> Page:
    return open_page()


def pixels(page: Page, number: int = 0) -> np.ndarray:
    found = page.locator("canvas").nth(number).evaluate(PIXELS)
    return np.uint8(found["data"]).reshape(-1, found["width"], 4)[..., :3]


def picture(one: Opened, **fields: Any) -> np.ndarray:
    wanted = State(**{"label": 0} | fields)
    return state.image_of(one.network, state.ws_of(one, wanted), state.noise_of(one.network, wanted))


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


# ---- what changes a picture


def test_a_seed_has_the_networks_pixels(page, opened):
    page.get_by_label("Seed", exact=True).fill("1234")
    wait_for(page, opened[0].network(1234, labels=0)[0])
    expect(page.get_by_role("img", name="Picture of first.safetensors, seed 1234")).to_be_visible()


@pytest.mark.parametrize("place", ["#plane", "canvas"])
def test_dragging_moves_between_seeds(page, opened, place):
    page.get_by_label("Seed", exact=True).fill("505")
    drag(page, place, 60, -30)
    x, y = float(page.locator("#x").input_value()), float(page.locator("#y").input_value())
    assert 4 < x < 5 < y < 6
    found = page.evaluate("JSON.parse(decodeURIComponent(location.hash.slice(1)))")
    wait_for(page, picture(opened[0], x=found["x"], y=found["y"]))
    page.get_by_role("button", name="Nearest seed").click()
    wait_for(page, picture(opened[0], x=round(x), y=round(y)))


def test_a_click_on_the_plane_goes_to_the_nearest_seed(page, opened):
    box = page.locator("#plane").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 80, box["y"] + box["height"] / 2 + 70)
    wait_for(page, picture(opened[0], x=1, y=1))


def test_arrow_keys_move_on_the_plane(page, opened):
    page.locator("#plane").focus()
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    wait_for(page, picture(opened[0], x=0.9, y=2.0))


def test_psi_and_cutoff_truncate(page, opened):
    page.get_by_label("psi", exact=False).first.focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    wait_for(page, picture(opened[0], psi=0.7))
    slide(page, page.locator("#cutoff"), 2)
    wait_for(page, picture(opened[0], psi=0.7, cutoff=2))


def test_layers_are_mixed_by_boxes_and_by_their_names(page, opened):
    page.get_by_label("Second seed").fill("9")
    mixing = page.get_by_role("group", name="Layers that take its styles")
    for name, layers in (("coarse", (0, 1)), ("middle", (2, 3)), ("fine", (4, 5)), ("all", range(6)), ("none", ())):
        mixing.get_by_role("button", name=name).click()
        wait_for(page, picture(opened[0], mix_seed=9, mix_layers=tuple(layers)))
    mixing.get_by_label("layer 3, 8 px").check()
    wait_for(page, picture(opened[0], mix_seed=9, mix_layers=(3,)))


def test_noise_is_drawn_anew_and_left_out_by_layer(page, opened):
    unfold(page, "noise")
    noise = page.get_by_role("group", name="Layers with noise")
    noise.get_by_role("button", name="none").click()
    wait_for(page, picture(opened[0], noise_off=tuple(range(6))))
    noise.get_by_label("layer 1, 4 px").check()
    wait_for(page, picture(opened[0], noise_off=(0, 2, 3, 4, 5)))
    page.locator("#noise_seed").fill("5")
    wait_for(page, picture(opened[0], noise_off=(0, 2, 3, 4, 5), noise_seed=5))
    page.get_by_label("the network's own").check()
    wait_for(page, picture(opened[0], noise_off=(0, 2, 3, 4, 5)))


def test_the_menu_has_the_classes(page, opened):
    page.get_by_label("Class", exact=True).select_option("class 2")
    wait_for(page, picture(opened[0], label=2))


def test_sliders_move_along_directions_in_layers(page, opened):
    unfold(page, "directions")
    slide(page, page.get_by_label("pca1"), -1.5)
    wait_for(page, picture(opened[0], strengths=(0.0, -1.5)))
    page.get_by_role("group", name="Layers that move").get_by_role("button", name="fine").click()
    wait_for(page, picture(opened[0], strengths=(0.0, -1.5), direction_layers=(4, 5)))
    page.get_by_role("group", name="Layers that move").get_by_role("button", name="all").click()
    slide(page, page.get_by_label("smile"), 0.5)
    wait_for(page, picture(opened[0], strengths=(0.0, -1.5, *[0.0] * 8, 0.5)))
    page.get_by_role("button", name="All to 0").click()
    wait_for(page, picture(opened[0]))


def test_networks_are_shown_side_by_side(page, opened):
    page.get_by_role("checkbox", name="second.safetensors").check()
    page.get_by_label("Seed", exact=True).fill("7")
    for number in (0, 1):
        wait_for(page, picture(opened[number], x=7), number)
    page.get_by_role("checkbox", name="first.safetensors").uncheck()
    wait_for(page, picture(opened[1], x=7))
    page.get_by_role("checkbox", name="second.safetensors").click()
    says(page, "Choose 1 to 8 networks")
    expect(page.get_by_role("checkbox", name="second.safetensors")).to_be_checked()


def test_two_browsers_at_once_each_show_their_own(open_page, opened):
    pages = [open_page(), open_page()]
    for turn in range(3):
        for i, one in enumerate(pages):
            one.get_by_label("Seed", exact=True).fill(str(10 * turn + i))
    for i, one in enumerate(pages):
        wait_for(one, picture(opened[0], x=20 + i))


# ---- history, address, files


def test_changes_are_undone_and_done_again(page, opened):
    for seed in ("5", "6"):
        page.get_by_label("Seed", exact=True).fill(seed)
        wait_for(page, picture(opened[0], x=int(seed)))
        page.get_by_label("Seed", exact=True).blur()
    history = page.get_by_role("list", name="History").get_by_role("button")
    expect(history).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    wait_for(page, picture(opened[0], x=5))
    page.locator("#plane").focus()
    page.keyboard.press("Control+z")
    wait_for(page, picture(opened[0], x=0))
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.keyboard.press("Control+Shift+z")
    wait_for(page, picture(opened[0], x=5))
    history.nth(2).click()
    wait_for(page, picture(opened[0], x=6))
    sources = history.locator("img").evaluate_all("images => images.map(image => image.src.slice(0, 15))")
    assert sources == ["data:image/webp"] * 3
    page.get_by_role("button", name="Begin anew").click()
    wait_for(page, picture(opened[0]))


def test_a_new_tab_shows_the_state_of_the_address(page, open_page, opened, url):
    page.get_by_label("Seed", exact=True).fill("77")
    page.get_by_label("Class", exact=True).select_option("class 1")
    page.get_by_role("group", name="Layers that take its styles").get_by_role("button", name="fine").click()
    page.get_by_role("checkbox", name="second.safetensors").check()
    expect(page.locator("canvas")).to_have_count(2)
    other = open_page(page.url.removeprefix(url))
    for number in (0, 1):
        wait_for(other, picture(opened[number], x=77, label=1, mix_layers=(4, 5)), number)
    expect(other.get_by_label("Seed", exact=True)).to_have_value("77")
    expect(other.get_by_label("layer 5, 16 px").first).to_be_checked()


@pytest.mark.parametrize("address", ["#nonsense", "#{%22x%22:null}", "#{%22zoom%22:1}", "#{%22networks%22:[7]}", "#%"])
def test_an_address_that_is_no_state_begins_anew_with_a_sentence(open_page, opened, address):
    page = open_page(f"/{address}")
    says(page, "The address after # is no state of this page")
    wait_for(page, picture(opened[0]))


def test_a_value_out_of_range_in_the_address_is_answered_in_a_sentence(open_page, opened):
    page = open_page()
    page.evaluate("location.hash = '#{%22psi%22:99}'")
    says(page, "psi is 99; give a number from -10 to 10.")
    page.get_by_role("button", name="Begin anew").click()
    wait_for(page, picture(opened[0]))


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


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.txt", b"only words", "notes.txt: the upload is no picture of a known format"),
        ("large.png", _png(Image.new("1", (10_000, 10_000))), "has 10000 x 10000 pixels, and at most 30 million"),
        ("cut.png", _png(Image.effect_noise((64, 64), 50))[:1000], "cut.png: the picture cannot be read"),
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
    face = {"name": "face.png", "mimeType": "image/png", "buffer": _png(Image.effect_noise((64, 64), 50))}
    page.locator("#file").set_input_files(face)
    page.get_by_role("button", name="Stop").click()
    says(page, "The projection was stopped.")
    page.locator("#file").set_input_files(face)
    expect(page.get_by_role("button", name="Back to seeds")).to_be_visible(timeout=4 * WAIT_MS)


def test_an_upload_is_projected_and_shown(page, opened):
    unfold(page, "uploads")
    target = picture(opened[0], x=3, psi=0.5)
    content = _png(Image.fromarray(target))
    page.locator("#file").set_input_files({"name": "face.png", "mimeType": "image/png", "buffer": content})
    expect(page.get_by_role("progressbar", name="Projection")).to_be_visible()
    expect(page.get_by_role("button", name="Back to seeds")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("img", name="Picture of first.safetensors, an upload")).to_be_visible()
    mean = opened[0].network.images(np.broadcast_to(opened[0].network.w_avg, (1, 6, 14)))[0]
    assert np.mean((pixels(page) - target.astype(float)) ** 2) < 0.7 * np.mean((mean - target.astype(float)) ** 2)


# ---- who may use it, and how it looks


def test_a_page_of_another_site_cannot_open_the_socket(browser, url):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{other.server_port}/")
        script = """address => new Promise(done => { const socket = new WebSocket(address);
            socket.onopen = () => done("open"); socket.onerror = () => done("refused"); })"""
        assert page.evaluate(script, f"{url.replace('http', 'ws')}/draw") == "refused"
        context.close()
        other.shutdown()


@pytest.mark.parametrize("width", [320, 390, 800, 1280, 2200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, paper = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert (ink < paper) == (scheme == "light")


def test_every_control_has_a_name(page):
    nameless = page.locator("input, select, button, canvas, progress, svg").evaluate_all(
        """all => all.filter(one => !(one.labels?.length || one.ariaLabel || one.textContent.trim()
        || one.querySelector("img[alt]"))).map(one => one.outerHTML)"""
    )
    assert nameless == []
