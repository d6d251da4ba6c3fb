"""Boxes as offsets from reference boxes (Girshick et al. 2014, appendix C) and back, in float32."""

import math

from keras import ops

from kmrcnn.structures.typing import Tensor

MAX_LOG_SCALE = math.log(1000.0 / 16)  # a box grows at most by this in one step; guards exp


def encode(boxes: Tensor, references: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Deltas (..., 4) = (dx, dy, dw, dh) that turn `references` (..., 4) into `boxes` (..., 4).

    Args:
        boxes: Targets, xyxy. Empty boxes give log(0) and must be masked by the caller.
        references: Anchors or proposals, xyxy, of the same frame.
        weights: Factors of (dx, dy, dw, dh): (1, 1, 1, 1) in the RPN, (10, 10, 5, 5) in box heads.
    """
    boxes, references = ops.cast(boxes, "float32"), ops.cast(references, "float32")
    sides, centres = _sides_and_centres(boxes)
    reference_sides, reference_centres = _sides_and_centres(references)
    shift = (centres - reference_centres) / reference_sides
    scale = ops.log(sides / reference_sides)
    return ops.concatenate([shift, scale], axis=-1) * ops.convert_to_tensor(weights, "float32")


def decode(deltas: Tensor, references: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Boxes (..., 4), xyxy, from deltas (..., 4): the inverse of `encode`.

    `references` may broadcast: (B, R, 1, 4) against class-specific deltas (B, R, K, 4).
    """
    deltas, references = ops.cast(deltas, "float32"), ops.cast(references, "float32")
    deltas = deltas / ops.convert_to_tensor(weights, "float32")
    reference_sides, reference_centres = _sides_and_centres(references)
    centres = deltas[..., :2] * reference_sides + reference_centres
    half = 0.5 * ops.exp(ops.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * reference_sides
    return ops.concatenate([centres - half, centres + half], axis=-1)


def _sides_and_centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return sides, boxes[..., :2] + 0.5 * sides
