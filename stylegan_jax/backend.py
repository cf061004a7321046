"""Which kind of device a program is traced for: some functions have a form that it is fast at."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_platform: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


@contextlib.contextmanager
def forms_for(platform: str) -> Iterator[None]:
    """Lets what is traced here take the forms for devices of a platform, such as "tpu", whatever is at hand."""
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def platform() -> str:
    """Returns "cpu", "gpu" or "tpu"."""
    return _platform.get() or jax.default_backend()
