"""Managers of checkpoints, open and closed again."""

import pytest

from stylegan_jax.runs import checkpoint
from tests.checkpoints import make_state


@pytest.fixture
def manager(tmp_path):
    opened = checkpoint.open_manager(tmp_path / "checkpoints", keep=2)
    yield opened
    checkpoint.close(opened)


@pytest.fixture
def two_saved(manager):
    """A manager with checkpoints 100 and 200, of seeds 1 and 2."""
    for seed in (1, 2):
        checkpoint.save(manager, 100 * seed, make_state(seed), {"seed": seed})
    checkpoint.wait(manager)
    return manager
