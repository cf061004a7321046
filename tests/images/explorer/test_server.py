"""The page's server, by its protocol."""

import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession

from stylegan_jax.images import projection_files
from stylegan_jax.images.explorer import drawing, server
from stylegan_jax.images.explorer.gallery import Networks
from stylegan_jax.images.explorer.state import State
from stylegan_jax.weights.network import Network
from tests.random_networks import random_network

HOST = {"host": "localhost:8000"}


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(resolution=16, num_labels=3)


@pytest.fixture(scope="module")
def client(network) -> Iterator[TestClient]:
    networks = Networks({"first": "", "second": "other", "small": "small"}, lambda path: open_(path, network))
    with TestClient(server.application(networks), base_url="http://localhost:8000") as found:
        yield found


def open_(path: str, network: Network) -> Network:
    if path == "small":
        return random_network(1, resolution=8, num_labels=3)
    return network if path == "" else random_network(1, resolution=16, num_labels=3)


@pytest.fixture
def socket(client) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect("/draw", headers=HOST) as found:
        yield found


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


# ---- files


def test_the_page_is_whole_without_other_sites(client):
    page, script = client.get("/"), client.get("/explorer.js")
    assert page.headers["content-type"].startswith("text/html") and "explorer.js" in page.text
    assert script.headers["content-type"].startswith("text/javascript")
    for answer in (page, script):
        assert "http:" not in answer.text and "https:" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_what_the_page_needs_to_know_of_a_network(client):
    assert client.get("/networks").json() == {"networks": ["first", "second", "small"], "most": 8}
    about = client.get("/about/0").json()
    assert about["layers_px"] == [4, 4, 8, 8, 16, 16] and about["bounds"] == [2, 4] and about["num_layers"] == 6
    assert about["classes"] == ["class 0", "class 1", "class 2"] and len(about["directions"]) == 10
    assert about["has_mean"] and about["has_noise"] and about["resolution"] == 16


def test_the_png_is_the_picture(client, network):
    answer = client.post("/png", content=json.dumps({"networks": [0, 1], "x": 3}))
    with Image.open(io.BytesIO(answer.content)) as image:
        found = np.asarray(image)
    images = [one(3, labels=0)[0] for one in (network, open_("other", network))]
    np.testing.assert_array_equal(found, np.concatenate(images, axis=1))


def test_a_saved_latent_is_rendered_again_to_the_same_pixels(client, socket, network):
    state = {"x": 0.3, "psi": 0.5, "mix_layers": [1], "noise_off": [2], "strengths": [1.5]}
    _, (expected,) = ask(socket, **state)
    content = client.post("/latent", content=json.dumps(state)).content
    ws, noise, _ = projection_files.decoded(content, network, "the file")
    np.testing.assert_array_equal(network.images(ws, noise)[0], expected)
    name = client.post("/upload/0", content=content).json()["latent"]
    np.testing.assert_array_equal(ask(socket, latent=name, x=5, psi=0.1)[1][0], expected)


def test_the_latent_of_one_network_is_refused_by_another(client, socket):
    content = client.post("/latent", content="{}").content
    assert "another network" in client.post("/upload/1", content=content).json()["error"]
    name = client.post("/upload/0", content=content).json()["latent"]
    text = json.dumps({"number": 2, "state": {"networks": [0, 1], "latent": name}})
    assert "was made for another network than second" in error(socket, text)["error"]


def test_a_picture_is_projected_and_its_progress_told(client, socket, network):
    file = io.BytesIO()
    Image.fromarray(network(3, labels=0, psi=0.5)[0]).save(file, "PNG")
    *steps, last = [json.loads(line) for line in client.post("/upload/0", content=file.getvalue()).text.splitlines()]
    done = [step["done"] for step in steps]
    assert len(done) > 4 and done == sorted(done) and all(step["all"] == done[-1] for step in steps)
    _, (picture,) = ask(socket, latent=last["latent"])
    assert picture.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("content", "message"), [(b"only words", "no picture of a known format"), (b"\x89PNG", "no picture")]
)
def test_a_wrong_upload_is_answered_in_a_sentence_and_another_can_follow(client, content, message):
    for _ in range(2):
        assert message in client.post("/upload/0", content=content).text


def test_an_upload_is_cut_off_at_its_limit(client, monkeypatch):
    monkeypatch.setattr(server.uploads, "MOST_BYTES", 1000)
    answer = client.post("/upload/0", content=bytes(1001))
    assert answer.status_code == 400 and "more than 1000 bytes" in answer.json()["error"]
    assert "no picture" in client.post("/upload/0", content=bytes(1000)).text


def test_two_uploads_at_once_are_refused_with_a_sentence(client, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(server, "PATIENCE_SEC", 0.1)
    monkeypatch.setattr(drawing.Studio, "project", lambda *arguments: begun.set() or go_on.wait(60) and "name")
    answers = []
    first = threading.Thread(target=lambda: answers.append(client.post("/upload/0", content=b"picture").text))
    first.start()
    begun.wait(60)
    assert "another upload is being worked on" in client.post("/upload/0", content=b"picture").json()["error"]
    go_on.set()
    first.join(60)
    assert json.loads(answers[0]) == {"latent": "name"}


@pytest.mark.parametrize("path", ["/png", "/latent"])
def test_a_wrong_state_of_a_download_is_answered_in_a_sentence(client, path):
    assert client.post(path, content='{"x": -1}').json() == {"error": "x is -1; give a number from 0 to 1e+08."}
    assert "more than 65536 bytes" in client.post(path, content=" " * 70_000).json()["error"]


def test_a_port_that_is_taken_is_refused_in_a_sentence():
    import socket as sockets

    with (
        sockets.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ValueError, match="cannot be served at --host"),
    ):
        server.serve(Networks({"a": "a"}, lambda path: None), "127.0.0.1", taken.getsockname()[1], pytest.fail)
