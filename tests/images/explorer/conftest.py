"""The page, served in this process and by the command line, and a browser that opens it."""

import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.testclient import TestClient, WebSocketTestSession

from stylegan_jax.images.explorer import gallery, server
from stylegan_jax.images.explorer.gallery import Networks, Opened
from stylegan_jax.weights import load
from stylegan_jax.weights.network import Network
from tests.images.explorer.clients import CHROMIUM, HOST, WAIT_MS, open_
from tests.random_networks import random_network

ROOT = pathlib.Path(__file__).parents[3]

# ---- in this process


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(resolution=16, num_labels=3)


@pytest.fixture(scope="module")
def client(network) -> Iterator[TestClient]:
    networks = Networks({"first": "", "second": "other", "small": "small"}, lambda path: open_(path, network))
    with TestClient(server.application(networks), base_url="http://localhost:8000") as found:
        yield found


@pytest.fixture
def socket(client) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect("/draw", headers=HOST) as found:
        yield found


# ---- by the command line, in Chromium


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[pathlib.Path]:
    folder = tmp_path_factory.mktemp("networks")
    paths = [folder / f"{name}.safetensors" for name in ("first", "second")]
    for seed, (path, architecture) in enumerate(zip(paths, ("stylegan", "stylegan2"), strict=True)):
        random_network(seed, architecture=architecture, resolution=16, num_labels=3).save(path)
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
