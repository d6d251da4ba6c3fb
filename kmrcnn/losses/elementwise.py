"""Losses of single numbers, float32, not reduced."""

from keras import ops

from kmrcnn.structures.typing import Tensor


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Of logits against targets in [0, 1], in the form that cannot overflow; same shape as the
    inputs.
    """
    return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def smooth_l1(predictions: Tensor, targets: Tensor, beta: float) -> Tensor:
    """0.5 x^2 / beta below beta, |x| - beta / 2 above (Girshick 2015, equation 3); beta 0 is plain
    L1.
    """
    difference = ops.abs(predictions - targets)
    if beta <= 0:
        return difference
    return ops.where(difference < beta, 0.5 * difference**2 / beta, difference - 0.5 * beta)


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of `values` where `mask`; other entries, even non-finite ones, do not count."""
    return ops.sum(ops.where(mask, values, 0.0))
