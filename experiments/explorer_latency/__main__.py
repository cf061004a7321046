"""Measures how long the page of --mode=explore takes to show a change, in a real Chromium.

python -m experiments.explorer_latency --network=FILE_OR_RUN
python -m experiments.explorer_latency --resolution=256     # A random network of the paper's size.
"""

import argparse
import bisect
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
from playwright.sync_api import Page, sync_playwright

from stylegan_jax.config import Model
from stylegan_jax.networks import generator
from stylegan_jax.weights.info import Info
from stylegan_jax.weights.network import Network

INPUT_HZ = 60
NOTE = """
window.inputs = []; window.paints = [];
document.addEventListener("pointermove", event => inputs.push(event.timeStamp), true);
document.addEventListener("painted", ({detail}) => paints.push({...detail, endMs: performance.now()}));
"""


def random_network(resolution: int, folder: str) -> str:
    """Writes a network of the paper's size with the weights that training begins from, and returns its path."""
    model = Model(resolution=resolution)
    params = generator.init(jax.random.key(0), jax.random.key(1), model)
    w_avg = np.zeros(model.w_size, np.float32)
    info = Info("random", "random", license="CC0")
    network = Network(model, jax.device_get(params), info, w_avg=w_avg, resolution=resolution)
    return str(network.save(pathlib.Path(folder) / f"random{resolution}.safetensors"))


def drag(page: Page, seconds: float) -> dict[str, Any]:
    """Returns what the page noted while the plane of seeds was dragged in circles: inputs and paints."""
    box = page.locator("#plane").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    begin_sec = time.monotonic()
    page.evaluate(NOTE)
    while (now_sec := time.monotonic() - begin_sec) < seconds:
        page.mouse.move(x + 70 * math.sin(2 * now_sec), y + 40 * math.sin(3.1 * now_sec))
        time.sleep(max(0.0, begin_sec + now_sec + 1 / INPUT_HZ - time.monotonic()))
    page.wait_for_timeout(3000)
    page.mouse.up()
    return page.evaluate("({inputs, paints})")


def report(found: dict[str, Any]) -> str:
    """Returns the numbers of a drag as text."""
    paints, inputs = found["paints"], found["inputs"]
    begins_ms = [paint["endMs"] - paint["shownMs"] for paint in paints]  # Of the input that each picture shows.
    waits_ms = []
    for input_ms in inputs:
        place = bisect.bisect_left(begins_ms, input_ms - 0.01)
        if place < len(paints):
            waits_ms.append(paints[place]["endMs"] - input_ms)

    def line(name: str, values: list[float]) -> str:
        median, high = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        return f"{name}: median {median:.0f} ms, 95th percentile {high:.0f} ms ({len(values)})"

    return "\n".join(
        [
            line("from the input that a picture shows to its paint", [paint["shownMs"] for paint in paints]),
            line("from any input to a picture that is as new", waits_ms),
            line("network", [paint["draw_ms"] for paint in paints]),
            line("WebP", [paint["encode_ms"] for paint in paints]),
        ]
    )


def main() -> None:
    """Prints the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", help="file or run; a random one of --resolution without it")
    parser.add_argument("--resolution", type=int, default=256, help="px")
    parser.add_argument("--seconds", type=float, default=30.0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = flags.network or random_network(flags.resolution, folder)
        command = [sys.executable, "-m", "stylegan_jax.main", "--mode=explore", f"--network={network}", "--port=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
            url = next(line.split()[1] for line in server.stdout if line.startswith("open "))
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(url)
            page.wait_for_selector("#times:not(:empty)", timeout=120_000)
            before = os.getloadavg()
            found = drag(page, flags.seconds)
            browser.close()
            server.send_signal(signal.SIGINT)
    print(report(found))
    print(f"cores {os.cpu_count()}, load {before[0]:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
