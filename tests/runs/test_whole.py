import os
import subprocess
import sys

import pytest

from stylegan_jax.runs import locks, whole


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, is_durable):
    file = tmp_path / "numbers.json"
    with whole.writing(file, "w", is_durable) as stream:
        stream.write("[1, 2]")
        assert not file.exists()
    with pytest.raises(ZeroDivisionError), whole.writing(file, "w", is_durable) as stream:
        stream.write("[1")
        _ = 1 / 0
    assert file.read_text() == "[1, 2]" and os.listdir(tmp_path) == ["numbers.json"]


HOLD = """
import sys
from stylegan_jax.runs import locks
with locks.exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_other_processes_out_until_its_own_ends(tmp_path):
    file = tmp_path / "deep" / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), locks.exclusive(file):
            pass
    finally:
        process.kill()
        process.communicate()
    with locks.exclusive(file), pytest.raises(BlockingIOError), locks.exclusive(file):
        pass
    with locks.exclusive(file, waits=True):
        pass
