"""Loss of the keypoint branch (He et al. 2017, section 5): one cell of M x M per keypoint."""

from __future__ import annotations

from keras import ops

from kmrcnn.structures.typing import Tensor


def keypoint_loss(
    logits: Tensor, cells: Tensor, valid: Tensor, divisor: float | None = None
) -> Tensor:
    """Softmax cross entropy over the cells of each visible keypoint; 0 without any.

    Args:
        logits: (P, M, M, J).
        cells: (P, J) int32 in 0..M*M-1.
        valid: (P, J) bool.
        divisor: Of the sum over keypoints; None: their number, so that the loss is a mean.
    """
    joints = logits.shape[3]
    side = logits.shape[1]
    flat = ops.reshape(ops.cast(logits, "float32"), (-1, side * side, joints))  # (P, M * M, J)
    wanted = ops.take_along_axis(flat, cells[:, None, :], axis=1)[:, 0]  # (P, J)
    weights = ops.cast(valid, "float32")
    total = ops.sum((ops.logsumexp(flat, axis=1) - wanted) * weights)
    number = ops.maximum(ops.sum(weights), 1.0) if divisor is None else divisor
    return total / number
