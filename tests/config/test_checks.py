from dataclasses import dataclass
from typing import Any, Literal

import pytest

from kmrcnn.config.checks import require_choice, require_fraction, require_positive


@dataclass
class Settings:
    colour: Literal["red", "blue"] = "red"
    number: Any = 1


def test_a_choice_is_one_of_its_annotation():
    require_choice(Settings("blue"), "colour")
    with pytest.raises(
        ValueError, match=r"`Settings\.colour` must be one of \['red', 'blue'\].*'green'"
    ):
        require_choice(Settings("green"), "colour")


def test_a_choice_may_have_an_annotation_of_its_own():
    require_choice(Settings(number="x"), "number", annotation=Literal["x", "y"])
    with pytest.raises(ValueError, match=r"\['x', 'y'\].*Received: 'red'"):
        require_choice(Settings(), "colour", annotation=Literal["x", "y"])


@pytest.mark.parametrize("check", [require_positive, require_fraction])
@pytest.mark.parametrize("value", [1, 0.25, 1.0])
def test_numbers_both_allow(check, value):
    check(Settings(number=value), "number")


@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), "1", None])
def test_numbers_that_are_not_positive(value):
    with pytest.raises(ValueError, match=rf"`Settings\.number` must be positive.*{value!r}"):
        require_positive(Settings(number=value), "number")


@pytest.mark.parametrize("value", [1.001, -0.001, 7, float("nan"), "0", None])
def test_numbers_that_are_no_fraction(value):
    with pytest.raises(ValueError, match=rf"`Settings\.number` must be in \[0, 1\].*{value!r}"):
        require_fraction(Settings(number=value), "number")


def test_zero_is_a_fraction():
    require_fraction(Settings(number=0.0), "number")
