"""Boxes: malformed, without area, outside the picture or sticking out of it."""

from __future__ import annotations

import math

from kmrcnn.data.check.kinds import Fault

MARGIN = 1.0  # px a box may stick out: annotation tools round, VOC's files count from 1


def box_fault(box: tuple[float, float, float, float], size: tuple[int, int] | None) -> Fault | None:
    """Finds the worst fault of a box.

    Args:
        box: xyxy, pixels.
        size: (height, width) of the picture it was drawn on; None leaves out what needs it.
    """
    if len(box) != 4 or not all(math.isfinite(side) for side in box):
        return Fault("bad-box", f"the box is {_listing(box)}")
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        extent = f"{right - left:g} x {bottom - top:g} px (width x height)"
        return Fault("zero-area-box", f"the box at ({left:g}, {top:g}) has {extent}")
    return None if size is None else _place_fault((left, top, right, bottom), size)


def _place_fault(box: tuple[float, float, float, float], size: tuple[int, int]) -> Fault | None:
    left, top, right, bottom = box
    height, width = size
    picture = f"of the picture of {width} x {height} px (width x height)"
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return Fault("box-outside-image", f"the box {_listing(box)} lies outside {picture}")
    beyond = max(-left, -top, right - width, bottom - height)
    if beyond > MARGIN:
        message = f"the box {_listing(box)} sticks out {beyond:.1f} px {picture}"
        return Fault("box-beyond-image", message)
    return None


def clip_box(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of an xyxy box inside a picture of size (height, width)."""
    height, width = size
    left, top, right, bottom = box
    return (
        min(max(left, 0.0), width),
        min(max(top, 0.0), height),
        min(max(right, 0.0), width),
        min(max(bottom, 0.0), height),
    )


def _listing(box: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{side:g}" for side in box) + ")"
