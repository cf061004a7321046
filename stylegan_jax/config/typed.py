"""Makes dataclasses from nested dicts, and checks every type."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal


def from_dict(cls: type, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Returns a `cls` with `values`; what they leave out keeps its default.

    Args:
        cls: a dataclass whose fields are int, float, bool, str, Literal, tuples of these, one of these or None, or
            dataclasses of the same kind.
        values: nested dicts, by field.
        prefix: what comes before a field's name in errors.

    Raises:
        ValueError: a field that does not exist, or a wrong type.
    """
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1) or [", ".join(hints)]
            raise ValueError(f"the configuration has no field {prefix}{name}; did you mean {prefix}{near[0]}?")
    parts = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise ValueError(f"{prefix}{name} is a group of settings, not a value like {value!r}.")
            parts[name] = from_dict(hints[name], value, f"{prefix}{name}.")
        else:
            parts[name] = _typed(value, hints[name], f"{prefix}{name}")
    return cls(**parts)


def _typed(value: Any, hint: Any, path: str) -> Any:
    """Returns `value` as the type `hint`: int passes for float and list for tuple, nothing else is converted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{path} is {value!r}; it can be {', '.join(map(repr, args))}.")
        return value
    if origin in (types.UnionType, typing.Union):  # A flag "None" comes as a tuple, or as text.
        return None if value in (None, (None,), "None") else _typed(value, args[0], path)
    if origin is tuple and isinstance(value, tuple | list):
        hints = [args[0]] * len(value) if args[-1] is Ellipsis else args
        if len(hints) != len(value):
            raise ValueError(f"{path} has an entry {value!r}; entries are (resolution, value).")
        return tuple(_typed(v, h, path) for v, h in zip(value, hints, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        name = "a tuple" if origin is tuple else hint.__name__
        raise ValueError(f"{path} is {value!r} of type {type(value).__name__}; it must be {name}.")
    return value
