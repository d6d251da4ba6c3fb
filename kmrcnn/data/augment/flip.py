"""Mirroring left to right and top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmrcnn.data.augment.objects import with_moved_objects
from kmrcnn.data.augment.warp import warp_boxes, warp_keypoints
from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.structures.keypoint_layout import mirrored_order

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors left to right.

    Args:
        probability: Chance of a flip, 0..1.
        keypoint_pairs: Indices of the key points that change places, such as left and right eye.
    """

    probability: float = 0.5
    keypoint_pairs: Pairs = ()

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        return flip(example, axis=1, keypoint_pairs=self.keypoint_pairs)


@dataclass(frozen=True)
class VerticalFlip:
    """Mirrors top to bottom; arguments as for `HorizontalFlip`."""

    probability: float = 0.5
    keypoint_pairs: Pairs = ()

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        return flip(example, axis=0, keypoint_pairs=self.keypoint_pairs)


def flip(example: Example, axis: int, keypoint_pairs: Pairs = ()) -> Example:
    """Mirrors along `axis`: 0 top to bottom, 1 left to right."""
    height, width = example.size
    matrix = np.array([[-1, 0, width], [0, 1, 0]] if axis == 1 else [[1, 0, 0], [0, -1, height]])
    masks, keypoints = example.masks, warp_keypoints(example.keypoints, matrix)
    if keypoints is not None:
        keypoints = keypoints[:, mirrored_order(keypoints.shape[1], keypoint_pairs)]
    return with_moved_objects(
        example,
        np.ascontiguousarray(np.flip(example.image, axis)),
        warp_boxes(example.boxes, matrix),
        None if masks is None else [_flip_mask(mask, axis, example.size) for mask in masks],
        keypoints,
        tight=False,
    )


def _flip_mask(mask: MaskCrop, axis: int, size: tuple[int, int]) -> MaskCrop:
    first = [mask.top, mask.left]
    first[axis] = size[axis] - first[axis] - mask.bitmap.shape[axis]
    return MaskCrop(np.flip(mask.bitmap, axis), *first)
