"""Prints the worst error of each file of recorded arrays at the end of a session, of all its processes together."""

from typing import Any

import pytest

from tests import official


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes the table, if any recorded array was compared."""
    if official.WORST:
        terminalreporter.section(f"recorded arrays: worst error of max|ref| ({official.TOLERANCE:.0e} allowed)")
        for file, (error, key, count) in sorted(official.WORST.items()):
            terminalreporter.write_line(f"{file:44} {count:5} arrays  {error:8.1e}  {key}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands what this process has compared to the one that prints, where they are two."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["worst"] = official.WORST


@pytest.hookimpl(optionalhook=True)  # Of pytest-xdist.
def pytest_testnodedown(node: Any) -> None:
    """Takes what a process hands over; one that crashed has nothing."""
    for file, worst in getattr(node, "workeroutput", {}).get("worst", {}).items():
        official.merge(file, *worst)
