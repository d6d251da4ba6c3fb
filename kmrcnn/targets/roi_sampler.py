"""Proposals plus ground truth to the fixed-size training set of the second stage."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from kmrcnn.structures import boxes as box_ops
from kmrcnn.structures.typing import Tensor
from kmrcnn.targets.matcher import match
from kmrcnn.targets.sampler import sample


class Samples(NamedTuple):
    """The RoIs of a training step, the only thing target makers see. S is the configured number per
    image.
    """

    boxes: Tensor  # (B, S, 4) float32, xyxy, network frame
    classes: Tensor  # (B, S) int32; num_classes for background
    gt_index: Tensor  # (B, S) int32, the matched ground truth
    foreground: Tensor  # (B, S) bool
    valid: Tensor  # (B, S) bool


def sample_rois(
    proposals: dict[str, Tensor],
    targets: dict[str, Tensor],
    num_classes: int,
    number: int,
    positive_fraction: float,
    foreground_iou: float,
    seed_generator=None,
) -> Samples:
    """Append the ground truth to the proposals, match, and draw `number` RoIs per image, foreground
    first.

    Args:
        proposals: {"boxes": (B, R, 4), "valid": (B, R)}.
        targets: {"boxes": (B, N, 4), "classes": (B, N), "valid": (B, N)}, network frame.
        num_classes: K, which is also the class of background RoIs.
        number: S.
        positive_fraction: Upper bound of the foreground's share.
        foreground_iou: At least this overlap: foreground; below: background.
        seed_generator: Source of randomness.
    """
    boxes = ops.concatenate([proposals["boxes"], ops.cast(targets["boxes"], "float32")], axis=1)
    usable = ops.concatenate([proposals["valid"], targets["valid"]], axis=1)  # (B, R + N)
    iou = box_ops.pairwise_iou(targets["boxes"], boxes)
    matches = match(iou, targets["valid"], foreground_iou, foreground_iou)
    drawn = sample(
        ops.logical_and(matches.foreground, usable),
        ops.logical_and(matches.background, usable),
        number,
        positive_fraction,
        seed_generator,
    )
    priority = 2.0 * ops.cast(drawn.foreground, "float32") + ops.cast(drawn.background, "float32")
    total = ops.shape(boxes)[1]
    take = min(number, total) if isinstance(total, int) else ops.minimum(number, total)
    priority, chosen = ops.top_k(priority, take)  # (B, S)
    gt_index = ops.take_along_axis(matches.index, chosen, axis=1)
    classes = ops.take_along_axis(ops.cast(targets["classes"], "int32"), gt_index, axis=1)
    foreground = priority > 1.5
    samples = Samples(
        ops.take_along_axis(boxes, chosen[..., None], axis=1),
        ops.where(foreground, classes, num_classes),
        gt_index,
        foreground,
        priority > 0.5,
    )
    return Samples(
        *(ops.stop_gradient(value) if i == 0 else value for i, value in enumerate(samples))
    )
