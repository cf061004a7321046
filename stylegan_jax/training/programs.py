"""The compiled training programs of a run, each made before its resolution begins."""

import concurrent.futures
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from stylegan_jax.config import Config
from stylegan_jax.devices import backend, mesh
from stylegan_jax.training import step
from stylegan_jax.training.step import lazy

Request = TypeVar("Request")
Made = TypeVar("Made")

# Options of the compiler by backend. CPU: LLVM compiles the training step at 64 px in a fifth less time at its first
# level than at its second, and the step is as fast. GPU: a network's gradients are reduced in one piece; features
# are rounded where their dtype says so: XLA would else keep some of them in float32, for the backward pass.
COMPILER_OPTIONS = {
    "cpu": {"xla_backend_optimization_level": 1},
    "gpu": {"xla_gpu_all_reduce_combine_threshold_bytes": 2**30, "xla_allow_excess_precision": False},
}


def steps_per_call(config: Config, devices: jax.sharding.Mesh) -> int:
    """Returns how many steps a call has: those between two updates of the schedule.

    On a CPU a call has one: within a loop, XLA:CPU computes plain convolutions 25 times more slowly, and the paper's
    narrowest layers use them.
    """
    return 1 if mesh.platform_of(devices) == "cpu" else config.schedule.refresh_steps


def has_fade(alpha: float, devices: jax.sharding.Mesh) -> bool:
    """Returns whether training at this alpha takes the program that can fade.

    A stable resolution has a program of its own, without the lower resolution. On CPUs one program serves both: a fade
    costs some 2 % of a step there, which is less than a second compilation.
    """
    return alpha < 1 or mesh.platform_of(devices) == "cpu"


class Programs(NamedTuple):
    """Programs (state, images, labels, alpha, lr) -> (state, metrics), for one resolution, batch and size of images."""

    train: jax.stages.Compiled  # step.train_steps.
    lazy: tuple[tuple[int, jax.stages.Compiled], ...]  # (interval, one of lazy.steps, of the stack's first batch).


def make(config: Config, *how: Any) -> Programs:
    """Returns the programs of a part of a run; the arguments are those of `train_program` up to is_fading."""
    of_lazy = tuple(
        (interval, functools.partial(train_program, step_fn=functools.partial(_of_first, step_fn))(config, *how))
        for interval, step_fn in lazy.steps(config)
    )
    return Programs(train_program(config, *how), of_lazy)


def _of_first(step_fn: Callable[..., Any], state: Any, images: Any, labels: Any, *args: Any, **how: Any) -> Any:
    """Returns a lazy step by the first batch of a stack."""
    return inspect.unwrap(step_fn)(state, *jax.tree.map(lambda x: x[0], (images, labels)), *args, **how)


def train_program(
    config: Config,
    state: Any,
    devices: jax.sharding.Mesh,
    resolution: int,
    batch: int,
    size: int,
    num_steps: int,
    is_fading: bool = False,
    step_fn: Callable[..., Any] = step.train_steps,
) -> jax.stages.Compiled:
    """Returns `step_fn`, compiled: (state, images, labels, alpha, lr) -> (state, metrics).

    Args:
        config: settings.
        state: the training state, as jax.ShapeDtypeStruct with shardings.
        devices: devices to compile for; they need not be here. Batches are split over them, and the scalars are on all.
        resolution: resolution to train at, px.
        batch: number of images of a step, on all devices together.
        size: height and width of the images given, px; at least the resolution.
        num_steps: number of steps of a call.
        is_fading: whether the resolution fades in. If not, alpha is None.
        step_fn: a function like `step.train_steps`.
    """
    model, stack, whole = config.model, mesh.split_stack(devices), mesh.replicated(devices)
    images = jax.ShapeDtypeStruct((num_steps, batch, size, size, model.channels), np.uint8, sharding=stack)
    labels = jax.ShapeDtypeStruct((num_steps, batch, model.num_labels), np.float32, sharding=stack)
    labels = labels if model.num_labels else None
    scalar = jax.ShapeDtypeStruct((), np.float32, sharding=whole)
    # Without its own jit, which would be traced within this one.
    fn = functools.partial(
        inspect.unwrap(step_fn), config=config, resolution=resolution, batch_sharding=mesh.split(devices)
    )
    jitted = jax.jit(fn, donate_argnums=0, out_shardings=whole)
    with backend.forms_for(devices.devices.flat[0]):
        lowered = jitted.lower(state, images, labels, scalar if is_fading else None, scalar)
    return lowered.compile(COMPILER_OPTIONS.get(mesh.platform_of(devices)))


def make_when_due(
    requests: Iterable[Request], make_fn: Callable[[Request], Made], wait_fn: Callable[[], object]
) -> Iterator[Made]:
    """Returns what `make_ahead` does, but makes each when it is asked for, after wait_fn.

    The compiler for GPUs times its choices on the device. No other program runs there meanwhile: they would disturb
    each other. JAX keeps the choices in the folder of compiled programs.
    """
    for request, group in itertools.groupby(requests):
        wait_fn()
        yield from itertools.repeat(make_fn(request), len(list(group)))


def make_ahead(requests: Iterable[Request], make_fn: Callable[[Request], Made]) -> Iterator[Made]:
    """Returns an iterator over `make_fn(request)` of each request; what equal neighbours share is made once.

    A thread makes the first at once, and each other while the one before it is in use. An exception of `make_fn` is
    raised in its turn.
    """
    runs = [(request, len(list(group))) for request, group in itertools.groupby(requests)]
    # Its thread is not a daemon: when Python ends beneath XLA's compiler, the process is aborted.
    pool = concurrent.futures.ThreadPoolExecutor(1, "make_ahead")
    ahead = [pool.submit(make_fn, request) for request, _ in runs[:1]]

    def made() -> Iterator[Made]:
        for i, (_, count) in enumerate(runs):
            now = ahead.pop().result()
            ahead.extend(pool.submit(make_fn, request) for request, _ in runs[i + 1 : i + 2])
            yield from itertools.repeat(now, count)

    return made()
