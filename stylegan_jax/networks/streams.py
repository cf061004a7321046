"""The random streams of a run: each key is a function of the run's seed and of one purpose."""

import enum

import jax
from jax import Array


class Stream(enum.IntEnum):
    """What a key outside training is for. The numbers never change: a run that resumes draws what it drew before."""

    INIT = 0  # The first parameters.
    GRID = 1  # The grid of samples.
    METRICS = 2  # Samples that are measured.


_NOT_A_STEP = 2**31 - 1  # Training never shows so many images.


def key_for(seed: int, stream: Stream) -> Array:
    """Returns the key of a stream, which differs from every `step_key`."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _NOT_A_STEP), stream)


def step_key(seed: int, nimg: Array) -> Array:
    """Returns the key of the training step that follows `nimg` real images. int32 []"""
    return jax.random.fold_in(jax.random.key(seed), nimg)
