"""Losses of the mask branch (He et al. 2017, section 3 and table 2b)."""

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
    return _mean(binary_cross_entropy(ops.cast(logits, "float32"), targets), valid)


def multinomial_mask_loss(
    logits: Tensor, classes: Tensor, targets: Tensor, valid: Tensor
) -> Tensor:
    """Mean cross entropy of a softmax per pixel over the pixels of all foreground RoIs; 0 without
    any.

    A pixel of the mask is of the RoI's class, another one background.

    Args:
        logits: (P, M, M, K + 1), background last.
        classes: (P,) int32 in 0..K-1.
        targets: (P, M, M) in [0, 1].
        valid: (P,) bool.
    """
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    index = classes[:, None, None, None]
    inside = ops.take_along_axis(log_probabilities, index, axis=-1)[..., 0]  # (P, M, M)
    outside = log_probabilities[..., -1]
    return _mean(-(targets * inside + (1.0 - targets) * outside), valid)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Of values (P, M, M), over the valid RoIs."""
    weights = ops.cast(valid, "float32")
    per_roi = ops.mean(values, axis=(1, 2))
    return ops.sum(per_roi * weights) / ops.maximum(ops.sum(weights), 1.0)
