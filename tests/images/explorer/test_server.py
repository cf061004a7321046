"""The page's server, by its protocol: pictures, and what is wrong."""

import io
import json
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketDenialResponse

from stylegan_jax.images.explorer import drawing, server
from stylegan_jax.images.explorer.gallery import Networks
from stylegan_jax.images.explorer.state import State
from stylegan_jax.weights.network import Network
from tests.images.explorer.clients import HOST, ask, error, open_, read
from tests.random_networks import random_network

# ---- pictures


def test_a_picture_has_the_networks_pixels_and_the_states_number(socket, network):
    head, (picture,) = ask(socket, 41, x=7, y=2, label=1, psi=0.7)
    np.testing.assert_array_equal(picture, network(207, labels=1, psi=0.7)[0])
    assert head["number"] == 41 and head["draw_ms"] >= 0 and head["encode_ms"] >= 0


def test_networks_are_drawn_side_by_side(socket, network):
    _, (first, second) = ask(socket, networks=[0, 1], x=5)
    np.testing.assert_array_equal(first, network(5, labels=0)[0])
    np.testing.assert_array_equal(second, open_("other", network)(5, labels=0)[0])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_gray_and_transparent_pictures_are_shown(channels):
    network = random_network(resolution=8, channels=channels)
    _, (content,) = drawing.Studio(Networks({"a": ""}, lambda path: network)).draw(State(x=3))
    with Image.open(io.BytesIO(content)) as image:
        found = np.asarray(image)
    expected = network(3)[0]
    if channels == 4:
        assert found.shape == (8, 8, 4)
        seen = expected[..., 3] > 0  # WebP keeps no colour where nothing is seen.
        np.testing.assert_array_equal(found[seen], expected[seen])
    else:
        np.testing.assert_array_equal(found[..., 0], expected[..., 0])


def test_two_pages_each_get_their_own_pictures(client, network):
    with client.websocket_connect("/draw", headers=HOST) as a, client.websocket_connect("/draw", headers=HOST) as b:
        for socket, number in ((a, 1), (b, 2)):
            socket.send_text(json.dumps({"number": number, "state": {"x": number}}))
        for socket, number in ((b, 2), (a, 1)):
            head, (picture,) = read(socket.receive_bytes())
            assert head["number"] == number
            np.testing.assert_array_equal(picture, network(number, labels=0)[0])


def test_of_a_flood_only_the_newest_state_is_drawn(client, socket, monkeypatch):
    begun, go_on, drawn = threading.Event(), threading.Event(), []
    draw = drawing.Studio.draw

    def slow_draw(studio: drawing.Studio, state: State) -> Any:
        drawn.append(state.x)
        begun.set()
        go_on.wait(60)
        return draw(studio, state)

    monkeypatch.setattr(drawing.Studio, "draw", slow_draw)
    socket.send_text(json.dumps({"number": 0, "state": {"x": 0}}))
    begun.wait(60)
    for number in range(1, 500):
        socket.send_text(json.dumps({"number": number, "state": {"x": number}}))
    assert client.get("/networks").status_code == 200  # The server still answers, and has read the flood by now.
    go_on.set()
    numbers = [0]
    assert read(socket.receive_bytes())[0]["number"] == 0
    while numbers[-1] < 499:
        numbers.append(read(socket.receive_bytes())[0]["number"])
    assert numbers == drawn and len(drawn) < 250


# ---- what is wrong


@pytest.mark.parametrize(
    ("text", "number", "message"),
    [
        ("hello", None, "the message is not JSON"),
        ("[1, 2]", None, "the message is of another kind; send"),
        ('{"number": 1}', None, "the message is of another kind"),
        ('{"number": 1.5, "state": {}}', None, "the message's number is no whole number"),
        ('{"number": -1, "state": {}}', None, "the message's number"),
        ('{"number": 1, "state": 5}', 1, "the state is 5"),
        ('{"number": 1, "state": {"x": 1e999}}', 1, "x is inf"),
        ('{"number": 1, "state": {"psi": NaN}}', None, "NaN"),
        ('{"number": 1, "state": {"mix_layers": [6]}}', 1, "mix_layers has 6, and first has the layers 0 to 5"),
        ('{"number": 1, "state": {"latent": "0"}}', 1, "is not here any more"),
        ('{"number": 1, "state": {"networks": [9]}}', 1, "there is no network 9"),
        ('{"number": 1, "state": {"networks": [0, 2]}}', 1, "small cannot be shown beside first"),
        ("[" * 60_000, None, "lists within lists"),
        (" " * 70_000, None, "the message is no text of at most 65536 characters"),
    ],
)
def test_a_wrong_message_is_answered_in_a_sentence_and_the_socket_goes_on(socket, text, number, message):
    found = error(socket, text)
    assert found["number"] == number and message in found["error"] and "\n" not in found["error"]
    assert ask(socket, 8, x=1)[0]["number"] == 8


def test_bytes_are_answered_in_a_sentence(socket):
    socket.send_bytes(b"\0\1")
    assert "no text" in json.loads(socket.receive_text())["error"]


def test_an_error_of_ours_is_logged_and_the_socket_goes_on(socket, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(drawing.Studio, "draw", lambda *arguments: 1 / 0)
        found = error(socket, '{"number": 3, "state": {}}')
    assert found == {"number": 3, "error": "the server failed (ZeroDivisionError); its terminal says more."}
    assert "the page's server failed" in caplog.text
    assert ask(socket, 4)[0]["number"] == 4


def test_a_network_that_cannot_be_loaded_is_answered_in_a_sentence():
    def load(path: str) -> Network:
        raise ValueError(f"{path} is damaged.\nDownload it anew.")

    with TestClient(server.application(Networks({"a": "a.pkl"}, load)), base_url="http://localhost") as client:
        assert client.get("/about/0").json() == {"error": "a.pkl is damaged. Download it anew."}


def test_an_error_of_ours_is_answered_over_http_too(caplog):
    application = server.application(Networks({"a": ""}, lambda path: 1 / 0))
    with TestClient(application, base_url="http://localhost", raise_server_exceptions=False) as client:
        answer = client.get("/about/0")
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed (ZeroDivisionError); its terminal says more."}


@pytest.mark.parametrize("headers", [{"host": "evil.com"}, HOST | {"origin": "http://evil.com"}])
@pytest.mark.parametrize("path", ["/", "/networks", "/about/0", "/png", "/latent", "/upload/0"])
def test_another_site_is_refused_with_a_sentence(client, path, headers):
    method = "POST" if path in ("/png", "/latent", "/upload/0") else "GET"
    answer = client.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)
    assert answer.status_code == 403 and "evil.com" in answer.text and len(answer.text.splitlines()) == 1


@pytest.mark.parametrize("headers", [{"host": "evil.com"}, HOST | {"origin": "http://evil.com"}])
def test_a_socket_of_another_site_is_refused_with_a_sentence(client, headers):
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect("/draw", headers=headers):
        pass
    assert caught.value.status_code == 403 and "evil.com" in caught.value.text


def test_a_page_too_many_is_refused_with_a_sentence(client, monkeypatch):
    monkeypatch.setattr(server, "MOST_PAGES", 1)
    with client.websocket_connect("/draw", headers=HOST):
        with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect("/draw", headers=HOST):
            pass
        assert "at most 1 pages" in caught.value.text
    with client.websocket_connect("/draw", headers=HOST) as socket:
        assert ask(socket)[0]["number"] == 7
