"""All that can be wrong with one annotated object, and with objects beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.data.check.boxes import box_fault, clip_box
from kmrcnn.data.check.kinds import Fault
from kmrcnn.data.check.masks import mask_box, mask_fault, to_rles
from kmrcnn.data.records import Instance, Problem, Record

MASK_BOX_TOLERANCE = 3.0  # px between a side of the box and that of the tight box of the mask
NEAR_DUPLICATE_IOU = 0.9  # of boxes, for objects of one class
DUPLICATE_MASK_IOU = 0.5  # objects whose masks overlap less differ, however equal their boxes are
_ROWS = 1024  # of the matrix of overlaps held at a time


@dataclass(frozen=True)
class MaskRules:
    """What the masks of a dataset have to be like.

    Attributes:
        are_expected: It is a fault of an object to have no mask.
        are_labels: Bitmaps stem from label images, in which objects hide each other and have
            undecided borders, so that they may be smaller than their boxes.
    """

    are_expected: bool = False
    are_labels: bool = False


def check_instances(
    record: Record, size: tuple[int, int] | None, rules: MaskRules
) -> list[Problem]:
    """Checks boxes and masks of the objects of one picture.

    Args:
        record: The picture.
        size: (height, width) of the frame in which it was annotated; None: unknown.
        rules: What its masks have to be like.
    """
    problems = [
        Problem(fault.kind, fault.message, record.image_id, instance.annotation_id)
        for instance in record.instances
        for fault in instance_faults(instance, size, rules)
    ]
    return problems + [
        Problem(
            "near-duplicate-box",
            f"its box covers that of object {_name(record, first)} of the same class "
            f"to {iou:.0%} (IoU)",
            record.image_id,
            record.instances[second].annotation_id,
        )
        for first, second, iou in near_duplicates(record, size)
    ]


def instance_faults(
    instance: Instance, size: tuple[int, int] | None, rules: MaskRules
) -> list[Fault]:
    """The worst fault of the box and of the mask of one object; where both are sound, whether they
    agree.

    Args:
        instance: The object.
        size: (height, width) of the frame in which it was annotated; None: unknown.
        rules: What its mask has to be like.
    """
    of_box = box_fault(instance.box, size)
    of_mask, tight = None, None
    if instance.segmentation is not None:
        of_mask = mask_fault(instance.segmentation, size)
        if of_mask is None and size is not None:
            tight = mask_box(instance.segmentation, size)
            if tight is None:
                of_mask = Fault("empty-mask", "its mask has no pixel inside the picture")
    elif rules.are_expected:
        of_mask = Fault("missing-mask", "it has a box but no mask")
    faults = [fault for fault in (of_box, of_mask) if fault is not None]
    if tight is not None and (of_box is None or of_box.kind == "box-beyond-image"):
        if not rules.are_labels or isinstance(instance.segmentation, list):
            faults += _disagreement(instance, tight, size)
    return faults


def near_duplicates(
    record: Record, size: tuple[int, int] | None
) -> Iterator[tuple[int, int, float]]:
    """Finds pairs of objects of one class, none a crowd, with nearly the same box and mask.

    Yields:
        (index of the first, index of the second, IoU of their boxes).
    """
    instances = record.instances
    sound = [
        index
        for index, one in enumerate(instances)
        if not one.is_crowd and box_fault(one.box, None) is None
    ]
    if len(sound) < 2:
        return
    boxes = np.array([instances[index].box for index in sound], np.float64)
    boxes[:, 2:] -= boxes[:, :2]  # (n, 4) xywh
    classes = np.array([instances[index].class_index for index in sound])
    for start in range(0, len(sound), _ROWS):
        rows = slice(start, start + _ROWS)
        ious = coco_mask.iou(boxes[rows], boxes, [0] * len(boxes))  # (rows, n)
        ious[classes[rows, None] != classes] = 0
        for row, column in zip(*np.nonzero(np.triu(ious, start + 1) >= NEAR_DUPLICATE_IOU)):
            first, second = sound[start + row], sound[column]
            if _masks_agree(instances[first], instances[second], size):
                yield first, second, float(ious[row, column])


def _disagreement(instance: Instance, tight: np.ndarray, size: tuple[int, int]) -> list[Fault]:
    """The fault of a box that is off the tight box (4,) of its mask, if it is.

    COCO's boxes are those of the outlines: a tip too thin to cover a pixel is no fault.
    """
    box = np.array(clip_box(instance.box, size))
    distance = np.abs(box - tight).max()
    if distance <= MASK_BOX_TOLERANCE:
        return []
    message = f"a side of its box is {distance:.1f} px off its mask"
    if isinstance(instance.segmentation, list):
        points = np.concatenate(instance.segmentation)
        outline = np.array(clip_box((*points.min(0), *points.max(0)), size))
        if np.abs(box - outline).max() <= MASK_BOX_TOLERANCE:
            message += ": its outline has a tip too thin to cover a pixel"
            return [Fault("thin-tip", message)]
    return [Fault("mask-box-mismatch", message)]


def _masks_agree(first: Instance, second: Instance, size: tuple[int, int] | None) -> bool:
    """False if the masks show that these are two objects after all."""
    masks = (first.segmentation, second.segmentation)
    if size is None or None in masks or any(mask_fault(mask, size) for mask in masks):
        return True
    merged = [coco_mask.merge(to_rles(mask, size)) for mask in masks]
    return float(coco_mask.iou(merged[:1], merged[1:], [0])[0, 0]) >= DUPLICATE_MASK_IOU


def _name(record: Record, index: int) -> str:
    annotation_id = record.instances[index].annotation_id
    return f"number {index}" if annotation_id is None else repr(annotation_id)
