"""Prints the worst error of each file of recorded arrays at the end of a session."""

import official
import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes the table, if any recorded array was compared."""
    if official.WORST:
        terminalreporter.section(f"recorded arrays: worst error of max|ref| ({official.TOLERANCE:.0e} allowed)")
        for file, (error, key, count) in sorted(official.WORST.items()):
            terminalreporter.write_line(f"{file:44} {count:5} arrays  {error:8.1e}  {key}")
