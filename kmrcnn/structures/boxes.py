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
    # Coordinate by coordinate: an innermost axis of two is several times slower.
    a = [ops.expand_dims(boxes_a[..., i], -1) for i in range(4)]  # (..., N, 1)
    b = [ops.expand_dims(boxes_b[..., i], -2) for i in range(4)]  # (..., 1, M)
    width = ops.maximum(ops.minimum(a[2], b[2]) - ops.maximum(a[0], b[0]), 0.0)
    height = ops.maximum(ops.minimum(a[3], b[3]) - ops.maximum(a[1], b[1]), 0.0)
    intersection = width * height
    areas = ops.expand_dims(area(boxes_a), -1) + ops.expand_dims(area(boxes_b), -2)
    union = areas - intersection
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
