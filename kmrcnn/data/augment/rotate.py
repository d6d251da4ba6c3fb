"""Rotation by any angle about the middle of the picture, whose size stays."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from kmrcnn.data.augment.objects import with_moved_objects
from kmrcnn.data.augment.warp import warp_boxes, warp_image, warp_keypoints, warp_mask
from kmrcnn.data.example import Example

FILL = 128  # gray, of the corners that come into view


@dataclass(frozen=True)
class RandomRotation:
    """Turns by an angle drawn evenly from either side of none.

    Args:
        largest: Radians.
    """

    largest: float

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        return rotate(example, float(rng.uniform(-self.largest, self.largest)))


def rotate(example: Example, angle: float) -> Example:
    """Turns by `angle` radians, anticlockwise as one sees it.

    Boxes are drawn tightly around the turned masks; without masks, around the turned boxes, which
    is too large for all but boxlike objects.
    """
    height, width = example.size
    middle = np.array([width / 2, height / 2])
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])  # y points down
    matrix = np.column_stack([turn, middle - turn @ middle])
    masks = example.masks
    return with_moved_objects(
        example,
        warp_image(example.image, matrix, example.size, FILL),
        warp_boxes(example.boxes, matrix),
        None if masks is None else [warp_mask(mask, matrix, example.size) for mask in masks],
        warp_keypoints(example.keypoints, matrix),
        tight=True,
    )
