"""Box geometry in keras.ops: the only place where boxes are measured or clipped.

Boxes are absolute xyxy, float32, in continuous coordinates: pixel i covers [i, i + 1).
"""

from keras import ops

from kmrcnn.structures.typing import Tensor


def area(boxes: Tensor) -> Tensor:
    """Areas (...,) of boxes (..., 4); negative sides count as zero."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Intersection over union (..., N, M) of boxes (..., N, 4) and (..., M, 4); 0 for empty
    boxes.
    """
    a, b = ops.expand_dims(boxes_a, -2), ops.expand_dims(boxes_b, -3)
    corner_min = ops.maximum(a[..., :2], b[..., :2])
    corner_max = ops.minimum(a[..., 2:], b[..., 2:])
    sides = ops.maximum(corner_max - corner_min, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(a) + area(b) - intersection
    return ops.where(intersection > 0, intersection / ops.maximum(union, 1e-12), 0.0)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes (B, ..., 4) moved inside limits: images of size (B, 2) = (height, width), or rectangles
    (B, 4), xyxy.
    """
    limits = ops.cast(limits, boxes.dtype)
    if limits.shape[-1] == 4:
        lowest = _over_boxes(ops.concatenate([limits[:, :2], limits[:, :2]], axis=-1), boxes)
        limits = ops.concatenate([limits[:, 2:], limits[:, 2:]], axis=-1)
    else:
        lowest = 0.0
        limits = ops.stack([limits[:, 1], limits[:, 0], limits[:, 1], limits[:, 0]], axis=-1)
    return ops.minimum(ops.maximum(boxes, lowest), _over_boxes(limits, boxes))


def _over_boxes(rows: Tensor, boxes: Tensor) -> Tensor:
    """Rows (B, 4) as (B, 1, ..., 4), of the rank of `boxes`."""
    for _ in range(len(boxes.shape) - 2):
        rows = ops.expand_dims(rows, 1)
    return rows


def sides_at_least(boxes: Tensor, min_size: float) -> Tensor:
    """Mask (...,) of the boxes (..., 4) whose width and height are at least `min_size` pixels."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return ops.all(sides >= min_size, axis=-1)
