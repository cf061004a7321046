"""The memory of a process that a test starts."""

import pathlib
import re


def peak_kib() -> int:
    """Returns the most memory that this process has had, KiB.

    getrusage would count the process that it was forked from, too, which may be a test's, with gigabytes.
    """
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1])
