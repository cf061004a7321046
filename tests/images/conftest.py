"""What tests of projection share."""

import pytest

from stylegan_jax.images import mapped


@pytest.fixture(scope="module")
def few_styles():
    """Makes projection draw few random styles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "NUM_STYLES", 64)
        patch.setattr(mapped, "NUM_CANDIDATES", 8)
        yield
