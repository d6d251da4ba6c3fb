"""Loss of the mask branch (He et al. 2017, section 3)."""

from keras import ops

from kmrcnn.losses.elementwise import binary_cross_entropy
from kmrcnn.structures.typing import Tensor


def mask_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross entropy over the pixels of all foreground RoIs; 0 without any.

    Args:
        logits: (P, M, M), of the true class.
        targets: (P, M, M) in [0, 1].
        valid: (P,) bool.
    """
    per_roi = ops.mean(binary_cross_entropy(ops.cast(logits, "float32"), targets), axis=(1, 2))
    weights = ops.cast(valid, "float32")
    return ops.sum(per_roi * weights) / ops.maximum(ops.sum(weights), 1.0)
