"""Outlines of the shapes that annotation tools offer, as polygons."""

from __future__ import annotations

import numpy as np

_POINTS = 64  # of a round shape: at most 0.12 % of the radius inside the true outline


def circle(center_x: float, center_y: float, radius: float) -> np.ndarray:
    """The polygon (64, 2) of a circle, pixels."""
    return ellipse(center_x, center_y, radius, radius)


def ellipse(
    center_x: float, center_y: float, radius_x: float, radius_y: float, angle: float = 0.0
) -> np.ndarray:
    """The polygon (64, 2) of an ellipse, pixels.

    Args:
        center_x: Of the centre.
        center_y: Of the centre.
        radius_x: Half the axis that lies along x before turning.
        radius_y: Half the other axis.
        angle: Of the turn from x towards y, radians.
    """
    turn = np.arange(_POINTS) * (2 * np.pi / _POINTS)
    along, across = abs(radius_x) * np.cos(turn), abs(radius_y) * np.sin(turn)
    x = center_x + along * np.cos(angle) - across * np.sin(angle)
    y = center_y + along * np.sin(angle) + across * np.cos(angle)
    return np.stack([x, y], axis=1)
