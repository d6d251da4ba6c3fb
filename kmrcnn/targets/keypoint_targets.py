"""Ground-truth keypoints in the frame of the RoIs: the cell of the heatmap each lies in."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from kmrcnn.structures.typing import Tensor


class KeypointTargets(NamedTuple):
    """What heatmaps should say."""

    cells: Tensor  # (P, J) int32, row * M + column; 0 where not valid
    valid: Tensor  # (P, J) bool: labelled, and inside the RoI


def keypoint_targets(
    keypoints: Tensor, boxes: Tensor, batch_indices: Tensor, gt_index: Tensor, size: int
) -> KeypointTargets:
    """The cells of the matched keypoints (Detectron2's and torchvision's rule).

    A point on the far edge of a box belongs to its last cell.

    Args:
        keypoints: (B, N, J, 3) x, y, visibility (0: not labelled), network frame.
        boxes: (P, 4), xyxy, network frame.
        batch_indices: (P,) int32.
        gt_index: (P,) int32 in 0..N-1.
        size: M.
    """
    number, joints = keypoints.shape[1] or ops.shape(keypoints)[1], keypoints.shape[2]
    flat = ops.reshape(ops.cast(keypoints, "float32"), (-1, joints, 3))
    matched = ops.take(flat, batch_indices * number + gt_index, axis=0)  # (P, J, 3)
    column = _cell(matched[..., 0], boxes[:, 0:1], boxes[:, 2:3], size)
    row = _cell(matched[..., 1], boxes[:, 1:2], boxes[:, 3:4], size)
    valid = matched[..., 2] > 0
    for cell in (column, row):
        valid = ops.logical_and(valid, ops.logical_and(cell >= 0, cell < size))
    cells = ops.cast(ops.where(valid, row * size + column, 0.0), "int32")
    return KeypointTargets(ops.stop_gradient(cells), valid)


def _cell(points: Tensor, start: Tensor, end: Tensor, size: int) -> Tensor:
    """Number of the cell along one axis, as float32; outside 0..size-1 for points outside, and for
    boxes without length.
    """
    length = end - start
    cell = ops.floor((points - start) * (size / ops.maximum(length, 1e-6)))
    cell = ops.where(points == end, float(size - 1), cell)
    return ops.where(length > 0, cell, -1.0)
