"""Numbers of annotation files: which of them can be lengths, areas and outlines in a picture.

JSON holds integers of any length, NaN and infinity. Beyond these limits arithmetic overflows, or
filling an outline takes more memory than there is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LARGEST = 1e12  # px or square pixels
FARTHEST = 1e6  # px, of a point of an outline
LONGEST = 2e6  # px, of an outline: pycocotools keeps several numbers for every fifth of a pixel


def is_measure(value: Any) -> bool:
    """Whether this is a number that fits a picture; NaN, infinity and truth values are none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= LARGEST


def to_area(value: Any) -> float | None:
    """The area, square pixels; None for what is no area."""
    return float(value) if is_measure(value) and value >= 0 else None


def to_size(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width) in whole pixels; None unless both are whole numbers above 0."""
    sides = (height, width)
    if not all(is_measure(side) and side > 0 and side == int(side) for side in sides):
        return None
    return int(height), int(width)


def to_box(sides: Any) -> tuple[float, float, float, float] | None:
    """Four numbers that fit a picture; None for anything else."""
    try:
        are_numbers = not any(isinstance(side, (str, bool)) for side in sides)
        box = tuple(float(side) for side in sides)
    except (TypeError, ValueError, OverflowError):
        return None
    return box if are_numbers and len(box) == 4 and all(map(is_measure, box)) else None


def can_be_filled(points: np.ndarray) -> bool:
    """Whether the outline along (P, 2) points, x and y in px, is near and short enough."""
    if not (np.abs(points) <= FARTHEST).all():  # nor is NaN
        return False
    sides = np.abs(points - np.roll(points, 1, axis=0))
    return math.fsum(sides.max(axis=1, initial=0.0)) <= LONGEST
