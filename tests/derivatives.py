"""Values with first and second derivatives, to compare forms of one function."""

import jax
import jax.numpy as jnp
import numpy as np


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def values_and_derivatives(fn, *arrays, order=2):
    """Returns fn's value, its gradients and, for order 2, the gradients of their squares and of the value's cubes."""

    def first(*arrays):
        y, pull = jax.vjp(fn, *arrays)
        cotangent = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
        return y, pull(cotangent)

    def penalty(*arrays):
        y, gradients = first(*arrays)
        return sum(jnp.sum(g.astype(jnp.float32) ** 2) for g in gradients) + jnp.sum(y.astype(jnp.float32) ** 3)

    y, gradients = first(*arrays)
    second = jax.grad(penalty, argnums=tuple(range(len(arrays))))(*arrays) if order == 2 else ()
    return y, *gradients, *second


def assert_equal(ours, plain, tolerance, name="result"):
    assert len(ours) == len(plain)
    for i, (a, b) in enumerate(zip(ours, plain, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b)), f"{name} {i}"
