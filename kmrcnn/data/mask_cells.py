"""Instance masks as squares of cells: how they travel in batches, and back.

Whole bitmaps of a batch would take hundreds of times the memory of its pictures' objects.
"""

from __future__ import annotations

import cv2
import numpy as np

from kmrcnn.data.augment.warp import warp_mask
from kmrcnn.data.example import MaskCrop


def to_cells(
    mask: MaskCrop, cells: int, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples a mask on `cells` x `cells` cells around it.

    Along an axis where the mask with a margin of one pixel fits, a cell is a pixel; if it fits
    along both, nothing is lost. Along others, cells are larger, with a margin of about a cell. The
    margin lets whoever interpolates between cells find the outline on every side.

    Args:
        mask: In its tight window.
        cells: S.
        size: (height, width) of the picture. Beyond its border the cells repeat the border, as
            RoIAlign on the whole bitmap does; without it they are 0 there, too.

    Returns:
        (S, S) uint8, 0 or 1, and the window (4,) float32, xyxy, that the cells cover in the frame
        of the mask; it may reach out of the picture.
    """
    height, width = mask.bitmap.shape
    rows, columns = _window_side(height, cells), _window_side(width, cells)
    above, before = (rows - height) // 2, (columns - width) // 2
    window = np.zeros((rows, columns), np.uint8)
    window[above : above + height, before : before + width] = mask.bitmap
    if size is not None and mask.bitmap.size:
        _repeat_border(window, above, height, mask.top, size[0])
        _repeat_border(window.T, before, width, mask.left, size[1])
    left, top = mask.left - before, mask.top - above
    covered = np.array([left, top, left + columns, top + rows], np.float32)
    return _average(window, cells), covered


def _repeat_border(window: np.ndarray, first: int, length: int, start: int, end: int) -> None:
    """Copies the mask's first and last row outwards where it touches the picture's border.

    Args:
        window: Cells, the mask in rows first .. first + length - 1. It is changed.
        first: Row of the window.
        length: Rows of the mask.
        start: Row of the picture that the mask begins with.
        end: Height of the picture.
    """
    if start == 0:
        window[:first] = window[first]
    if start + length == end:
        window[first + length :] = window[first + length - 1]


def _window_side(length: int, cells: int) -> int:
    """Pixels that the cells cover along an axis of which the mask has `length`."""
    if length + 2 <= cells:
        return cells
    return -(-length * cells // (cells - 2))


def _average(window: np.ndarray, cells: int) -> np.ndarray:
    """(S, S) uint8: 1 where at least half of a cell is covered.

    Less will do if no cell is covered that much as in the middle of most masks: thin ones, such as
    a rope across the picture, would fall apart.
    """
    if window.shape == (cells, cells):
        return window
    coverage = cv2.resize(window.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
    return (coverage >= min(0.5, coverage.max() / 2)).astype(np.uint8)


def from_cells(cells: np.ndarray, window: np.ndarray, size: tuple[int, int]) -> MaskCrop:
    """The mask that `to_cells` sampled, in a picture of (height, width) `size`.

    Args:
        cells: (S, S), 0 or 1.
        window: (4,) xyxy, frame of the picture.
        size: Of the picture.
    """
    (rows, columns), (x1, y1, x2, y2) = cells.shape, np.asarray(window, np.float64)
    to_picture = np.array([[(x2 - x1) / columns, 0, x1], [0, (y2 - y1) / rows, y1]])
    return warp_mask(MaskCrop(cells.astype(bool), 0, 0), to_picture, size)
