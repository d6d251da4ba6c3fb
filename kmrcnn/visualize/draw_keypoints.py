"""Keypoints and the lines of a skeleton between them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_LIGHT = (255, 255, 255)
_SHIFT = 4  # fractional bits of the coordinates OpenCV draws at


def draw_keypoints(
    canvas: np.ndarray,
    points: np.ndarray,
    visible: np.ndarray,
    skeleton: Sequence[tuple[int, int]],
    color: tuple[int, int, int],
    line: int,
) -> None:
    """Draws one object's keypoints into `canvas`: lines with a light rim, light discs on their
    ends.

    Args:
        canvas: (H, W, 3) uint8 RGB.
        points: (J, 2) x, y in continuous coordinates, pixel i covers [i, i + 1).
        visible: (J,) bool; the others are left out, and the lines that lead to them.
        skeleton: Pairs of indices.
        color: RGB.
        line: Width of the lines in pixels.
    """
    places = [_to_opencv(point) for point in points]
    bones = [(places[a], places[b]) for a, b in skeleton if visible[a] and visible[b]]
    for rim, width in ((_LIGHT, line + 2), (color, line)):
        for start, end in bones:
            cv2.line(canvas, start, end, rim, width, cv2.LINE_AA, _SHIFT)
    radius = round((line + 1) * 2**_SHIFT)
    for place in (place for place, shown in zip(places, visible) if shown):
        cv2.circle(canvas, place, radius, _LIGHT, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, place, radius, color, max(1, line // 2), cv2.LINE_AA, _SHIFT)


def _to_opencv(point: np.ndarray) -> tuple[int, int]:
    """OpenCV's centres of pixels are whole numbers."""
    x, y = np.round((np.asarray(point, float) - 0.5) * 2**_SHIFT).astype(int).tolist()
    return x, y
