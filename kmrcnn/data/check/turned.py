"""Annotations of a lying picture in the frame of the upright one, as EXIF turns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.instance_masks import decode_mask
from kmrcnn.data.records import Instance
from kmrcnn.structures.masks import mask_to_rle

_BITMAP_TURNS = {
    5: lambda mask: mask.T,
    6: lambda mask: np.rot90(mask, -1),
    7: lambda mask: np.rot90(mask, 2).T,
    8: lambda mask: np.rot90(mask, 1),
}


def turn_instance(instance: Instance, orientation: int, size: tuple[int, int]) -> Instance:
    """Turns box, mask and keypoints of an object.

    Args:
        instance: Annotated in the picture as stored.
        orientation: EXIF's, 5..8: those that swap height and width.
        size: (height, width) of the picture as stored.
    """
    corners = turn_points(np.reshape(instance.box, (2, 2)), orientation, size)
    box = (*corners.min(0).tolist(), *corners.max(0).tolist())
    segmentation = _turn_mask(instance.segmentation, orientation, size)
    keypoints = instance.keypoints
    if keypoints is not None:
        keypoints = turn_keypoints(keypoints, orientation, size)
    return replace(instance, box=box, segmentation=segmentation, keypoints=keypoints)


def turn_points(points: np.ndarray, orientation: int, size: tuple[int, int]) -> np.ndarray:
    """Points (P, 2) x, y of the stored picture of size (height, width) -> of the upright one."""
    height, width = size
    x, y = points[:, 0], points[:, 1]
    turned = {
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }[orientation]
    return np.stack(turned, axis=1)  # (P, 2)


def turn_keypoints(keypoints: np.ndarray, orientation: int, size: tuple[int, int]) -> np.ndarray:
    """Keypoints (J, 3) x, y, visibility; those that are not labelled stay at their zeros."""
    turned = keypoints.copy()
    labelled = keypoints[:, 2] > 0
    turned[labelled, :2] = turn_points(keypoints[labelled, :2], orientation, size)
    return turned


def _turn_mask(segmentation: Any, orientation: int, size: tuple[int, int]) -> Any:
    if segmentation is None:
        return None
    if isinstance(segmentation, (Mapping, MaskCrop)):
        bitmap = decode_mask(segmentation, size).to_full(size)
        return mask_to_rle(_BITMAP_TURNS[orientation](bitmap))
    return [turn_points(part, orientation, size) for part in segmentation]
