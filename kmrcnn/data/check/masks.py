"""Masks: polygons and run lengths that mean nothing, empty masks, and the box around the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.data.check.kinds import Fault
from kmrcnn.data.datasets.collector import shortened
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.instance_masks import decode_mask, require_rle
from kmrcnn.data.measures import can_be_filled


def mask_fault(segmentation: Any, size: tuple[int, int] | None) -> Fault | None:
    """Finds what makes a mask unreadable, or part of it.

    Args:
        segmentation: Polygons, RLE or `MaskCrop`, or whatever the file has in their place.
        size: (height, width) of the picture it was drawn on; None leaves out what needs it.
    """
    if isinstance(segmentation, MaskCrop):
        return None
    if isinstance(segmentation, Mapping):
        return _rle_fault(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        return Fault("bad-polygon", f"the mask is {shortened(segmentation)}")
    return _polygons_fault(segmentation)


def mask_box(segmentation: Any, size: tuple[int, int]) -> np.ndarray | None:
    """The tight box (4,) float64 xyxy around a mask's pixels inside the picture; None if it has
    none.

    Args:
        segmentation: Polygons, RLE or `MaskCrop` without a `mask_fault`.
        size: (height, width) of the picture.
    """
    if isinstance(segmentation, MaskCrop):
        return _crop_box(segmentation, size)
    rles = to_rles(segmentation, size)
    rles = [rle for rle, area in zip(rles, coco_mask.area(rles)) if area > 0]
    if not rles:
        return None
    boxes = coco_mask.toBbox(rles)  # (parts, 4) xywh
    return np.concatenate([boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)])


def to_rles(segmentation: Any, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Compressed RLEs (one per polygon) whose union is the mask, in a picture of size (height,
    width).
    """
    height, width = size
    if isinstance(segmentation, MaskCrop):
        bitmap = decode_mask(segmentation, size).to_full(size)
        return [coco_mask.encode(np.asfortranarray(bitmap, np.uint8))]
    if not isinstance(segmentation, Mapping):
        return coco_mask.frPyObjects(
            [part.ravel().tolist() for part in segmentation], height, width
        )
    counts = segmentation["counts"]
    if isinstance(counts, (str, bytes)):
        counts = counts.encode("ascii") if isinstance(counts, str) else counts
        return [{"size": [height, width], "counts": counts}]
    uncompressed = {"size": [height, width], "counts": [int(run) for run in counts]}
    return [coco_mask.frPyObjects(uncompressed, height, width)]


def usable_polygons(polygons: list[Any]) -> list[np.ndarray]:
    """Those of the parts of a mask that have at least three points, all of them numbers."""
    return [part for part in polygons if _has_points(part) and len(part) >= 3]


def _polygons_fault(polygons: list[Any]) -> Fault | None:
    for part in polygons:
        if not _has_points(part):
            return Fault("bad-polygon", f"a polygon is {shortened(part)}")
    short = [len(part) for part in polygons if len(part) < 3]
    if short:
        message = f"a polygon of {short[0]} point(s)"
        if len(polygons) > 1:
            message = f"{len(short)} of {len(polygons)} polygons too short: {message}"
        return Fault("polygon-too-short", message)
    return None


def _has_points(part: Any) -> bool:
    good = isinstance(part, np.ndarray) and part.ndim == 2 and part.shape[1] == 2
    return good and part.dtype.kind in "fiu" and can_be_filled(part)


def _rle_fault(rle: Mapping[str, Any], size: tuple[int, int] | None) -> Fault | None:
    try:
        require_rle(rle)
    except ValueError as error:
        return Fault("bad-rle", str(error))
    height, width = (int(side) for side in rle["size"])
    if size is None or (height, width) == tuple(size):
        return None
    message = (
        f"run lengths for {height} x {width} px (height x width), the picture has "
        f"{size[0]} x {size[1]}"
    )
    if (width, height) == tuple(size):
        message += ": height and width are swapped"
    return Fault("rle-size-mismatch", message)


def _crop_box(crop: MaskCrop, size: tuple[int, int]) -> np.ndarray | None:
    inside = decode_mask(crop, size)
    tight = MaskCrop.from_full(inside.bitmap)
    if tight.bitmap.size == 0:
        return None
    return tight.box().astype(np.float64) + np.tile([inside.left, inside.top], 2)
