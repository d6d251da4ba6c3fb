"""Nested plain mappings -> dataclasses, checked against the type annotations.

No key is skipped and no value is coerced, but for two harmless cases: an int where a float is
expected, and a list where a tuple is.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def from_dict(cls: type[T], mapping: Mapping[str, Any], path: str = "") -> T:
    """Makes a dataclass from a nested mapping.

    Args:
        cls: A dataclass whose fields are numbers, strings, bools, Literals, None unions, tuples,
            dicts and further dataclasses.
        mapping: Field name -> value; lists stand for tuples, mappings for dataclasses. Absent
            fields keep their defaults.
        path: Dotted name of `mapping` in the whole, for messages ("model.rpn").

    Returns:
        An instance of `cls`.

    Raises:
        ValueError: Unknown key (the nearest valid one is named), wrong type, or a value that the
            dataclass refuses.
    """
    if not isinstance(mapping, Mapping):
        raise _wrong(path, f"a mapping of {cls.__name__}'s fields", mapping)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in mapping:
        if key not in names:
            raise ValueError(_unknown_key(_join(path, key), str(key), path, names))
    values = {key: _convert(hints[key], value, _join(path, key)) for key, value in mapping.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"`{path}`: {error}" if path else str(error)) from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as `hint` wants it; ValueError naming `path` if it cannot be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, path)
    if origin is Literal:
        if type(value) not in {type(a) for a in arguments} or value not in arguments:
            raise _wrong(path, f"one of {list(arguments)}", value)
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, path)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(path, "a mapping", value)
        return {key: _convert(arguments[1], v, _join(path, key)) for key, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, path)
    return _convert_scalar(hint, value, path)


def _convert_union(options: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in options:
        return None
    others = [option for option in options if option is not type(None)]
    if len(others) != 1:
        raise TypeError(
            f"`{path}`: only unions of one type with None are supported, not {options}."
        )
    return _convert(others[0], value, path)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(path, "a list", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise _wrong(path, f"a list of {len(arguments)} entries", value)
    return tuple(_convert(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(arguments, value)))


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
            return value
        expected = {
            int: "a whole number",
            float: "a number",
            str: "a string",
            bool: "true or false",
        }
        raise _wrong(path, expected[hint], value)
    raise TypeError(f"`{path}`: the annotation {hint!r} is not supported.")


def _unknown_key(full: str, key: str, path: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.0)[0]
    return (
        f"Unknown key `{full}`. Did you mean `{_join(path, nearest)}`? "
        f"Valid keys of `{path or 'the top level'}`: {', '.join(names)}"
    )


def _wrong(path: str, expected: str, value: Any) -> ValueError:
    return ValueError(
        f"`{path or 'the top level'}` must be {expected}. "
        f"Received: {value!r} ({type(value).__name__})"
    )


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
