"""Small masks in box frame to full-size masks of the picture (NumPy).

All rules are bilinear and separable: rows and columns have a small matrix each, and a pasted mask
is rows @ mask @ columns^T inside the box. They differ in where the sample points lie.
"""

from __future__ import annotations

import math

import numpy as np


def paste_masks(
    masks: np.ndarray,
    boxes: np.ndarray,
    image_size: tuple[int, int],
    rule: str = "grid_sample",
    threshold: float | None = 0.5,
) -> np.ndarray:
    """Put each mask where its box is.

    Args:
        masks: (D, M, M) float32 probabilities, the mask of the whole box.
        boxes: (D, 4), xyxy, in the pixels of the picture; parts outside it are cut off.
        image_size: (height, width) of the picture.
        rule: "grid_sample": sampled at pixel centres, zero outside the mask (Detectron2).
            "integer_box": the mask gets a border of one zero, the box grows with it, is cut to
            whole pixels and resized (torchvision). "resize_into_box": the box, taken to have whole
            sides, is filled by resizing the mask, which fades to zero beyond its border but not
            below its own smallest value (scikit-image, as Matterport's Mask R-CNN uses it).
        threshold: Masks are `>= threshold`; None returns the probabilities.

    Returns:
        (D, H, W) bool, or float32 without a threshold.
    """
    height, width = image_size
    masks = np.asarray(masks, np.float32)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or len(masks) != len(boxes):
        raise ValueError(
            "`masks` must have shape (D, M, M) with one mask per box. "
            f"Received: masks.shape={masks.shape}, boxes.shape={boxes.shape}"
        )
    if rule not in RULES:
        raise ValueError(f"`rule` must be one of {list(RULES)}. Received: {rule!r}")
    axis_weights = RULES[rule]
    pasted = np.zeros((len(masks), height, width), np.float32 if threshold is None else bool)
    size = masks.shape[-1]
    for out, mask, (x1, y1, x2, y2) in zip(pasted, masks, boxes):
        top, rows = axis_weights(y1, y2, size, height)
        left, columns = axis_weights(x1, x2, size, width)
        if len(rows) == 0 or len(columns) == 0:
            continue
        window = rows @ mask @ columns.T
        if rule == "resize_into_box":
            window = np.maximum(window, mask.min())
        window = window if threshold is None else window >= threshold
        out[top : top + len(rows), left : left + len(columns)] = window
    return pasted


def _sample_at_centres(start: float, end: float, size: int, length: int) -> tuple[int, np.ndarray]:
    """First pixel and weights (pixels, M): bilinear at pixel centres, zero outside the mask."""
    first = min(max(math.floor(start) - 1, 0), length)
    last = max(min(math.ceil(end) + 1, length), first)
    if not end > start:
        return first, np.zeros((0, size), np.float32)
    # float32 like the reference, whose rounding decides pixels that lie at exactly 0.5
    centres = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    start32 = np.float32(start)
    position = (centres - start32) / (np.float32(end) - start32) * np.float32(2) - np.float32(1)
    position = ((position + 1) * size - 1) / 2
    low = np.floor(position)
    return first, _two_taps(low, position - low, size)


def _resize_into_box(start: float, end: float, size: int, length: int) -> tuple[int, np.ndarray]:
    """First pixel and weights (pixels, M): as `_sample_at_centres`, of the box's own pixels."""
    begin, finish = round(start), round(end)
    first = min(max(begin, 0), length)
    last = max(min(finish, length), first)
    centres = np.arange(first - begin, last - begin) + 0.5
    position = centres * (size / max(finish - begin, 1)) - 0.5
    low = np.floor(position)
    return first, _two_taps(low, position - low, size)


def _resize_to_integer_box(
    start: float, end: float, size: int, length: int
) -> tuple[int, np.ndarray]:
    """First pixel and weights (pixels, M): half-pixel bilinear resize of the mask with a border of
    one zero.
    """
    padded = size + 2
    centre, half = (
        np.float32((start + end) * 0.5),
        np.float32((end - start) * 0.5 * (padded / size)),
    )
    begin, finish = int(centre - half), int(centre + half)  # towards zero
    pixels = max(finish - begin + 1, 1)
    first = min(max(begin, 0), length)
    last = max(min(finish + 1, length), first)
    index = np.arange(first - begin, last - begin, dtype=np.float32)
    position = np.maximum((index + 0.5) * np.float32(padded / pixels) - 0.5, 0.0)
    low = np.minimum(np.floor(position), padded - 1)
    high = np.minimum(low + 1, padded - 1)
    fraction = position - low
    weights = np.zeros((len(index), padded), np.float32)
    rows = np.arange(len(index))
    np.add.at(weights, (rows, low.astype(int)), 1 - fraction)
    np.add.at(weights, (rows, high.astype(int)), fraction)
    return first, weights[:, 1:-1]  # the border is zero


def _two_taps(low: np.ndarray, fraction: np.ndarray, size: int) -> np.ndarray:
    """Weights (pixels, M) with 1 - fraction at `low` and fraction at `low` + 1, where those
    exist.
    """
    index = np.arange(size)
    at_low = (index == low[:, None]) * (1 - fraction)[:, None]
    at_high = (index == low[:, None] + 1) * fraction[:, None]
    return (at_low + at_high).astype(np.float32)


RULES = {
    "grid_sample": _sample_at_centres,
    "integer_box": _resize_to_integer_box,
    "resize_into_box": _resize_into_box,
}
