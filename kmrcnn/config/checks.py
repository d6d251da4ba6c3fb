"""Checks of settings, for the `__post_init__` of the dataclasses that hold them.

All raise ValueError with the class, the setting and the value.
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints


def require_choice(config: Any, *names: str, annotation: Any = None) -> None:
    """Settings have one of the values that their `Literal` lists.

    Args:
        config: The dataclass.
        *names: Of its fields.
        annotation: The `Literal`; None takes each field's own annotation.
    """
    hints = {} if annotation else get_type_hints(type(config))
    for name in names:
        choices = get_args(annotation or hints[name])
        if getattr(config, name) not in choices:
            raise ValueError(
                f"`{type(config).__name__}.{name}` must be one of {list(choices)}. "
                f"Received: {getattr(config, name)!r}"
            )


def require_positive(config: Any, *names: str) -> None:
    """Settings are numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if not (isinstance(value, (int, float)) and value > 0):
            raise ValueError(
                f"`{type(config).__name__}.{name}` must be positive. Received: {value!r}"
            )


def require_fraction(config: Any, *names: str) -> None:
    """Settings are numbers from 0 to 1."""
    for name in names:
        value = getattr(config, name)
        if not (isinstance(value, (int, float)) and 0.0 <= value <= 1.0):
            raise ValueError(
                f"`{type(config).__name__}.{name}` must be in [0, 1]. Received: {value!r}"
            )
