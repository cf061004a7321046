"""Files that the page's server gives, and uploads to it."""

import io
import json
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from stylegan_jax.images import projection_files
from stylegan_jax.images.explorer import drawing, server
from stylegan_jax.images.explorer.gallery import Networks
from tests.images.explorer.clients import ask, error, open_


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
    assert about["has_mean"] and about["noise_layers"] == [0, 1, 2, 3, 4, 5] and about["resolution"] == 16


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


def test_a_page_that_goes_away_while_it_uploads_makes_room_for_the_next(client, caplog):
    sent = [{"type": "http.request", "body": b"pict", "more_body": True}, {"type": "http.disconnect"}]
    answers = []

    async def receive() -> dict[str, Any]:
        return sent.pop(0)

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/upload/0", "query_string": b"", "headers": headers}
    client.portal.call(client.app, scope, receive, send)
    assert answers[0]["status"] == 400 and not caplog.records
    assert "no picture" in client.post("/upload/0", content=b"words").text


def test_a_network_that_cannot_be_opened_is_no_error_of_ours():
    def load(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    with TestClient(server.application(Networks({"a": "a.pkl"}, load)), base_url="http://localhost") as client:
        answer = client.get("/about/0")
    assert answer.status_code == 400 and "Permission denied: 'a.pkl'" in answer.json()["error"]
