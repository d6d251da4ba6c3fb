"""Rotation by 90, 180 and 270 degrees: nothing is interpolated or lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmrcnn.data.augment.objects import with_moved_objects
from kmrcnn.data.augment.warp import warp_boxes, warp_keypoints
from kmrcnn.data.example import Example, MaskCrop


@dataclass(frozen=True)
class RandomQuarterTurn:
    """Turns by one, two or three quarters, each as likely.

    Args:
        probability: Chance of a turn, 0..1.
    """

    probability: float = 0.5

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        return quarter_turn(example, int(rng.integers(1, 4)))


def quarter_turn(example: Example, turns: int) -> Example:
    """Turns anticlockwise, as one sees it, by `turns` quarters."""
    for _ in range(turns % 4):
        example = _turn_once(example)
    return example


def _turn_once(example: Example) -> Example:
    width = example.size[1]
    matrix = np.array([[0, 1, 0], [-1, 0, width]])  # (x, y) -> (y, width - x)
    masks = example.masks
    return with_moved_objects(
        example,
        np.ascontiguousarray(np.rot90(example.image)),
        warp_boxes(example.boxes, matrix),
        None if masks is None else [_turn_mask(mask, width) for mask in masks],
        warp_keypoints(example.keypoints, matrix),
        tight=False,
    )


def _turn_mask(mask: MaskCrop, width: int) -> MaskCrop:
    right = mask.left + mask.bitmap.shape[1]
    return MaskCrop(np.rot90(mask.bitmap), width - right, mask.top)
