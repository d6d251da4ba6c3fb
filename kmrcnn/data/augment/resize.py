"""Resizing an example; the pixels of the network frame itself come from `data.preprocess`."""

from __future__ import annotations

import cv2
import numpy as np

from kmrcnn.data.augment.objects import with_moved_objects
from kmrcnn.data.augment.warp import scaling, warp_boxes, warp_keypoints, warp_mask
from kmrcnn.data.example import Example


def resize(example: Example, size: tuple[int, int]) -> Example:
    """The example at (height, width) `size`.

    Pixels are averaged where the picture shrinks and interpolated where it grows, rounded to uint8.
    Boxes are scaled; objects too small for a pixel are dropped.

    Raises:
        ValueError: `size` has a side below one pixel.
    """
    if min(size) < 1:
        raise ValueError(f"`size` must be (height, width) of at least 1. Received: size={size}")
    if size == example.size:
        return example
    matrix = scaling(example.size, size)
    masks = example.masks
    return with_moved_objects(
        example,
        _resize_image(example.image, size),
        warp_boxes(example.boxes, matrix),
        None if masks is None else [warp_mask(mask, matrix, size) for mask in masks],
        warp_keypoints(example.keypoints, matrix),
        tight=False,
    )


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    for axis in (0, 1):  # one side may shrink while the other grows
        target = list(image.shape[:2])
        target[axis] = size[axis]
        way = cv2.INTER_AREA if target[axis] < image.shape[axis] else cv2.INTER_LINEAR
        resized = cv2.resize(image, tuple(target[::-1]), interpolation=way)
        image = resized.reshape(*target, image.shape[2])  # OpenCV drops a single channel
    return image
