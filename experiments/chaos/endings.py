"""Ways to end a run that has a process of its own."""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import pty
import random
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parent.parent.parent
PATIENCE_SEC = 600.0
POLL_SEC = 0.005
CONFIG = """
from stylegan_jax.config import default
def get_config():
    settings = default()
    settings.update({values})
    return settings
"""


@dataclasses.dataclass
class Run:
    """A run in a process of its own."""

    folder: pathlib.Path
    cache: pathlib.Path  # Folder of compiled programs.
    settings: dict

    @property
    def log(self) -> pathlib.Path:
        """File that the process writes to, which is not on the disk that fills."""
        return self.cache.with_name(f"{self.folder.name}.log")

    def command(self) -> list[str]:
        """Writes the config of the run, and returns the command that starts the run or goes on with it."""
        config_file = self.cache.with_name("config_of_chaos.py")
        config_file.write_text(CONFIG.format(values=self.settings))
        return [sys.executable, "-m", "stylegan_jax.main", f"--config={config_file}", f"--workdir={self.folder}"]

    def start(self) -> subprocess.Popen:
        """Starts the run, with a plain file as its log."""
        with self.log.open("w") as output:
            return self.popen(hear_signals, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def popen(self, begin_fn: Callable[[], object], **streams) -> subprocess.Popen:
        """Starts the run; its process calls `begin_fn` first."""
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(self.cache)}
        return subprocess.Popen(self.command(), cwd=ROOT, env=environment, preexec_fn=begin_fn, **streams)

    def text(self) -> str:
        """Returns what the process has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def saved(self) -> list[int]:
        """Returns the images of the finished checkpoints."""
        folder = self.folder / "checkpoints"
        return sorted(int(f.name) for f in folder.iterdir() if f.name.isdigit()) if folder.exists() else []

    def newest(self) -> int:
        """Returns the images of the newest checkpoint; 0 if there is none."""
        return max(self.saved(), default=0)

    def is_saving(self) -> bool:
        """Returns whether a checkpoint is being written."""
        folder = self.folder / "checkpoints"
        return folder.exists() and any("tmp" in f.name for f in folder.iterdir())

    def leaves(self) -> dict[str, list]:
        """Returns dtype, shape and checksum of each array of the newest checkpoint."""
        record = self.folder / "checkpoints" / str(self.newest()) / "record" / "metadata"
        return json.loads(record.read_text())["record"]["leaves"]


def hear_signals() -> None:
    """Restores signals that this experiment was started to ignore: by nohup, or in the background of a script."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def await_moment(process: subprocess.Popen, is_due: Callable[[], bool]) -> None:
    """Waits until a moment has come, or the process has ended."""
    deadline = time.monotonic() + PATIENCE_SEC
    while process.poll() is None and not is_due() and time.monotonic() < deadline:
        time.sleep(POLL_SEC)


def kill(run: Run, name: str, is_due: Callable[[], bool], chance: random.Random) -> str:
    """Starts the run, kills it at a moment with SIGKILL, and returns what happened."""
    began, process = run.newest(), run.start()
    await_moment(process, is_due)
    time.sleep(chance.uniform(0, 0.05) if name == "in a save" else chance.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return f"killed {name}: from {began} to {run.newest()}"


def send(run: Run, number: signal.Signals, chance: random.Random) -> str:
    """Ends the run while it trains by a signal that lets it save; it must come to a new checkpoint, and end with 0."""
    began, process = run.newest(), run.start()
    await_moment(process, lambda: run.newest() > began)
    time.sleep(chance.uniform(0, 0.2))
    before = run.newest()
    process.send_signal(number)
    code = process.wait(PATIENCE_SEC)
    assert code == 0 and run.newest() >= before > began, run.text()
    assert f"{number.name}: saving" in run.text() and f"stopped by {number.name}" in run.text(), run.text()
    return f"{number.name}: from {began} to {run.newest()}"


def close_terminal(run: Run, is_ignored: bool) -> str:
    """Takes the terminal away from a run that trains.

    It must save and end, as SIGHUP asks it to; or train on, where SIGHUP is ignored, until SIGTERM ends it well.
    """
    master, slave = pty.openpty()

    def lead() -> None:  # Makes a session whose terminal this is, like that of a shell.
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        hear_signals()
        if is_ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    began = run.newest()
    process = run.popen(lead, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    is_over = threading.Event()
    reader = threading.Thread(target=_copy, args=(master, run.log, is_over), daemon=True)
    reader.start()
    await_moment(process, lambda: run.newest() > began)
    before = run.newest()
    is_over.set()
    reader.join()
    os.close(master)
    if is_ignored:
        await_moment(process, lambda: run.newest() > before)
        assert run.newest() > before, f"exit {process.poll()}: {run.text()}"
        process.terminate()
    code = process.wait(PATIENCE_SEC)
    assert code == 0 and run.newest() >= before > began, f"exit {code}: {run.text()}"
    return f"the terminal went away{', SIGHUP ignored' if is_ignored else ''}: from {began} to {run.newest()}"


def _copy(master: int, log: pathlib.Path, is_over: threading.Event) -> None:
    """Writes what comes from a terminal to a file."""
    os.set_blocking(master, False)
    with log.open("wb", buffering=0) as file:
        while not is_over.wait(POLL_SEC):
            with contextlib.suppress(OSError):  # There is nothing, or the other end is closed.
                file.write(os.read(master, 2**16))
