"""What is left of an example's objects after a geometric transform: the rule all of them share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kmrcnn.data.example import Example, MaskCrop


def with_moved_objects(
    example: Example,
    image: np.ndarray,
    boxes: np.ndarray,
    masks: Sequence[MaskCrop] | None,
    keypoints: np.ndarray | None,
    *,
    tight: bool,
) -> Example:
    """The example after a transform: boxes clipped, key points outside unlabelled, and objects
    without a pixel dropped. (An object that has an empty mask from the start has only a box.)

    Args:
        example: Before the transform; gives classes, crowds and the name.
        image: (H, W, C) uint8, after the transform.
        boxes: (N, 4), xyxy, frame of `image`; may reach out of it.
        masks: N masks within `image`, or None.
        keypoints: (N, J, 3), frame of `image`, or None.
        tight: Measure boxes anew from the masks, where there are any. For transforms that cut or
            turn objects; others move the annotated boxes as they are, as the references do.
    """
    size = image.shape[:2]
    boxes = clip_boxes(boxes, size)
    gone = np.zeros(len(boxes), bool)
    if masks is not None:
        masks = [tightened(mask) for mask in masks]
        outlined = np.array([mask.bitmap.any() for mask in example.masks], bool)
        gone = outlined & np.array([mask.bitmap.size == 0 for mask in masks], bool)
        if tight:
            tight_boxes = np.array([mask.box() for mask in masks], np.float32).reshape(-1, 4)
            boxes = np.where(outlined[:, None], tight_boxes, boxes)
    if keypoints is not None:
        keypoints = unlabel_outside(keypoints, size)
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1) & ~gone)
    return Example(
        image,
        boxes[kept],
        example.classes[kept],
        None if masks is None else tuple(masks[i] for i in kept),
        example.is_crowd[kept],
        image_id=example.image_id,
        keypoints=None if keypoints is None else keypoints[kept],
    )


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) float32, xyxy, within a picture of (height, width)."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height])).astype(np.float32)


def tightened(mask: MaskCrop) -> MaskCrop:
    """The same mask in its tight window; (0, 0) if it is empty."""
    inner = MaskCrop.from_full(mask.bitmap)
    if inner.bitmap.size == 0:
        return inner
    return MaskCrop(inner.bitmap, mask.top + inner.top, mask.left + inner.left)


def unlabel_outside(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points outside the picture, or without a label, become (0, 0, 0), as COCO writes them."""
    height, width = size
    x, y, visibility = np.moveaxis(keypoints, -1, 0)
    labelled = (visibility > 0) & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    return np.where(labelled[..., None], keypoints, 0).astype(np.float32)
