"""Hostile zip files are refused before anything large is read."""

import re

import pytest

from stylegan_jax.weights.files import torch_files
from tests.weights.files import hostile_archives


@pytest.mark.parametrize("name", hostile_archives.ARCHIVES)
def test_hostile_archive_is_a_sentence(name, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(hostile_archives.ARCHIVES[name])
    with pytest.raises(ValueError) as caught:
        torch_files.load(path)
    message = str(caught.value)
    assert re.fullmatch(rf"{re.escape(str(path))} .*\.", message) and len(message) < 600, message
