"""Prints, at the end of a session, the worst error of each file of recorded arrays over all processes."""

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
    """Hands the errors of this process to the one that prints, if that is another."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["worst"] = official.WORST


@pytest.hookimpl(optionalhook=True)  # A hook of pytest-xdist.
def pytest_testnodedown(node: Any) -> None:
    """Takes the errors that a process hands over; a crashed one hands over none."""
    for file, worst in getattr(node, "workeroutput", {}).get("worst", {}).items():
        official.merge(file, *worst)
