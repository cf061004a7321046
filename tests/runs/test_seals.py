"""Seals see any change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from stylegan_jax.runs import seals
from tests.checkpoints import replicated


def test_checksum_is_the_sum_of_mixed_bits_in_plain_integers():
    def mix(v):
        v = (v ^ (v >> 16)) * 0x85EBCA6B % 2**32
        v = (v ^ (v >> 13)) * 0xC2B2AE35 % 2**32
        return v ^ (v >> 16)

    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    expected = sum(mix(int(b) ^ mix(i)) for i, b in enumerate(x.view(np.uint32).ravel())) % 2**32
    assert int(seals.checksum(jnp.asarray(x))) == expected


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32, jnp.uint8, jnp.bool_])
def test_checksum_sees_single_swapped_and_compensating_changes(dtype):
    x = np.asarray(jnp.asarray(np.arange(16) % 2, dtype))
    one, swapped, both = x.copy(), x.copy(), x.copy()
    one[3] = 0
    swapped[[3, 4]] = swapped[[4, 3]]
    both[[0, 2]] = 1  # 0 to 1 twice: with the next line a plain sum of bits stays the same.
    both[[1, 3]] = 0
    sums = {int(seals.checksum(jnp.asarray(v))) for v in (x, one, swapped, both)}
    assert len(sums) == 4


def test_checksum_does_not_depend_on_sharding():
    x = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    rows = NamedSharding(replicated().mesh, jax.P("data"))
    assert int(seals.checksum(jax.device_put(x, rows))) == int(seals.checksum(jnp.asarray(x)))
