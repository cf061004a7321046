"""Programs are made in order, once, ahead of their time, by a thread whose errors are not lost."""

import threading
import types
import unittest.mock

import jax
import numpy as np
import pytest

from stylegan_jax.devices import backend, mesh
from stylegan_jax.training import programs, state
from tests.small import settings

PATIENCE_SEC = 20.0  # Until a thread that should act is called stuck.


def test_equal_neighbours_share_what_is_made_once_and_in_order():
    made = []
    ahead = programs.make_ahead([8, 8, 8, 16, 32, 32], lambda request: made.append(request) or f"program {request}")
    assert list(ahead) == ["program 8"] * 3 + ["program 16"] + ["program 32"] * 2
    assert made == [8, 16, 32]
    assert list(programs.make_ahead([], made.append)) == []


def test_the_next_is_made_while_the_present_one_is_in_use_and_none_after_it():
    begun = {request: threading.Event() for request in (8, 16, 32)}
    ahead = programs.make_ahead([8, 8, 16, 32], lambda request: begun[request].set())
    assert begun[8].wait(PATIENCE_SEC)  # At once.
    assert not begun[16].is_set()
    next(ahead)
    assert begun[16].wait(PATIENCE_SEC)
    next(ahead)
    assert not begun[32].is_set()


def test_an_error_is_raised_where_its_program_is_asked_for():
    def make(request: int) -> int:
        if request == 16:
            raise OSError("no memory to compile in")
        return request

    ahead = programs.make_ahead([8, 8, 16], make)
    assert [next(ahead), next(ahead)] == [8, 8]
    with pytest.raises(OSError, match="no memory to compile in"):
        next(ahead)


def test_what_is_made_when_due_waits_first():
    events = []
    due = programs.make_when_due(
        [8, 8, 16], lambda request: events.append(request) or request, lambda: events.append("idle")
    )
    assert events == []
    assert [next(due), next(due)] == [8, 8] and events == ["idle", 8]
    assert list(due) == [16] and events == ["idle", 8, "idle", 16]


def test_a_stable_resolution_has_a_program_of_its_own_but_on_cpus():
    cpu = mesh.make_mesh()
    gpu = types.SimpleNamespace(devices=np.asarray([types.SimpleNamespace(platform="gpu")]))
    assert [programs.has_fade(alpha, gpu) for alpha in (0.0, 0.5, 1.0)] == [True, True, False]
    assert [programs.has_fade(alpha, cpu) for alpha in (0.5, 1.0)] == [True, True]


@pytest.mark.parametrize("num_steps", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_program_takes_the_state_that_it_returns(num_steps):
    config, devices = settings(model={"num_labels": 3}), mesh.make_mesh()
    whole = mesh.replicated(devices)
    train_state = jax.jit(state.create, static_argnums=1, out_shardings=whole)(jax.random.key(0), config)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), train_state)
    program = programs.train_program(config, abstract, devices, resolution=8, batch=8, size=16, num_steps=num_steps)
    stack = np.zeros((num_steps, 8, 16, 16, 3), np.uint8), np.zeros((num_steps, 8, 3), np.float32)
    batches = mesh.put(stack, mesh.split_stack(devices))
    scalars = mesh.put((None, np.float32(1e-3)), whole)
    for _ in range(2):
        train_state, metrics = program(train_state, *batches, *scalars)
    assert {x.sharding for x in jax.tree.leaves(train_state)} == {whole}
    assert int(train_state.nimg) == 16 * num_steps
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_a_program_is_made_for_its_devices_whatever_is_at_hand(monkeypatch):
    seen = []

    def lower(*args, **kwargs):
        seen.append(backend.platform())
        return lowered

    lowered = unittest.mock.Mock()
    monkeypatch.setattr(jax, "default_backend", lambda: "another")
    monkeypatch.setattr(programs.jax, "jit", lambda *args, **kwargs: types.SimpleNamespace(lower=lower))
    devices = mesh.make_mesh()
    programs.train_program(settings(), None, devices, resolution=8, batch=8, size=8, num_steps=1)
    assert seen == ["cpu"] and backend.platform() == "another"
    lowered.compile.assert_called_once_with(programs.COMPILER_OPTIONS["cpu"])
    assert programs.steps_per_call(settings(), devices) == 1
