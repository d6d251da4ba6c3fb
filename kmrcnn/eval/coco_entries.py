"""Annotations of our datasets as COCO's entries: boxes as xywh, masks as run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.data.measures import can_be_filled
from kmrcnn.data.records import Instance
from kmrcnn.structures.masks import mask_to_rle


def instance_entry(
    instance: Instance, category_ids: Sequence[int], size: tuple[int, int] | None
) -> dict[str, Any]:
    """An annotation of a dataset file as COCO writes it.

    Args:
        instance: The annotation.
        category_ids: Category id of each class.
        size: (height, width) of its picture; only a bitmap needs it.
    """
    entry = _box_entry(instance.box, category_ids[instance.class_index], instance.is_crowd)
    entry["area"] = instance.area
    segmentation = instance.segmentation
    if isinstance(segmentation, MaskCrop):
        entry["segmentation"] = mask_to_rle(segmentation.to_full(size))
    elif isinstance(segmentation, Mapping):
        entry["segmentation"] = dict(segmentation)
    elif segmentation is not None:
        entry["segmentation"] = [np.asarray(part, float).ravel().tolist() for part in segmentation]
    if instance.keypoints is not None:
        entry["keypoints"] = np.asarray(instance.keypoints, float).ravel().tolist()
    return entry


def example_entries(example: Example, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The annotations of a picture as COCO writes them."""
    entries = []
    for index, box in enumerate(example.boxes):
        category_id = category_ids[int(example.classes[index])]
        entry = _box_entry(box, category_id, example.is_crowd[index])
        entry["area"] = float(example.area[index])
        if example.masks is not None:
            entry["segmentation"] = mask_to_rle(example.masks[index].to_full(example.size))
        if example.keypoints is not None:
            entry["keypoints"] = example.keypoints[index].astype(float).ravel().tolist()
        entries.append(entry)
    return entries


def to_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Compressed run lengths of COCO's polygons, plain or compressed run lengths.

    Args:
        segmentation: Flat polygons [x0, y0, x1, ...], or ``{"size", "counts"}``.
        size: (height, width) of the picture.

    Raises:
        ValueError: A polygon is absurdly long.
    """
    height, width = size
    if isinstance(segmentation, Mapping):
        if not isinstance(segmentation["counts"], list):
            return dict(segmentation)
        return coco_mask.frPyObjects(dict(segmentation), height, width)
    for outline in segmentation:
        if not can_be_filled(np.asarray(outline, np.float64).reshape(-1, 2)):
            raise ValueError(
                "`segmentation` has a polygon that leads too far outside to be filled. "
                f"Received: {str(outline)[:80]}. `kmrcnn data check --fix` removes such objects."
            )
    return coco_mask.merge(coco_mask.frPyObjects(list(segmentation), height, width))


def _box_entry(box: Sequence[float], category_id: int, is_crowd: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return {
        "category_id": category_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "iscrowd": int(is_crowd),
    }
