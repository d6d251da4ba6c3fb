"""Gathering records from annotation files: what cannot be used is left out, counted and reported,
and never stops the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os.path import isfile  # unlike Path's, it takes names that no file can have
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.instance_masks import require_rle, rle_box
from kmrcnn.data.measures import LARGEST, can_be_filled, to_area, to_box
from kmrcnn.data.records import AnnotatedImages, Instance, Problem, Record, Segmentation

_DETAILS = 80  # characters of a broken value that a message shows


class Collector:
    """Builds an `AnnotatedImages`, checking each object and noting what is left out.

    Kinds of problems: missing-image, unreadable-image, duplicate-image-id, broken-record,
    unknown-image, unknown-category, bad-box, zero-area-box, box-outside-image, polygon-too-short,
    bad-polygon, bad-rle, rle-size-mismatch, empty-mask, missing-mask, unreadable-mask,
    mask-size-mismatch, bad-area, bad-image-size, bad-keypoints, unsupported-shape.

    Args:
        name: Of the dataset.
        rectangles_are_masks: Where some objects have outlines and others a box only, the box is
            the outline (annotation tools); otherwise such objects are left out.
    """

    def __init__(self, name: str, rectangles_are_masks: bool = False):
        self.name = name
        self.rectangles_are_masks = rectangles_are_masks
        self.records: list[Record] = []
        self.problems: list[Problem] = []
        self._image_ids: set[int | str] = set()

    def note(
        self,
        kind: str,
        message: str,
        image_id: int | str | None = None,
        annotation_id: int | str | None = None,
    ) -> None:
        """Notes that something is left out."""
        self.problems.append(Problem(kind, message, image_id, annotation_id))

    def add(self, record: Record) -> None:
        """Takes a picture, unless its id is taken or its file is missing."""
        if record.image_id in self._image_ids:
            self.note(
                "duplicate-image-id",
                f"The image id {record.image_id!r} occurs twice: the second is left out.",
                record.image_id,
            )
        elif record.path is not None and not isfile(record.path):
            self.note("missing-image", f"There is no picture {record.path}.", record.image_id)
        else:
            self._image_ids.add(record.image_id)
            self.records.append(record)

    def make_instance(
        self,
        image_id: int | str,
        size: tuple[int, int] | None,
        class_index: int,
        box: Sequence[float] | None = None,
        segmentation: Segmentation | None = None,
        annotation_id: int | str | None = None,
        **fields: Any,
    ) -> Instance | None:
        """Makes an object, or notes what is wrong with it and gives None.

        Args:
            image_id: Its picture.
            size: (height, width) of the picture, if known.
            class_index: 0..K-1.
            box: xyxy; None takes the box around the segmentation.
            segmentation: See `Instance`; polygons may be flat lists of numbers.
            annotation_id: The file's name of the object.
            **fields: Further fields of `Instance`.
        """
        where = (image_id, annotation_id)
        if segmentation is not None:
            segmentation = self._checked_segmentation(segmentation, size, where)
            if segmentation is None:
                return None
            box = box_around(segmentation) if box is None else box
        box = self._checked_box(box, size, where)
        if box is None:
            return None
        return Instance(box, class_index, segmentation, annotation_id=annotation_id, **fields)

    def make_area(
        self, value: Any, image_id: int | str, annotation_id: int | str | None = None
    ) -> float | None:
        """The area that the file says, or None with a note; None where it says none."""
        area = to_area(value)
        if area is None and value is not None:
            message = f"An area is a number from 0 on. Received: {shortened(value)}"
            self.note("bad-area", message, image_id, annotation_id)
        return area

    def make_keypoints(
        self, values: Any, count: int, image_id: int | str, annotation_id: int | str | None = None
    ) -> np.ndarray | None:
        """(J, 3) float32 from a flat list, or None with a note; objects without any get None."""
        try:
            keypoints = np.asarray(values, np.float64).reshape(count, 3)
        except (TypeError, ValueError, OverflowError):
            keypoints = None
        if keypoints is None or not (np.abs(keypoints) <= LARGEST).all():  # nor is NaN
            self.note(
                "bad-keypoints",
                f"Keypoints must be {count} times x, y, visibility. Received: {shortened(values)}",
                image_id,
                annotation_id,
            )
            return None
        return keypoints.astype(np.float32) if keypoints.any() else None

    def dataset(
        self,
        class_names: Iterable[str],
        category_ids: Iterable[int] | None = None,
        keypoint_names: Iterable[str] = (),
    ) -> AnnotatedImages:
        """The dataset; where some objects have masks, those without are dealt with first."""
        records = self.records
        if any(one.segmentation is not None for record in records for one in record.instances):
            records = [
                replace(record, instances=tuple(self._with_masks(record))) for record in records
            ]
        return AnnotatedImages(
            records, class_names, category_ids, self.problems, keypoint_names, self.name
        )

    def _with_masks(self, record: Record) -> Iterable[Instance]:
        for one in record.instances:
            if one.segmentation is not None:
                yield one
            elif self.rectangles_are_masks:
                yield replace(one, segmentation=[rectangle(one.box)])
            else:
                self.note(
                    "missing-mask",
                    "The object has a box only, others of this dataset have masks.",
                    record.image_id,
                    one.annotation_id,
                )

    def _checked_segmentation(
        self, segmentation: Any, size: tuple[int, int] | None, where: tuple
    ) -> Segmentation | None:
        if isinstance(segmentation, MaskCrop):
            if segmentation.bitmap.any():
                return segmentation
            self.note("empty-mask", "The mask has no pixels.", *where)
            return None
        if isinstance(segmentation, Mapping):
            return self._checked_rle(segmentation, size, where)
        if isinstance(segmentation, (list, tuple)):
            return self._checked_polygons(segmentation, where)
        self.note("bad-polygon", f"No segmentation: {shortened(segmentation)}", *where)
        return None

    def _checked_rle(
        self, rle: Mapping[str, Any], size: tuple[int, int] | None, where: tuple
    ) -> dict[str, Any] | None:
        try:
            require_rle(rle)
        except ValueError as error:
            self.note("bad-rle", str(error), *where)
            return None
        if size is not None and tuple(rle["size"]) != tuple(size):
            self.note(
                "rle-size-mismatch",
                f"The run lengths are for {tuple(rle['size'])} (height, width), the picture is "
                f"{tuple(size)}.",
                *where,
            )
            return None
        if not any(box_around(rle)[2:]):
            self.note("empty-mask", "The mask has no pixels.", *where)
            return None
        return dict(rle)

    def _checked_polygons(self, polygons: Sequence[Any], where: tuple) -> list[np.ndarray] | None:
        """The usable parts, (P, 2) float64 each; None if there is none."""
        if all(isinstance(polygon, (int, float)) for polygon in polygons):
            message = f"A mask is a list of polygons, this is one: {shortened(polygons)}"
            self.note("bad-polygon", message, *where)
            return None
        kept = []
        for polygon in polygons:
            points = _points(polygon)
            if points is None:
                message = f"A polygon is no list of x, y near a picture: {shortened(polygon)}"
                self.note("bad-polygon", message, *where)
            elif len(points) < 3:
                message = f"A polygon has {len(points)} points, 3 are needed."
                self.note("polygon-too-short", message, *where)
            else:
                kept.append(points)
        return kept or None

    def _checked_box(
        self, box: Any, size: tuple[int, int] | None, where: tuple
    ) -> tuple[float, float, float, float] | None:
        sides = to_box(box)
        if sides is None:
            self.note("bad-box", f"A box is four numbers. Received: {shortened(box)}", *where)
            return None
        x1, y1, x2, y2 = sides
        if x2 <= x1 or y2 <= y1:
            message = f"The box has no area: x {x1:g}..{x2:g}, y {y1:g}..{y2:g}."
            self.note("zero-area-box", message, *where)
            return None
        if x2 <= 0 or y2 <= 0 or (size is not None and (x1 >= size[1] or y1 >= size[0])):
            message = f"The box lies outside the picture: x {x1:g}..{x2:g}, y {y1:g}..{y2:g}."
            self.note("box-outside-image", message, *where)
            return None
        return x1, y1, x2, y2


def box_around(segmentation: Segmentation) -> tuple[float, float, float, float]:
    """The xyxy box around polygons, run lengths or a bitmap; zeros for an empty one."""
    if isinstance(segmentation, MaskCrop):
        return tuple(segmentation.box().tolist())
    if not isinstance(segmentation, Mapping):
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    return rle_box(segmentation)


def _points(polygon: Any) -> np.ndarray | None:
    """(P, 2) float64 of numbers that can be filled; None for anything else."""
    try:
        numbers = np.asarray(polygon)
        if numbers.dtype.kind not in "fiu":
            return None
        points = numbers.astype(np.float64).reshape(-1, 2)
    except ValueError:  # lists of different lengths, or an odd number
        return None
    return points if can_be_filled(points) else None


def rectangle(box: Sequence[float]) -> np.ndarray:
    """The polygon (4, 2) along the sides of a box."""
    x1, y1, x2, y2 = box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float64)


def choose_classes(found: Iterable[str], class_names: Iterable[str] | None) -> tuple[str, ...]:
    """The classes of a format that has no list of them: `class_names`, or the labels in use, by
    name.

    Raises:
        ValueError: None of the labels in use is among `class_names`.
    """
    labels = sorted(set(found))
    if class_names is None:
        return tuple(labels)
    names = tuple(class_names)
    if labels and not set(labels) & set(names):
        raise ValueError(
            "None of `class_names` occurs in the annotations. "
            f"Received: {list(names)}; labels in use: {', '.join(labels[:10])}"
        )
    return names


def relative_id(path: Path, root: Path) -> str:
    """Names a picture: its path below `root` without the suffix, with forward slashes."""
    try:
        return path.relative_to(root).with_suffix("").as_posix()
    except ValueError:
        return path.stem


def shortened(value: Any) -> str:
    """What is shown of a broken value."""
    text = repr(value)
    return text if len(text) <= _DETAILS else f"{text[:_DETAILS]}..."
