"""What a detector should find, in COCO's terms, from any source: the side every metric shares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.eval.coco_entries import example_entries, instance_entry, to_rle

if TYPE_CHECKING:
    from kmrcnn.data.example import Example
    from kmrcnn.data.records import AnnotatedImages


class GroundTruth:
    """Images, categories and annotations as COCO writes them, complete and with safe ids.

    Every annotation has bbox, area, iscrowd and an id counted from 1 (pycocotools takes a match
    with the id 0 for none). Image ids are integers: the source's own where they all are, else
    counted from 1; `image_numbers` translates.

    Args:
        class_names: Names of the K classes.
        category_ids: The category id of each class; None means class + 1.
        keypoint_names: Names of the J keypoints of an object, if any.

    Attributes:
        images: COCO's image entries.
        annotations: COCO's annotation entries.
        categories: COCO's category entries, in the order of `class_names`.
        image_numbers: The source's image id -> id in `images` and `annotations`.

    Raises:
        ValueError: `category_ids` has not one id per class, or a class name or id occurs twice.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        keypoint_names: Sequence[str] = (),
    ):
        default_ids = range(1, len(class_names) + 1)
        self.class_names = tuple(class_names)
        self.category_ids = tuple(default_ids if category_ids is None else category_ids)
        self.keypoint_names = tuple(keypoint_names)
        if len(self.category_ids) != len(self.class_names):
            raise ValueError(
                "`category_ids` must have one id per class. Received: "
                f"{len(self.category_ids)} ids for {len(self.class_names)} classes"
            )
        _require_distinct("class_names", self.class_names)
        _require_distinct("category_ids", self.category_ids)
        self.categories = [
            {"id": number, "name": name}
            for number, name in zip(self.category_ids, self.class_names)
        ]
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.image_numbers: dict[int | str, int] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    @classmethod
    def of(cls, source: GroundTruth | AnnotatedImages | Mapping | str | Path) -> GroundTruth:
        """Takes a dataset, the content of a COCO JSON file, or its path.

        Raises:
            ValueError: The source is none of these, or the file is not in COCO's format.
        """
        if isinstance(source, GroundTruth):
            return source
        if isinstance(source, (str, Path)):
            source = json.loads(Path(source).read_text(encoding="utf-8"))
        if isinstance(source, Mapping):
            return cls.from_coco(source)
        if hasattr(source, "records"):
            return cls.from_records(source)
        raise ValueError(
            "Ground truth must be an AnnotatedImages dataset, a COCO dict or the path of a COCO "
            f"JSON file. Received: {type(source).__name__}"
        )

    @classmethod
    def from_coco(cls, coco: Mapping[str, Any]) -> GroundTruth:
        """Takes the content of a COCO or LVIS file; entries keep their further keys."""
        missing = [key for key in ("images", "annotations", "categories") if key not in coco]
        if missing:
            raise ValueError(f"COCO ground truth must have the keys {missing}.")
        categories = sorted(coco["categories"], key=lambda category: category["id"])
        truth = cls(
            [category["name"] for category in categories],
            [category["id"] for category in categories],
            next((one["keypoints"] for one in categories if one.get("keypoints")), ()),
        )
        truth.categories = [dict(category) for category in categories]
        truth._set_images((image["id"], image) for image in coco["images"])
        for annotation in coco["annotations"]:
            truth._add_annotation(annotation["image_id"], annotation)
        return truth

    @classmethod
    def from_records(cls, dataset: AnnotatedImages) -> GroundTruth:
        """Takes the annotations of a dataset; reads a picture only if its size must be known and
        the annotations do not say it.
        """
        truth = cls(dataset.class_names, dataset.category_ids, dataset.keypoint_names)
        sizes = {record.image_id: _size_of(record) for record in dataset.records}
        truth._set_images(
            (record.image_id, _size_entry(sizes[record.image_id])) for record in dataset.records
        )
        for record in dataset.records:
            for instance in record.instances:
                entry = instance_entry(instance, truth.category_ids, sizes[record.image_id])
                truth._add_annotation(record.image_id, entry)
        return truth

    def add_example(self, example: Example) -> None:
        """Adds a picture and its objects; for datasets that are made, not read.

        Raises:
            ValueError: A picture of this id was added before.
        """
        if example.image_id in self.image_numbers:
            raise ValueError(f"The image id {example.image_id!r} occurs twice.")
        number = len(self.images) + 1
        self.image_numbers[example.image_id] = number
        self._sizes[number] = example.size
        self.images.append({**_size_entry(example.size), "id": number})
        for entry in example_entries(example, self.category_ids):
            self._add_annotation(example.image_id, entry)

    def subset(self, image_ids: Iterable[int | str]) -> GroundTruth:
        """The part of these images (the source's ids), with all categories.

        Raises:
            ValueError: An image is unknown.
        """
        part = GroundTruth(self.class_names, self.category_ids, self.keypoint_names)
        part.categories = self.categories
        part.image_numbers = {name: self.number_of(name) for name in image_ids}
        kept = set(part.image_numbers.values())
        part.images = [image for image in self.images if image["id"] in kept]
        part.annotations = [one for one in self.annotations if one["image_id"] in kept]
        part._sizes = {number: size for number, size in self._sizes.items() if number in kept}
        return part

    def number_of(self, image_id: int | str) -> int:
        """The image's id in `images` and `annotations`.

        Raises:
            ValueError: There is no such image.
        """
        try:
            return self.image_numbers[image_id]
        except KeyError:
            raise ValueError(f"The ground truth has no image {image_id!r}.") from None

    def size_of(self, number: int) -> tuple[int, int] | None:
        """(height, width) of the image with this id in `images`, if known."""
        return self._sizes.get(number)

    def kinds(self) -> tuple[str, ...]:
        """What can be scored: "bbox" always, "segm" and "keypoints" where annotated."""
        found = ["bbox"]
        if any(one.get("segmentation") for one in self.annotations):
            found.append("segm")
        if any(one.get("num_keypoints") for one in self.annotations):
            found.append("keypoints")
        return tuple(found)

    def annotations_for(self, kind: str) -> list[dict[str, Any]]:
        """Copies of the annotations with what scoring one kind needs.

        An object without a mask among others with masks is not missed nor falsely found in "segm":
        its box becomes a region to ignore.

        Args:
            kind: "bbox", "segm" (masks as run lengths) or "keypoints".
        """
        shared = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
        entries = []
        for annotation in self.annotations:
            entry = {key: annotation[key] for key in shared}
            if kind == "segm":
                self._add_mask(entry, annotation)
            elif kind == "keypoints":
                flat = [0.0] * (3 * len(self.keypoint_names))
                entry["keypoints"] = annotation.get("keypoints") or flat
                entry["num_keypoints"] = annotation.get("num_keypoints", 0)
            entries.append(entry)
        return entries

    def _add_mask(self, entry: dict[str, Any], annotation: dict[str, Any]) -> None:
        if annotation.get("segmentation"):
            annotation["segmentation"] = self._rle(annotation, annotation["segmentation"])
            entry["segmentation"] = annotation["segmentation"]
        else:
            x, y, width, height = annotation["bbox"]
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            entry["segmentation"] = self._rle(annotation, [corners])
            entry["iscrowd"] = 1

    def _set_images(self, entries: Iterable[tuple[int | str, Mapping[str, Any]]]) -> None:
        entries = list(entries)
        names = [name for name, _ in entries]
        _require_distinct("image ids", names)
        are_numbers = all(isinstance(name, (int, np.integer)) for name in names)
        numbers = [int(n) for n in names] if are_numbers else range(1, len(names) + 1)
        for (name, entry), number in zip(entries, numbers):
            self.image_numbers[name] = number
            self.images.append({**entry, "id": number})
            if "height" in entry and "width" in entry:
                self._sizes[number] = (int(entry["height"]), int(entry["width"]))

    def _add_annotation(self, image_id: int | str, entry: Mapping[str, Any]) -> None:
        annotation = {**entry, "id": len(self.annotations) + 1}
        annotation["image_id"] = self.number_of(image_id)
        annotation["iscrowd"] = int(annotation.get("iscrowd", 0))
        segmentation = annotation.get("segmentation")
        if "bbox" not in annotation:
            rle = self._rle(annotation, segmentation)
            annotation["bbox"] = coco_mask.toBbox(rle).tolist()
        if annotation.get("area") is None:
            width, height = annotation["bbox"][2:]
            from_mask = segmentation and coco_mask.area(self._rle(annotation, segmentation))
            annotation["area"] = float(from_mask or width * height)
        if annotation.get("keypoints"):
            labelled = np.asarray(annotation["keypoints"][2::3]) > 0
            annotation.setdefault("num_keypoints", int(labelled.sum()))
        self.annotations.append(annotation)

    def _rle(self, annotation: Mapping[str, Any], segmentation: Any) -> dict[str, Any]:
        if not segmentation:
            raise ValueError(f"An annotation needs a bbox or a mask. Received: {annotation}")
        size = self.size_of(annotation["image_id"])
        if size is None:
            raise ValueError(f"The image {annotation['image_id']} needs `height` and `width`.")
        return to_rle(segmentation, size)


def _size_of(record: Any) -> tuple[int, int] | None:
    if record.size is None and any(one.segmentation is not None for one in record.instances):
        return record.read_image().shape[:2]
    return record.size


def _size_entry(size: tuple[int, int] | None) -> dict[str, int]:
    return {} if size is None else {"height": int(size[0]), "width": int(size[1])}


def _require_distinct(name: str, values: Sequence[Any]) -> None:
    if len(set(values)) < len(values):
        repeated = sorted({str(value) for value in values if list(values).count(value) > 1})
        raise ValueError(f"`{name}` must be distinct. Received more than once: {repeated[:10]}")
