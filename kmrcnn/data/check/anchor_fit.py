"""How well the best of a model's anchors fits each box."""

from __future__ import annotations

import numpy as np

from kmrcnn.config.schema import AnchorConfig
from kmrcnn.rpn.anchors import cell_anchors

_FINEST_STRIDE = 4  # of the pyramid's first level; each further level doubles it


def best_ious(boxes: np.ndarray, canvas: np.ndarray, config: AnchorConfig) -> np.ndarray:
    """The IoU (N,) of each box with the anchor that fits it best.

    IoU falls with the distance along either axis, so of the anchors of one shape the nearest to the
    box's centre is the best: no other position needs a look.

    Args:
        boxes: (N, 4) xyxy, network frame, with areas above 0.
        canvas: (N, 2) height and width of each box's padded picture.
        config: Sizes, ratios and grid of the anchors.
    """
    best = np.zeros(len(boxes))
    level_sizes = -(-canvas // _FINEST_STRIDE)  # (N, 2)
    for level, sizes in enumerate(config.sizes):
        steps = np.full_like(canvas, _FINEST_STRIDE * 2**level)
        if config.strides == "derived":
            steps = canvas // level_sizes
        for cell in cell_anchors(config, sizes):
            anchors = _nearest_anchors(boxes, cell, steps, level_sizes, config.offset)
            best = np.maximum(best, _iou(boxes, anchors))
        level_sizes = -(-level_sizes // 2)
    return best


def _nearest_anchors(
    boxes: np.ndarray, cell: np.ndarray, steps: np.ndarray, level_sizes: np.ndarray, offset: float
) -> np.ndarray:
    """Of the anchors of one shape on one level, the one (N, 4) whose centre is nearest."""
    steps, level_sizes = steps[:, ::-1], level_sizes[:, ::-1]  # x, y
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - (cell[:2] + cell[2:]) / 2
    indices = np.clip(np.round(centres / steps - offset), 0, level_sizes - 1)
    return np.tile((indices + offset) * steps, 2) + cell


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU (N,) of boxes (N, 4) and others (N, 4), row by row."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = sum(np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, others))
    return shared / (areas - shared)
