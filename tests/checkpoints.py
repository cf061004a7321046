"""States that tests save, and what compares them."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding


@flax.struct.dataclass
class State:
    """The kinds of leaves and nodes that a training state has."""

    nimg: jax.Array
    params: dict
    flags: jax.Array
    opt: tuple


def replicated(num_devices=4):
    mesh = jax.make_mesh((num_devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:num_devices])
    return NamedSharding(mesh, jax.P())


def make_state(seed=0, width=64, sharding=None):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((width, 32)).astype(np.float32)
    weight[0, :3] = [np.nan, -0.0, np.inf]
    state = State(
        nimg=np.int32(100 + seed),
        params={"g": {"weight": weight, "bias": jnp.asarray(rng.standard_normal(7), jnp.bfloat16)}, "d": weight[1:2]},
        flags=np.array([True, False, True]),
        opt=((), {"nu": rng.standard_normal(5).astype(np.float32)}),
    )
    return jax.device_put(state, sharding or replicated())


def abstract(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
