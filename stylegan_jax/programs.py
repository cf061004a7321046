"""The compiled training programs of a run, each made in the background before its resolution begins."""

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from stylegan_jax import config, mesh, step

Request = TypeVar("Request")
Made = TypeVar("Made")


def train_program(
    c: config.Config, state: Any, devices: jax.sharding.Mesh, resolution: int, batch: int, num_steps: int
) -> jax.stages.Compiled:
    """Returns `step.train_steps`, compiled: (state, images, labels, phase) -> (state, metrics).

    Args:
        c: settings.
        state: the training state, as jax.ShapeDtypeStruct with shardings.
        devices: that batches are split over; the phase is on all of them.
        resolution: to train at, px.
        batch: images of a step, on all devices together.
        num_steps: steps of a call.
    """
    m, stack = c.model, mesh.split_stack(devices)
    shape = (num_steps, batch, m.resolution, m.resolution, m.channels)
    images = jax.ShapeDtypeStruct(shape, np.uint8, sharding=stack)
    labels = jax.ShapeDtypeStruct((num_steps, batch, m.num_labels), np.float32, sharding=stack)
    scalar = jax.ShapeDtypeStruct((), np.float32, sharding=mesh.replicated(devices))
    return step.train_steps.lower(
        state,
        images,
        labels if m.num_labels else None,
        step.Phase(alpha=scalar, lr=scalar),
        c=c,
        resolution=resolution,
        batch_sharding=mesh.split(devices),
    ).compile()


def make_ahead(requests: Iterable[Request], make_fn: Callable[[Request], Made]) -> Iterator[Made]:
    """Yields `make_fn(request)` for each request; what equal neighbours share is made once.

    While it is in use, a thread makes the next one. The thread is not waited for: a process that ends early ends
    without what nobody will ask for. An exception of `make_fn` is raised here in its turn.
    """
    runs = [(request, len(list(group))) for request, group in itertools.groupby(requests)]
    ahead = [_start(make_fn, request) for request, _ in runs[:1]]
    for i, (_, count) in enumerate(runs):
        made = ahead.pop().result()
        ahead += [_start(make_fn, request) for request, _ in runs[i + 1 : i + 2]]
        yield from itertools.repeat(made, count)


def _start(make_fn: Callable[[Request], Made], request: Request) -> "concurrent.futures.Future[Made]":
    """Returns the result to come of `make_fn(request)`, from a thread of its own."""
    future: concurrent.futures.Future[Made] = concurrent.futures.Future()

    def make() -> None:
        try:
            future.set_result(make_fn(request))
        except BaseException as error:  # Whatever it is, the consumer must not wait for ever.
            future.set_exception(error)

    threading.Thread(target=make, name="make_ahead", daemon=True).start()
    return future
