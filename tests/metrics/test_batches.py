"""Metrics take few large images to the device at a time, and many small ones."""

import jax
import numpy as np
import pytest

from stylegan_jax.metrics import batches, swd


@pytest.mark.parametrize(("size", "most"), [(64, 128), (256, 64), (1024, 4), (4096, 1)])
def test_parts_have_as_many_images_as_pixels_allow(size, most):
    found = batches.slices(130, size)
    assert max(part.stop - part.start for part in found) == most
    assert np.concatenate([np.arange(part.start, part.stop) for part in found]).tolist() == list(range(130))


@pytest.mark.slow
def test_patches_of_large_images_need_little_memory():
    (part, *_) = batches.slices(128, 1024)
    images = jax.ShapeDtypeStruct((part.stop, 1024, 1024, 3), np.uint8)
    corners = [jax.ShapeDtypeStruct((part.stop, 16, 2), np.int32) for _ in swd.levels(1024)]
    program = swd._patches.lower(images, corners).compile()
    assert program.memory_analysis().temp_size_in_bytes < 2**30
