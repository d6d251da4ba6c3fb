"""Cutting a window out of an example, at random as Detectron2's "relative_range" does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmrcnn.data.augment.objects import with_moved_objects
from kmrcnn.data.augment.warp import warp_boxes, warp_keypoints
from kmrcnn.data.example import Example, MaskCrop


@dataclass(frozen=True)
class RandomCrop:
    """A window anywhere, each side a random share of the picture's.

    Args:
        least_side: Least share, in (0, 1].
    """

    least_side: float = 0.9

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        shares = rng.uniform(self.least_side, 1, size=2)
        size = np.maximum(1, np.floor(example.size * shares + 0.5)).astype(int)
        top, left = rng.integers(0, example.size - size + 1)
        return crop(example, int(top), int(left), (int(size[0]), int(size[1])))


def crop(example: Example, top: int, left: int, size: tuple[int, int]) -> Example:
    """The window of (height, width) `size` at (`top`, `left`).

    What is left of the objects has boxes drawn tightly around their masks, if there are any.

    Raises:
        ValueError: The window is empty or reaches out of the picture.
    """
    height, width = size
    bottom, right = top + height, left + width
    if not (0 <= top < bottom <= example.size[0] and 0 <= left < right <= example.size[1]):
        raise ValueError(
            f"The window must lie inside the image of size {example.size}. "
            f"Received: top={top}, left={left}, size={size}"
        )
    if size == example.size:
        return example
    matrix = np.array([[1, 0, -left], [0, 1, -top]])
    masks = example.masks
    return with_moved_objects(
        example,
        np.ascontiguousarray(example.image[top:bottom, left:right]),
        warp_boxes(example.boxes, matrix),
        None if masks is None else [move_mask(mask, -top, -left, size) for mask in masks],
        warp_keypoints(example.keypoints, matrix),
        tight=True,
    )


def move_mask(mask: MaskCrop, down: int, right: int, size: tuple[int, int]) -> MaskCrop:
    """The mask shifted by whole pixels into a picture of (height, width) `size`, cut to it."""
    top, left = mask.top + down, mask.left + right
    bitmap = mask.bitmap[max(0, -top) : max(0, size[0] - top)]
    bitmap = bitmap[:, max(0, -left) : max(0, size[1] - left)]
    if bitmap.size == 0:
        return MaskCrop(np.zeros((0, 0), bool), 0, 0)
    return MaskCrop(bitmap, max(0, top), max(0, left))
