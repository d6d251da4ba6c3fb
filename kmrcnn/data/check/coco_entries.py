"""Records of any format as entries of a COCO file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.data.check.masks import to_rles
from kmrcnn.data.check.raw_coco import RawCoco
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.instance_masks import decode_mask
from kmrcnn.data.records import AnnotatedImages, Instance, Record
from kmrcnn.structures.masks import mask_to_rle


def coco_entries(dataset: AnnotatedImages, images: Path) -> RawCoco:
    """Makes COCO entries of a dataset's records: those of annotations hold an id only, the rest is
    for `instance_fields`.

    Args:
        dataset: Any dataset; pictures and objects get new ids, numbers from 1 on.
        images: The folder from which file names start.
    """
    raw = RawCoco(
        {"categories": _category_entries(dataset)},
        list(dataset.class_names),
        list(dataset.category_ids),
        dataset.records,
    )
    next_id = itertools.count(1)
    for number, record in enumerate(dataset.records, start=1):
        raw.images.append(_image_entry(record, number, images))
        raw.annotations.append([{"id": next(next_id)} for _ in record.instances])
    return raw


def instance_fields(instance: Instance, size: tuple[int, int]) -> dict[str, Any]:
    """Those fields of an annotation that describe where an object is.

    Args:
        instance: The object.
        size: (height, width) of its picture.
    """
    left, top, right, bottom = (float(side) for side in instance.box)
    fields = {
        "bbox": [left, top, right - left, bottom - top],
        "area": instance.area,
        "iscrowd": int(instance.is_crowd),
    }
    if instance.segmentation is not None:
        fields["segmentation"] = _segmentation(instance.segmentation, size)
    if instance.area is None:
        fields["area"] = _area(instance, size)
    if instance.keypoints is not None:
        fields["keypoints"] = np.asarray(instance.keypoints, float).ravel().tolist()
        fields["num_keypoints"] = int((instance.keypoints[:, 2] > 0).sum())
    return fields


def _category_entries(dataset: AnnotatedImages) -> list[dict[str, Any]]:
    keypoints = {"keypoints": list(dataset.keypoint_names)} if dataset.keypoint_names else {}
    return [
        {"id": category_id, "name": name, **keypoints}
        for category_id, name in zip(dataset.category_ids, dataset.class_names)
    ]


def _image_entry(record: Record, number: int, images: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": number}
    if record.path is not None:
        entry["file_name"] = record.path.absolute().relative_to(images.absolute()).as_posix()
    if record.size is not None:
        entry["height"], entry["width"] = record.size
    return entry


def _segmentation(
    segmentation: Sequence[np.ndarray] | dict[str, Any] | MaskCrop, size: tuple[int, int]
) -> list[list[float]] | dict[str, Any]:
    if isinstance(segmentation, MaskCrop):
        return mask_to_rle(decode_mask(segmentation, size).to_full(size))
    if isinstance(segmentation, dict):
        return segmentation
    return [np.asarray(part, float).ravel().tolist() for part in segmentation]


def _area(instance: Instance, size: tuple[int, int]) -> float:
    """Pixels of the mask, else the box's area."""
    if instance.segmentation is not None:
        return float(coco_mask.area(coco_mask.merge(to_rles(instance.segmentation, size))))
    left, top, right, bottom = instance.box
    return float((right - left) * (bottom - top))
