"""Losses of the region proposal network (Ren et al. 2015, equation 1)."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from kmrcnn.losses.elementwise import binary_cross_entropy, masked_sum
from kmrcnn.structures.typing import Tensor


def rpn_losses(
    logits: Tensor,
    deltas: Tensor,
    goals: Tensor,
    foreground: Tensor,
    background: Tensor,
    regression: Callable[[Tensor, Tensor], Tensor],
    samples_per_image: int | None = None,
) -> dict[str, Tensor]:
    """Objectness and box loss over the drawn anchors.

    Args:
        logits: (B, A).
        deltas: (B, A, 4).
        goals: (B, A, 4), used where `foreground`.
        foreground: (B, A) bool, drawn.
        background: (B, A) bool, drawn.
        regression: (deltas, goals) -> (B, A), of `regression_loss`.
        samples_per_image: Divide by this times B (Detectron2); None: by the number drawn
            (torchvision).

    Returns:
        {"loss_rpn_cls": scalar, "loss_rpn_box": scalar}.
    """
    drawn = ops.logical_or(foreground, background)
    if samples_per_image is None:
        divisor = ops.maximum(ops.sum(ops.cast(drawn, "float32")), 1.0)
    else:
        divisor = ops.cast(samples_per_image * ops.shape(logits)[0], "float32")
    objectness = binary_cross_entropy(logits, ops.cast(foreground, "float32"))
    box = regression(deltas, goals)
    return {
        "loss_rpn_cls": masked_sum(objectness, drawn) / divisor,
        "loss_rpn_box": masked_sum(box, foreground) / divisor,
    }
