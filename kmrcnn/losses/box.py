"""Losses of the box branch (Girshick 2015, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from kmrcnn.losses.elementwise import masked_sum
from kmrcnn.structures.typing import Tensor


def box_losses(
    class_logits: Tensor,
    box_deltas: Tensor,
    classes: Tensor,
    goals: Tensor,
    foreground: Tensor,
    valid: Tensor,
    regression: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Softmax cross entropy over all RoIs, regression of the true class over the foreground; both
    per drawn RoI.

    Args:
        class_logits: (B, S, K + 1), background last.
        box_deltas: (B, S, K, 4), or (B, S, 1, 4) if class-agnostic.
        classes: (B, S) int32, K for background.
        goals: (B, S, 4), used where `foreground`.
        foreground: (B, S) bool.
        valid: (B, S) bool.
        regression: (deltas, goals) -> (B, S), of `regression_loss`.

    Returns:
        {"loss_cls": scalar, "loss_box": scalar}.
    """
    logits = ops.cast(class_logits, "float32")
    number = ops.maximum(ops.sum(ops.cast(valid, "float32")), 1.0)
    log_probabilities = ops.log_softmax(logits, axis=-1)
    cross_entropy = -ops.take_along_axis(log_probabilities, classes[..., None], axis=-1)[..., 0]
    sets = box_deltas.shape[2]
    index = ops.where(foreground, classes, 0) if sets > 1 else ops.zeros_like(classes)
    chosen = ops.take_along_axis(ops.cast(box_deltas, "float32"), index[..., None, None], axis=2)[
        :, :, 0
    ]
    box = regression(chosen, goals)
    return {
        "loss_cls": masked_sum(cross_entropy, valid) / number,
        "loss_box": masked_sum(box, foreground) / number,
    }
