"""COCO JSON read as it stands: entries that a loader would skip are kept, and checked.

LVIS files have the same form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.data.datasets.collector import shortened
from kmrcnn.data.measures import is_measure, to_area, to_size
from kmrcnn.data.records import Instance, Problem, Record


@dataclass
class RawCoco:
    """A COCO document and the records made of it, entry by entry.

    Attributes:
        document: The parsed JSON.
        class_names: Name of each category, without repeated ids and names.
        category_ids: Their ids.
        records: One per image entry that has an id and a file.
        images: The entry of each record.
        annotations: Per record the entry of each of its instances.
        problems: Entries of which no record or instance can be made, categories listed twice.
    """

    document: dict[str, Any]
    class_names: list[str] = field(default_factory=list)
    category_ids: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[list[dict[str, Any]]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_raw_coco(document: dict[str, Any], find_image: Callable[[str], Path]) -> RawCoco:
    """Makes a record of every image and an instance of every annotation, sound or not.

    Args:
        document: A parsed file that `load_coco` accepts.
        find_image: From a file name as written in the file to the path where it is looked for.
    """
    raw = RawCoco(document)
    class_of = _read_categories(raw)
    by_image = _group_annotations(raw, class_of)
    for entry in document["images"]:
        if not is_image_entry(entry):
            raw.problems.append(
                Problem("broken-record", f"an image lacks id or file name: {shortened(entry)}")
            )
            continue
        # the annotations of an id that is there twice go to its first entry
        annotations = by_image.pop(entry["id"], [])
        raw.images.append(entry)
        raw.annotations.append(annotations)
        instances = tuple(_instance(one, class_of[one["category_id"]]) for one in annotations)
        path = find_image(image_file_name(entry))
        size = to_size(entry.get("height"), entry.get("width"))
        raw.records.append(Record(entry["id"], path, size, instances))
    _report_unknown_images(raw, by_image)
    return raw


def is_image_entry(entry: Any) -> bool:
    """Whether this entry names a picture: by an id, and a file or an address."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("id"), (int, str))
        and isinstance(entry.get("file_name", entry.get("coco_url")), str)
    )


def image_file_name(entry: Mapping[str, Any]) -> str:
    """The file of an image entry; LVIS gives an address only, whose last two parts are the file."""
    if isinstance(entry.get("file_name"), str):
        return entry["file_name"]
    return "/".join(str(entry["coco_url"]).split("/")[-2:])


def _read_categories(raw: RawCoco) -> dict[Hashable, int]:
    """Fills in the classes; gives the class index of each category id."""
    class_of: dict[Hashable, int] = {}
    index_of_name: dict[str, int] = {}
    for entry in raw.document["categories"]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), int):
            message = f"a category has no whole number as its id: {shortened(entry)}"
            raw.problems.append(Problem("broken-record", message))
            continue
        category_id, name = entry["id"], str(entry.get("name", entry["id"]))
        if category_id in class_of or name in index_of_name:
            message = f"the category {name!r}, id {category_id}, repeats an id or a name"
            raw.problems.append(Problem("duplicate-category", message))
            class_of.setdefault(category_id, index_of_name.get(name, 0))
            continue
        class_of[category_id] = index_of_name[name] = len(raw.class_names)
        raw.class_names.append(name)
        raw.category_ids.append(category_id)
    return class_of


def _group_annotations(
    raw: RawCoco, class_of: Mapping[Hashable, int]
) -> dict[Hashable, list[dict[str, Any]]]:
    """The annotations of each image id; reports those without an image or a known category."""
    by_image: dict[Hashable, list[dict[str, Any]]] = {}
    for entry in raw.document["annotations"]:
        if not _is_annotation(entry):
            message = f"an annotation lacks image or category: {shortened(entry)}"
            raw.problems.append(Problem("broken-record", message))
        elif entry["category_id"] not in class_of:
            message = f"category {entry['category_id']!r} is not listed"
            raw.problems.append(
                Problem("unknown-category", message, entry["image_id"], _identifier(entry))
            )
        else:
            by_image.setdefault(entry["image_id"], []).append(entry)
    return by_image


def _report_unknown_images(raw: RawCoco, left_over: Mapping[Hashable, list[dict]]) -> None:
    raw.problems += [
        Problem("unknown-image", f"image {image_id!r} is not listed", image_id, _identifier(entry))
        for image_id, annotations in left_over.items()
        for entry in annotations
    ]


def _instance(entry: Mapping[str, Any], class_index: int) -> Instance:
    return Instance(
        box=_corners(entry.get("bbox")),
        class_index=class_index,
        segmentation=_segmentation(entry.get("segmentation")),
        is_crowd=bool(entry.get("iscrowd", False)),
        area=to_area(entry.get("area")),
        annotation_id=_identifier(entry),
    )


def _corners(bbox: Any) -> tuple[float, float, float, float]:
    """From x, y, width, height to xyxy; NaN where the file has something else."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_measure, bbox)):
        return (math.nan,) * 4
    left, top, width, height = (float(side) for side in bbox)
    return left, top, left + width, top + height


def _segmentation(value: Any) -> Any:
    """Polygons as (P, 2) arrays where they are pairs of numbers; the rest stays as it is."""
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        return value
    return [_points(part) for part in value]


def _points(part: Any) -> Any:
    try:
        numbers = np.array(part)
    except ValueError:  # lists of different lengths
        return part
    if numbers.ndim != 1 or numbers.dtype.kind not in "fiu" or numbers.size % 2:
        return part
    return numbers.astype(np.float64).reshape(-1, 2)


def _is_annotation(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(name), (int, str)) for name in ("image_id", "category_id")
    )


def _identifier(entry: Mapping[str, Any]) -> int | str | None:
    return entry.get("id") if isinstance(entry.get("id"), (int, str)) else None
