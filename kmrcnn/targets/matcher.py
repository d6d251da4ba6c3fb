"""Which ground-truth box does each anchor or proposal belong to (Ren et al. 2015, section
3.1.2).
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from kmrcnn.structures.typing import Tensor


class Matches(NamedTuple):
    """The best ground truth of each candidate; a candidate that is neither foreground nor
    background is ignored.
    """

    index: Tensor  # (B, A) int32 in 0..N-1
    foreground: Tensor  # (B, A) bool
    background: Tensor  # (B, A) bool


def match(
    iou: Tensor,
    valid: Tensor,
    foreground_iou: float,
    background_iou: float,
    force_best: bool = False,
) -> Matches:
    """Assign candidates by overlap.

    Args:
        iou: (B, N, A) of N ground-truth slots against A candidates.
        valid: (B, N) bool, which slots hold a box. Without any, every candidate is background.
        foreground_iou: At least this: foreground.
        background_iou: Below this: background.
        force_best: Every ground truth also makes the candidates that overlap it most foreground,
            ties included. Such a candidate keeps the ground truth that *it* overlaps most, as in
            torchvision and Detectron2.
    """
    iou = ops.where(valid[..., None], iou, -1.0)
    best = ops.max(iou, axis=1)  # (B, A)
    index = ops.cast(ops.argmax(iou, axis=1), "int32")
    foreground = best >= foreground_iou
    background = best < background_iou
    if force_best:
        best_of_gt = ops.max(iou, axis=2, keepdims=True)  # (B, N, 1)
        forced = ops.logical_and(iou == best_of_gt, valid[..., None])
        forced = ops.any(forced, axis=1)
        foreground = ops.logical_or(foreground, forced)
        background = ops.logical_and(background, ops.logical_not(forced))
    return Matches(index, foreground, background)
