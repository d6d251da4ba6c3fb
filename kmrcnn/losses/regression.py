"""How far a predicted box is from its goal: smooth L1 of the deltas, or generalised IoU."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from kmrcnn.losses.elementwise import smooth_l1
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets import box_coder

_TINY = 1e-7  # square pixels; as in fvcore


def regression_loss(
    kind: str, beta: float, references: Tensor, weights: tuple[float, ...]
) -> Callable[[Tensor, Tensor], Tensor]:
    """The function (deltas (..., 4), goals (..., 4)) -> loss (...) of a configuration.

    Args:
        kind: "smooth_l1" of the deltas, summed over the four, or "giou" of the decoded boxes, as
            Detectron2's `BBOX_REG_LOSS_TYPE`.
        beta: Of smooth L1.
        references: (..., 4), the boxes that the deltas refer to.
        weights: Of the box coder.
    """
    if kind == "smooth_l1":
        return lambda deltas, goals: ops.sum(smooth_l1(deltas, goals, beta), axis=-1)
    return lambda deltas, goals: generalized_iou_loss(
        box_coder.decode(deltas, references, weights), box_coder.decode(goals, references, weights)
    )


def generalized_iou_loss(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi et al. 2019), in 0..2, of boxes (..., 4) pair by pair.

    Finite, with finite gradients, for boxes without area.
    """
    inner_low = ops.maximum(boxes_a[..., :2], boxes_b[..., :2])
    inner_high = ops.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    outer_low = ops.minimum(boxes_a[..., :2], boxes_b[..., :2])
    outer_high = ops.maximum(boxes_a[..., 2:], boxes_b[..., 2:])
    shared = _area(inner_low, inner_high)
    union = _area(boxes_a[..., :2], boxes_a[..., 2:]) + _area(boxes_b[..., :2], boxes_b[..., 2:])
    union = union - shared
    hull = _area(outer_low, outer_high)
    return 1.0 - shared / (union + _TINY) + (hull - union) / (hull + _TINY)


def _area(low: Tensor, high: Tensor) -> Tensor:
    sides = ops.maximum(high - low, 0.0)
    return sides[..., 0] * sides[..., 1]
