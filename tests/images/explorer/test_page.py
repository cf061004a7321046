"""The page in a real Chromium, served by the command line: what its controls do, and who may use it."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.images.explorer.clients import IN_CHROMIUM, drag, picture, says, slide, unfold, wait_for

pytestmark = IN_CHROMIUM


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


def test_a_layer_that_takes_no_noise_has_no_box_for_it(page, opened):
    page.get_by_role("checkbox", name="second.safetensors").check()
    page.get_by_role("checkbox", name="first.safetensors").uncheck()
    wait_for(page, picture(opened[1]))
    unfold(page, "noise")
    noise = page.get_by_role("group", name="Layers with noise")
    expect(noise.get_by_role("checkbox")).to_have_count(5)
    noise.get_by_role("button", name="coarse").click()
    wait_for(page, picture(opened[1], noise_off=(2, 3, 4, 5)))
    noise.get_by_role("button", name="none").click()
    wait_for(page, picture(opened[1], noise_off=(1, 2, 3, 4, 5)))


def test_two_browsers_at_once_each_show_their_own(open_page, opened):
    pages = [open_page(), open_page()]
    for turn in range(3):
        for i, one in enumerate(pages):
            one.get_by_label("Seed", exact=True).fill(str(10 * turn + i))
    for i, one in enumerate(pages):
        wait_for(one, picture(opened[0], x=20 + i))


# ---- history, address


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
