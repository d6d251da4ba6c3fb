import math

import numpy as np
import pytest

from kmrcnn.data.measures import can_be_filled, is_measure, to_area, to_box, to_size

HUGE = 10**400  # beyond every float


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e12])
def test_numbers_that_fit_a_picture(value):
    assert is_measure(value)


@pytest.mark.parametrize("value", [HUGE, -HUGE, 1.1e12, math.inf, math.nan, True, "3", None, [3]])
def test_what_does_not_fit_a_picture(value):
    assert not is_measure(value)
    assert to_area(value) is None
    assert to_size(value, 5) is None and to_size(5, value) is None
    assert to_box([0, 0, value, 5]) is None


def test_areas_and_sizes():
    assert to_area(0) == 0.0 and to_area(-0.5) is None
    assert to_size(4, 6.0) == (4, 6)
    assert to_size(4.5, 6) is None and to_size(0, 6) is None


@pytest.mark.parametrize("sides", ["1234", [1, 2, 3], [1, 2, 3, 4, 5], 5, None, [[1], 2, 3, 4]])
def test_what_is_no_box(sides):
    assert to_box(sides) is None


def test_a_box():
    assert to_box(np.array([1, 2, 3, 4.5], np.float32)) == (1, 2, 3, 4.5)


@pytest.mark.parametrize(
    "points,expected",
    [
        ([[0, 0], [10, 0], [5, 9]], True),
        ([[-1e5, 0], [1e5, 0], [5, 9]], True),
        ([[0, 0], [1.1e6, 0], [5, 9]], False),
        ([[0, 0], [math.nan, 0], [5, 9]], False),
        ([[1e308, 0], [-1e308, 0], [5, 9]], False),
        ([[0, 0], [1e6, 0]] * 2, False),  # four sides of a million pixels
        (np.zeros((0, 2)), True),
    ],
)
def test_outlines_must_be_near_and_short(points, expected):
    assert can_be_filled(np.array(points, np.float64)) is expected
