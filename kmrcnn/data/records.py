"""Annotations as the files hold them, and datasets made of them: what every adapter returns."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.data.images import decode_image, read_image, read_size
from kmrcnn.data.instance_masks import decode_mask

Segmentation = list[np.ndarray] | dict[str, Any] | MaskCrop


@dataclass(frozen=True, eq=False)
class Instance:
    """One annotated object.

    Attributes:
        box: x1, y1, x2, y2 in pixels, as the file says; may stick out of the picture.
        class_index: 0..K-1.
        segmentation: Polygons, (P, 2) float x, y each, whose union is the object; or run lengths
            ``{"size": [height, width], "counts": ...}``; or a bitmap in its window; None where the
            dataset has boxes only.
        is_crowd: A region of many objects, to be ignored.
        area: Square pixels as the file says; None if it does not say.
        keypoints: (J, 3) float32 x, y, visibility (0 unlabelled, 1 hidden, 2 visible), or None.
        annotation_id: The file's own name of this object.
    """

    box: tuple[float, float, float, float]
    class_index: int
    segmentation: Segmentation | None
    is_crowd: bool = False
    area: float | None = None
    keypoints: np.ndarray | None = None
    annotation_id: int | str | None = None


@dataclass(frozen=True)
class FileSlice:
    """Bytes `offset` to `offset + length` of a file, where pictures lie within larger files."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True, eq=False)
class Record:
    """One picture and its objects, without the pixels.

    The picture is in a file of its own (`path`), in memory (`image_bytes`) or in a part of a file
    (`image_slice`).

    Attributes:
        image_id: The dataset's name of the picture.
        path: The picture's file.
        size: (height, width) as the annotation file says; None if it does not say.
        instances: Its objects.
        image_bytes: An encoded picture (JPEG, PNG, ...).
        image_slice: Where an encoded picture lies in a larger file.
    """

    image_id: int | str
    path: Path | None
    size: tuple[int, int] | None
    instances: tuple[Instance, ...]
    image_bytes: bytes | None = None
    image_slice: FileSlice | None = None

    def read_bytes(self) -> bytes:
        """The encoded picture.

        Raises:
            OSError: The file cannot be read.
        """
        if self.image_bytes is not None:
            return self.image_bytes
        if self.image_slice is not None:
            return self.image_slice.read()
        if self.path is None:
            raise FileNotFoundError(f"The picture {self.image_id!r} has no file.")
        return self.path.read_bytes()

    def read_image(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a picture.
        """
        if self.path is not None:
            return read_image(self.path)
        return decode_image(self.read_bytes(), name=f"The picture {self.image_id!r}")

    def read_size(self) -> tuple[int, int]:
        """(height, width) as the annotations say, or else as the head of the picture's file says.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a picture.
        """
        if self.size is not None:
            return self.size
        return read_size(self.path if self.path is not None else self.read_bytes())


@dataclass(frozen=True)
class Problem:
    """Something a loader skipped, and why.

    Attributes:
        kind: Short name such as "zero-area-box", to count by.
        message: One sentence for people.
        image_id: The picture concerned, if any.
        annotation_id: The object concerned, if any.
    """

    kind: str
    message: str
    image_id: int | str | None = None
    annotation_id: int | str | None = None


class AnnotatedImages(Sequence[Example]):
    """A dataset read from annotation files; an indexable, iterable sequence of `Example`.

    Annotations are in memory (`records`), pictures are read when asked for.

    Args:
        records: Pictures and their objects.
        class_names: Names of the K classes.
        category_ids: The file's own id of each class; None means class + 1.
        problems: What the loader skipped, and why.
        keypoint_names: Names of the J keypoints of an object, if any.
        name: Of the dataset, for reports.
        has_masks: Whether examples have masks; None looks for an object that has one.

    Raises:
        ValueError: `category_ids` has not one id per class.

    Example:
        >>> dataset = open_dataset("balloon/annotations/instances_train.json")
        >>> print(dataset.report())
        >>> dataset[0].boxes.shape, dataset.records[0].path
    """

    def __init__(
        self,
        records: Iterable[Record],
        class_names: Iterable[str],
        category_ids: Iterable[int] | None = None,
        problems: Iterable[Problem] = (),
        keypoint_names: Iterable[str] = (),
        name: str = "",
        has_masks: bool | None = None,
    ):
        self.records = list(records)
        self.class_names = tuple(class_names)
        default_ids = range(1, len(self.class_names) + 1)
        self.category_ids = tuple(default_ids if category_ids is None else category_ids)
        self.problems = list(problems)
        self.keypoint_names = tuple(keypoint_names)
        self.name = name
        if len(self.category_ids) != len(self.class_names):
            raise ValueError(
                "`category_ids` must have one id per class. "
                f"Received: {len(self.category_ids)} ids for {len(self.class_names)} classes"
            )
        self.has_masks = self._any_mask() if has_masks is None else has_masks

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        """Reads picture `index` and decodes its masks; boxes and masks are clipped to the picture.

        Raises:
            IndexError: There is no such picture.
            OSError: Its file cannot be read.
            ValueError: Its file is not a picture, or not of the size that the annotations are for.
        """
        record = self.records[operator.index(index)]
        image = record.read_image()
        size = image.shape[:2]
        if record.size is not None and size != tuple(record.size):
            raise ValueError(
                f"The picture {record.path or record.image_id} is {size[0]} x {size[1]} (height x "
                f"width) pixels, but its annotations are for {record.size[0]} x {record.size[1]}. "
                "`kmrcnn data check` lists all such pictures."
            )
        instances = record.instances
        boxes = self._boxes(instances, size)
        masks = self._masks(instances, size) if self.has_masks else None
        return Example(
            image=image,
            boxes=boxes,
            classes=np.array([one.class_index for one in instances], np.int32),
            masks=masks,
            is_crowd=np.array([one.is_crowd for one in instances], bool),
            area=self._areas(instances, boxes, masks),
            image_id=record.image_id,
            keypoints=self._keypoints(instances) if self.keypoint_names else None,
        )

    def subset(self, indices: Iterable[int]) -> AnnotatedImages:
        """A dataset of the pictures `indices`, in that order, with the same classes."""
        return AnnotatedImages(
            [self.records[operator.index(index)] for index in indices],
            self.class_names,
            self.category_ids,
            self.problems,
            self.keypoint_names,
            self.name,
            self.has_masks,
        )

    def report(self) -> str:
        """One paragraph: pictures, objects, objects per class, what was skipped."""
        instances = [one for record in self.records for one in record.instances]
        empty = sum(not record.instances for record in self.records)
        crowds = sum(one.is_crowd for one in instances)
        parts = [
            f"{self.name or 'Dataset'}: {len(self)} images ({empty} without objects), "
            f"{len(instances)} instances"
        ]
        parts[0] += f" ({crowds} crowds)" if crowds else ""
        counts = Counter(self.class_names[one.class_index] for one in instances)
        parts.append(f"{len(self.class_names)} classes: {_listing(counts)}")
        parts.append("masks" if self.has_masks else "boxes only")
        if self.keypoint_names:
            with_keypoints = sum(one.keypoints is not None for one in instances)
            parts.append(f"{len(self.keypoint_names)} keypoints on {with_keypoints} instances")
        kinds = Counter(problem.kind for problem in self.problems)
        parts.append(f"skipped: {_listing(kinds) if kinds else 'nothing'}")
        return "; ".join(parts) + "."

    def _any_mask(self) -> bool:
        return any(
            one.segmentation is not None for record in self.records for one in record.instances
        )

    def _boxes(self, instances: Sequence[Instance], size: tuple[int, int]) -> np.ndarray:
        boxes = np.array([one.box for one in instances], np.float32).reshape(-1, 4)
        height, width = size
        return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))

    def _masks(self, instances: Sequence[Instance], size: tuple[int, int]) -> list[MaskCrop]:
        """An object without a mask of its own gets an empty one."""
        return [decode_mask(one.segmentation, size) for one in instances]

    def _areas(
        self, instances: Sequence[Instance], boxes: np.ndarray, masks: list[MaskCrop] | None
    ) -> np.ndarray:
        """The file's areas (N,); where it says none, pixels of the mask, else of the box."""
        sides = boxes[:, 2:] - boxes[:, :2]
        measured = sides[:, 0] * sides[:, 1]
        if masks is not None:
            measured = [mask.bitmap.sum() for mask in masks]
        areas = [m if one.area is None else one.area for one, m in zip(instances, measured)]
        return np.array(areas, np.float32)

    def _keypoints(self, instances: Sequence[Instance]) -> np.ndarray:
        keypoints = np.zeros((len(instances), len(self.keypoint_names), 3), np.float32)
        for row, one in zip(keypoints, instances):
            if one.keypoints is not None:
                row[:] = one.keypoints
        return keypoints


def _listing(counts: Counter, limit: int = 10) -> str:
    """Names and numbers, the most frequent first."""
    shown = ", ".join(f"{name} {number}" for name, number in counts.most_common(limit))
    more = len(counts) - limit
    return (shown or "none") + (f" and {more} more" if more > 0 else "")
