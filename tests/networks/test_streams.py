"""Random streams of a run never meet."""

import jax
import numpy as np

from stylegan_jax.networks import streams
from stylegan_jax.training import state
from tests.small import settings


def _data(key) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_no_key_of_another_stream_is_one_of_a_training_step():
    steps = {_data(streams.step_key(0, nimg)) for nimg in range(64)}
    others = {_data(streams.key_for(0, stream)) for stream in streams.Stream}
    assert len(steps) == 64 and len(others) == len(streams.Stream) and not steps & others


def test_the_keys_of_the_first_parameters_are_none_of_the_first_steps():
    steps = {_data(streams.step_key(0, nimg)) for nimg in range(8)}
    parts = jax.random.split(streams.key_for(0, streams.Stream.INIT), 3)
    assert not steps & {_data(key) for key in parts}
    # A split of the seed's own key would give those of images 0, 1 and 2.
    assert steps & {_data(key) for key in jax.random.split(jax.random.key(0), 3)}


def test_the_first_parameters_come_from_their_stream_on_all_devices():
    from stylegan_jax.devices import mesh

    config = settings()
    found = state.create_on(mesh.make_mesh(), config)
    expected = jax.jit(state.create, static_argnums=1)(streams.key_for(config.seed, streams.Stream.INIT), config)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
    assert all(len(x.sharding.device_set) == 4 for x in jax.tree.leaves(found))


def test_streams_keep_their_numbers():
    """Pictures of a run that resumes are those of its beginning, and its draws too."""
    before = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 2**31 - 1), 2)
    assert _data(streams.key_for(7, streams.Stream.METRICS)) == _data(before)
    assert [stream.name for stream in streams.Stream] == ["INIT", "GRID", "METRICS"]
    assert list(streams.Stream) == list(range(3))
